/* A host of scripts that writes down what it is asked to do, and a log that is kept as
 * text. */
#include "script_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"

/* ---- the log, kept as text ---- */

struct buffer logged;

static void log_line(enum log_level level, const char *component, const char *text)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	char line[4000];
	int size = snprintf(line, sizeof line, "%s %s: %s\n", names[level], component, text);

	if (size < 0 || buffer_append(&logged, line, strlen(line)))
		abort();
}

static void log_format(enum log_level level, const char *component, const char *format, va_list arguments)
	__attribute__((format(printf, 3, 0)));
static void log_format(enum log_level level, const char *component, const char *format, va_list arguments)
{
	char *text;

	if (vasprintf(&text, format, arguments) < 0)
		abort();
	log_line(level, component, text);
	free(text);
}

#define LOG_FUNCTION(name, level)                                  \
	void name(const char *component, const char *format, ...)  \
	{                                                          \
		va_list arguments;                                 \
                                                                   \
		va_start(arguments, format);                       \
		log_format(level, component, format, arguments);   \
		va_end(arguments);                                 \
	}
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

void log_text(enum log_level level, const char *component, const char *text)
{
	log_line(level, component, text);
}

bool log_enabled(enum log_level level)
{
	return level <= LOG_LEVEL_INFO;
}

void log_setup(enum log_level level, enum log_target target)
{
	(void)level;
	(void)target;
}

const char *log_read(void)
{
	return buffer_append(&logged, "", 1) ? "" : logged.data;
}

bool saw(const char *text)
{
	bool found = strstr(log_read(), text);

	logged.size = strlen(logged.data);
	if (!found)
		fprintf(stderr, "no \"%s\" in the log:\n%s\n", text, logged.data);
	return found;
}

bool silent(void)
{
	if (logged.size)
		fprintf(stderr, "log:\n%s\n", log_read());
	return logged.size == 0;
}

/* ---- the host ---- */

struct link core = { "core", true, 7, { .version = 5 } }, field = { "field", false, 0, { .version = 4 } };
struct link late = { "late", false, 0, { 0 } }, hist = { "hist", true, 3, { .kind = LINK_KDB } };

struct world world;

void note(const char *format, ...)
{
	char line[600];
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (size < 0 || buffer_append(&world.effects, line, strlen(line)))
		abort();
}

static struct link *link_named(void *arg, const char *name)
{
	(void)arg;
	if (!strcmp(name, "core"))
		return &core;
	if (!strcmp(name, "hist"))
		return &hist;
	if (!strcmp(name, "late") && world.late_exists)
		return &late;
	return strcmp(name, "field") ? NULL : &field;
}

static struct link *link_default(void *arg, enum link_kind kind)
{
	(void)arg;
	return kind == LINK_KDB ? world.default_kdb : world.by_default;
}

static struct link *link_reserve(void *arg, const char *name, char *err, size_t err_size)
{
	if (world.no_room) {
		(void)snprintf(err, err_size, "no room for a queue");
		return NULL;
	}
	world.late_exists = true;
	return link_named(arg, name);
}

static void link_forget(void *arg, struct link *link)
{
	(void)arg;
	if (link == &late)
		world.late_exists = false;
}

static bool link_known(void *arg, const struct link *link)
{
	(void)arg;
	return link != &late || world.late_exists;
}

static const struct link_config *config_of_link(void *arg, const struct link *link)
{
	(void)arg;
	return &link->config;
}

static bool link_up(void *arg, const struct link *link)
{
	(void)arg;
	return link->up;
}

static const char *name_of_link(void *arg, const struct link *link)
{
	(void)arg;
	return link->name;
}

static uint64_t link_depth(void *arg, const struct link *link)
{
	(void)arg;
	return link->depth;
}

static int64_t now_ms(void *arg)
{
	(void)arg;
	return world.now_ms;
}

static uint64_t next_seq(void *arg)
{
	(void)arg;
	return ++world.seq;
}

static const char *refuses(void *arg, struct link *link, bool *lost)
{
	(void)arg;
	(void)link;
	*lost = world.loses;
	return world.refusal;
}

static void keep(struct buffer *buffer, struct bytes bytes)
{
	buffer->size = 0;
	if (buffer_append(buffer, bytes.data, bytes.size))
		abort();
}

