/* The list of pages, a look at the links every few seconds, and a point in their history every ten. */
#include "monitor.h"

#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "answer.h"
#include "commands.h"
#include "history.h"
#include "http.h"
#include "http_health.h"
#include "http_metrics.h"
#include "http_page.h"
#include "log.h"
#include "queue.h"

#define LOOK_MS 5000

struct monitor {
	struct agent *agent;
	struct http *http;
	struct loop_timer look, point;
	struct http_page pages[6]; /* the list, */
	char policy[400];          /* and what "/" may load and run */
};

/* The lines of the command "status", without the last, which only says that it is whole. */
static int status(void *arg, struct buffer *body)
{
	static const char request[] = "{\"command\":\"status\"}", last[] = "{\"ok\":true}\n";
	struct answer *answer = answer_open(agent_commands, arg, request, strlen(request));
	const char *data;
	size_t size;
	bool kept = answer != NULL;

	while (kept && (data = answer_data(answer, &size))) {
		kept = buffer_append(body, data, size) == 0;
		answer_taken(answer, size);
	}
	answer_close(answer);
	if (!kept || body->size < strlen(last) || memcmp(body->data + body->size - strlen(last), last, strlen(last)) != 0)
		return -1;
	body->size -= strlen(last);
	return 200;
}

/* ---- the last hour ---- */

static json_t *points(const struct history *history, size_t field)
{
	json_t *list = json_array();

	for (size_t i = 0; history && i < history->n; i++) {
		const struct history_point *point = history_at(history, i);
		const uint32_t values[] = {point->messages, point->received, point->acknowledged};

		json_array_append_new(list, json_integer((json_int_t)values[field]));
	}
	return list;
}

static json_t *links(const struct agent *agent)
{
	json_t *list = json_array();

	for (const struct route *route = agent->routes; route; route = route->next)
		if (route->standing != ROUTE_FORGOTTEN)
			json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o}",
			                                      "link", answer_text(link_name(route->link), strlen(link_name(route->link))),
			                                      "messages", points(route->history, 0),
			                                      "received", points(route->history, 1),
			                                      "acknowledged", points(route->history, 2)));
	return list;
}

static int append(const char *text, size_t size, void *body)
{
	return buffer_append(body, text, size);
}

static int history(void *arg, struct buffer *body)
{
	json_t *all = json_pack("{s:i, s:o}", "step_seconds", HISTORY_STEP_MS / 1000, "links", links(arg));
	int made = all ? json_dump_callback(all, append, body, JSON_COMPACT) : -1;

	json_decref(all);
	return made < 0 ? -1 : 200;
}

static void on_point(void *arg)
{
	struct monitor *monitor = arg;
	struct agent *agent = monitor->agent;

	for (struct route *route = agent->routes; route; route = route->next) {
		struct link_stats stats = link_stats(route->link);

		if (!route->history)
			route->history = calloc(1, sizeof *route->history);
		if (route->history)
			history_add(route->history, queue_messages(route->queue), stats.received, stats.acknowledged);
	}
	loop_timer_set(agent->loop, &monitor->point, loop_now_ms(agent->loop) + HISTORY_STEP_MS);
}

/* ---- what is served ---- */

static const struct http_page pages[] = {
        {.path = "/", .type = "text/html; charset=utf-8", .make = http_page},
        {.path = "/metrics", .type = HTTP_METRICS_TYPE, .make = http_metrics},
        {.path = "/healthz", .type = "application/json", .make = http_health},
        {.path = "/status.json", .type = "application/x-ndjson", .make = status},
        {.path = "/history.json", .type = "application/json", .make = history},
        {.path = NULL},
};

static void on_look(void *arg)
{
	struct monitor *monitor = arg;

	http_health_look(monitor->agent);
	loop_timer_set(monitor->agent->loop, &monitor->look, loop_now_ms(monitor->agent->loop) + LOOK_MS);
}

void monitor_open(struct agent *agent)
{
	struct monitor *monitor;
	char err[400] = "not enough memory";

	if (!agent->config->http || agent->rehearsal)
		return;
	monitor = calloc(1, sizeof *monitor);
	if (monitor) {
		monitor->agent = agent;
		monitor->look = (struct loop_timer){.fire = on_look, .arg = monitor};
		monitor->point = (struct loop_timer){.fire = on_point, .arg = monitor};
		memcpy(monitor->pages, pages, sizeof pages);
		if (http_page_policy(monitor->policy, sizeof monitor->policy) == 0)
			monitor->pages[0].policy = monitor->policy;
		monitor->http = http_open(agent->loop, agent->config->http, monitor->pages, agent, err, sizeof err);
	}
	if (!monitor || !monitor->http) {
		log_error("http", "%s; nothing is served", err);
		free(monitor);
		return;
	}
	agent->monitor = monitor;
	agent->host.times = &agent->handler_times;
	on_look(monitor);
	on_point(monitor);
}

void monitor_close(struct monitor *monitor)
{
	if (!monitor)
		return;
	http_close(monitor->http);
	loop_timer_cancel(monitor->agent->loop, &monitor->look);
	loop_timer_cancel(monitor->agent->loop, &monitor->point);
	free(monitor);
}
