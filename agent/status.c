/* One function for each kind of line; each is asked for its first, second, ... line
 * until it has no more, so that the status may leave in pieces. */
#include "status.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "dead.h"
#include "disk.h"
#include "forward.h"
#include "ledger.h"
#include "look.h"
#include "metrics.h"
#include "queue.h"

#define RECENT_MS 86400000 /* a loss is a problem for a day; then it is history */

/* Adds line number `index` of its kind, if there is anything to tell; false: there are no more. */
typedef bool tell(const struct agent *agent, struct answer *answer, size_t index);

struct progress {
	size_t kind, index;
};

static json_t *text(const char *string)
{
	return answer_text(string, strlen(string));
}

static double seconds_since(const struct agent *agent, int64_t time_ms)
{
	return (double)(loop_now_ms(agent->loop) - time_ms) / 1000;
}

static const struct route *route_at(const struct agent *agent, size_t index)
{
	const struct route *route = agent->routes;

	while (route && index-- > 0)
		route = route->next;
	return route;
}

static bool tell_agent(const struct agent *agent, struct answer *answer, size_t index)
{
	if (index > 0)
		return false;
	answer_line(answer, json_pack("{s:s, s:o, s:s, s:s, s:i, s:f, s:b, s:b}",
	                              "kind", "agent",
	                              "name", text(agent->config->name),
	                              "version", VERSION,
	                              "instance", store_instance(agent->store),
	                              "pid", (int)getpid(),
	                              "uptime_seconds", seconds_since(agent, agent->started_ms),
	                              "running", 1,
	                              "stopping", agent->phase != RUNNING));
	return true;
}

/* Of one that does not run. */
static bool tell_resting_agent(const struct agent *agent, struct answer *answer, size_t index)
{
	if (index == 0)
		answer_line(answer, json_pack("{s:s, s:o, s:s, s:s, s:b}",
		                              "kind", "agent",
		                              "name", text(agent->config->name),
		                              "version", VERSION,
		                              "instance", store_instance(agent->store),
		                              "running", 0));
	return index == 0;
}

/* ---- what is wrong ---- */

/* `name` and `since` may be NULL: of no named part; since when is not known. */
static void problem(struct answer *answer, const char *part, const char *name, const char *what, json_t *since)
{
	answer_line(answer, json_pack("{s:s, s:s, s:o*, s:o, s:o*}",
	                              "kind", "problem",
	                              "part", part,
	                              "name", name ? text(name) : NULL,
	                              "text", text(what),
	                              "since_seconds", since));
}

static bool tell_rest_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	(void)agent;
	if (index == 0)
		problem(answer, "agent", NULL, "does not run; this is what its database says", NULL);
	return index == 0;
}

static bool tell_store_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	if (index == 0 && agent->custody.failing)
		problem(answer, "store", NULL, "cannot be written; links that bring messages are held until it can", NULL);
	return index == 0;
}

static bool tell_salvage_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct store_salvage *salvage = store_salvaged(agent->store);
	char what[800];

	if (index > 0)
		return false;
	if (!salvage)
		return true;
	snprintf(what, sizeof what, "was damaged (%s); %" PRIu64 " queued messages are saved, %" PRIu64 " places could not be "
	                            "read; the damaged file is %s",
	         salvage->why, salvage->messages, salvage->gaps, salvage->moved_to);
	problem(answer, "store", NULL, what, NULL);
	return true;
}

static bool tell_link_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct route *route = route_at(agent, index);
	struct link_report report;
	char what[256];

	if (!route)
		return false;
	report = link_report(route->link);
	if (link_connected(route->link) || link_unwanted(route->link) || route->standing == ROUTE_FORGOTTEN)
		return true;
	snprintf(what, sizeof what, "down%s%s", report.problem[0] ? ": " : "", report.problem);
	problem(answer, "link", link_name(route->link), what, json_real(seconds_since(agent, report.since_ms)));
	return true;
}

