/* script.c and the modules of scripts, against a host that writes down what it is
 * asked to do.
 */
#include "script.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"
#include "log.h"
#include "log_limit.h"
#include "properties.h"
#include "test.h"

/* ---- the log, kept as text ---- */

static struct buffer logged;

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

static const char *log_read(void)
{
	return buffer_append(&logged, "", 1) ? "" : logged.data;
}

/* True if `text` was logged since the last log_clear(). */
static bool saw(const char *text)
{
	bool found = strstr(log_read(), text);

	logged.size = strlen(logged.data);
	if (!found)
		fprintf(stderr, "no \"%s\" in the log:\n%s\n", text, logged.data);
	return found;
}

static bool silent(void)
{
	if (logged.size)
		fprintf(stderr, "log:\n%s\n", log_read());
	return logged.size == 0;
}

/* ---- the host ---- */

struct link {
	const char *name;
	bool up;
	uint64_t depth;
	int version;
};

static struct link core = { "core", true, 7, 5 }, field = { "field", false, 0, 4 }, late = { "late", false, 0, 0 };

static struct {
	struct link *by_default;
	const char *refusal;
	bool loses;
	bool no_room;
	uint64_t seq;
	struct buffer effects; /* one line each */
	struct message last;   /* its texts are not valid any more */
	struct buffer context, properties, payload;
	bool late_exists;
} world;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
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
	if (!strcmp(name, "late") && world.late_exists)
		return &late;
	return strcmp(name, "field") ? NULL : &field;
}