static void publish(void *arg, struct link *link, const struct message *message)
{
	(void)arg;
	note("pub %s %.*s=%.*s q%d%s #%llu;", link->name, (int)message->topic.size, (const char *)message->topic.data,
	     (int)message->payload.size, (const char *)message->payload.data, message->qos, message->retain ? "r" : "",
	     (unsigned long long)message->seq);
	world.last = *message;
	keep(&world.context, message->context);
	keep(&world.properties, message->properties);
	keep(&world.payload, message->payload);
	if (strlen(message->topic.data) != message->topic.size)
		abort();
}

static void lose(void *arg, struct link *link, const struct message *message)
{
	(void)arg;
	note("lose %s %.*s #%llu;", link->name, (int)message->topic.size, (const char *)message->topic.data,
	     (unsigned long long)message->seq);
}

static void subscribe(void *arg, struct link *link, const struct subscription *subscription)
{
	(void)arg;
	note("sub %s %s q%d%s%s%d;", link->name, subscription->filter, subscription->qos,
	     subscription->no_local ? "l" : "", subscription->retain_as_published ? "p" : "",
	     subscription->retain_handling);
}

static void unsubscribe(void *arg, struct link *link, const char *filter)
{
	(void)arg;
	note("unsub %s %s;", link->name, filter);
}

static void connect_link(void *arg, struct link *link, struct link_config *config)
{
	(void)arg;
	note("conn %s %s:%d%s %s;", link->name, config->urls[0].host, config->urls[0].port,
	     config->urls[0].tls ? " tls" : "", config->client_id);
	config_link_free(config);
}

static void disconnect(void *arg, struct link *link)
{
	(void)arg;
	note("disc %s;", link->name);
}

struct script_host host = {
	.agent_name = "gw-01",
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
	.subscribe = subscribe,
	.unsubscribe = unsubscribe,
	.connect = connect_link,
	.disconnect = disconnect,
};

bool did(const char *expected)
{
	bool same;

	if (buffer_append(&world.effects, "", 1))
		abort();
	same = !strcmp(world.effects.data, expected);
	if (!same)
		fprintf(stderr, "expected: %s\ngot:      %s\n", expected, world.effects.data);
	world.effects.size = 0;
	return same;
}

/* ---- scripts ---- */

char directory[] = "/tmp/test_script.XXXXXX";
char load_error[4000];

const char *path_in(const char *name)
{
	static char path[500];

	(void)snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

void write_file(const char *name, const char *data, size_t size)
{
	FILE *file = fopen(path_in(name), "w");

	if (!file || fwrite(data, 1, size, file) != size || fclose(file))
		abort();
}

bool open_directory(void)
{
	host.metrics = metrics_open();
	return host.metrics && mkdtemp(directory);
}

struct script *open_with(const char *source, size_t memory_bytes, int64_t call_ms)
{
	struct script_limits limits = { .memory_bytes = memory_bytes, .call_ms = call_ms };

	world.by_default = &core;
	world.refusal = NULL;
	world.seq = 0;
	world.effects.size = 0;
	world.late_exists = world.no_room = false;
	logged.size = 0;
	load_error[0] = 0;
	write_file("rules.lua", source, strlen(source));
	return script_open(path_in("rules.lua"), 42, limits, &host, load_error, sizeof load_error);
}

struct script *open_or_abort(const char *source, size_t memory_bytes, int64_t call_ms)
{
	struct script *script = open_with(source, memory_bytes, call_ms);

	if (!script) {
		fprintf(stderr, "%s\n", load_error);
		abort();
	}
	return script;
}

struct script *open_script(const char *source)
{
	return open_or_abort(source, 8 << 20, 60000);
}

const char *message_sized(struct script *script, const char *topic, const char *payload, size_t size)
{
	struct inbound inbound = { .topic = topic, .payload = { payload, size }, .qos = 1, .time_ms = 1234567890123 };

	return script_message(script, field.name, &inbound);
}

void message(struct script *script, const char *topic, const char *payload)
{
	message_sized(script, topic, payload, strlen(payload));
}

void run(const char *statements)
{
	char source[4000];
	struct script *script;

	(void)snprintf(source, sizeof source, "function on_start() %s end", statements);
	script = open_script(source);
	script_start(script);
	script_close(script);
}

bool holds(const char *expression)
{
	char statements[3000];

	(void)snprintf(statements, sizeof statements, "assert(%s)", expression);
	run(statements);
	return silent();
}

bool raises(const char *statements, const char *expected)
{
	run(statements);
	return saw(expected) && did("");
}
