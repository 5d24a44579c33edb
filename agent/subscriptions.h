/* What a link is subscribed to, and what it should be: kept apart from the
 * connection, because a broker's session outlives both connection and process. */
#ifndef TIDEGATE_SUBSCRIPTIONS_H
#define TIDEGATE_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

enum subscription_state {
	SUBSCRIPTION_NEW,     /* to be asked for */
	SUBSCRIPTION_ASKED,   /* no answer yet */
	SUBSCRIPTION_GRANTED, /* the session has it */
	SUBSCRIPTION_REFUSED, /* asked again on the next connection */
	SUBSCRIPTION_LEAVING, /* to be unsubscribed, then forgotten */
};

struct subscription_entry {
	struct subscription subscription;
	enum subscription_state state;
	int handle; /* of the question, while ASKED */
};

struct subscriptions {
	struct subscription_entry *entries;
	size_t n;
};

/* Wants `subscription`; one entry for each filter, the last options win. 0, or
 * -1: no memory. */
int subscriptions_add(struct subscriptions *set, const struct subscription *subscription);

/* No longer wants `filter`. */
void subscriptions_remove(struct subscriptions *set, const char *filter);

/* A connection came up. `session_present`: the broker kept what was GRANTED;
 * otherwise everything is asked for again. */
void subscriptions_reset(struct subscriptions *set, bool session_present);

/* The answer to question `handle`: the entry it was about, or NULL. */
const struct subscription *subscriptions_answered(struct subscriptions *set, int handle, bool granted);

/* Forgets the entry at `i` (after its UNSUBSCRIBE was sent). */
void subscriptions_forget(struct subscriptions *set, size_t i);

/* What is GRANTED, as lines of text, appended to `head`; malloc'd, or NULL. */
char *subscriptions_text(const struct subscriptions *set, const char *head);

/* The lines of subscriptions_text() from an earlier process: entries that are
 * wanted with the same options become GRANTED, others LEAVING. */
int subscriptions_restore(struct subscriptions *set, const char *lines);

void subscriptions_release(struct subscriptions *set);

#endif
