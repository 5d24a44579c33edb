/* Effects are seen where the scripts' host carries them out, the rest by an observer, in
 * the network and in the log. Each becomes an entry, and an entry a line. */
#include "transcript.h"

#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "jsonl.h"
#include "log.h"
#include "metrics.h"
#include "play.h"
#include "row_text.h"
#include "run.h"
#include "utf8.h"

#define ROW_MAX 400 /* bytes of a row, for people */
#define INDENT "                          " /* of lines that go on, for people */

struct entry {
	const char *event;
	bool is_effect; /* of the script that runs */
	const char *link;
	struct bytes topic, payload;
	bool has_payload, has_qos;
	int qos;
	bool retain, dup;
	int64_t ttl_ms;
	int priority;
	struct bytes context, properties;
	uint64_t token;
	const char *label, *text; /* what else there is to say, and what the label of that is in JSON */
	const char *level;        /* of a log line */
	struct bytes key, value;  /* of state, see agent/value.h; no value: it is gone */
	const struct metric *metric;
	const char *where;        /* of an error */
	struct bytes row;         /* for a kdb+ link, of the table that is its topic */
	const struct kdb_table *table;
};

static struct bytes bytes_of(const char *text)
{
	return (struct bytes){text, strlen(text)};
}

/* ---- JSON ---- */

static void put_flag(json_t *object, const char *key, bool flag)
{
	if (flag)
		json_object_set_new(object, key, json_true());
}

static void put_metric(json_t *object, const struct metric *metric)
{
	json_t *labels = json_object();

	for (size_t i = 0; i < metric->n_labels; i++)
		jsonl_put_text(labels, metric->labels[i].name, metric->labels[i].value);
	jsonl_put_text(object, "name", metric->name);
	json_object_set_new(object, "labels", labels);
	json_object_set_new(object, "value", json_real(metric->value));
}

static void print_json(struct transcript *transcript, const struct entry *entry)
{
	json_t *object = json_object();
	char *line;

	jsonl_put_seconds(object, "at", play_now_ms(transcript->play));
	jsonl_put_text(object, "event", entry->event);
	if (entry->is_effect && transcript->script) {
		jsonl_put_text(object, "script", script_name(transcript->script));
		jsonl_put_text(object, "handler", transcript->handler);
	}
	jsonl_put_text(object, "link", entry->link);
	if (entry->topic.data)
		jsonl_put_bytes(object, entry->row.data ? "table" : "topic", entry->topic);
	if (entry->row.data)
		json_object_set_new(object, "row", row_json(entry->row, entry->table));
	if (entry->has_payload)
		jsonl_put_bytes(object, "payload", entry->payload);
	if (entry->has_qos)
		json_object_set_new(object, "qos", json_integer(entry->qos));
	put_flag(object, "retain", entry->retain);
	put_flag(object, "dup", entry->dup);
	if (entry->ttl_ms > 0)
		jsonl_put_seconds(object, "ttl", entry->ttl_ms);
	if (entry->priority > 0)
		json_object_set_new(object, "priority", json_integer(entry->priority));
	if (entry->context.size > 0)
		json_object_set_new(object, "ctx", jsonl_value(entry->context));
	jsonl_put_properties(object, entry->properties);
	if (entry->token > 0)
		json_object_set_new(object, "token", json_integer((json_int_t)entry->token));
	if (entry->key.size > 0) {
		json_object_set_new(object, "key", jsonl_value(entry->key));
		json_object_set_new(object, "value", jsonl_value(entry->value));
	}
	if (entry->metric)
		put_metric(object, entry->metric);
	jsonl_put_text(object, "level", entry->level);
	jsonl_put_text(object, "where", entry->where);
	if (entry->label)
		jsonl_put_text(object, entry->label, entry->text);
	line = json_dumps(object, JSONL_DUMP);
	if (line)
		fprintf(transcript->out, "%s\n", line);
	free(line);
	json_decref(object);
}

