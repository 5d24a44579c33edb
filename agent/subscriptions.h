/* What a link is subscribed to, and what it should be: kept apart from the
 * connection, because a broker's session outlives both connection and process.
 *
 * Whatever the session may have is noted on disk before the broker is asked for
 * it and until the broker confirmed its end: so a subscription that nobody wants
 * any more is found and ended, whenever the process died.
 */
#ifndef TIDEGATE_SUBSCRIPTIONS_H
#define TIDEGATE_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

enum subscription_state {
	SUBSCRIPTION_NEW,     /* to be asked for, once it is noted */
	SUBSCRIPTION_ASKED,   /* no answer yet */
	SUBSCRIPTION_GRANTED, /* the session has it */
	SUBSCRIPTION_REFUSED, /* asked for again on the next connection */
	SUBSCRIPTION_LEAVING, /* to be ended */
	SUBSCRIPTION_LEFT,    /* no answer to that yet */
};

/* Who wants it, as bits; what the agent itself does is none of the scripts' business. */
enum subscription_owner { SUBSCRIPTION_OF_CONFIG = 1, SUBSCRIPTION_OF_SCRIPT = 2, SUBSCRIPTION_OF_AGENT = 4 };

struct subscription_entry {
	struct subscription subscription;
	enum subscription_state state;
	enum subscription_state before; /* LEAVING: to go back to if it is wanted again before anything was said */
	unsigned owners;
	bool noted; /* in the last subscriptions_text() */
	int handle; /* of the question, while ASKED or LEFT */
};

struct subscriptions {
	struct subscription_entry *entries;
	size_t n;
	char peer[160]; /* whose session the states speak of */
	char *kept;     /* subscriptions_text() of an earlier process, until the first greeting */
};

/* Wants `subscription`; one entry for each filter, the last options win. 0, or
 * -1: no memory. */
int subscriptions_add(struct subscriptions *set, const struct subscription *subscription, enum subscription_owner owner);

/* There are so many that none may be added; one that is there may be changed. */
#define SUBSCRIPTIONS_MAX 1000
bool subscriptions_full(const struct subscriptions *set, const char *filter);

/* `owner` no longer wants `filter`: it goes if nobody else does. */
void subscriptions_drop(struct subscriptions *set, const char *filter, enum subscription_owner owner);

/* Nobody wants it any more, unless the agent itself does. */
void subscriptions_remove(struct subscriptions *set, const char *filter);

/* Gives the subscriptions_text() of an earlier process, for the first greeting.
 * 0, or -1: no memory. */
int subscriptions_keep(struct subscriptions *set, const char *text);

/* Messages for scripts come, or may: there is a subscription, or that text names one and no
 * greeting came yet, to anything but `own`, which is the agent's or NULL. */
bool subscriptions_bring(const struct subscriptions *set, const char *own);

/* It was asked for on this connection, or the session has it: what is written from now on
 * the broker reads later. */
bool subscriptions_asked(const struct subscriptions *set, const char *filter);

/* A connection to `peer` came up. If that is the peer of last time and it kept
 * its session, it has what was GRANTED; otherwise everything is asked for again.
 * Of what an earlier process left there, what nobody wants becomes LEAVING. */
void subscriptions_greeted(struct subscriptions *set, const char *peer, bool session_present);

/* The answer to question `handle`: the entry it was about, or NULL. */
const struct subscription *subscriptions_answered(struct subscriptions *set, int handle, bool granted);

/* The end of a subscription is confirmed: forgets it. False: unknown handle. */
bool subscriptions_ended(struct subscriptions *set, int handle);

/* True if an entry waits to be noted before it may be asked for. */
bool subscriptions_unnoted(const struct subscriptions *set);

/* The peer and what its session may have, as lines of text, and marks all as
 * noted; malloc'd, or NULL. */
char *subscriptions_text(struct subscriptions *set);

void subscriptions_release(struct subscriptions *set);

#endif
