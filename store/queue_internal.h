/* What the files behind queue.h share: queue.c (what comes in and goes out), purge.c (what is
 * taken out in between) and look.c (what only looks). Nothing else includes it. */
#ifndef TIDEGATE_QUEUE_INTERNAL_H
#define TIDEGATE_QUEUE_INTERNAL_H

#include "entry.h"
#include "flight.h"
#include "lane.h"
#include "queue.h"
#include "rows.h"

#define PRIORITIES (QUEUE_PRIORITY_REPORT + 1)

struct queue {
	struct store *store;
	struct participant participant;
	char *name;
	struct rows rows;
	struct queue_limits limits;
	queue_dropped *dropped;
	void *arg;
	struct lane lanes[PRIORITIES];
	struct lane live[PRIORITIES]; /* what is newer than `live_after`, while that is not 0 */
	uint64_t live_after;
	struct lane *peeked;           /* whose front queue_peek() returned */
	struct entry *oldest, *newest; /* the unsaved ones */
	size_t unsafe, unsafe_bytes;
	struct flight flight;
	struct entry *looked_up; /* what queue_lookup() read last */
	uint64_t pushed_to;      /* the last seq pushed */
	uint64_t messages, bytes;
	uint64_t reports, report_bytes; /* the agent's own among those */
	uint64_t found_to;    /* seq: rows up to it are an earlier process's, */
	int64_t uncounted_to; /* key: of which those up to it are not in `messages` yet */
	int64_t latest_age_ms;
	bool may_expire;
	bool in_order; /* of seq: priorities do not count */
};

/* The one of that link that is open, or NULL. */
struct queue *queue_named(struct store *store, const char *name);

struct lane *queue_lane(struct queue *queue, unsigned priority, bool live);
bool queue_is_counted(const struct queue *queue, uint64_t seq, unsigned priority); /* among its messages */

/* Gives up the front of a lane, which is in memory. False: no memory to note it. */
bool queue_drop_first(struct queue *queue, struct lane *lane, enum queue_drop why);

/* What was handed out is delivered or given up. */
void queue_finish(struct queue *queue, struct handed *handed);

#endif
