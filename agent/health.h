/* Whether the agent does its work, as monitoring asks: a line that is down is what the agent is
 * made for; one that is up and carries nothing is not.
 *
 * Pure: it is told what is seen and when, and says what is wrong.
 */
#ifndef TIDEGATE_HEALTH_H
#define TIDEGATE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

/* So long a link must have been down until what it did not deliver before is forgotten: a
 * peer that is reconnected to, again and again, as it does not answer, stays unhealthy. */
#define HEALTH_FORGET_MS 120000

/* What is seen of a link at one moment. */
struct health_look {
	bool up;
	bool waiting;  /* it has something to deliver, and may */
	uint64_t done; /* how much it has delivered or was told to give up, ever */
	int64_t now_ms;
};

/* What was seen until now. Zero to begin with. */
struct health_watch {
	struct health_look last;
	int64_t undelivered_ms; /* it was up so long, with something waiting, and nothing came of it */
	int64_t down_ms;        /* since it was up last */
};

/* To be called now and then, and before asking. */
void health_look(struct health_watch *watch, const struct health_look *look);

struct health_facts {
	bool up;
	bool full;       /* its queue is, and holds those who bring messages */
	bool silent;     /* its collector has not acknowledged for ack_timeout, behind a broker that does */
	int64_t undelivered_ms;
	int64_t ack_timeout_ms;
};

/* What is wrong with a link, for people; NULL: nothing. */
const char *health_of_link(const struct health_facts *facts);

#endif
