/* every() and after(): when they are called, and what undoes them. */
#include "script_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct script *timed(const char *source)
{
	struct script *script;

	world.now_ms = 1000;
	script = open_script(source);
	script_start(script);
	return script;
}

/* Lets time pass, from one timer to the next, as an agent without work would. */
static void until(struct script *script, int64_t ms)
{
	while (script_due_ms(script) <= ms) {
		if (script_due_ms(script) > world.now_ms)
			world.now_ms = script_due_ms(script);
		script_fire(script, world.now_ms);
	}
	world.now_ms = ms;
	script_fire(script, ms);
}

static void every_keeps_to_its_grid(void)
{
	struct script *script = timed("every(0.5, function() mqtt.pub('t', 'x') end)");

	CHECK(script_due_ms(script) == 1500);
	until(script, 1499);
	CHECK(did(""));
	until(script, 2000);
	CHECK(did("pub core t=x q1 #1;pub core t=x q1 #2;"));
	/* Late: the next is where it would have been. */
	world.now_ms = 2620;
	script_fire(script, world.now_ms);
	CHECK(did("pub core t=x q1 #3;") && script_due_ms(script) == 3000);
	/* A stall: no pile-up. */
	world.now_ms = 100100;
	script_fire(script, world.now_ms);
	script_fire(script, world.now_ms);
	CHECK(did("pub core t=x q1 #4;") && script_due_ms(script) == 100500);
	CHECK(script_stats(script).calls == 4 && silent());
	script_close(script);
}

static void after_is_called_once(void)
{
	struct script *script = timed("after(2, function() mqtt.pub('t', 'x') end)");

	CHECK(script_due_ms(script) == 3000);
	until(script, 10000);
	CHECK(did("pub core t=x q1 #1;") && script_due_ms(script) == INT64_MAX);
	script_close(script);
}

static void begin_when_the_handler_returns(void)
{
	struct script *script;

	world.now_ms = 500;
	script = open_script("after(1, function() mqtt.pub('t', 'x') end)");
	CHECK(script_due_ms(script) == INT64_MAX);
	world.now_ms = 4000;
	script_start(script);
	CHECK(script_due_ms(script) == 5000);
	script_close(script);
}

static void equal_times_in_order(void)
{
	struct script *script = timed("for i = 1, 20 do after(1, function() mqtt.pub('t', i) end) end\n"
	                              "local n = 0 every(1, function() n = n + 1 mqtt.pub('n', n) end)");

	until(script, 1999);
	CHECK(did(""));
	until(script, 2000);
	CHECK(!strncmp(buffer_append(&world.effects, "", 1) ? "" : world.effects.data,
	               "pub core t=1 q1 #1;pub core t=2 q1 #2;", 38));
	CHECK(strstr(world.effects.data, "pub core t=20 q1 #20;pub core n=1 q1 #21;"));
	script_close(script);
}

static void can_be_cancelled(void)
{
	struct script *script = timed("local a, b = after(1, print), every(1, print)\n"
	                              "function on_message() mqtt.pub('a', tostring(a:cancel()) .. tostring(a:cancel())"
	                              " .. tostring(b:cancel())) end");

	message(script, "t", "");
	CHECK(did("pub core a=truefalsetrue q1 #1;") && script_due_ms(script) == INT64_MAX);
	message(script, "t", "");
	CHECK(did("pub core a=falsefalsefalse q1 #2;"));
	script_close(script);
	/* By another that is due at the same time; by itself; before it began. */
	script = timed("local b after(1, function() b:cancel() end) b = after(1, error)\n"
	               "local n = 0 every(1, function(timer) n = n + 1 if n == 3 then timer:cancel() end mqtt.pub('n', n) end)\n"
	               "every(1, error):cancel()");
	until(script, 20000);
	CHECK(did("pub core n=1 q1 #1;pub core n=2 q1 #2;pub core n=3 q1 #3;") && silent());
	CHECK(script_due_ms(script) == INT64_MAX);
	script_close(script);
	script = timed("local a a = after(1, function() mqtt.pub('t', tostring(a:cancel())) end)");
	until(script, 9000);
	CHECK(did("pub core t=false q1 #1;"));
	script_close(script);
}

static void all_or_nothing(void)
{
	struct script *script = timed("local e = every(10, print)\n"
	                              "function on_message() after(1, error) e:cancel() error('no') end\n"
	                              "function on_connect() local a = after(1, error) a:cancel() error('no') end");

	message(script, "t", "");
	CHECK(script_due_ms(script) == 11000);
	script_connect(script, "core");
	CHECK(script_due_ms(script) == 11000);
	CHECK(saw("no"));
	until(script, 11000);
	CHECK(saw("info script rules.lua: timer: 0x"));
	CHECK(script_stats(script).errors == 2);
	script_close(script);
}

static void errors_stop_nobody(void)
{
	struct script *script = timed("\nlocal n = 0 every(10, function(timer)\n n = n + 1 mqtt.pub('n', n)"
	                              " if n == 2 then timer:cancel() error('two') end end)");

	until(script, 41000);
	CHECK(did("pub core n=1 q1 #1;pub core n=3 q1 #3;pub core n=4 q1 #4;"));
	CHECK(strstr(log_read(), "error script rules.lua: every 10 s ("));
	CHECK(saw("rules.lua:2): "));
	script_close(script);
	script = timed("after(0.25, function() error('gone') end)");
	until(script, 3000);
	CHECK(saw("after 0.25 s (") && script_due_ms(script) == INT64_MAX);
	script_close(script);
	script = timed("after(0.25, error)");
	until(script, 3000);
	CHECK(saw("after 0.25 s ([C]:-1)"));
	script_close(script);
}

