/* What a link did in the last hour, as points ten seconds apart: a ring of fixed size. */
#ifndef TIDEGATE_HISTORY_H
#define TIDEGATE_HISTORY_H

#include <stddef.h>
#include <stdint.h>

enum { HISTORY_POINTS = 360, HISTORY_STEP_MS = 10000 };

struct history_point {
	uint32_t messages;               /* queued then */
	uint32_t received, acknowledged; /* since the point before */
};

/* Zero to begin with. */
struct history {
	struct history_point points[HISTORY_POINTS];
	size_t next, n;
	uint64_t received, acknowledged; /* in all, as of the last point */
};

/* Adds a point: what is queued now, and what came and was acknowledged ever. */
void history_add(struct history *history, uint64_t messages, uint64_t received, uint64_t acknowledged);

/* The point at that place, the oldest first; index < history->n. */
const struct history_point *history_at(const struct history *history, size_t index);

#endif
