/* When what was taken is made durable, and who waits for it: a link whose last
 * messages led to entries that are not safe yet is held until the collector has
 * acknowledged them or a commit has them on disk: nothing is written on it, and it is
 * not read either, so that all it brought can become safe; unless only a commit can make
 * it so: then it gathers more for that. `store.linger` bounds
 * how long that may take; with linger = 0 every turn commits before anything is sent.
 *
 * If a commit fails, everything stays in memory and is tried again; until it works,
 * links that bring messages are held.
 */
#ifndef TIDEGATE_CUSTODY_H
#define TIDEGATE_CUSTODY_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

struct agent;
struct route;

#define CUSTODY_MARKS 4

struct custody {
	bool strict;         /* linger is 0 */
	int64_t linger_ms;
	bool failing;        /* the last commit failed */
	bool state_waits;    /* what scripts keep has changed: only a commit makes that safe */
	bool stopping;       /* commit what there is in every turn */
	struct route *from;  /* the link whose message the scripts have now */
	uint64_t first_unsafe;  /* as of the last step, */
	int64_t moved_ms;       /* and when that was another one: the collector answers */
	int64_t slow_until_ms;  /* the collector did not answer in time */
	unsigned turns;         /* at the usual pace, in which something was brought, up to a limit */
	int64_t hurry_until_ms; /* a link is back that was lost before what it brought was safe */
	uint64_t marks[CUSTODY_MARKS]; /* the newest seq, a quarter of linger apart; the first is the oldest */
	struct loop_timer linger;
	struct loop_timer stuck;     /* a sender has waited long enough */
	struct loop_timer retry;     /* of a commit that failed */
	struct loop_timer deletions; /* nothing else waits: no hurry */
};

void custody_init(struct agent *agent, int64_t linger_ms);

/* Around the scripts' handling of a message of `route`: what they queue was brought by it. */
void custody_begin(struct agent *agent, struct route *route);
void custody_brought(struct agent *agent, uint64_t seq);
void custody_end(struct agent *agent);

/* The link is lost. What it brought comes again; if that went on for ever, because the
 * connection never lives as long as a hold, nothing would be acknowledged: so for a
 * while after it is back commits follow at once. */
void custody_lost(struct route *route);
void custody_up(struct agent *agent, struct route *route);

/* Step "commit": commits if it is time to, and holds or releases links. */
void custody_step(struct agent *agent);

/* Commits what there is, now. False: it is not on disk. */
bool custody_commit(struct agent *agent);

/* Its queue is at its limit and holds: links that have nothing to carry wait. */
bool custody_is_full(const struct route *route);

/* After step "acknowledge": links wait whose messages find no room in a queue that holds. */
void custody_hold_for_room(struct agent *agent);

#endif
