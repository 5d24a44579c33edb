/* Losses and their reports, on a real store, queue and loop, with a link made of
 * stubs. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "ledger.h"
#include "link.h"
#include "losses.h"
#include "queue.h"
#include "store.h"
#include "test.h"

/* The stubs that stand for agent/link.c and agent/custody.c. */
struct link {
	const char *name;
	bool up;
};

const char *link_name(const struct link *link)
{
	return link->name;
}

bool link_connected(const struct link *link)
{
	return link->up;
}

const struct link_config *link_config(const struct link *link)
{
	static const struct link_config config;

	(void)link;
	return &config;
}

void custody_brought(struct agent *agent, uint64_t seq)
{
	if (agent->custody.from && agent->custody.from->brought_to < seq)
		agent->custody.from->brought_to = seq;
}

static char directory[] = "/tmp/tidegate-losses-XXXXXX";
static char path[128], name[] = "gw-01", err[512];
static struct link core;
static struct config config = {.name = name};
static struct route route = {.link = &core};
static struct agent agent = {.config = &config, .routes = &route};

static void step(void *arg)
{
	(void)arg;
}

static void on_signal(void *arg, int number)
{
	(void)arg;
	(void)number;
}

static void ignore_drop(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	(void)arg;
	(void)queue;
	(void)message;
	(void)why;
}

static void shut(void)
{
	losses_close(&agent);
	queue_close(route.queue);
	store_close(agent.store);
	loop_close(agent.loop);
	route.queue = NULL;
	agent.store = NULL;
	agent.loop = NULL;
}

static void open_again(void)
{
	static const struct loop_steps steps = {.commit = step, .send = step, .acknowledge = step, .signal = on_signal};

	shut();
	agent.loop = loop_open(&steps, NULL, err, sizeof err);
	agent.store = store_open(path, STORE_OFF, err, sizeof err);
	REQUIRE(agent.loop && agent.store && losses_open(&agent, err, sizeof err) == 0);
	route.queue = queue_open(agent.store, "core", (struct queue_limits){0}, ignore_drop, NULL, err, sizeof err);
	REQUIRE(route.queue != NULL);
	core = (struct link){.name = "core"};
	route.brought_to = 0;
	agent.custody.from = NULL;
}

static void begin(void)
{
	shut();
	snprintf(path, sizeof path, "%s/queue.db", directory);
	unlink(path);
	open_again();
}

static void lose(const char *topic, uint64_t seq, int64_t time_ms, const char *reason)
{
	struct message message = {.seq = seq,
	                          .topic = {topic, strlen(topic)},
	                          .payload = {"12345", 5},
	                          .time_ms = time_ms,
	                          .age_ms = -1};

	losses_add(&agent, &route, seq, &message, reason);
}

static void commit(void)
{
	CHECK(store_commit(agent.store, err, sizeof err) == STORE_OK);
}

/* The next report that waits in the queue, taken out; NULL: none does. */
static json_t *next_report(void)
{
	bool failed;
	const struct message *message = queue_peek(route.queue, 1, false, &failed, err, sizeof err);
	json_t *report;

	if (!message)
		return NULL;
	CHECK(strcmp(message->topic.data, "tidegate/gw-01/loss") == 0);
	CHECK(message->qos == 1 && message->priority == QUEUE_PRIORITY_REPORT && message->origin == 0);
	report = json_loadb(message->payload.data, message->payload.size, 0, NULL);
	CHECK(report != NULL);
	CHECK(queue_reserve(route.queue) == 0);
	queue_take(route.queue);
	return report;
}

static bool has_text(json_t *report, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(report, key));

	if (!value || strcmp(value, text) != 0)
		fprintf(stderr, "%s: %s\n", key, value ? value : "(none)");
	return value && strcmp(value, text) == 0;
}

static bool has_integer(json_t *report, const char *key, uint64_t number)
{
	json_t *value = json_object_get(report, key);

	return json_is_integer(value) && json_integer_value(value) == (json_int_t)number;
}

static void reports_every_field(void)
{
	json_t *report;
	char *text;

	begin();
	lose("a/b", 9007199254740993, 1763000000001, "overflow");
	lose("a/b", 9007199254740995, 1763000000123, "overflow");
	CHECK(next_report() == NULL);
	losses_report(&agent, &route);
	commit();
	report = next_report();
	REQUIRE(report != NULL);
	CHECK(has_text(report, "instance", store_instance(agent.store)) && has_text(report, "gateway", "gw-01"));
	CHECK(has_text(report, "link", "core") && has_text(report, "topic", "a/b") && has_text(report, "reason", "overflow"));
	CHECK(has_integer(report, "first_seq", 9007199254740993) && has_integer(report, "last_seq", 9007199254740995));
	CHECK(has_integer(report, "count", 2) && has_integer(report, "bytes", 16));
	text = json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(13));
	CHECK(text && strstr(text, "\"first_time\":1763000000.001,\"last_time\":1763000000.123,"));
	free(text);
	CHECK(json_object_size(report) == 11);
	json_decref(report);
	CHECK(next_report() == NULL);
}

