/* The list of pages, and a look at the links every few seconds. */
#include "monitor.h"

#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "answer.h"
#include "commands.h"
#include "http.h"
#include "http_health.h"
#include "http_metrics.h"
#include "log.h"

#define LOOK_MS 5000

struct monitor {
	struct agent *agent;
	struct http *http;
	struct loop_timer look;
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

static const struct http_page pages[] = {
        {.path = "/metrics", .type = HTTP_METRICS_TYPE, .make = http_metrics},
        {.path = "/healthz", .type = "application/json", .make = http_health},
        {.path = "/status.json", .type = "application/x-ndjson", .make = status},
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
		monitor->http = http_open(agent->loop, agent->config->http, pages, agent, err, sizeof err);
	}
	if (!monitor || !monitor->http) {
		log_error("http", "%s; nothing is served", err);
		free(monitor);
		return;
	}
	agent->monitor = monitor;
	agent->host.times = &agent->handler_times;
	on_look(monitor);
}

void monitor_close(struct monitor *monitor)
{
	if (!monitor)
		return;
	http_close(monitor->http);
	loop_timer_cancel(monitor->agent->loop, &monitor->look);
	free(monitor);
}