static struct link *link_default(void *arg)
{
	(void)arg;
	return world.by_default;
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

static int link_version(void *arg, const struct link *link)
{
	(void)arg;
	return link->version;
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
	CHECK(strlen(message->topic.data) == message->topic.size);
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

static const struct script_host host = {
	.agent_name = "gw-01",
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
	.lose = lose,
	.subscribe = subscribe,
	.unsubscribe = unsubscribe,
	.connect = connect_link,
	.disconnect = disconnect,
};

/* What the host was asked to do since the last time, in one line. */
static bool did(const char *expected)
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

static char directory[] = "/tmp/test_script.XXXXXX";
static char error[4000];

static const char *path_in(const char *name)
{
	static char path[500];

	(void)snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

static void write_file(const char *name, const char *data, size_t size)
{
	FILE *file = fopen(path_in(name), "w");

	if (!file || fwrite(data, 1, size, file) != size || fclose(file))
		abort();
}

static struct script *open_with(const char *source, size_t memory_bytes, int64_t call_ms)
{
	struct script_limits limits = { memory_bytes, call_ms };

	world.by_default = &core;
	world.refusal = NULL;
	world.seq = 0;
	world.effects.size = 0;
	world.late_exists = world.no_room = false;
	logged.size = 0;
	error[0] = 0;
	write_file("rules.lua", source, strlen(source));
	return script_open(path_in("rules.lua"), 42, limits, &host, error, sizeof error);
}

static struct script *open_or_abort(const char *source, size_t memory_bytes, int64_t call_ms)
{
	struct script *script = open_with(source, memory_bytes, call_ms);

	if (!script) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	return script;
}

static struct script *open_script(const char *source)
{
	return open_or_abort(source, 8 << 20, 60000);
}

static const char *message_sized(struct script *script, const char *topic, const char *payload, size_t size)
{
	struct inbound inbound = { .topic = topic, .payload = { payload, size }, .qos = 1, .time_ms = 1234567890123 };

	return script_message(script, field.name, &inbound);
}

static void message(struct script *script, const char *topic, const char *payload)
{
	message_sized(script, topic, payload, strlen(payload));
}

/* Runs statements as on_start() of a script; what they log and do can be looked
 * at afterwards. */
static void run(const char *statements)
{
	char source[4000];
	struct script *script;

	(void)snprintf(source, sizeof source, "function on_start() %s end", statements);
	script = open_script(source);
	script_start(script);
	script_close(script);
}

/* True if an expression is true in a script. */
static bool holds(const char *expression)
{
	char statements[3000];

	(void)snprintf(statements, sizeof statements, "assert(%s)", expression);
	run(statements);
	return silent();
}

/* The error that statements end with, of which `expected` is a part. */
static bool raises(const char *statements, const char *expected)
{
	run(statements);
	return saw(expected) && did("");
}

static void opens_and_names_itself(void)
{
	struct script *script = open_script("x = 1");

	CHECK(!strcmp(script_name(script), "rules.lua"));
	CHECK(script_origin(script) == 42);
	CHECK(script_stats(script).calls == 0 && script_stats(script).memory_bytes > 1000);
	CHECK(!script_defines(script, "on_message"));
	script_close(script);
	script = open_script("function on_message() end on_sent = nil");
	CHECK(script_defines(script, "on_message") && !script_defines(script, "on_sent"));
	script_close(script);
	script_close(NULL);
}

/* True if loading fails with an error that begins with the file's path and `expected`. */
static bool refused(const char *source, int64_t call_ms, const char *expected)
{
	char whole[600];
	struct script *script = open_with(source, 8 << 20, call_ms);
	bool same;

	(void)snprintf(whole, sizeof whole, "%s%s", path_in("rules.lua"), expected);
	same = !script && !strncmp(error, whole, strlen(whole));
	if (!same)
		fprintf(stderr, "expected: %s\ngot:      %s\n", whole, error);
	script_close(script);
	return same;
}

static void refuses_to_load_what_is_wrong(void)
{
	struct script_limits limits = { 0, 0 };

	CHECK(refused("x = = 1", 60000, ":1: unexpected symbol near '='"));
	CHECK(!strchr(error, '\n'));
	CHECK(refused("\n\nerror('no')", 60000, ":3: no\nstack traceback:"));
	CHECK(refused("on_message = 'x'", 60000, ": on_message: expected a function, got a string"));
	CHECK(refused("on_stop = {}", 60000, ": on_stop: expected a function, got a table"));
	CHECK(refused("error({})", 60000, ": (error object is a table value)"));
	CHECK(refused("while true do end", 100, ":1: used more than 100 ms of CPU time"));
	CHECK(refused("local t = {} for i = 1, 1e9 do t[i] = {} end", 60000,
	              ": not enough memory (limit 8388608 bytes)"));
	CHECK(refused("\033Lua", 60000, ":"));
	CHECK(!script_open(path_in("none.lua"), 1, limits, &host, error, sizeof error));
	CHECK(strstr(error, "cannot open") && strstr(error, "none.lua"));
	CHECK(!script_open(directory, 1, limits, &host, error, sizeof error));
	CHECK(strstr(error, "cannot read"));
}

static void names_long_paths_in_full(void)
{
	struct script_limits limits = { 0, 0 };
	char name[120], expected[700];

	memset(name, 'n', sizeof name);
	strcpy(name + 100, ".lua");
	write_file(name, "x = = 1", 7);
	(void)snprintf(expected, sizeof expected, "%s:1: unexpected", path_in(name));
	CHECK(!script_open(path_in(name), 1, limits, &host, error, sizeof error));
	CHECK(!strncmp(error, expected, strlen(expected)));
	CHECK(unlink(path_in(name)) == 0);
}

static void checking_only_compiles(void)
{
	struct script_limits limits = { 8 << 20, 100 };
	struct script *script;

	write_file("rules.lua", "error('never run')", 18);
	script = script_open(path_in("rules.lua"), 1, limits, NULL, error, sizeof error);
	if (!script)
		abort();
	script_start(script);
	message(script, "a", "b");
	CHECK(!script_defines(script, "on_message"));
	script_close(script);
	write_file("rules.lua", "x =", 3);
	CHECK(!script_open(path_in("rules.lua"), 1, limits, NULL, error, sizeof error));
	CHECK(strstr(error, "rules.lua:1: unexpected symbol"));
}

/* The state cannot even be set up: a message, no crash, whatever the limit. */
static void little_memory_is_an_error(void)
{
	int opened = 0;

	for (size_t limit = 100; limit < 80000; limit += 300) {
		struct script *script = open_with("local t = require and {} on('a/#', print)", limit, 100);

		if (script) {
			opened++;
			message(script, "a/b", "x");
			(void)script_defines(script, "on_message");
		} else {
			CHECK(strstr(error, "not enough memory"));
		}
		script_close(script);
	}
	CHECK(opened > 0);
}

static void message_arguments(void)
{
	struct script *script = open_script("function on_message(topic, payload, msg)\n"
	                                    "  mqtt.pub('out', table.concat({topic, payload, msg.link, msg.qos,"
	                                    "    tostring(msg.retain), tostring(msg.dup), string.format('%.3f', msg.time),"
	                                    "    tostring(msg.properties)}, ' '))\n"
	                                    "end");

	message(script, "a/b", "hello");
	CHECK(did("pub core out=a/b hello field 1 false false 1234567890.123 nil q1 #1;"));
	CHECK(world.last.origin == 42 && silent());
	CHECK(script_stats(script).calls == 1 && script_stats(script).errors == 0);
	script_close(script);
}

static void payloads_are_any_bytes(void)
{
	struct script *script = open_script("function on_message(topic, payload) mqtt.pub('n', #payload)"
	                                    " mqtt.pub('same', payload) end");

	message_sized(script, "t", "a\0b\377", 4);
	CHECK(world.payload.size == 4 && !memcmp(world.payload.data, "a\0b\377", 4));
	message_sized(script, "t", NULL, 0);
	CHECK(world.payload.size == 0);
	script_close(script);
	script = open_script("function on_message(_, p) mqtt.pub('twice', p .. p) end");
	world.effects.size = 0;
	message(script, "t", "x");
	CHECK(did("pub core twice=xx q1 #1;"));
	script_close(script);
}

static void properties_travel(void)
{
	struct buffer sent = { 0 };
	struct inbound inbound = { .topic = "t", .payload = { "p", 1 } };
	struct property list[] = {
		{ .id = PROPERTY_PAYLOAD_FORMAT, .number = 1 },
		{ .id = PROPERTY_MESSAGE_EXPIRY, .number = 4000000000 },
		{ .id = PROPERTY_CONTENT_TYPE, .text = { "text/csv", 8 } },
		{ .id = PROPERTY_RESPONSE_TOPIC, .text = { "re/ply", 6 } },
		{ .id = PROPERTY_CORRELATION, .text = { "\0\377", 2 } },
		{ .id = PROPERTY_USER, .name = { "k", 1 }, .text = { "v1", 2 } },
		{ .id = PROPERTY_USER, .name = { "k", 1 }, .text = { "v2", 2 } },
	};
	struct script *script = open_script("function on_message(t, p, msg)\n"
	                                    "  local q = msg.properties\n"
	                                    "  assert(q.payload_format == 1 and q.message_expiry == 4000000000)\n"
	                                    "  assert(q.content_type == 'text/csv' and q.response_topic == 're/ply')\n"
	                                    "  assert(q.correlation_data == '\\0\\255' and #q.user == 2)\n"
	                                    "  assert(q.user[2][1] == 'k' and q.user[2][2] == 'v2')\n"
	                                    "  mqtt.pub('out', p, { properties = q })\n"
	                                    "end");

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		CHECK(properties_append(&sent, &list[i]) == 0);
	inbound.properties = (struct bytes){ sent.data, sent.size };
	CHECK(script_message(script, field.name, &inbound) == NULL);
	CHECK(silent() && did("pub core out=p q1 #1;"));
	CHECK(world.properties.size == sent.size);
	script_close(script);
	buffer_release(&sent);
}

static void user_properties_from_a_map(void)
{
	struct bytes properties;
	struct property property;

	run("mqtt.pub('t', 'p', { properties = { user = { site = 'north' } } })");
	properties = (struct bytes){ world.properties.data, world.properties.size };
	CHECK(silent() && properties_next(&properties, &property) && properties.size == 0);
	CHECK(property.id == PROPERTY_USER && !memcmp(property.text.data, "north", 5));
	run("mqtt.pub('t', 'p', { properties = { user = {} } })");
	CHECK(silent() && world.properties.size == 0);
}

static void bad_properties_are_named(void)
{
	static const char *const cases[][2] = {
		{ "7", "opts.properties: table expected, got number" },
		{ "{ payload_format = 2 }", "opts.properties.payload_format: 0 or 1 expected, got 2" },
		{ "{ message_expiry = -1 }", "opts.properties.message_expiry: whole number of seconds expected, got -1" },
		{ "{ message_expiry = 1.5 }", "opts.properties.message_expiry: whole number of seconds expected, got 1.5" },
		{ "{ content_type = true }", "opts.properties.content_type: string expected, got boolean" },
		{ "{ content_type = '\\255' }", "opts.properties.content_type is not valid UTF-8" },
		{ "{ content_type = ('x'):rep(65536) }", "opts.properties.content_type is longer than 65535 bytes" },
		{ "{ response_topic = 'a/#' }", "opts.properties.response_topic contains a wildcard" },
		{ "{ user = 'x' }", "opts.properties.user: table expected, got string" },
		{ "{ user = { 'x' } }", "opts.properties.user[1]: { name, value } expected, got string" },
		{ "{ user = { { 'x' } } }", "opts.properties.user: string expected, got nil" },
		{ "{ user = { [2.5] = 'x' } }", "opts.properties.user: names are strings, got a number" },
		{ "{ contenttype = 'x' }", "opts.properties.contenttype: unknown key; did you mean 'content_type'?" },
	};
	char statements[300];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		(void)snprintf(statements, sizeof statements, "mqtt.pub('t', 'p', { properties = %s })", cases[i][0]);
		CHECK(raises(statements, cases[i][1]));
	}
}

static void publishes(void)
{
	run("assert(mqtt.pub('a', 'x') == 1) assert(mqtt.pub('b', 2.5, { qos = 0, retain = true }) == 2)"
	    " mqtt.pub('c', '', { qos = 2, link = 'field' }) mqtt.pub('d', 7, { link = mqtt.link('field') })"
	    " assert(mqtt.pubx('e', 'x', 2, true) == 5) mqtt.pubx('f', 'x') mqtt.pubx('g', 'x', 0)");
	CHECK(did("pub core a=x q1 #1;pub core b=2.5 q0r #2;pub field c= q2 #3;pub field d=7 q1 #4;"
	          "pub core e=x q2r #5;pub core f=x q1 #6;pub core g=x q0 #7;"));
	run("mqtt.pub('a', ('x'):rep(1000000)) for i = 1, 300 do mqtt.pub('b', ('y'):rep(500)) end");
	CHECK(silent() && world.seq == 301);
}

static void bad_arguments_are_named(void)
{
	CHECK(raises("mqtt.pub()", "bad argument #1 to 'pub' (topic: string expected, got no value)"));
	CHECK(raises("mqtt.pub('a/#', 'x')", "bad argument #1 to 'pub' (topic contains a wildcard)"));
	CHECK(raises("mqtt.pub('', 'x')", "(topic is empty)"));
	CHECK(raises("mqtt.pub('\\255', 'x')", "(topic is not valid UTF-8)"));
	CHECK(raises("mqtt.pub('a\\0b', 'x')", "(topic contains a NUL byte)"));
	CHECK(raises("mqtt.pub(('x'):rep(65536), 'x')", "(topic is longer than 65535 bytes)"));
	CHECK(raises("mqtt.pub('t')",
	             "bad argument #2 to 'pub' (payload: string or number expected, got no value)"));
	CHECK(raises("mqtt.pub('t', nil)", "payload: string or number expected, got nil"));
	CHECK(raises("mqtt.pub('t', true)", "payload: string or number expected, got boolean"));
	CHECK(raises("mqtt.pub('t', {})", "payload: string or number expected, got table"));
	CHECK(raises("mqtt.pub('t', 'p', 1)", "opts: table expected, got number"));
	CHECK(raises("mqtt.pub('t', 'p', { qos = 3 })", "rules.lua:1: opts.qos: 0, 1 or 2 expected, got 3"));
	CHECK(raises("mqtt.pub('t', 'p', { qos = '1' })", "opts.qos: 0, 1 or 2 expected, got string"));
	CHECK(raises("mqtt.pub('t', 'p', { retain = 1 })", "opts.retain: boolean expected, got 1"));
	CHECK(raises("mqtt.pub('t', 'p', { retian = true })", "opts.retian: unknown key; did you mean 'retain'?"));
	CHECK(raises("mqtt.pub('t', 'p', { wibble = true })", "opts.wibble: unknown key\n"));
	CHECK(raises("mqtt.pub('t', 'p', { 1 })", "opts: keys are names, got a number"));
	CHECK(raises("mqtt.pub('t', 'p', { ttl = '1 week' })", "opts.ttl: seconds above 0 or a duration such as \"5s\", \"10m\" or \"7d\" expected"));
	CHECK(raises("mqtt.pub('t', 'p', { priority = 10 })", "opts.priority: 0 to 9 expected, got 10"));
	CHECK(raises("mqtt.pub('t', 'p', { link = 1 })", "opts.link: link or its name expected, got 1"));
	CHECK(raises("mqtt.pub('t', 'p', { ctx = { f = print } })", "opts.ctx.f: a function cannot be stored"));
	CHECK(raises("mqtt.pubx('t', 'p', 3)", "bad argument #3 to 'pubx' (qos: 0, 1 or 2 expected)"));
	CHECK(raises("mqtt.pubx('t', 'p', 1, 1)",
	             "bad argument #4 to 'pubx' (retain: boolean expected, got number)"));
	CHECK(raises("mqtt.sub('a/#/b')", "bad argument #1 to 'sub' (filter "));
	CHECK(raises("mqtt.sub(7)", "filter: string expected, got number"));
	CHECK(raises("mqtt.sub('a', { qso = 1 })", "opts.qso: unknown key; did you mean 'qos'?"));
	CHECK(raises("mqtt.sub('a', { retain_handling = 1, link = 'field' })",
	             "opts.retain_handling: needs a link with version = \"5\""));
	CHECK(raises("mqtt.sub('$share/g/a', { no_local = true })", "opts.no_local: cannot be used with a $share filter"));
	CHECK(raises("mqtt.pub('t', 'p', { qos = 0.5 })", "opts.qos: 0, 1 or 2 expected, got 0.5"));
	CHECK(raises("mqtt.subx('a', 5)", "bad argument #2 to 'subx' (qos: 0, 1 or 2 expected)"));
	CHECK(raises("mqtt.link()", "bad argument #1 to 'link' (name: string expected, got no value)"));
	CHECK(raises("mqtt.link('core').pub('t', 'p')", "link expected, got string"));
	CHECK(raises("mqtt.link('core'):pub('t')", "bad argument #2 to 'pub' (payload:"));
	CHECK(raises("mqtt.link('core'):pub('t', 'p', { link = 'field' })", "opts.link: the method of a link"));
}

/* What is given up is an effect like any other: it is so only if the handler returns. */
static void a_loss_is_an_effect(void)
{
	struct script *script = open_script("function on_message(topic, payload)\n"
	                                    "  local token, why = mqtt.pub(topic, payload)\n"
	                                    "  if payload == 'bad' then error(why) end\n"
	                                    "end");

	world.refusal = "queue full";
	world.loses = true;
	message(script, "t", "good");
	CHECK(silent() && did("lose core t #1;"));
	message(script, "t", "bad");
	CHECK(saw("queue full") && did(""));
	world.loses = false;
	script_close(script);
}

static void states_of_the_world_are_returned(void)
{
	struct script *script = open_script("function on_start()\n"
	                     "  local function no(want, r, why, ...) assert(r == nil and why == want, why) end\n"
	                     "  no('no default link', mqtt.pub('t', 'p'))\n"
	                     "  no('no default link', mqtt.pubx('t', 'p', 1, false))\n"
	                     "  no('no default link', mqtt.sub('t'))\n"
	                     "  no('no default link', mqtt.subx('t', 1))\n"
	                     "  no('no default link', mqtt.unsub('t'))\n"
	                     "  no('no default link', mqtt.disconnect())\n"
	                     "  no('no default link', mqtt.is_connected())\n"
	                     "  no('unknown link', mqtt.pub('t', 'p', { link = 'nowhere' }))\n"
	                     "  no('unknown link', mqtt.sub('t', { link = 'nowhere' }))\n"
	                     "  no('unknown link', mqtt.link('nowhere'))\n"
	                     "  no('queue full', mqtt.link('core'):pub('t', 'p'))\n"
	                     "end");
	world.by_default = NULL;
	world.refusal = "queue full";
	script_start(script);
	CHECK(silent() && did(""));
	script_close(script);
}

static void subscribes(void)
{
	run("assert(mqtt.sub('a/#')) assert(mqtt.sub('b', { qos = 0.0, no_local = true, retain_as_published = true,"
	    " retain_handling = 2, link = 'core' })) mqtt.subx('c/+', 2) mqtt.subx('d') mqtt.sub('$share/g/e')"
	    " assert(mqtt.unsub('a/#')) assert(mqtt.disconnect()) assert(mqtt.is_connected() == true)");
	CHECK(silent() && did("sub core a/# q10;sub core b q0lp2;sub core c/+ q20;sub core d q10;"
	                      "sub core $share/g/e q10;unsub core a/#;disc core;"));
	run("mqtt.conn('tcp://h', 'late', { version = '5' }):sub('a', { no_local = true })");
	CHECK(silent() && did("conn late h:1883 gw-01-late;sub late a q1l0;"));
	CHECK(raises("mqtt.conn('tcp://h', 'late'):sub('a', { no_local = true })", "opts.no_local: needs a link with version"));
}

static void link_objects(void)
{
	run("local core, field = mqtt.link('core'), mqtt.link('field')\n"
	    "assert(core == mqtt.link('core') and core ~= field and ({ [core] = 1 })[mqtt.link('core')])\n"
	    "assert(core:name() == 'core' and tostring(core) == 'link core' and core:depth() == 7)\n"
	    "assert(core:connected() and core:is_connected() and not field:connected())\n"
	    "assert(getmetatable(core) == 'link' and not pcall(function() core.x = 1 end))\n"
	    "field:pub('a', 'b', { qos = 2 }) field:pubx('c', 'd', 0, true) field:sub('e') field:subx('f', 2)\n"
	    "field:unsub('e') field:disconnect()");
	CHECK(silent() && did("pub field a=b q2 #1;pub field c=d q0r #2;sub field e q10;sub field f q20;"
	                      "unsub field e;disc field;"));
}

static void connects(void)
{
	run("local late = assert(mqtt.conn('tcp://127.0.0.1:1884', 'late')) assert(late:name() == 'late')"
	    " late:pub('t', 'p') late:sub('x')");
	CHECK(silent() && did("conn late 127.0.0.1:1884 gw-01-late;pub late t=p q1 #1;sub late x q10;"));
	run("mqtt.conn('ssl://broker:8883', 'late', { client_id = 'me' })");
	CHECK(silent() && did("conn late broker:8883 tls me;"));
	CHECK(raises("mqtt.conn('tcp://h\\0x', 'late')", "url contains a NUL byte"));
	CHECK(raises("mqtt.conn('tcp://h', 'la\\0te')", "name contains a NUL byte"));
	CHECK(raises("mqtt.link('core\\0x')", "name contains a NUL byte"));
	CHECK(raises("mqtt.conn('nonsense', 'late')", "nonsense"));
	CHECK(raises("mqtt.conn('tcp://h', 'late', { keepalvie = 1 })", "keepalive"));
	CHECK(raises("mqtt.conn('tcp://h', 'late', 3)", "opts: table expected, got number"));
	CHECK(raises("mqtt.conn('tcp://h')", "name: string expected, got no value"));
	{
		struct script *script = open_script("function on_start() local r, why = mqtt.conn('tcp://h', 'late')"
		                                    " assert(r == nil and why == 'no room for a queue', why) end");

		world.no_room = true;
		script_start(script);
		CHECK(silent() && did(""));
		script_close(script);
	}
}

/* A link is not there if the handler that opens it fails. */
static void connects_all_or_nothing(void)
{
	struct script *script = open_script("local l function on_message(_, p)\n"
	                                    "  if p == 'open' then l = mqtt.conn('tcp://h', 'late') l:pub('t', 1) error('no') end\n"
	                                    "  for _, why in ipairs { select(2, l:pub('t', 2)), select(2, l:sub('t')),\n"
	                                    "    select(2, l:disconnect()), select(2, mqtt.pub('t', 3, { link = l })),\n"
	                                    "    select(2, mqtt.link('late')), select(2, l:connected()) } do\n"
	                                    "    assert(why == 'unknown link', why) end\n"
	                                    "end");

	message(script, "t", "open");
	CHECK(saw("no") && did("") && !world.late_exists);
	logged.size = 0;
	message(script, "t", "");
	CHECK(silent() && did(""));
	script_close(script);
	run("mqtt.conn('tcp://h', 'late') mqtt.conn('tcp://g', 'late')");
	CHECK(silent() && world.late_exists && did("conn late h:1883 gw-01-late;conn late g:1883 gw-01-late;"));
}

static void configurations_are_limited(void)
{
	run("local p, n = ('x'):rep(65000), 0\n"
	    "while n < 1000 do assert(mqtt.conn('mqtt://h', 'late', { username = 'x', password = p,\n"
	    "  will = { topic = 'x', payload = p }, birth = { topic = 'x', payload = p } })) n = n + 1 end");
	CHECK(did("") && saw("there is no more room") && !world.late_exists);
	run("while true do mqtt.conn('mqtt://h', 'late') end");
	CHECK(did("") && !world.late_exists);
	CHECK(raises("local s, t = ('x'):rep(60000), {} for i = 1, 1000 do t[i] = s .. i end"
	             " mqtt.conn('mqtt://h', 'late', { subscribe = t })", ""));
}

static void all_or_nothing(void)
{
	struct script *script = open_script("function on_message(topic, payload)\n"
	                                    "  mqtt.pub('a', '1') mqtt.sub('x')\n"
	                                    "  on('late', function() end)\n"
	                                    "  if payload == 'bad' then error('broken') end\n"
	                                    "  mqtt.pub('b', '2')\n"
	                                    "end");

	message(script, "t", "bad");
	CHECK(did("") && saw("error script rules.lua: on_message (topic t): ") && saw("rules.lua:4: broken"));
	CHECK(saw("stack traceback:") && saw("in function 'on_message'") && !strstr(log_read(), "[C]: in ?"));
	message(script, "t", "good");
	CHECK(did("pub core a=1 q1 #2;sub core x q10;pub core b=2 q1 #3;"));
	CHECK(script_stats(script).calls == 2 && script_stats(script).errors == 1);
	script_close(script);
}

#define SCRIPT_OF_FAILURES                                                       \
	"function on_message(t, payload)\n"                                      \
	"  if payload == 'two' then error('first\\nand more') end\n"               \
	"  if payload == 'empty' then error('\\nx', 0) end\n"                      \
	"  if payload == 'long' then error(('e'):rep(5000), 0) end\n"            \
	"  mqtt.pub('out', payload)\n"                                           \
	"end\n"                                                                  \
	"on('#', function(t, payload) if payload == 'two' then error('second') end end)\n"

static void handlers_fail_one_by_one(void)
{
	struct script *script = open_script("on('a/+', function(t) mqtt.pub('first', t) end)\n"
	                                    "on('a/#', function(t) mqtt.pub('second', t) error('oh') end)\n"
	                                    "on('b', function(t) mqtt.pub('never', t) end)\n"
	                                    "on('#', function(t, p, m) mqtt.pub('third', m.link) end)\n"
	                                    "function on_message(t) mqtt.pub('whole', t) end");

	CHECK(!strncmp(message_sized(script, "a/x", "", 0), path_in("rules.lua"), 20));
	CHECK(did("pub core whole=a/x q1 #1;pub core first=a/x q1 #2;pub core third=field q1 #4;"));
	CHECK(saw("error script rules.lua: on a/# (topic a/x): ") && saw("rules.lua:2: oh"));
	CHECK(script_stats(script).calls == 4 && script_stats(script).errors == 1);
	script_close(script);
}

static void running(void *arg, const struct script *script, const char *handler)
{
	(void)arg;
	CHECK(script_origin(script) == 42);
	note("%s;", handler ? handler : "over");
}

static void says_why_a_message_failed(void)
{
	static struct script_host watched;
	struct script_limits limits = { 8 << 20, 60000 };
	const char *why;
	struct script *script;

	world.seq = 0;
	watched = host;
	watched.running = running;
	write_file("rules.lua", SCRIPT_OF_FAILURES, strlen(SCRIPT_OF_FAILURES));
	script = script_open(path_in("rules.lua"), 42, limits, &watched, error, sizeof error);
	REQUIRE(script != NULL);
	CHECK(message_sized(script, "t", "good", 4) == NULL);
	CHECK(did("on_message;pub core out=good q1 #1;over;on;over;"));
	why = message_sized(script, "t", "two", 3);
	CHECK(why && strstr(why, "rules.lua:2: first") && !strchr(why, '\n') && !strstr(why, "traceback"));
	CHECK(did("on_message;over;on;over;") && saw("first") && saw("second"));
	why = message_sized(script, "t", "empty", 5);
	CHECK(why && !*why);
	why = message_sized(script, "t", "long", 4);
	CHECK(why && strlen(why) == 499);
	CHECK(message_sized(script, "t", "good", 4) == NULL);
	script_start(script);
	world.effects.size = 0;
	script_close(script);
}

static void registers_at_run_time(void)
{
	struct script *script = open_script("function on_message(t)\n"
	                                    "  if t == 'more' then\n"
	                                    "    for i = 1, 40 do on('x', function() mqtt.pub('h', i) end) end\n"
	                                    "  elseif t == 'fail' then\n"
	                                    "    on('x', function() mqtt.pub('never', 1) end) error('x')\n"
	                                    "  end\n"
	                                    "end\n"
	                                    "on('more', function() on('more', function() end) end)");

	message(script, "fail", "");
	message(script, "x", "");
	CHECK(did(""));
	message(script, "more", "");
	message(script, "x", "");
	CHECK(world.seq == 40);
	script_close(script);
}

static void on_checks_its_arguments(void)
{
	CHECK(raises("on('a/#/b', print)", "bad argument #1 to 'on' (filter "));
	CHECK(raises("on('$share/g/a', print)", "$share is for subscriptions"));
	CHECK(raises("on(nil, print)", "filter: string expected, got nil"));
	CHECK(raises("on('a')", "bad argument #2 to 'on' (function expected, got no value)"));
}

static void effects_of_loading_wait(void)
{
	struct script *script = open_script("mqtt.sub('a/#') mqtt.pub('up', '1') mqtt.conn('tcp://h', 'late')\n"
	                                    "function on_start() mqtt.pub('started', '2') end\n"
	                                    "function on_stop() mqtt.pub('stopped', '3') end");

	CHECK(did(""));
	script_start(script);
	CHECK(did("sub core a/# q10;pub core up=1 q1 #1;conn late h:1883 gw-01-late;pub core started=2 q1 #2;"));
	script_stop(script);
	CHECK(did("pub core stopped=3 q1 #3;"));
	script_close(script);
	/* Never started: what is set aside is freed. */
	script_close(open_script("mqtt.conn('tcp://h', 'late') mqtt.pub('up', '1')"));
	script = open_script("mqtt.pub('up', '1') function on_start() error('x') end");
	script_start(script);
	CHECK(did("pub core up=1 q1 #1;"));
	script_close(script);
}

static void tells_the_fate_of_messages(void)
{
	struct script *script = open_script("function on_message(t, p)\n"
	                                    "  mqtt.pub('out', p, { ctx = { row = 7, name = 'a\\0b', f = -0.0 } })\n"
	                                    "end\n"
	                                    "function on_sent(token, link, ctx)\n"
	                                    "  local what = ctx and ctx.row .. #ctx.name .. ctx.f or '?'\n"
	                                    "  mqtt.pub('sent', token .. link .. what)\n"
	                                    "end\n"
	                                    "function on_drop(token, link, reason, ctx)\n"
	                                    "  mqtt.pub('drop', token .. link .. reason .. ctx.row)\n"
	                                    "end");
	struct buffer context = { 0 };
	struct bytes kept;

	message(script, "t", "p");
	CHECK(did("pub core out=p q1 #1;"));
	CHECK(buffer_append(&context, world.context.data, world.context.size) == 0 && context.size > 10);
	kept = (struct bytes){ context.data, context.size };
	script_sent(script, 1, "core", kept);
	script_drop(script, 1, "core", "expired", kept);
	script_sent(script, UINT64_C(1) << 40, "core", (struct bytes){ NULL, 0 });
	script_sent(script, 3, "core", (struct bytes){ "damaged", 7 });
	CHECK(silent());
	CHECK(did("pub core sent=1core73-0.0 q1 #2;pub core drop=1coreexpired7 q1 #3;"
	          "pub core sent=1099511627776core? q1 #4;pub core sent=3core? q1 #5;"));
	script_drop(script, 9, "core", "expired", (struct bytes){ NULL, 0 });
	CHECK(saw("on_drop (token 9, link core): ") && saw("attempt to index a nil value"));
	script_close(script);
	buffer_release(&context);
}

static void context_does_not_stick(void)
{
	run("mqtt.pub('a', 'x', { ctx = 1, properties = { content_type = 'x' } }) mqtt.pub('b', 'y')");
	CHECK(world.context.size == 0 && world.properties.size == 0);
	run("mqtt.pub('a', 'x', { ctx = 1 }) mqtt.pubx('b', 'y')");
	CHECK(world.context.size == 0);
}

static void tells_of_connections(void)
{
	struct script *script = open_script("function on_connect(link, extra) mqtt.pub('up', link .. tostring(extra)) end\n"
	                                    "function on_disconnect(link, why) mqtt.pub('down', link .. why) end");

	script_connect(script, "core");
	script_disconnect(script, "core", "timeout");
	CHECK(silent() && did("pub core up=corenil q1 #1;pub core down=coretimeout q1 #2;"));
	script_close(script);
	script = open_script("function on_connect() error('x') end");
	script_connect(script, "core");
	CHECK(saw("on_connect (link core): "));
	script_stop(script);
	script_close(script);
}

static void handlers_can_be_replaced(void)
{
	struct script *script = open_script("function on_message() on_message = nil on_connect = 'x' mqtt.pub('a', 1) end\n"
	                                    "setmetatable(_G, { __index = function(_, k) error('undefined ' .. k) end })");

	message(script, "t", "");
	message(script, "t", "");
	CHECK(silent() && did("pub core a=1 q1 #1;"));
	script_connect(script, "core");
	CHECK(saw("on_connect (link core): expected a function, got a string"));
	CHECK(!script_defines(script, "on_sent") && !script_defines(script, "on_connect"));
	script_close(script);
}

static void logs(void)
{
	run("log.info('%d%%', 5) log.warn('100%') log.error(nil) log.info(1.5) log.info('a\\0b') log.debug('%d', 'x')"
	    " print('x', 2, nil) warn('a', 'b') log.info(setmetatable({}, { __tostring = function() return 'mine' end }))");
	CHECK(saw("info script rules.lua: 5%\nwarn script rules.lua: 100%\nerror script rules.lua: nil\n"
	          "info script rules.lua: 1.5\ninfo script rules.lua: a\\0b\ninfo script rules.lua: x\t2\tnil\n"
	          "warn script rules.lua: ab\ninfo script rules.lua: mine\n"));
	CHECK(raises("log.info()", "bad argument #1 to 'info' (value expected)"));
	CHECK(raises("log.info('%d', 'x')", "number expected, got string"));
	run("string.format = nil log.info('%s', 'still')");
	CHECK(saw("info script rules.lua: still"));
	CHECK(raises("\nlog.info('%d', 'x')", "rules.lua:2: bad argument #2 to "));
}

static size_t logged_times(const char *text)
{
	size_t n = 0;

	for (const char *at = log_read(); (at = strstr(at, text)); at++)
		n++;
	logged.size = strlen(logged.data);
	return n;
}

/* An error that comes with every message does not fill the disk. */
static void errors_are_logged_ten_times(void)
{
	struct script *script = open_script("function on_message(_, p) error('no ' .. p) end");

	for (int i = 0; i < 100; i++)
		message(script, "t", "p");
	CHECK(logged_times("stack traceback") == 10);
	CHECK(logged_times("error script rules.lua: 10 errors within a minute: the next ones are only counted\n") == 1);
	CHECK(script_stats(script).errors == 100);
	script_close(script);
	CHECK(saw("error script rules.lua: 90 more errors were not logged\n"));
}

static void log_limits(void)
{
	struct log_limit limit = { 0 };
	uint64_t earlier;

	for (int i = 0; i < LOG_LIMIT_LINES; i++)
		CHECK(log_limit_allows(&limit, 5 + i, &earlier) && earlier == 0);
	CHECK(!log_limit_allows(&limit, 100, &earlier) && !log_limit_allows(&limit, LOG_LIMIT_MS + 4, &earlier));
	CHECK(log_limit_allows(&limit, LOG_LIMIT_MS + 5, &earlier) && earlier == 2);
	CHECK(log_limit_allows(&limit, LOG_LIMIT_MS + 6, &earlier) && earlier == 0);
}

static void clock_and_agent(void)
{
	CHECK(holds("math.type(now()) == 'float' and math.abs(now() - os.time()) < 5"));
	CHECK(holds("math.type(uptime()) == 'float' and uptime() <= uptime()"));
	CHECK(holds("agent.name == 'gw-01' and agent.version == '" VERSION "'"));
	CHECK(holds("os.time() > 1e9 and os.date('%Y') and os.clock() and os.difftime(2, 1) == 1"));
}

static void misspelt_handlers_are_mentioned(void)
{
	script_close(open_script("function on_mesage() end function on_message() end function on_alarm() end"));
	CHECK(saw("warn script rules.lua: on_mesage is no handler: did you mean on_message?"));
	CHECK(!strstr(log_read(), "on_alarm"));
}

static void sandbox_has_no_way_out(void)
{
	CHECK(holds("io == nil and debug == nil and package == nil and dofile == nil and loadfile == nil"));
	CHECK(holds("os.execute == nil and os.getenv == nil and os.remove == nil and os.exit == nil"));
	CHECK(holds("os.tmpname == nil and os.rename == nil and string.dump == nil"));
	CHECK(holds("load('return 1 + 1')() == 2 and load('return x', 'n', 't', { x = 3 })() == 3"));
	CHECK(holds("select(2, load('\\27Lua')):find('binary') and select(2, load('\\27Lua', 'x', 'b')):find('binary')"));
	CHECK(holds("load((function() local n = 0 return function() n = n + 1 return ({'return ', '9'})[n] end end)())()"
	            " == 9"));
	CHECK(holds("not pcall(load, nil) and not pcall(setmetatable, {}, { __gc = print })"));
	CHECK(holds("not pcall(setmetatable, {}, { __gc = false }) and getmetatable(setmetatable({}, { x = 1 })).x == 1"));
	CHECK(holds("not pcall(setmetatable, setmetatable({}, { __metatable = 1 }), nil)"));
	CHECK(holds("utf8.char(228) and coroutine.running and table.concat and math.pi and string.pack"));
	CHECK(raises("setmetatable({}, { __gc = print })", "__gc is not available to scripts"));
}

static void xpcall_works_as_usual(void)
{
	CHECK(holds("select('#', xpcall(function(...) return ... end, print, 1, nil, 3)) == 4"));
	CHECK(holds("select(2, xpcall(error, function(e) return e .. '!' end, 'x', 0)) == 'x!'"));
	CHECK(holds("select('#', xpcall(error, function() return 1, 2 end)) == 2 and not xpcall(error, error)"));
	CHECK(holds("select(2, xpcall(error, function(e) error(e .. '2', 0) end, 'x', 0)) == 'x2'"));
	CHECK(holds("not pcall(xpcall, print) and not xpcall(nil, type)"));
	CHECK(holds("(function() local co = coroutine.wrap(function() return xpcall(function(a)"
	            " local b = coroutine.yield(a) error('e' .. b, 0) end, function(e) return e .. '!' end, 5) end)"
	            " local a = co() local ok, e = co('z') return a == 5 and ok == false and e == 'ez!' end)()"));
}

static void coroutines_work_as_usual(void)
{
	CHECK(holds("coroutine.wrap(function(a, b) return a + b end)(1, 2) == 3"));
	CHECK(holds("(function() local co = coroutine.create(function(a) local b, c = coroutine.yield(a, 2) return b + c end)"
	            " local _, x, y = coroutine.resume(co, 1) local _, z = coroutine.resume(co, 3, 4)"
	            " return x == 1 and y == 2 and z == 7 and coroutine.status(co) == 'dead' end)()"));
	CHECK(holds("(function() local co = coroutine.create(error) local ok, e = coroutine.resume(co, { 5 })"
	            " return not ok and e[1] == 5 and coroutine.status(co) == 'dead' end)()"));
	CHECK(holds("(function() local n = 0 for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)"
	            " do n = n + v end return n == 6 end)()"));
	CHECK(holds("(function() local closed local co = coroutine.create(function() local x <close> = setmetatable({},"
	            " { __close = function() closed = true end }) coroutine.yield() end) coroutine.resume(co)"
	            " return coroutine.close(co) and closed end)()"));
	CHECK(raises("coroutine.wrap(7)", "bad argument #1 to 'wrap' (function expected, got number)"));
}

/* Each must be stopped by the CPU limit, and soon. */
static const char *const endless[] = {
	"while true do end",
	"while true do pcall(function() while true do end end) end",
	"xpcall(function() while true do end end, function() while true do end end)",
	"while true do xpcall(function() while true do end end, function() while true do end end) end",
	"xpcall(error, function() while true do end end)",
	"coroutine.wrap(function() while true do end end)()",
	"while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
	"while true do pcall(coroutine.wrap(function() pcall(function() while true do end end) while true do end end)) end",
	"local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
	"coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function() while true do end end })"
	" while true do end end)()",
	"local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function()"
	" while true do end end }) while true do end end) coroutine.resume(co) coroutine.close(co)",
	"local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function()"
	" while true do end end }) coroutine.yield() end) coroutine.resume(co) coroutine.close(co)",
	"error(setmetatable({}, { __tostring = function() while true do end end }))",
	"error(setmetatable({}, { __tostring = function() while true do pcall(error) end end }))",
	"tostring(setmetatable({}, { __tostring = function() while true do end end }))",
	"log.info(setmetatable({}, { __tostring = function() while true do end end }))",
	"load(function() while true do end end)",
	"table.sort({ 1, 2, 3 }, function() while true do end end)",
	"; ('x'):gsub('x', function() while true do end end)",
	"local function f() return pcall(f) end while true do f() end",
	"local t = setmetatable({}, { __index = function(t, k) while true do end end }) return t.x",
	"for _ in function() return 1 end do end",
	"::a:: goto a",
	/* long library calls: few instructions between them */
	"local s = ('x'):rep(300) while true do s:find('.-.-y') end",
	"coroutine.wrap(function() local s = ('x'):rep(300) while true do s:find('.-.-y') end end)()",
	"local co = coroutine.create(function() coroutine.yield() local s = ('x'):rep(300)"
	" while true do pcall(string.find, s, '.-.-y') end end) coroutine.resume(co) coroutine.resume(co)",
	"local t = {} for i = 1, 50000 do t[i] = (i * 7919) % 50021 end while true do table.sort(t) end",
	"local s = ('x'):rep(500000) while true do s:gsub('x', 'y') end",
	"local s = ('x'):rep(300) ; ('y'):rep(100000):gsub('y', function() return s:find('.-.-y') end)",
	"while true do pcall(pcall, pcall, string.rep, 'x', 1000000) end",
};

/* It ends in time, does nothing else, and the next handler has its whole time. */
static void is_stopped(const char *loop)
{
	char source[600];
	struct timespec start, end;
	struct script *script;

	(void)snprintf(source, sizeof source, "function on_message() mqtt.pub('never', 1) %s end\n"
	               "function on_connect() mqtt.pub('fine', 1) for i = 1, 3000 do i = i + 1 end end", loop);
	script = open_or_abort(source, 8 << 20, 20);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	message(script, "t", "");
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	CHECK(end.tv_sec - start.tv_sec < 3);
	CHECK(did("") && script_stats(script).errors == 1);
	if (!saw("used more than 20 ms of CPU time")) {
		fprintf(stderr, "%s\n", loop);
		test_broken++;
	}
	script_connect(script, "core");
	CHECK(did("pub core fine=1 q1 #2;"));
	CHECK(script_stats(script).errors == 1);
	script_close(script);
}

static void loops_are_stopped(void)
{
	for (size_t i = 0; i < sizeof endless / sizeof *endless; i++)
		is_stopped(endless[i]);
}

/* Library calls that would need no memory and never come back. */
static void single_calls_come_back(void)
{
	CHECK(holds("(''):rep(1 << 62) == '' and (''):rep(1 << 62, '') == '' and ('x'):rep(3, ',') == 'x,x,x'"));
	CHECK(holds("('x'):rep(-1) == '' and string.rep(7, 2) == '77' and (''):rep(3, '-') == '--'"));
	CHECK(holds("table.concat(table.move({ 1, 2, 3 }, 2, 3, 1)) == '233' and #table.move({ 1, 2 }, 1, 2, 1, {}) == 2"));
	CHECK(raises("table.move({}, 1, 1 << 62, 2)", "bad argument #3 to 'move' (too many elements to move)"));
	CHECK(raises("table.move({}, math.mininteger, math.maxinteger, 2)", "too many elements to move"));
	CHECK(raises("string.rep({}, 2)", "bad argument #1 to 'rep' (string expected, got table)"));
}

static void coroutines_go_on_after_a_stop(void)
{
	struct script *script = open_or_abort("local co = coroutine.wrap(function() while true do"
	                                  " coroutine.yield() for i = 1, 5000 do i = i + 1 end end end) co()\n"
	                                  "function on_message(_, p) co() if p == 'loop' then while true do end end end",
	                                  8 << 20, 20);

	message(script, "t", "loop");
	message(script, "t", "");
	message(script, "t", "");
	CHECK(script_stats(script).errors == 1 && script_stats(script).calls == 3);
	script_close(script);
}

static void memory_is_limited(void)
{
	static const char *const bombs[] = {
		"local t = {} for i = 1, 1e9 do t[i] = { i } end",
		"local s = 'x' while true do s = s .. s end",
		"return ('x'):rep(1e9)",
		"local t = {} while true do t[#t + 1] = coroutine.create(print) end",
		"while true do on('a/' .. math.random(1e9), print) end",
		"while true do pcall(string.rep, 'x', 1e7) local t = {} for i = 1, 1e9 do t[i] = i end end",
		"local function f(...) return f(1, ...) end f()",
	};

	for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
		char source[300];
		struct script *script;

		(void)snprintf(source, sizeof source, "function on_message() %s end function on_connect() mqtt.pub('ok', 1) end",
		               bombs[i]);
		script = open_or_abort(source, 4 << 20, 60000);
		message(script, "t", "");
		CHECK(script_stats(script).errors == 1 && script_stats(script).memory_bytes <= 4 << 20);
		script_connect(script, "core");
		CHECK(did("pub core ok=1 q1 #1;"));
		script_close(script);
	}
}

static long peak_kb(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) ? 0 : usage.ru_maxrss;
}

