/* A list of copies, emptied once a turn. */
#include "drops.h"

#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "forward.h"
#include "link.h"

struct drop {
	struct drop *next;
	struct route *route;
	enum queue_drop why;
	uint64_t seq;
	uint32_t origin;
	size_t size;
	char context[];
};

const char *drops_reason(enum queue_drop why)
{
	return why == QUEUE_EXPIRED ? "expired" : why == QUEUE_PURGED ? FORWARD_PURGED : "overflow";
}

void drops_add(struct drops *drops, struct route *route, const struct message *message, enum queue_drop why)
{
	struct drop *drop;

	if (message->context.size == 0)
		return;
	drop = malloc(sizeof *drop + message->context.size);
	if (!drop)
		return;
	*drop = (struct drop){.route = route, .why = why, .seq = message->seq, .origin = message->origin,
	                      .size = message->context.size};
	memcpy(drop->context, message->context.data, message->context.size);
	if (!drops->first)
		drops->end = &drops->first;
	*drops->end = drop;
	drops->end = &drop->next;
}

void drops_tell(struct agent *agent)
{
	struct drop *drop = agent->drops.first;

	agent->drops.first = NULL;
	while (drop) {
		struct drop *next = drop->next;
		struct script *script = agent_script_of(agent, drop->origin);

		agent->drops.overflowed = drop->why == QUEUE_OVERFLOW ? drop->route : NULL;
		if (script)
			script_drop(script, drop->seq, link_name(drop->route->link), drops_reason(drop->why),
			            (struct bytes){drop->context, drop->size});
		free(drop);
		drop = next;
	}
	agent->drops.overflowed = NULL;
}

void drops_release(struct drops *drops)
{
	while (drops->first) {
		struct drop *drop = drops->first;

		drops->first = drop->next;
		free(drop);
	}
}
