/* A record becomes a report in the queue, and is marked as reported, in the same
 * transaction: whatever happens it is reported, and hardly ever twice. */
#include "losses.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "answer.h"
#include "clock.h"
#include "ledger.h"
#include "link.h"
#include "log.h"
#include "observer.h"
#include "queue.h"
#include "store.h"

#define REPORT_MS 10000 /* after a loss while the link is up, with all that came meanwhile */

/* Milliseconds since 1970 have 13 digits. */
#define DUMP (JSON_COMPACT | JSON_REAL_PRECISION(13))

static void report_all(void *arg);

int losses_open(struct agent *agent, char *err, size_t err_size)
{
	agent->report_losses = (struct loop_timer){.fire = report_all, .arg = agent};
	agent->ledger = ledger_open(agent->store, err, err_size);
	return agent->ledger ? 0 : -1;
}

void losses_close(struct agent *agent)
{
	ledger_close(agent->ledger);
	agent->ledger = NULL;
}

/* ---- from a loss to its record ---- */

static bool is_report(const struct message *message)
{
	return message && message->priority == QUEUE_PRIORITY_REPORT;
}

static void report_later(struct agent *agent)
{
	if (!agent->report_losses.armed)
		loop_timer_set(agent->loop, &agent->report_losses, loop_now_ms(agent->loop) + REPORT_MS);
}

/* When it was published, as far as is known. */
static int64_t time_of(const struct agent *agent, const struct message *message)
{
	int64_t now_ms = clock_wall_ms(), time_ms = message ? message->time_ms : 0;

	if (time_ms == 0) /* it did not get as far as the queue */
		return now_ms;
	(void)clock_correct(&agent->clock, now_ms, clock_age_ms(&agent->clock), message->age_ms, &time_ms);
	return time_ms;
}

static int record(struct ledger *ledger, const char *link, uint64_t seq, const struct message *message, int64_t time_ms,
                  const char *reason)
{
	char topic[300] = "#"; /* more than the ledger keeps */
	struct loss loss = {
	        .link = link,
	        .topic = topic,
	        .reason = reason,
	        .first_seq = seq,
	        .last_seq = seq,
	        .first_time_ms = time_ms,
	        .last_time_ms = time_ms,
	        .count = 1,
	        .bytes = message ? message->topic.size + message->payload.size : 0,
	};

	if (message)
		snprintf(topic, sizeof topic, "%.*s", (int)message->topic.size, (const char *)message->topic.data);
	return ledger_add(ledger, &loss);
}

int losses_record(struct ledger *ledger, const char *link, const struct message *message, const char *reason)
{
	return is_report(message) ? 0 : record(ledger, link, message->seq, message, message->time_ms, reason);
}

void losses_add(struct agent *agent, struct route *route, uint64_t seq, const struct message *message,
                const char *reason)
{
	if (is_report(message))
		return;
	if (agent->observer && agent->observer->lost)
		agent->observer->lost(agent->observer->arg, route->link, seq, message, reason);
	custody_brought(agent, seq); /* a reading that is given up at once */
	if (record(agent->ledger, link_name(route->link), seq, message, time_of(agent, message), reason) < 0)
		log_error("agent", "out of memory: the record of losses is not exact");
	if (link_connected(route->link))
		report_later(agent);
}

/* ---- from a record to its report ---- */

static json_t *text(const char *string)
{
	return answer_text(string, strlen(string));
}

static json_t *seconds(int64_t ms)
{
	return json_real((double)ms / 1000);
}

/* malloc'd, or NULL: no memory. */
static char *report_text(const struct agent *agent, const struct loss *loss)
{
	json_t *report = json_object();
	char *whole = NULL;

	if (json_object_set_new(report, "instance", text(store_instance(agent->store))) == 0 &&
	    json_object_set_new(report, "gateway", text(agent->config->name)) == 0 &&
	    json_object_set_new(report, "link", text(loss->link)) == 0 &&
	    json_object_set_new(report, "topic", text(loss->topic)) == 0 &&
	    json_object_set_new(report, "reason", text(loss->reason)) == 0 &&
	    json_object_set_new(report, "first_seq", json_integer((json_int_t)loss->first_seq)) == 0 &&
	    json_object_set_new(report, "last_seq", json_integer((json_int_t)loss->last_seq)) == 0 &&
	    json_object_set_new(report, "first_time", seconds(loss->first_time_ms)) == 0 &&
	    json_object_set_new(report, "last_time", seconds(loss->last_time_ms)) == 0 &&
	    json_object_set_new(report, "count", json_integer((json_int_t)loss->count)) == 0 &&
	    json_object_set_new(report, "bytes", json_integer((json_int_t)loss->bytes)) == 0 &&
	    (clock_plausible(loss->first_time_ms) || json_object_set_new(report, "time_uncertain", json_true()) == 0))
		whole = json_dumps(report, DUMP);
	json_decref(report);
	return whole;
}

/* malloc'd, or NULL: no memory. */
static char *report_topic(const struct agent *agent, const struct link_config *config)
{
	char *topic = NULL;

	if (config->loss_topic)
		return strdup(config->loss_topic);
	return asprintf(&topic, "tidegate/%s/loss", agent->config->name) < 0 ? NULL : topic;
}

struct reporting {
	struct agent *agent;
	struct route *route;
};

static int queue_report(void *arg, const struct loss *loss)
{
	const struct reporting *reporting = arg;
	struct agent *agent = reporting->agent;
	char *payload = report_text(agent, loss), *topic = report_topic(agent, link_config(reporting->route->link));
	struct message message = {
	        .seq = store_next_seq(agent->store),
	        .time_ms = clock_wall_ms(),
	        .age_ms = clock_age_ms(&agent->clock),
	        .qos = 1,
	        .priority = QUEUE_PRIORITY_REPORT,
	};
	int result = -1;

	if (payload && topic) {
		message.topic = (struct bytes){topic, strlen(topic)};
		message.payload = (struct bytes){payload, strlen(payload)};
		result = queue_push(reporting->route->queue, &message) == QUEUE_OK ? 0 : -1;
	}
	free(topic);
	free(payload);
	return result;
}

/* A kdb+ link takes nothing but rows: the default MQTT link tells of its losses, if there is one. */
static struct route *carrier_of(const struct agent *agent, struct route *route)
{
	return route->kind == LINK_KDB ? agent->default_routes[LINK_MQTT] : route;
}

void losses_report(struct agent *agent, struct route *route)
{
	struct route *carrier = carrier_of(agent, route);
	struct reporting reporting = {.agent = agent, .route = carrier};

	if (!carrier || !ledger_unreported(agent->ledger, link_name(route->link)))
		return;
	if (queue_has_reports(carrier->queue)) { /* one after the other: so there are not more of them than of records */
		report_later(agent);
		return;
	}
	ledger_report(agent->ledger, link_name(route->link), queue_report, &reporting);
	if (ledger_unreported(agent->ledger, link_name(route->link))) /* no memory */
		report_later(agent);
	loop_again(agent->loop);
}

static void report_all(void *arg)
{
	struct agent *agent = arg;

	for (struct route *route = agent->routes; route; route = route->next)
		if (link_connected(route->link))
			losses_report(agent, route);
}