/* ---- for people ---- */

/* As it is, but for control characters and what is no UTF-8; lines that follow the first
 * are indented. */
static void print_text(FILE *out, struct bytes text, bool lines)
{
	const char *data = text.data;

	for (size_t i = 0, length; i < text.size; i += length > 0 ? length : 1) {
		length = utf8_printable(data + i, text.size - i);
		if (length > 0)
			fwrite(data + i, 1, length, out);
		else if (lines && data[i] == '\n')
			fprintf(out, "\n%s", INDENT);
		else if (lines && data[i] == '\t')
			fputs("    ", out);
		else if (data[i] == '\n')
			fputs("\\n", out);
		else if (data[i] == '\t')
			fputs("\\t", out);
		else
			fprintf(out, "\\x%02x", (unsigned char)data[i]);
	}
}

static void print_json_value(FILE *out, const char *name, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(13));

	fprintf(out, "%s %s", name, text ? text : "?");
	free(text);
	json_decref(value);
}

static const char *separate(bool *any)
{
	const char *separator = *any ? ", " : " (";

	*any = true;
	return separator;
}

/* " (qos 0, retain)" */
static void print_options(FILE *out, const struct entry *entry)
{
	bool any = false;

	if (entry->has_qos && entry->qos != 1)
		fprintf(out, "%sqos %d", separate(&any), entry->qos);
	if (entry->retain)
		fprintf(out, "%sretain", separate(&any));
	if (entry->dup)
		fprintf(out, "%sdup", separate(&any));
	if (entry->ttl_ms > 0)
		fprintf(out, "%sttl %g s", separate(&any), (double)entry->ttl_ms / 1000);
	if (entry->priority > 0)
		fprintf(out, "%spriority %d", separate(&any), entry->priority);
	if (entry->context.size > 0) {
		fputs(separate(&any), out);
		print_json_value(out, "ctx", jsonl_value(entry->context));
	}
	if (entry->properties.size > 0) {
		json_t *object = json_object();

		jsonl_put_properties(object, entry->properties);
		fputs(separate(&any), out);
		print_json_value(out, "properties", json_incref(json_object_get(object, "properties")));
		json_decref(object);
	}
	if (any)
		fputc(')', out);
}

static void print_key(FILE *out, const struct entry *entry)
{
	json_t *key = jsonl_value(entry->key);

	if (json_is_string(key))
		fprintf(out, "%s =", json_string_value(key));
	else
		print_json_value(out, "", json_incref(key));
	json_decref(key);
	print_json_value(out, "", jsonl_value(entry->value));
}

static void print_metric(FILE *out, const struct metric *metric)
{
	fputs(metric->name, out);
	for (size_t i = 0; i < metric->n_labels; i++)
		fprintf(out, "%s%s=\"%s\"%s", i == 0 ? "{" : ",", metric->labels[i].name, metric->labels[i].value,
		        i + 1 == metric->n_labels ? "}" : "");
	fprintf(out, " %.15g", metric->value);
}

static void print_row(FILE *out, const struct entry *entry)
{
	struct buffer text = {0};

	if (row_print(entry->row, &text, ROW_MAX) == 0)
		fprintf(out, " %.*s", (int)text.size, text.data);
	buffer_release(&text);
}

