/* libmosquitto (2.0.11 as well as 2.1.2) has an assertion that a broker can make fail, by a property that it does not know:
 * its log is told of it without a handle. The library calls the program's __assert_fail() before libc's; ours comes back
 * to before the call where it is that one, and else does what libc's does. A library that was built with NDEBUG, as
 * Debian's is not, has no assertions, and ends the process there all the same. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt_internal.h"

typedef void fail_function(const char *what, const char *file, unsigned line, const char *function);

_Noreturn void __assert_fail(const char *what, const char *file, unsigned line, const char *function);

static _Thread_local jmp_buf *refuge;

int mqtt_guard(int (*call)(struct mosquitto *handle), struct mosquitto *handle)
{
	jmp_buf here;
	int rc;

	if (setjmp(here) != 0) {
		refuge = NULL;
		return MQTT_ASSERTED;
	}
	refuge = &here;
	rc = call(handle);
	refuge = NULL;
	return rc;
}

/* No mutex is held where properties are read. A topic and the properties before that one are not freed: less than the
 * packet, once for each connection. */
_Noreturn void __assert_fail(const char *what, const char *file, unsigned line, const char *function)
{
	fail_function *next;

	if (refuge && function && strcmp(function, "log__printf") == 0)
		longjmp(*refuge, 1);
	*(void **)&next = dlsym(RTLD_NEXT, "__assert_fail");
	if (next)
		next(what, file, line, function);
	fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function ? function : "?", what);
	abort();
}
