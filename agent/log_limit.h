/* How often the same kind of line may be logged. An error that comes with every
 * message says nothing new after the tenth time, and logs wear out flash.
 */
#ifndef TIDEGATE_LOG_LIMIT_H
#define TIDEGATE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_LINES 10 /* within */
#define LOG_LIMIT_MS    60000

/* Zero-initialise. */
struct log_limit {
	int64_t since_ms;
	unsigned logged;
	uint64_t unlogged; /* since then */
};

/* True if one more line may be logged; else it is counted. `*earlier` is how many
 * were only counted in the minute before, and is to be said now; mostly 0. */
bool log_limit_allows(struct log_limit *limit, int64_t now_ms, uint64_t *earlier);

#endif
