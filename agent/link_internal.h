/* What link.c (what a link is asked, and what is known of it) and connection.c (how
 * it gets a connection and loses it) share. Nothing else includes it. */
#ifndef TIDEGATE_LINK_INTERNAL_H
#define TIDEGATE_LINK_INTERNAL_H

#include "attempt.h"
#include "link.h"
#include "loop.h"
#include "redelivery.h"
#include "retry.h"
#include "subscriptions.h"

enum state { OFF, WAITING, CONNECTING, GREETING, UP, LEAVING };

struct link {
	struct loop *loop;
	char *name;
	struct link_config *config;
	struct link_config *next_config; /* link_configure(), not settled yet */
	const struct transport_ops *ops;
	void *transport; /* NULL without URLs; the attempt's while CONNECTING */
	const struct link_events *events;
	void *arg;

	enum state state;
	enum link_hold hold;
	bool stopping;
	bool unread; /* the last read ended before all was read */
	bool unwanted; /* told to stop, and not to start since; also what is configured meanwhile stays off */
	const char *refusing; /* link_refuse(): why, until the read is over */
	bool greeted; /* the CONNACK came in this read; links go up after it, not inside */
	struct greeting greeting;
	struct attempt *attempt;
	struct retry retry;
	bool discard_session; /* at every URL before it is connected to again, */
	bool *discarded;      /* where that is done, [i] for config->urls[i] */
	int64_t since_ms; /* up, or not up, for so long */
	int64_t progress_ms; /* of the last acknowledgement; moves on while held */
	int64_t held_since_ms;
	char problem[160]; /* why it is not up */
	size_t in_flight;

	struct loop_watch socket, attempt_done;
	struct loop_timer retry_timer, deadline, tick;
	struct loop_timer rest; /* while `unread` */
	struct loop_timer due;  /* what the transport waits for */
	char *note;             /* the transport's, NULL: none yet; */
	bool unnoted;           /* it is not known to be durable */
	struct subscriptions subscriptions;
	struct redelivery *redelivery; /* NULL: nothing is recognised */
	struct link_stats stats;
	char component[80];
};

/* Sets up watches and timers, of a link that is off. */
void connection_init(struct link *link);

/* Upward calls, for the transport's open(). */
extern const struct transport_events connection_events;

void connection_watch(struct link *link, bool on);

/* The connection, or the attempt at one, is over: cleans up, and connects again
 * later unless the link is stopping. */
void connection_down(struct link *link, const char *reason);

/* The link is off now; it starts again if it was asked to meanwhile. */
void connection_off(struct link *link);

#endif