static void print_plain(struct transcript *transcript, const struct entry *entry)
{
	FILE *out = transcript->out;

	fprintf(out, "%11.3f  %s", (double)play_now_ms(transcript->play) / 1000, entry->is_effect ? "  " : "");
	fprintf(out, "%-*s", !entry->link && !entry->text && !entry->key.size && !entry->metric ? 0 : entry->is_effect ? 11 : 13, entry->event);
	if (entry->is_effect && transcript->agent->n_scripts > 1 && transcript->script)
		fprintf(out, "[%s] ", script_name(transcript->script));
	if (entry->link)
		fprintf(out, "%s%s", entry->link, entry->topic.data || entry->text ? " " : "");
	print_text(out, entry->topic, false);
	print_options(out, entry);
	if (entry->topic.data && (entry->has_payload || entry->text))
		fputc(' ', out);
	if (entry->has_payload && entry->payload.size == 0)
		fputs("(empty)", out);
	print_text(out, entry->payload, false);
	if (entry->row.data)
		print_row(out, entry);
	if (entry->key.size > 0)
		print_key(out, entry);
	if (entry->metric)
		print_metric(out, entry->metric);
	if (entry->level)
		fprintf(out, "%s: ", entry->level);
	if (entry->where)
		fprintf(out, "%s: ", entry->where);
	if (entry->text)
		print_text(out, bytes_of(entry->text), true);
	fputc('\n', out);
}

static void print(struct transcript *transcript, const struct entry *entry)
{
	if (transcript->json)
		print_json(transcript, entry);
	else
		print_plain(transcript, entry);
}

/* ---- what scripts do ---- */

/* The transcript of a host's `arg`, the agent. */
static struct transcript *transcript_of(void *arg)
{
	const struct agent *agent = arg;
	const struct play *play = agent->rehearsal->arg;

	return play->arg;
}

static struct entry message_entry(const char *event, const char *link, const struct message *message)
{
	return (struct entry){
	        .event = event,
	        .is_effect = true,
	        .link = link,
	        .topic = message->topic,
	        .payload = message->payload,
	        .has_payload = true,
	        .has_qos = true,
	        .qos = message->qos,
	        .retain = message->retain,
	        .ttl_ms = message->expires_ms,
	        .priority = message->priority,
	        .context = message->context,
	        .properties = message->properties,
	        .token = message->seq,
	};
}

static struct entry row_entry(const struct link *link, const struct message *message)
{
	struct entry entry = message_entry("upd", link_name(link), message);

	entry.row = message->payload;
	entry.table = kdb_table_named(&link_config(link)->kdb, message->topic.data); /* an effect's topic ends in NUL */
	entry.payload = (struct bytes){NULL, 0};
	entry.has_payload = entry.has_qos = false;
	return entry;
}

static void on_publish(void *arg, struct link *link, const struct message *message)
{
	struct transcript *transcript = transcript_of(arg);
	struct entry entry = message_entry("publish", link_name(link), message);

	if (link_config(link)->kind == LINK_KDB)
		entry = row_entry(link, message);
	print(transcript, &entry);
	transcript->host.publish(arg, link, message);
}

static void on_subscribe(void *arg, struct link *link, const struct subscription *subscription)
{
	struct transcript *transcript = transcript_of(arg);

	print(transcript, &(struct entry){.event = "subscribe", .is_effect = true, .link = link_name(link),
	                                  .has_qos = true, .qos = subscription->qos, .label = "filter",
	                                  .text = subscription->filter});
	transcript->host.subscribe(arg, link, subscription);
}

static void on_unsubscribe(void *arg, struct link *link, const char *filter)
{
	struct transcript *transcript = transcript_of(arg);

	print(transcript, &(struct entry){.event = "unsubscribe", .is_effect = true, .link = link_name(link),
	                                  .label = "filter", .text = filter});
	transcript->host.unsubscribe(arg, link, filter);
}

static void on_connect(void *arg, struct link *link, struct link_config *config)
{
	struct transcript *transcript = transcript_of(arg);

	print(transcript, &(struct entry){.event = "connect", .is_effect = true, .link = link_name(link), .label = "host",
	                                  .text = config->n_urls > 0 ? config->urls[0].host : NULL});
	transcript->host.connect(arg, link, config);
}

static void on_disconnect(void *arg, struct link *link)
{
	struct transcript *transcript = transcript_of(arg);

	print(transcript, &(struct entry){.event = "disconnect", .is_effect = true, .link = link_name(link)});
	transcript->host.disconnect(arg, link);
}