static void effects_are_limited(void)
{
	long before;

	run("local s = ('x'):rep(1e6) while true do mqtt.pub('t', s) end");
	CHECK(did("") && saw("one handler call cannot publish more than 8388608 bytes"));
	run("while true do mqtt.sub('t') end");
	CHECK(did("") && saw("one handler call cannot publish more than"));
	/* One text, many times: it is small in Lua and large outside. */
	before = peak_kb();
	run("local s = ('x'):rep(65535) local pair, user = { s, s }, {} for i = 1, 8000 do user[i] = pair end"
	    " mqtt.pub('t', 'p', { properties = { user = user } })");
	CHECK(did("") && saw("one handler call cannot publish more than 8388608 bytes"));
	CHECK(peak_kb() - before < 100 << 10);
}

static void requires_modules(void)
{
	CHECK(mkdir(path_in("lib"), 0777) == 0 && mkdir(path_in("lib/rules"), 0777) == 0);
	write_file("helper.lua", "loads = (loads or 0) + 1 return { name = ..., path = select(2, ...) }", 69);
	write_file("lib/rules/deadband.lua", "local h = require 'helper' return function() return h.name end", 62);
	write_file("none.lua", "x = 1", 5);
	write_file("broken.lua", "return +", 8);
	write_file("throws.lua", "\nerror('thrown')", 16);
	write_file("loop.lua", "require 'loop2'", 15);
	write_file("loop2.lua", "require 'loop'", 14);
	write_file("binary.lua", "\033LuaS", 5);
	CHECK(holds("require('helper').name == 'helper' and require('helper') == require('helper') and loads == 1"));
	CHECK(holds("require('helper').path:find('/helper.lua', 1, true) and require('rules.deadband')() == 'helper'"));
	CHECK(holds("require('none') == true and require('string') == string and require('mqtt') == mqtt"));
	CHECK(raises("require('nowhere')", "rules.lua:1: module 'nowhere' not found: no file '"));
	CHECK(raises("require('broken')", "broken.lua:1: unexpected symbol"));
	CHECK(raises("require('throws')", "throws.lua:2: thrown"));
	CHECK(raises("pcall(require, 'throws') require('throws')", "throws.lua:2: thrown"));
	CHECK(raises("require('loop')", "loop2.lua:1: module 'loop' requires itself"));
	CHECK(raises("require('binary')", "attempt to load a binary chunk"));
	CHECK(raises("require('../helper')", "module names are made of letters"));
	CHECK(raises("require('..helper')", "module names are made of letters"));
	CHECK(raises("require('/etc/passwd')", "module names are made of letters"));
	CHECK(raises("require('a..b')", "module names are made of letters"));
	CHECK(raises("require('')", "module names are made of letters"));
	CHECK(raises("require('helper\\0')", "module names are made of letters"));
	CHECK(raises("require()", "bad argument #1 to 'require' (string expected, got no value)"));
}