static bool tell_queue_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct route *route = route_at(agent, index);

	if (!route)
		return false;
	if (custody_is_full(route))
		problem(answer, "queue", link_name(route->link), "is full; links that bring messages are held until there is room", NULL);
	return true;
}

static bool tell_collector_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct route *route = route_at(agent, index);
	const struct receipts *receipts;
	char what[128];

	if (!route)
		return false;
	receipts = forward_receipts(route->forward);
	if (receipts->silences == 0)
		return true;
	snprintf(what, sizeof what, "the collector is silent; %zu messages await its acknowledgement",
	         receipts_awaited(receipts));
	problem(answer, "link", link_name(route->link), what, json_real(seconds_since(agent, receipts->heard_ms)));
	return true;
}

static bool tell_script_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct agent_script *place = &agent->scripts[index];
	struct script_stats stats;
	char what[64];

	if (index >= agent->n_scripts)
		return false;
	if (place->trouble)
		problem(answer, "script", script_name(place->script), place->trouble, NULL);
	stats = script_stats(place->script);
	if (stats.errors == 0)
		return true;
	snprintf(what, sizeof what, "%llu of %llu calls failed", (unsigned long long)stats.errors,
	         (unsigned long long)stats.calls);
	problem(answer, "script", script_name(place->script), what, NULL);
	return true;
}

struct recent {
	const char *link;
	int64_t since_ms;
	uint64_t count;
};

static void add_recent(void *arg, const struct loss *loss)
{
	struct recent *recent = arg;

	if (strcmp(loss->link, recent->link) == 0 && (loss->last_time_ms >= recent->since_ms || !loss->reported))
		recent->count += loss->count;
}

static bool tell_loss_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct route *route = route_at(agent, index);
	struct recent recent = {.since_ms = clock_wall_ms() - RECENT_MS};
	char what[64];

	if (!route)
		return false;
	recent.link = link_name(route->link);
	ledger_visit(agent->ledger, add_recent, &recent);
	if (recent.count == 0)
		return true;
	snprintf(what, sizeof what, "%" PRIu64 " messages lost lately", recent.count);
	problem(answer, "link", recent.link, what, NULL);
	return true;
}

static bool tell_dead_problem(const struct agent *agent, struct answer *answer, size_t index)
{
	char what[96];

	if (index > 0)
		return false;
	if (dead_count(agent->dead) == 0)
		return true;
	snprintf(what, sizeof what, "%" PRIu64 " of them; `tidegate dead list` shows which, and why",
	         dead_count(agent->dead));
	problem(answer, "dead letters", NULL, what, NULL);
	return true;
}

/* ---- what is there ---- */

static json_t *url_text(enum link_kind kind, const struct url *url)
{
	const char *scheme = kind == LINK_KDB ? "kdb" : "mqtt", *open = "", *close = "";
	char string[320];

	if (!url)
		return NULL;
	if (url->unix_socket) {
		snprintf(string, sizeof string, "kdb+unix:%d", url->port);
		return text(string);
	}
	if (strchr(url->host, ':')) {
		open = "[";
		close = "]";
	}
	snprintf(string, sizeof string, "%s%s://%s%s%s:%d", scheme, url->tls ? "s" : "", open, url->host, close,
	         url->port);
	return text(string);
}

static bool tell_link(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct route *route = route_at(agent, index);
	struct link_report report;
	struct link_stats stats;
	json_t *line;

	if (!route)
		return false;
	if (route->standing == ROUTE_FORGOTTEN && link_off(route->link))
		return true;
	report = link_report(route->link);
	stats = link_stats(route->link);
	line = json_pack("{s:s, s:s, s:o*, s:b, s:s, s:b, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
	                 "kind", "link",
	                 "link", link_name(route->link),
	                 "url", url_text(link_config(route->link)->kind, report.url),
	                 "up", link_connected(route->link),
	                 "state", report.state,
	                 "held", report.held,
	                 "since_seconds", seconds_since(agent, report.since_ms),
	                 "reconnects", (json_int_t)stats.reconnects,
	                 "stalls", (json_int_t)stats.stalls,
	                 "received", (json_int_t)stats.received,
	                 "sent", (json_int_t)stats.sent,
	                 "acknowledged", (json_int_t)stats.acknowledged,
	                 "redelivered", (json_int_t)stats.redelivered,
	                 "redelivery", link_redelivery(route->link));
	answer_line(answer, line);
	return true;
}

