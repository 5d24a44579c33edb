/* A fuzz target is one function that is given bytes and must survive them: libFuzzer
 * calls it (make fuzz), or replay.c with what was found before (make test).
 */
#ifndef TIDEGATE_FUZZ_H
#define TIDEGATE_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input. */
#define ALWAYS(condition)                                                                        \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                 \
		}                                                                                \
	} while (0)

#endif
