/* What the rules of health.c need to know, gathered from links, queues and the store. */
#include "http_health.h"

#include <jansson.h>
#include <string.h>

#include "agent.h"
#include "answer.h"
#include "forward.h"
#include "queue.h"

/* With a limited rate something waits that is not to be sent yet. */
static bool is_waiting(const struct route *route)
{
	return forward_in_flight(route->forward) > 0 || (route->policy.rate <= 0 && queue_messages(route->queue) > 0);
}

void http_health_look(struct agent *agent)
{
	for (struct route *route = agent->routes; route; route = route->next)
		health_look(&route->watch,
		            &(struct health_look){
		                    .up = link_connected(route->link),
		                    .waiting = is_waiting(route),
		                    .done = link_stats(route->link).acknowledged + forward_dropped(route->forward),
		                    .now_ms = loop_now_ms(agent->loop),
		            });
}

static const char *problem_of(const struct route *route)
{
	if (route->standing == ROUTE_FORGOTTEN || link_unwanted(route->link))
		return NULL;
	return health_of_link(&(struct health_facts){
	        .up = link_connected(route->link),
	        .full = custody_is_full(route),
	        .silent = forward_receipts(route->forward)->silences > 0,
	        .undelivered_ms = route->watch.undelivered_ms,
	        .ack_timeout_ms = link_config(route->link)->ack_timeout_ms,
	});
}

/* `name` may be NULL. */
static void add(json_t *problems, const char *part, const char *name, const char *text)
{
	json_array_append_new(problems, json_pack("{s:s, s:o*, s:s}", "part", part, "name",
	                                          name ? answer_text(name, strlen(name)) : NULL, "text", text));
}

static json_t *find_problems(const struct agent *agent)
{
	json_t *problems = json_array();

	if (agent->phase != RUNNING)
		add(problems, "agent", NULL, "is stopping");
	if (agent->custody.failing)
		add(problems, "store", NULL, "cannot be written; links that bring messages are held until it can");
	for (const struct route *route = agent->routes; route; route = route->next)
		if (problem_of(route))
			add(problems, "link", link_name(route->link), problem_of(route));
	return problems;
}

static int append(const char *text, size_t size, void *body)
{
	return buffer_append(body, text, size);
}

int http_health(void *arg, struct buffer *body)
{
	struct agent *agent = arg;
	json_t *problems, *answer;
	bool well, made;

	http_health_look(agent);
	problems = find_problems(agent);
	well = problems && json_array_size(problems) == 0;
	answer = json_pack("{s:s, s:o}", "status", well ? "ok" : "unhealthy", "problems", problems);
	made = answer && json_dump_callback(answer, append, body, JSON_COMPACT) == 0 && buffer_append(body, "\n", 1) == 0;
	json_decref(answer);
	return !made ? -1 : well ? 200 : 503;
}