/* How many were given up, by the first word of the reason; NULL: no memory. */
static json_t *dropped(const struct agent *agent, const char *link)
{
	static const char *const reasons[] = {"overflow", "expired", "rejected", "purged"};
	json_t *counts = json_object();
	uint64_t others = ledger_total(agent->ledger, link, NULL);

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		uint64_t count = ledger_total(agent->ledger, link, reasons[i]);

		json_object_set_new(counts, reasons[i], json_integer((json_int_t)count));
		others -= count;
	}
	if (others > 0)
		json_object_set_new(counts, "other", json_integer((json_int_t)others));
	return counts;
}

static bool tell_queue(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct route *route = route_at(agent, index);
	const struct receipts *receipts;

	if (!route)
		return false;
	if (route->standing == ROUTE_FORGOTTEN && queue_messages(route->queue) == 0)
		return true;
	receipts = forward_receipts(route->forward);
	answer_line(answer, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
	                              "kind", "queue",
	                              "link", link_name(route->link),
	                              "messages", (json_int_t)queue_messages(route->queue),
	                              "bytes", (json_int_t)queue_bytes(route->queue),
	                              "unsafe", (json_int_t)queue_unsafe(route->queue),
	                              "in_flight", (json_int_t)forward_in_flight(route->forward),
	                              "awaiting", (json_int_t)receipts_awaited(receipts),
	                              "sent_again", (json_int_t)receipts->resent,
	                              "dropped", dropped(agent, link_name(route->link))));
	return true;
}

/* What is in the database, of links that are configured and of those that are not any more. */
static bool tell_resting_queue(const struct agent *agent, struct answer *answer, size_t index)
{
	uint64_t messages, bytes;
	char name[256];
	uint32_t id = 0;

	for (size_t i = 0; i <= index; i++)
		if (look_link(agent->store, &id, name, sizeof name) <= 0)
			return false;
	if (look_count(agent->store, id, &messages, &bytes) < 0) {
		answer_fail(answer, "the queue of link %s cannot be read", name);
		return false;
	}
	answer_line(answer, json_pack("{s:s, s:o, s:I, s:I, s:i, s:i, s:i, s:o}",
	                              "kind", "queue",
	                              "link", text(name),
	                              "messages", (json_int_t)messages,
	                              "bytes", (json_int_t)bytes,
	                              "unsafe", 0,
	                              "in_flight", 0,
	                              "awaiting", 0,
	                              "dropped", dropped(agent, name)));
	return true;
}

static bool tell_script(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct agent_script *place = &agent->scripts[index];
	struct script_stats stats;

	if (index >= agent->n_scripts)
		return false;
	stats = script_stats(place->script);
	answer_line(answer, json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I}",
	                              "kind", "script",
	                              "script", text(script_name(place->script)),
	                              "calls", (json_int_t)stats.calls,
	                              "errors", (json_int_t)stats.errors,
	                              "memory_bytes", (json_int_t)stats.memory_bytes,
	                              "state_bytes", (json_int_t)stats.state_bytes,
	                              "rollbacks", (json_int_t)place->rollbacks));
	return true;
}

