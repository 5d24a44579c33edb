/* What somebody who only looks on may want to know: a recording (recorder.c), or the
 * account of a rehearsal (transcript.c, replay.c). Called from the loop's thread; no call
 * may come back into the agent, and what is given is valid during the call only.
 */
#ifndef TIDEGATE_OBSERVER_H
#define TIDEGATE_OBSERVER_H

#include <stdint.h>

struct inbound;
struct link;
struct message;

struct observer {
	void *arg;
	void (*message)(void *arg, const struct link *link, const struct inbound *message); /* before the scripts get it */
	void (*up)(void *arg, const struct link *link);
	void (*down)(void *arg, const struct link *link, const char *reason);
	/* It will not be delivered. `message` may be NULL, where it cannot be read any more.
	 * May itself be NULL, like those above. */
	void (*lost)(void *arg, const struct link *link, uint64_t seq, const struct message *message, const char *reason);
};

#endif