static void on_running(void *arg, const struct script *script, const char *handler)
{
	struct transcript *transcript = transcript_of(arg);

	transcript->script = handler ? script : NULL;
	transcript->handler = handler;
	if (transcript->host.running)
		transcript->host.running(arg, script, handler);
}

static void on_failed(void *arg, const struct script *script, const char *where, const char *error)
{
	struct transcript *transcript = transcript_of(arg);

	transcript->script = script;
	transcript->failures++;
	print(transcript, &(struct entry){.event = "error", .is_effect = true, .where = where, .label = "text", .text = error});
}

/* ---- state ---- */

/* What was printed last of an entry of state. */
struct known_entry {
	struct known_entry *next;
	uint32_t script;
	size_t key_size;
	char *value; /* as JSON: equal tables may be kept in any order */
	char key[];
};

/* Entries that may have changed. */
struct changed_entries {
	struct bytes *pairs; /* key, value, key, value, ... */
	size_t n;
};

static struct bytes copy_of(struct bytes from)
{
	char *data = malloc(from.size + 1);

	if (data && from.size > 0)
		memcpy(data, from.data, from.size);
	return (struct bytes){data, data ? from.size : 0};
}

static int add_changed(void *arg, struct bytes key, struct bytes value)
{
	struct changed_entries *entries = arg;
	struct bytes *pairs = realloc(entries->pairs, (entries->n + 1) * 2 * sizeof *pairs);

	if (!pairs)
		return -1;
	entries->pairs = pairs;
	pairs[2 * entries->n] = copy_of(key);
	pairs[2 * entries->n + 1] = copy_of(value);
	entries->n++;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct bytes *one = a, *other = b;
	size_t size = one->size < other->size ? one->size : other->size;
	int order = size > 0 ? memcmp(one->data, other->data, size) : 0;

	return order != 0 ? order : (one->size > other->size) - (one->size < other->size);
}

static struct known_entry *known_entry(struct transcript *transcript, uint32_t script, struct bytes key)
{
	struct known_entry *known = transcript->known;

	while (known && (known->script != script || known->key_size != key.size || memcmp(known->key, key.data, key.size) != 0))
		known = known->next;
	if (known || !(known = calloc(1, sizeof *known + key.size)))
		return known;
	*known = (struct known_entry){.next = transcript->known, .script = script, .key_size = key.size};
	memcpy(known->key, key.data, key.size);
	transcript->known = known;
	return known;
}

/* False if that is what was printed last. */
static bool is_news(struct transcript *transcript, uint32_t script, struct bytes key, struct bytes value)
{
	struct known_entry *known = known_entry(transcript, script, key);
	json_t *object = jsonl_value(value);
	char *text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
	bool same = known && text && strcmp(known->value ? known->value : "null", text) == 0;

	json_decref(object);
	if (same || !known) {
		free(text);
		return !same;
	}
	free(known->value);
	known->value = text;
	return true;
}

static void on_state_changed(void *arg, struct script *script)
{
	struct transcript *transcript = transcript_of(arg);
	struct changed_entries entries = {0};

	transcript->host.state_changed(arg, script);
	(void)script_state_write(script, add_changed, &entries);
	if (entries.n > 0)
		qsort(entries.pairs, entries.n, 2 * sizeof *entries.pairs, by_key);
	for (size_t i = 0; i < entries.n; i++) {
		struct bytes key = entries.pairs[2 * i], value = entries.pairs[2 * i + 1];

		if (is_news(transcript, script_origin(script), key, value))
			print(transcript, &(struct entry){.event = "state", .is_effect = true, .key = key, .value = value});
		free((void *)(uintptr_t)key.data);
		free((void *)(uintptr_t)value.data);
	}
	free(entries.pairs);
}

void transcript_release(struct transcript *transcript)
{
	while (transcript->known) {
		struct known_entry *known = transcript->known;

		transcript->known = known->next;
		free(known->value);
		free(known);
	}
}

/* ---- looking on ---- */