/* As JSON has neither infinities nor NaN: null. */
static json_t *number(double value)
{
	if (isnan(value) || isinf(value))
		return json_null();
	return fabs(value) < 1e15 && value == floor(value) ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *labels_of(const struct metric *metric)
{
	json_t *labels = json_object();

	for (size_t i = 0; i < metric->n_labels; i++)
		json_object_set_new(labels, metric->labels[i].name, text(metric->labels[i].value));
	return labels;
}

static bool tell_metric(const struct agent *agent, struct answer *answer, size_t index)
{
	const struct metric *metric = metrics_at(agent->metrics, index);
	char name[METRIC_BYTES_MAX + sizeof "script_"];

	if (!metric)
		return false;
	snprintf(name, sizeof name, "script_%s", metric->name);
	answer_line(answer, json_pack("{s:s, s:s, s:s, s:o, s:o}",
	                              "kind", "metric",
	                              "metric", name,
	                              "type", metric_kind_name(metric->kind),
	                              "labels", labels_of(metric),
	                              "value", number(metric->value)));
	return true;
}

struct nth {
	size_t left;
	json_t *line;
};

static void tell_nth(void *arg, const struct loss *loss)
{
	struct nth *nth = arg;

	if (nth->left-- != 0)
		return;
	nth->line = json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:b}",
	                      "kind", "loss",
	                      "link", text(loss->link),
	                      "topic", text(loss->topic),
	                      "reason", text(loss->reason),
	                      "count", (json_int_t)loss->count,
	                      "bytes", (json_int_t)loss->bytes,
	                      "first_seq", (json_int_t)loss->first_seq,
	                      "last_seq", (json_int_t)loss->last_seq,
	                      "first_time", (double)loss->first_time_ms / 1000,
	                      "last_time", (double)loss->last_time_ms / 1000,
	                      "reported", loss->reported);
}

static bool tell_loss(const struct agent *agent, struct answer *answer, size_t index)
{
	struct nth nth = {.left = index};

	ledger_visit(agent->ledger, tell_nth, &nth);
	if (nth.line)
		answer_line(answer, nth.line);
	return nth.line;
}

static bool tell_dead(const struct agent *agent, struct answer *answer, size_t index)
{
	if (index == 0)
		answer_line(answer, json_pack("{s:s, s:I}", "kind", "dead_letters", "count", (json_int_t)dead_count(agent->dead)));
	return index == 0;
}

/* ---- the store ---- */

/* Of the database, or of the write-ahead log beside it. */
static bool tell_store(const struct agent *agent, struct answer *answer, size_t index)
{
	struct store_stats stats = store_stats(agent->store);
	const char *path = agent->config->store_path;
	int64_t written = disk_written_bytes();
	json_t *line;

	if (index > 0)
		return false;
	line = json_pack("{s:s, s:o, s:I, s:I, s:b, s:I, s:I, s:I, s:o*}",
	                 "kind", "store",
	                 "path", text(path),
	                 "bytes", (json_int_t)disk_file_bytes(path, ""),
	                 "wal_bytes", (json_int_t)disk_file_bytes(path, "-wal"),
	                 "failing", agent->custody.failing,
	                 "commits", (json_int_t)stats.commits,
	                 "commit_failures", (json_int_t)stats.failures,
	                 "salvages", (json_int_t)stats.salvages,
	                 "bytes_written", written < 0 || !agent->loop ? NULL : json_integer((json_int_t)written));
	answer_line(answer, line);
	return true;
}

/* ---- the command ---- */

static tell *const kinds[] = {
        tell_agent, tell_store_problem, tell_salvage_problem, tell_link_problem, tell_queue_problem,
        tell_collector_problem, tell_loss_problem, tell_script_problem, tell_dead_problem, tell_link, tell_queue,
        tell_script, tell_metric, tell_loss, tell_dead, tell_store, NULL,
};

static tell *const resting_kinds[] = {
        tell_resting_agent, tell_rest_problem, tell_salvage_problem, tell_dead_problem, tell_resting_queue,
        tell_loss, tell_dead, tell_store, NULL,
};

static bool next(void *arg, void *state, struct answer *answer)
{
	const struct agent *agent = arg;
	struct progress *progress = state;
	tell *const *all = agent->loop ? kinds : resting_kinds;

	if (all[progress->kind](agent, answer, progress->index)) {
		progress->index++;
		return true;
	}
	progress->kind++;
	progress->index = 0;
	return all[progress->kind];
}

const struct answer_command status_command = {.name = "status", .state_size = sizeof(struct progress), .next = next};
