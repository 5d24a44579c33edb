/* A script's timers by the time when they are due: a heap.
 *
 * Which timers there are is an effect like any other: what a handler sets begins, and
 * what it cancels ends, when it has returned. Until then both are only noted.
 *
 * A timer belongs to whoever allocated it (api_timer.c: a Lua object); here it is
 * linked. Equal times are in the order in which the timers were set.
 */
#ifndef TIDEGATE_TIMERS_H
#define TIDEGATE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quota.h"

struct timer {
	int64_t delay_ns;  /* from when it is set; every: from call to call */
	int64_t due_ns;    /* while it is armed */
	bool repeats;
	bool wanted;       /* as the script sees it */
	bool armed;        /* it is in the heap */
	bool noted;        /* in the list of what has changed */
	size_t place;      /* in the heap */
	uint64_t number;
	struct timer *next; /* in that list */
};

/* Zero-initialise. */
struct timers {
	struct timer **heap;
	size_t n, max;
	size_t reserved; /* noted, and will need a place */
	uint64_t last_number;
	struct timer *first, **end; /* what has changed since the last timers_settle() */
};

void timers_release(struct timers *timers, struct quota *quota);

/* Notes that a new timer begins. -1: there is no memory for it. */
int timers_set(struct timers *timers, struct timer *timer, struct quota *quota);

/* Notes that a timer ends. False: it is over already. */
bool timers_cancel(struct timers *timers, struct timer *timer);

/* What was noted happens now, or never; each timer that is over is given to `over`. */
void timers_settle(struct timers *timers, bool happens, int64_t now_ms,
                   void (*over)(void *arg, struct timer *timer), void *arg);

/* When the next is due, or INT64_MAX. */
int64_t timers_due_ms(const struct timers *timers);

/* The next that is due by now, or NULL; it is due again at the next time on its grid
 * after that, however many have passed, or not at all. */
struct timer *timers_take(struct timers *timers, int64_t now_ms);

#endif
