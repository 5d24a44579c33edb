/* What a handler wants done, set aside while it runs: everything it published,
 * subscribed, connected. Applied in order if it returns, forgotten if it
 * fails.
 *
 * Copies live in blocks of memory that are kept from call to call.
 */
#ifndef TIDEGATE_EFFECTS_H
#define TIDEGATE_EFFECTS_H

#include <stddef.h>

#include "script.h"

struct effect;
struct effects_block;

struct effects {
	struct effect *first, *last, *newest_connect;
	struct effects_block *blocks; /* the newest first */
	size_t size, limit;           /* bytes set aside now, and how many may be; 0: no limit */
};

void effects_init(struct effects *effects, size_t limit);
void effects_release(struct effects *effects, const struct script_host *host);

/* Each sets one effect aside, with copies of all it points to. 0, or -1 if the
 * limit is reached or memory is exhausted. A configuration counts with all it
 * points to. */
int effects_publish(struct effects *effects, struct link *link, const struct message *message);
int effects_lose(struct effects *effects, struct link *link, const struct message *message);
int effects_subscribe(struct effects *effects, struct link *link, const struct subscription *subscription);
int effects_unsubscribe(struct effects *effects, struct link *link, const char *filter);
int effects_connect(struct effects *effects, struct link *link, struct link_config *config); /* takes config */
int effects_disconnect(struct effects *effects, struct link *link);

/* The configuration that effects_connect() was given last for this link; or NULL. */
const struct link_config *effects_config(const struct effects *effects, const struct link *link);

/* How many more bytes may be set aside. */
size_t effects_room(const struct effects *effects);

/* Hands all of them to the host, in order; or drops them, and with them the links
 * that were reserved. Empty afterwards. */
void effects_apply(struct effects *effects, const struct script_host *host);
void effects_discard(struct effects *effects, const struct script_host *host);

#endif
