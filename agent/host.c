/* What scripts can reach: each call of struct script_host, on the running agent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "link.h"
#include "log.h"
#include "queue.h"
#include "store.h"

/* Each has file descriptors of its own: scripts must not use them up. */
#define LINKS_MAX 64

static struct link *link_named(void *arg, const char *name)
{
	struct route *route = agent_route_named(arg, name);

	return route && route->standing != ROUTE_FORGOTTEN ? route->link : NULL;
}

static bool link_known(void *arg, const struct link *link)
{
	const struct route *route = agent_route_of(arg, link);

	return route && route->standing != ROUTE_FORGOTTEN;
}

static struct link *link_default(void *arg)
{
	struct agent *agent = arg;

	return agent->default_route ? agent->default_route->link : NULL;
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
	return agent_add_route(agent, config, err, err_size);
}

static struct link *link_reserve(void *arg, const char *name, char *err, size_t err_size)
{
	struct agent *agent = arg;
	struct route *route = agent_route_named(agent, name);

	if (route && route->standing != ROUTE_FORGOTTEN)
		return route->link;
	if (!route)
		route = add_empty_route(agent, name, err, err_size);
	if (!route)
		return NULL;
	route->standing = ROUTE_RESERVED;
	if (!agent->default_route)
		agent->default_route = route;
	return route->link;
}

/* The route stays, for scripts may still hold the link's object; nobody finds it. */
static void link_forget(void *arg, struct link *link)
{
	struct agent *agent = arg;
	struct route *route = agent_route_of(agent, link);

	if (!route || route->standing != ROUTE_RESERVED)
		return;
	route->standing = ROUTE_FORGOTTEN;
	if (agent->default_route == route)
		agent->default_route = NULL;
}

static int link_version(void *arg, const struct link *link)
{
	(void)arg;
	return link_config(link)->version;
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
	struct route *route = agent_route_of(arg, link);

	return route ? queue_messages(route->queue) : 0;
}

static uint64_t next_seq(void *arg)
{
	struct agent *agent = arg;

	return store_next_seq(agent->store);
}

static const char *refuses(void *arg, const struct link *link)
{
	struct agent *agent = arg;

	(void)link;
	return agent->store_failing ? "queue full: the store cannot be written" : NULL;
}

static void publish(void *arg, struct link *link, const struct message *message)
{
	struct agent *agent = arg;
	struct route *route = agent_route_of(agent, link);
	struct message stamped = *message;

	stamped.time_ms = clock_wall_ms();
	if (route && message->qos == 2)
		agent_note_qos2(agent, route);
	if (!route || queue_push(route->queue, &stamped) < 0) {
		log_error("agent", "message %llu not queued: out of memory", (unsigned long long)message->seq);
		agent->out_of_memory = true;
	}
}

static void subscribe(void *arg, struct link *link, const struct subscription *subscription)
{
	struct agent *agent = arg;

	if (link_subscribe(link, subscription) < 0)
		log_error("agent", "subscription to %s lost: out of memory", subscription->filter);
	loop_again(agent->loop);
}

static void unsubscribe(void *arg, struct link *link, const char *filter)
{
	struct agent *agent = arg;

	link_unsubscribe(link, filter);
	loop_again(agent->loop);
}

static void connect_link(void *arg, struct link *link, struct link_config *config)
{
	struct agent *agent = arg;
	struct route *route = agent_route_of(agent, link);

	route->standing = ROUTE_SETTLED;
	if (config->is_default || !agent->default_route)
		agent->default_route = route;
	link_configure(link, config);
}

static void disconnect(void *arg, struct link *link)
{
	(void)arg;
	link_stop(link);
}

void agent_host_init(struct agent *agent)
{
	agent->host = (struct script_host){
	        .arg = agent,
	        .agent_name = agent->config->name,
	        .link_named = link_named,
	        .link_default = link_default,
	        .link_reserve = link_reserve,
	        .link_forget = link_forget,
	        .link_known = link_known,
	        .link_version = link_version,
	        .link_up = link_up,
	        .link_name = name_of_link,
	        .link_depth = link_depth,
	        .next_seq = next_seq,
	        .refuses = refuses,
	        .publish = publish,
	        .subscribe = subscribe,
	        .unsubscribe = unsubscribe,
	        .connect = connect_link,
	        .disconnect = disconnect,
	};
}