static void on_begin(void *arg, struct agent *agent)
{
	struct transcript *transcript = arg;

	transcript->agent = agent;
	transcript->host = agent->host;
	agent->host.publish = on_publish;
	agent->host.subscribe = on_subscribe;
	agent->host.unsubscribe = on_unsubscribe;
	agent->host.connect = on_connect;
	agent->host.disconnect = on_disconnect;
	agent->host.state_changed = on_state_changed;
	agent->host.running = on_running;
	agent->host.failed = on_failed;
}

/* ---- what happens ---- */

static void on_message(void *arg, const struct link *link, const struct inbound *message)
{
	print(arg, &(struct entry){
	                   .event = "message",
	                   .link = link_name(link),
	                   .topic = bytes_of(message->topic),
	                   .payload = message->payload,
	                   .has_payload = true,
	                   .has_qos = true,
	                   .qos = message->qos,
	                   .retain = message->retain,
	                   .dup = message->dup,
	                   .properties = message->properties,
	           });
}

static void on_up(void *arg, const struct link *link)
{
	print(arg, &(struct entry){.event = "up", .link = link_name(link)});
}

/* That links go down when all is over goes without saying. */
static void on_down(void *arg, const struct link *link, const char *reason)
{
	const struct transcript *transcript = arg;

	if (transcript->agent->phase == RUNNING)
		print(arg, &(struct entry){.event = "down", .link = link_name(link), .label = "reason", .text = reason});
}

static void on_lost(void *arg, const struct link *link, uint64_t seq, const struct message *message, const char *reason)
{
	struct entry entry = {.event = "drop", .link = link_name(link), .token = seq, .label = "reason", .text = reason};

	if (message)
		entry.topic = message->topic;
	print(arg, &entry);
}

/* People see it only of what had to wait. */
static void on_delivered(void *arg, const struct delivery *delivery)
{
	struct transcript *transcript = arg;
	const struct route *route = route_named(transcript->agent, delivery->link);
	const struct message *message = route ? queue_lookup(route->queue, delivery->seq) : NULL;
	struct entry entry = {.event = "sent", .link = delivery->link, .token = delivery->seq};

	if (message)
		entry.topic = message->topic;
	if (delivery->report)
		return;
	if (transcript->json || delivery->now_ms > delivery->time_ms)
		print(transcript, &entry);
}

static void on_end(void *arg, struct agent *agent)
{
	char text[60];

	for (size_t i = 0; i < metrics_count(agent->metrics); i++)
		print(arg, &(struct entry){.event = "metric", .metric = metrics_at(agent->metrics, i)});
	for (const struct route *route = agent->routes; route; route = route->next) {
		uint64_t n = queue_messages(route->queue);

		snprintf(text, sizeof text, "%llu message%s", (unsigned long long)n, n == 1 ? "" : "s");
		if (n > 0)
			print(arg, &(struct entry){.event = "waiting", .link = link_name(route->link), .label = "text", .text = text});
	}
}

static void on_stop(void *arg)
{
	print(arg, &(struct entry){.event = "stop"});
}

/* Of the agent's own lines those of scripts belong here; of the others, what is wrong. */
static void on_log(void *arg, enum log_level level, const char *component, const char *text)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	struct transcript *transcript = arg;

	if (strncmp(component, "script ", strlen("script ")) == 0)
		print(transcript, &(struct entry){.event = "log", .is_effect = true, .level = levels[level], .label = "text", .text = text});
	else if (level == LOG_LEVEL_ERROR)
		fprintf(stderr, "tidegate: %s\n", text);
}

void transcript_attach(struct transcript *transcript, struct play *play)
{
	transcript->play = play;
	play->arg = transcript;
	play->begins = on_begin;
	play->stops = on_stop;
	play->ends = on_end;
	play->delivered = on_delivered;
	play->observer = (struct observer){
	        .arg = transcript, .message = on_message, .up = on_up, .down = on_down, .lost = on_lost};
	log_divert(on_log, transcript);
}