static void are_limited_like_others(void)
{
	struct script *script;

	world.now_ms = 1000;
	script = open_or_abort("every(1, function() while true do end end) every(1, function() mqtt.pub('t', 1) end)", 8 << 20,
	                       20);
	script_start(script);
	until(script, 2000);
	CHECK(did("pub core t=1 q1 #1;") && saw("every 1 s (") && script_stats(script).errors == 1);
	script_close(script);
}

/* What is due and takes long lets others have their turn. */
static void long_ones_make_a_pause(void)
{
	struct script *script = timed("for i = 1, 3 do every(1, function() mqtt.pub('t', i) end) end");

	world.now_ms = 2500; /* as of here; the turn began earlier */
	script_fire(script, 2000);
	CHECK(did("pub core t=1 q1 #1;") && script_due_ms(script) == 2000);
	script_fire(script, 2500);
	CHECK(did("pub core t=2 q1 #2;pub core t=3 q1 #3;") && script_due_ms(script) == 3000);
	script_close(script);
}

static void arguments_are_checked(void)
{
	world.now_ms = 0;
	CHECK(raises("every(0, print)", "bad argument #1 to 'every' (seconds: a number from 0.001 up or a duration such as"
	             " \"5s\" or \"10m\" expected, got 0)"));
	CHECK(raises("every(-1, print)", "got -1"));
	CHECK(raises("every(0/0, print)", "seconds: "));
	CHECK(raises("every(1/0, print)", "seconds: "));
	CHECK(raises("after(-0.1, print)", "bad argument #1 to 'after' (seconds: a number from 0 up"));
	CHECK(raises("after({}, print)", "got table"));
	CHECK(raises("after('soon', print)", "got \"soon\""));
	CHECK(raises("after(1e300, print)", "got 1e+300"));
	CHECK(raises("every(1)", "bad argument #2 to 'every' (function expected, got no value)"));
	CHECK(raises("every(1, 'x')", "bad argument #2 to 'every'"));
	CHECK(raises("every(1, print).cancel()", "bad argument #1 to 'cancel' (timer expected, got no value)"));
	CHECK(raises("every(1, print).cancel(mqtt.link('core'))", "timer expected, got link"));
	CHECK(holds("every('10m', print) and after('250ms', print) and after(0, print) and every(1 << 31, print)"));
	CHECK(holds("getmetatable(every(1, print)) == 'timer' and tostring(every(1, print)):match('^timer: ')"));
}

static void after_nothing_is_later(void)
{
	struct script *script = timed("local n = 0 local function again() n = n + 1 mqtt.pub('n', n) after(0, again) end"
	                              " after(0, again)");

	script_fire(script, 1000);
	CHECK(did(""));
	until(script, 1003);
	CHECK(did("pub core n=1 q1 #1;pub core n=2 q1 #2;pub core n=3 q1 #3;"));
	script_close(script);
}

/* Nobody holds the timers, and their functions go when they are over. */
static void garbage(void)
{
	struct script *script = timed("weak = setmetatable({}, { __mode = 'k' })\n"
	                              "function count() collectgarbage() local n = 0 for _ in pairs(weak) do n = n + 1 end"
	                              " return n end\n"
	                              "function new(set, s) local f = function() mqtt.pub('t', s) end weak[f] = true return set(s, f) end\n"
	                              "new(after, 1) new(every, 2) kept = new(after, 1) other = new(every, 1) other:cancel()\n"
	                              "collectgarbage()\n"
	                              "function on_message() mqtt.pub('count', count()) end");

	message(script, "t", "");
	CHECK(did("pub core count=3 q1 #1;"));
	until(script, 3000);
	CHECK(did("pub core t=1 q1 #2;pub core t=1 q1 #3;pub core t=2 q1 #4;"));
	message(script, "t", "");
	CHECK(did("pub core count=1 q1 #5;"));
	script_close(script);
}

static void memory_does_not_grow(void)
{
	struct script *script = timed("local t function on_message() if t then t:cancel() end t = after(10, print)"
	                              " after(0.001, function() end) end");
	size_t before = 0;

	for (int i = 0; i < 20000; i++) {
		message(script, "t", "");
		until(script, world.now_ms + 1);
		if (i == 10000)
			before = script_stats(script).memory_bytes;
	}
	CHECK(script_stats(script).memory_bytes < before + 20000);
	CHECK(script_due_ms(script) == world.now_ms + 9999 && silent());
	script_close(script);
}

static void memory_is_limited(void)
{
	struct script *script;

	world.now_ms = 1000;
	script = open_or_abort("function on_message() while true do after(1, error) end end"
	                       " function on_connect() after(1, function() mqtt.pub('t', 1) end) end"
	                       " function on_start() pcall(function() while true do after(2, error) end end)"
	                       " error('undo') end", 1 << 20, 60000);
	script_start(script);
	CHECK(script_due_ms(script) == INT64_MAX);
	message(script, "t", "");
	CHECK(script_stats(script).errors == 2 && script_due_ms(script) == INT64_MAX);
	CHECK(saw("not enough memory"));
	script_connect(script, "core");
	until(script, 5000);
	CHECK(did("pub core t=1 q1 #1;"));
	script_close(script);
}

int main(void)
{
	if (!open_directory())
		return 1;
	RUN(every_keeps_to_its_grid);
	RUN(after_is_called_once);
	RUN(begin_when_the_handler_returns);
	RUN(equal_times_in_order);
	RUN(can_be_cancelled);
	RUN(all_or_nothing);
	RUN(errors_stop_nobody);
	RUN(are_limited_like_others);
	RUN(long_ones_make_a_pause);
	RUN(arguments_are_checked);
	RUN(after_nothing_is_later);
	RUN(garbage);
	RUN(memory_does_not_grow);
	RUN(memory_is_limited);
	return test_end();
}
