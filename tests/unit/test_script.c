/* script.c: loading, handlers, their effects and errors. */
#include "histogram.h"
#include "script_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sources.h"
#include "test.h"

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
	same = !script && !strncmp(load_error, whole, strlen(whole));
	if (!same)
		fprintf(stderr, "expected: %s\ngot:      %s\n", whole, load_error);
	script_close(script);
	return same;
}

static void refuses_to_load_what_is_wrong(void)
{
	struct script_limits limits = { 0 };

	CHECK(refused("x = = 1", 60000, ":1: unexpected symbol near '='"));
	CHECK(!strchr(load_error, '\n'));
	CHECK(refused("\n\nerror('no')", 60000, ":3: no\nstack traceback:"));
	CHECK(refused("on_message = 'x'", 60000, ": on_message: expected a function, got a string"));
	CHECK(refused("on_stop = {}", 60000, ": on_stop: expected a function, got a table"));
	CHECK(refused("error({})", 60000, ": (error object is a table value)"));
	CHECK(refused("while true do end", 100, ":1: used more than 100 ms of CPU time"));
	CHECK(refused("local t = {} for i = 1, 1e9 do t[i] = {} end", 60000,
	              ": not enough memory (limit 8388608 bytes)"));
	CHECK(refused("\033Lua", 60000, ":"));
	CHECK(!script_open(path_in("none.lua"), 1, limits, &host, load_error, sizeof load_error));
	CHECK(strstr(load_error, "cannot open") && strstr(load_error, "none.lua"));
	CHECK(!script_open(directory, 1, limits, &host, load_error, sizeof load_error));
	CHECK(strstr(load_error, "cannot read"));
}

static void names_long_paths_in_full(void)
{
	struct script_limits limits = { 0 };
	char name[120], expected[700];

	memset(name, 'n', sizeof name);
	strcpy(name + 100, ".lua");
	write_file(name, "x = = 1", 7);
	(void)snprintf(expected, sizeof expected, "%s:1: unexpected", path_in(name));
	CHECK(!script_open(path_in(name), 1, limits, &host, load_error, sizeof load_error));
	CHECK(!strncmp(load_error, expected, strlen(expected)));
	CHECK(unlink(path_in(name)) == 0);
}

static void skips_what_is_no_lua(void)
{
	CHECK(refused("\xef\xbb\xbfx = = 1", 60000, ":1: unexpected symbol"));
	CHECK(refused("#!/usr/bin/lua\nx = = 1", 60000, ":2: unexpected symbol"));
	CHECK(refused("\xef\xbb\xbf# x\n\nx = = 1", 60000, ":3: unexpected symbol"));
	script_close(open_script("#"));
	script_close(open_script(""));
	script_close(open_script("\xef\xbb\xbf"));
}

/* The texts are kept, whatever becomes of the files, and nothing is logged twice. */
static void opens_again_as_it_was(void)
{
	struct script_limits limits = { 8 << 20, 60000, 0 };
	struct sources sources;
	struct script *script;

	write_file("word.lua", "log.info('module') return 'old'", 31);
	script = open_script("function on_message() mqtt.pub('w', require('word')) end log.info('chunk') require('word')"
	                     " function on_mesage() end");
	CHECK(saw("chunk") && !script_sources_changed(script));
	write_file("word.lua", "error('broken')", 15);
	write_file("rules.lua", "error('broken')", 15);
	CHECK(script_sources_changed(script));
	script_take_sources(script, &sources);
	script_close(script);
	logged.size = 0;
	script = script_open_again(path_in("rules.lua"), &sources, 42, limits, &host, load_error, sizeof load_error);
	CHECK(script && silent());
	message(script, "t", "");
	CHECK(did("pub core w=old q1 #1;") && script_sources_changed(script));
	script_close(script);
	CHECK(unlink(path_in("word.lua")) == 0);
}

static void start_says_what_failed(void)
{
	struct script *script = open_script("function on_start() error('no') end");
	const char *failure = script_start(script);

	CHECK(failure && strstr(failure, "rules.lua:1: no") && saw("on_start: "));
	script_close(script);
	script = open_script("x = 1");
	CHECK(!script_start(script));
	script_close(script);
}

