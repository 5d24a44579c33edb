/* A simulated network with a broker at the end of every link: a transport for links
 * (agent/link.h) in simulated time. Links go up and down as they are told to; what is
 * sent is acknowledged after a round trip; what is brought waits, as in a broker's
 * session, until the link takes it.
 */
#ifndef TIDEGATE_NETWORK_H
#define TIDEGATE_NETWORK_H

#include "link.h"

struct network;

/* A message whose acknowledgement arrives. */
struct delivery {
	const char *link;
	uint64_t seq;
	int64_t time_ms; /* wall clock, when it was published, */
	int64_t now_ms;  /* and now */
	size_t bytes;    /* of topic and payload */
	bool report;     /* of the agent's own, about losses */
};

typedef void network_delivered(void *arg, const struct delivery *delivery);

/* `rtt_ms`: how long an acknowledgement takes. NULL: no memory. Close after the links. */
struct network *network_open(int64_t rtt_ms, network_delivered *delivered, void *arg);
void network_close(struct network *network);
const struct transport_ops *network_transport(const struct network *network);

/* Lets the link go down, or allows it to connect. All are up at first. 0, or -1: no memory. */
int network_set(struct network *network, const char *link, bool up, const char *reason);

bool network_is_up(struct network *network, const char *link);

/* Copies a message that arrives on the link when it can. 0, or -1: no memory. */
int network_bring(struct network *network, const char *link, const struct inbound *message);

/* When the next acknowledgement is due, by clock_monotonic_ms(), or INT64_MAX; and lets
 * those that are due arrive. */
int64_t network_due_ms(const struct network *network);
void network_arrive(struct network *network);

/* Messages brought that the link, or that any (NULL), has not taken yet. */
size_t network_waiting(const struct network *network, const char *link);

#endif
