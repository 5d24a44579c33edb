/* Checks for C unit tests: CHECK() counts and goes on, so that one run shows
 * every failure; REQUIRE() ends the program where going on makes no sense. A test program is `int main(void) { RUN(name); ...; return test_end(); }`.
 */
#ifndef TIDEGATE_TEST_H
#define TIDEGATE_TEST_H

#include <stdio.h>
#include <stdlib.h>

static int test_passed, test_failed, test_broken;

#define CHECK(condition)                                                                          \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);   \
			test_broken++;                                                            \
		}                                                                                 \
	} while (0)

#define REQUIRE(condition)                                                                        \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: required: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                                  \
		}                                                                                 \
	} while (0)

#define RUN(test)                                                                                 \
	do {                                                                                      \
		test_broken = 0;                                                                  \
		test();                                                                           \
		printf("%s %s\n", test_broken ? "not ok" : "ok", #test);                          \
		if (test_broken)                                                                  \
			test_failed++;                                                            \
		else                                                                              \
			test_passed++;                                                            \
	} while (0)

/* The exit status of the program; prints the count that `make test` adds up. */
static inline int test_end(void)
{
	printf("%d passed, %d failed\n", test_passed, test_failed);
	return test_failed ? 1 : 0;
}

#endif
