/* What scripts can reach: each call of struct script_host, on the running agent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "dead_letters.h"
#include "link.h"
#include "log.h"
#include "properties.h"
#include "queue.h"
#include "states.h"
#include "store.h"

/* Each has file descriptors of its own: scripts must not use them up. */
#define LINKS_MAX 64

static struct link *link_named(void *arg, const char *name)
{
	struct route *route = route_named(arg, name);

	return route && route->standing != ROUTE_FORGOTTEN ? route->link : NULL;
}

static bool link_known(void *arg, const struct link *link)
{
	const struct route *route = route_of(arg, link);

	return route && route->standing != ROUTE_FORGOTTEN;
}

static struct link *link_default(void *arg, enum link_kind kind)
{
	struct agent *agent = arg;

	return agent->default_routes[kind] ? agent->default_routes[kind]->link : NULL;
}

static size_t count_links(const struct agent *agent)
{
	size_t n = 0;

	for (const struct route *route = agent->routes; route; route = route->next)
		n++;
	return n;
}

/* A link that is configured later; until then it is off and only queues. */
static struct route *add_empty_route(struct agent *agent, const char *name, char *err, size_t err_size)
{
	struct link_config *config;

	if (count_links(agent) >= LINKS_MAX) {
		snprintf(err, err_size, "too many links: there can be %d", LINKS_MAX);
		return NULL;
	}
	config = calloc(1, sizeof *config);
	if (!config || !(config->name = strdup(name))) {
		free(config);
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	config->window = 1;
	return route_add(agent, config, err, err_size);
}

static struct link *link_reserve(void *arg, const char *name, char *err, size_t err_size)
{
	struct agent *agent = arg;
	struct route *route = route_named(agent, name);