static void reports_once(void)
{
	begin();
	lose("a", 1, 1, "overflow");
	losses_report(&agent, &route);
	losses_report(&agent, &route);
	CHECK(queue_messages(route.queue) == 1);
	lose("a", 2, 1, "overflow"); /* what comes meanwhile waits until that has left */
	losses_report(&agent, &route);
	CHECK(queue_messages(route.queue) == 1 && agent.report_losses.armed);
	open_again(); /* killed before the commit: neither the report nor its mark is there */
	CHECK(queue_messages(route.queue) == 0);
	lose("a", 1, 1, "overflow");
	lose("b", 2, 1, "expired");
	losses_report(&agent, &route);
	commit();
	open_again();
	while (queue_count(route.queue) > 0)
		;
	losses_report(&agent, &route);
	CHECK(queue_messages(route.queue) == 2);
}

static void a_lost_report_is_no_loss(void)
{
	bool failed;

	begin();
	lose("a", 1, 1, "overflow");
	losses_report(&agent, &route);
	losses_add(&agent, &route, 3, queue_peek(route.queue, 1, false, &failed, err, sizeof err), "rejected: no");
	CHECK(!ledger_unreported(agent.ledger, "core"));
	CHECK(ledger_total(agent.ledger, "core", NULL) == 1);
}

static void takes_texts_of_any_bytes(void)
{
	static const char *const topics[] = {"quote\"back\\slash", "line\nfeed\x01\x7f", "caf\xc3\xa9", "bad\xff\xc3utf"};
	static const char *const expected[] = {"quote\"back\\slash", "line\nfeed\x01\x7f", "caf\xc3\xa9", "bad??utf"};
	json_t *report;

	begin();
	for (uint64_t i = 0; i < 4; i++)
		lose(topics[i], i + 1, 1, "rejected: \xfe\n\"");
	losses_report(&agent, &route);
	for (int i = 0; i < 4; i++) {
		report = next_report();
		CHECK(has_text(report, "topic", expected[i]) && has_text(report, "reason", "rejected: ?\n\""));
		json_decref(report);
	}
}

static void takes_what_is_known_of_a_message(void)
{
	char topic[1000];
	json_t *report;

	begin();
	memset(topic, 't', sizeof topic - 1);
	topic[999] = '\0';
	topic[40] = '/';
	losses_add(&agent, &route, 5, NULL, "rejected: its row cannot be read");
	lose(topic, 6, 0, "overflow"); /* refused before it was queued: it has no time yet */
	losses_report(&agent, &route);
	report = next_report();
	CHECK(has_text(report, "topic", "#") && has_integer(report, "bytes", 0) && has_integer(report, "first_seq", 5));
	json_decref(report);
	report = next_report();
	topic[41] = '#';
	topic[42] = '\0';
	CHECK(has_text(report, "topic", topic) && has_integer(report, "bytes", 1004));
	CHECK(json_real_value(json_object_get(report, "first_time")) > 1.7e9);
	json_decref(report);
}

static void waits_a_while_with_reports_while_the_link_is_up(void)
{
	begin();
	lose("a", 1, 1, "overflow");
	CHECK(!agent.report_losses.armed);
	core.up = true;
	lose("a", 2, 1, "overflow");
	lose("b", 3, 1, "overflow");
	CHECK(agent.report_losses.armed && agent.report_losses.at_ms == loop_now_ms(agent.loop) + 10000);
	CHECK(queue_messages(route.queue) == 0);
	core.up = false;
	agent.report_losses.fire(agent.report_losses.arg);
	CHECK(queue_messages(route.queue) == 0);
	core.up = true;
	agent.report_losses.fire(agent.report_losses.arg);
	CHECK(queue_messages(route.queue) == 2);
}

static void a_reading_given_up_at_once_waits_for_its_record(void)
{
	begin();
	agent.custody.from = &route;
	route.brought_to = 10;
	lose("a", 7, 1, "overflow"); /* an older one made room */
	CHECK(route.brought_to == 10);
	lose("a", 11, 0, "overflow");
	CHECK(route.brought_to == 11);
}

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	RUN(reports_every_field);
	RUN(reports_once);
	RUN(a_lost_report_is_no_loss);
	RUN(takes_texts_of_any_bytes);
	RUN(takes_what_is_known_of_a_message);
	RUN(waits_a_while_with_reports_while_the_link_is_up);
	RUN(a_reading_given_up_at_once_waits_for_its_record);
	shut();
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
