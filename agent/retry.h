/* When and where to try next: fail-over among a link's URLs, exponential backoff
 * with jitter, and which of many equal failures are worth a line in the log.
 * Policy only: no clock, no socket. */
#ifndef TIDEGATE_RETRY_H
#define TIDEGATE_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RETRY_URLS 8 /* of so many URLs failures are told apart in the log */

struct retry {
	size_t url;      /* the one to try, or in use */
	unsigned rounds; /* through all URLs since it was last up for good */
	unsigned random; /* state of the jitter; seed it */
	struct {
		uint32_t hash; /* of the last failure there */
		unsigned times;
	} failures[RETRY_URLS];
};

/* How long to wait before the n-th attempt (0 = first) after a failure:
 * min * 2^n up to max, then scaled into [half, whole] by `random` in [0, 1)
 * ("equal jitter": M. Brooker, Exponential Backoff And Jitter, 2015). */
int64_t retry_backoff_ms(int64_t min_ms, int64_t max_ms, unsigned n, double random);

/* The attempt failed: moves to the next URL at once, or after the last back to
 * the first with a delay. Returns the milliseconds to wait. */
int64_t retry_failed(struct retry *retry, size_t n_urls, int64_t min_ms, int64_t max_ms);

/* True if this failure of the current URL should be told: the first, the second
 * equal one in a row, the fourth, the eighth, ... Ask before retry_failed(). */
bool retry_worth_telling(struct retry *retry, const char *failure);

/* The connection is up: later failures are news again. */
void retry_up(struct retry *retry);

/* It was up and is lost. If it was up for long (`stable`), the backoff starts anew
 * and the first URL is preferred again. If not, this was a failed attempt: a broker
 * that accepts and throws out is not hammered, and one that dies as the link has
 * just come back to it does not keep it from the others. Returns the delay. */
int64_t retry_lost(struct retry *retry, size_t n_urls, bool stable, int64_t min_ms, int64_t max_ms);

#endif