static void limits_can_change(void)
{
	struct script *script = open_or_abort("function on_message() local t = {} for i = 1, 1e5 do t[i] = i end mqtt.pub('t', 1) end"
	                                      " function on_connect() while true do end end", 0, 0);

	message(script, "t", "");
	CHECK(did("pub core t=1 q1 #1;"));
	script_set_limits(script, (struct script_limits){ 500000, 20, 0 });
	message(script, "t", "");
	CHECK(did("") && saw("not enough memory (limit 500000 bytes)"));
	script_connect(script, "core");
	CHECK(saw("used more than 20 ms of CPU time"));
	script_set_limits(script, (struct script_limits){ 8 << 20, 60000, 0 });
	message(script, "t", "");
	CHECK(did("pub core t=1 q1 #2;"));
	script_close(script);
}

static void checking_only_compiles(void)
{
	struct script_limits limits = { .memory_bytes = 8 << 20, .call_ms = 100 };
	struct script *script;

	write_file("rules.lua", "error('never run')", 18);
	script = script_open(path_in("rules.lua"), 1, limits, NULL, load_error, sizeof load_error);
	if (!script)
		abort();
	script_start(script);
	message(script, "a", "b");
	CHECK(!script_defines(script, "on_message"));
	script_close(script);
	write_file("rules.lua", "x =", 3);
	CHECK(!script_open(path_in("rules.lua"), 1, limits, NULL, load_error, sizeof load_error));
	CHECK(strstr(load_error, "rules.lua:1: unexpected symbol"));
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
			CHECK(strstr(load_error, "not enough memory"));
		}
		script_close(script);
	}
	CHECK(opened > 0);
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
	CHECK(!strcmp(script_handlers[0], "on_message") && script_stats(script).calls_of[0] == 1);
	CHECK(!strcmp(script_handlers[1], "on") && script_stats(script).calls_of[1] == 3);
	script_close(script);
}

static void calls_are_timed_if_somebody_wants_to_know(void)
{
	struct script *script = open_script("function on_message(t) for i = 1, 1000 do end end");
	struct histogram times = {0};
	uint64_t count = 0;

	message(script, "t", "");
	host.times = &times;
	message(script, "t", "");
	message(script, "t", "");
	script_stop(script); /* has no handler */
	host.times = NULL;
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
		count += times.counts[i];
	CHECK(count == 2 && times.sum > 0);
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
	struct script_limits limits = { .memory_bytes = 8 << 20, .call_ms = 60000 };
	const char *why;
	struct script *script;

	world.seq = 0;
	watched = host;
	watched.running = running;
	write_file("rules.lua", SCRIPT_OF_FAILURES, strlen(SCRIPT_OF_FAILURES));
	script = script_open(path_in("rules.lua"), 42, limits, &watched, load_error, sizeof load_error);
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

static void misspelt_handlers_are_mentioned(void)
{
	script_close(open_script("function on_mesage() end function on_message() end function on_alarm() end"));
	CHECK(saw("warn script rules.lua: on_mesage is no handler: did you mean on_message?"));
	CHECK(!strstr(log_read(), "on_alarm"));
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
	if (!open_directory())
		return 1;
	RUN(opens_and_names_itself);
	RUN(refuses_to_load_what_is_wrong);
	RUN(names_long_paths_in_full);
	RUN(skips_what_is_no_lua);
	RUN(opens_again_as_it_was);
	RUN(start_says_what_failed);
	RUN(limits_can_change);
	RUN(checking_only_compiles);
	RUN(little_memory_is_an_error);
	RUN(all_or_nothing);
	RUN(handlers_fail_one_by_one);
	RUN(calls_are_timed_if_somebody_wants_to_know);
	RUN(says_why_a_message_failed);
	RUN(registers_at_run_time);
	RUN(on_checks_its_arguments);
	RUN(effects_of_loading_wait);
	RUN(tells_the_fate_of_messages);
	RUN(context_does_not_stick);
	RUN(tells_of_connections);
	RUN(handlers_can_be_replaced);
	RUN(misspelt_handlers_are_mentioned);
	RUN(errors_of_any_kind_are_logged);
	return test_end();
}