	if (route && route->kind != LINK_MQTT) {
		snprintf(err, err_size, "link %.64s is for kdb+", name);
		return NULL;
	}
	if (route && route->standing != ROUTE_FORGOTTEN)
		return route->link;
	if (!route)
		route = add_empty_route(agent, name, err, err_size);
	if (!route)
		return NULL;
	route->standing = ROUTE_RESERVED;
	if (!agent->default_routes[LINK_MQTT])
		agent->default_routes[LINK_MQTT] = route;
	return route->link;
}

/* The route stays, for scripts may still hold the link's object; nobody finds it. */
static void link_forget(void *arg, struct link *link)
{
	struct agent *agent = arg;
	struct route *route = route_of(agent, link);

	if (!route || route->standing != ROUTE_RESERVED)
		return;
	route->standing = ROUTE_FORGOTTEN;
	if (agent->default_routes[LINK_MQTT] == route)
		agent->default_routes[LINK_MQTT] = NULL;
}

static const struct link_config *config_of_link(void *arg, const struct link *link)
{
	(void)arg;
	return link_configured(link);
}

static bool link_up(void *arg, const struct link *link)
{
	(void)arg;
	return link_connected(link);
}

static const char *name_of_link(void *arg, const struct link *link)
{
	(void)arg;
	return link_name(link);
}

static uint64_t link_depth(void *arg, const struct link *link)
{
	struct route *route = route_of(arg, link);

	return route ? queue_messages(route->queue) : 0;
}

static uint64_t next_seq(void *arg)
{
	struct agent *agent = arg;

	return store_next_seq(agent->store);
}

static int64_t now_ms(void *arg)
{
	(void)arg;
	return clock_monotonic_ms();
}

/* A reading that a link brings is always taken: the link is held after it. And what tells
 * of an overflow causes none: it would be told in turn, until everything has made room for that. */
static const char *refuses(void *arg, struct link *link, bool *lost)
{
	struct agent *agent = arg;
	struct route *route = route_of(agent, link);
	enum queue_overflow overflow = route->policy.overflow;

	*lost = false;
	if (agent->custody.failing)
		return "queue full: the store cannot be written";
	if (route == agent->drops.overflowed)
		return "queue full";
	if (overflow == QUEUE_DROP_OLDEST || !queue_full(route->queue) || (overflow == QUEUE_HOLD && agent->custody.from))
		return NULL;
	*lost = overflow == QUEUE_DROP_NEWEST;
	return "queue full";
}

static void lose(void *arg, struct link *link, const struct message *message)
{
	route_lost(route_of(arg, link), message, "overflow");
}

/* Its own message expiry counts like a ttl, and what is left of it is sent: so it is not
 * kept among the properties. Returns it in ms, or 0. */
static int64_t take_expiry(struct agent *agent, struct message *message)
{
	struct bytes run = message->properties;
	struct property property;
	int64_t expiry_ms = 0;

	while (properties_next(&run, &property))
		if (property.id == PROPERTY_MESSAGE_EXPIRY)
			expiry_ms = property.number ? (int64_t)property.number * 1000 : 1; /* 0: now or never */
	if (expiry_ms == 0)
		return 0;
	agent->properties.size = 0;
	run = message->properties;
	while (properties_next(&run, &property))
		if (property.id != PROPERTY_MESSAGE_EXPIRY && properties_append(&agent->properties, &property) < 0)
			return 0;
	message->properties = (struct bytes){agent->properties.data, agent->properties.size};
	return expiry_ms;
}

/* The sooner of two times, 0 being never. */
static int64_t sooner(int64_t one, int64_t other)
{
	return one == 0 || (other != 0 && other < one) ? other : one;
}

static void publish(void *arg, struct link *link, const struct message *message)
{
	struct agent *agent = arg;
	struct route *route = route_of(agent, link);
	struct message stamped = *message;
	int64_t ttl_ms = sooner(message->expires_ms, take_expiry(agent, &stamped));

	ttl_ms = sooner(ttl_ms, route->policy.ttl_ms);
	stamped.time_ms = clock_wall_ms();
	stamped.age_ms = clock_age_ms(&agent->clock);
	stamped.expires_ms = ttl_ms ? stamped.age_ms + ttl_ms : 0;
	if (message->qos == 2)
		route_note_qos2(agent, route);
	if (queue_push(route->queue, &stamped) == QUEUE_ERROR) {
		log_error("agent", "message %llu not queued: out of memory", (unsigned long long)message->seq);
		agent->out_of_memory = true;
	} else {
		custody_brought(agent, message->seq);
	}
}

static bool subscriptions_are_full(void *arg, const struct link *link, const char *filter)
{
	(void)arg;
	return link_subscriptions_full(link, filter);
}

static void subscribe(void *arg, struct link *link, const struct subscription *subscription)
{
	struct agent *agent = arg;

	if (link_subscriptions_full(link, subscription->filter)) { /* one call made more than there was room for */
		log_error("agent", "link %s: too many subscriptions: %.200s is not made", link_name(link),
		          subscription->filter);
		return;
	}
	if (link_subscribe(link, subscription) < 0)
		log_error("agent", "subscription to %s lost: out of memory", subscription->filter);
	scripts_want(agent, route_of(agent, link), subscription);
	loop_again(agent->loop);
}

static void unsubscribe(void *arg, struct link *link, const char *filter)
{
	struct agent *agent = arg;

	link_unsubscribe(link, filter);
	scripts_unwant(agent, route_of(agent, link), filter);
	loop_again(agent->loop);
}

static void connect_link(void *arg, struct link *link, struct link_config *config)
{
	struct agent *agent = arg;
	struct route *route = route_of(agent, link);

	route->opener = agent->running;
	route->stopper = 0;
	if (config->is_default || !agent->default_routes[LINK_MQTT])
		agent->default_routes[LINK_MQTT] = route;
	route_configure(route, config);
}

static void disconnect(void *arg, struct link *link)
{
	struct agent *agent = arg;

	route_of(agent, link)->stopper = agent->running;
	link_stop(link);
}

void agent_host_init(struct agent *agent)
{
	agent->host = (struct script_host){
	        .arg = agent,
	        .agent_name = agent->config->name,
	        .metrics = agent->metrics,
	        .link_named = link_named,
	        .link_default = link_default,
	        .link_reserve = link_reserve,
	        .link_forget = link_forget,
	        .link_known = link_known,
	        .link_config = config_of_link,
	        .link_up = link_up,
	        .link_name = name_of_link,
	        .link_depth = link_depth,
	        .next_seq = next_seq,
	        .now_ms = now_ms,
	        .refuses = refuses,
	        .publish = publish,
	        .lose = lose,
	        .subscriptions_full = subscriptions_are_full,
	        .subscribe = subscribe,
	        .unsubscribe = unsubscribe,
	        .connect = connect_link,
	        .disconnect = disconnect,
	        .state_load = states_load,
	        .state_changed = states_changed,
	        .running = dead_letters_running,
	};
}