static void errors_of_any_kind_are_logged(void)
{
	CHECK(raises("error()", "(error object is a nil value)"));
	CHECK(raises("error({})", "(error object is a table value)"));
	CHECK(raises("error(setmetatable({}, { __tostring = function() return 'mine' end }))", "mine"));
	CHECK(raises("error(setmetatable({}, { __tostring = function() return 5 end }))", "on_start: "));
	CHECK(raises("error(setmetatable({}, { __tostring = function() error('worse') end }))", "worse"));
	CHECK(raises("error(12)", "on_start: 12"));
	CHECK(raises("coroutine.yield()", "attempt to yield"));
	CHECK(raises("local function f() return 1 + f() end f()", "stack overflow"));
}

int main(void)
{
	if (!mkdtemp(directory))
		return 1;
	RUN(opens_and_names_itself);
	RUN(refuses_to_load_what_is_wrong);
	RUN(names_long_paths_in_full);
	RUN(checking_only_compiles);
	RUN(little_memory_is_an_error);
	RUN(message_arguments);
	RUN(payloads_are_any_bytes);
	RUN(properties_travel);
	RUN(user_properties_from_a_map);
	RUN(bad_properties_are_named);
	RUN(publishes);
	RUN(bad_arguments_are_named);
	RUN(a_loss_is_an_effect);
	RUN(states_of_the_world_are_returned);
	RUN(subscribes);
	RUN(link_objects);
	RUN(connects);
	RUN(connects_all_or_nothing);
	RUN(configurations_are_limited);
	RUN(all_or_nothing);
	RUN(handlers_fail_one_by_one);
	RUN(says_why_a_message_failed);
	RUN(registers_at_run_time);
	RUN(on_checks_its_arguments);
	RUN(effects_of_loading_wait);
	RUN(tells_the_fate_of_messages);
	RUN(context_does_not_stick);
	RUN(tells_of_connections);
	RUN(handlers_can_be_replaced);
	RUN(logs);
	RUN(errors_are_logged_ten_times);
	RUN(log_limits);
	RUN(clock_and_agent);
	RUN(misspelt_handlers_are_mentioned);
	RUN(sandbox_has_no_way_out);
	RUN(xpcall_works_as_usual);
	RUN(coroutines_work_as_usual);
	RUN(loops_are_stopped);
	RUN(single_calls_come_back);
	RUN(coroutines_go_on_after_a_stop);
	RUN(memory_is_limited);
	RUN(effects_are_limited);
	RUN(requires_modules);
	RUN(errors_of_any_kind_are_logged);
	return test_end();
}
