/* Messages that were given up for want of room or time, or as their owner wanted it, and of which a script wants to
 * know: they are told in the next commit step, as a queue may not be called, nor a
 * script, at the moment when it happens. */
#ifndef TIDEGATE_DROPS_H
#define TIDEGATE_DROPS_H

#include "queue.h"

struct agent;
struct drop;
struct route;

struct drops {
	struct drop *first, **end;
	const struct route *overflowed; /* of which a script is being told */
};

/* Notes one that has a context. It is only told if memory is left for it. */
void drops_add(struct drops *drops, struct route *route, const struct message *message, enum queue_drop why);

/* For people, scripts and the record. */
const char *drops_reason(enum queue_drop why);

/* Calls on_drop() of the scripts that asked. What they publish on a link that
 * has just overflowed is refused. */
void drops_tell(struct agent *agent);

void drops_release(struct drops *drops);

#endif
