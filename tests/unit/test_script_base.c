/* What scripts find around them: log, clock, modules, a sandbox. */
#include "script_fixture.h"

#include <ctype.h>
#include <lua.h>
#include <string.h>
#include <sys/stat.h>

#include "api.h"
#include "log_limit.h"
#include "test.h"

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
	CHECK(holds("require('rules.throttle').new({ every = 1 }):allow('a', 1)")); /* the library's */
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

/* Its modules have no debug information; whose mistake it is shows all the same. */
static void the_library_names_the_scripts_lines(void)
{
	struct script *script;

	CHECK(raises("\nrequire('rules.throttle').new({})", "rules.lua:2: throttle.new: every is missing"));
	CHECK(raises("local t = require('rules.throttle').new({ every = 1 })\nt:allow({})",
	             "rules.lua:2: series: expected a string or an integer, got table"));
	CHECK(raises("local d = require('rules.dedupe').new()\nd:first('a', {})", "rules.lua:2: value: expected a string"));
	CHECK(raises("\nrequire('rules.router').new({ { 'a' } })", "rules.lua:2: router.new: route 1: expected a function"));
	script = open_script("local r = require('rules.router').new({ { '#', function(topic)\nerror(topic)\nend } })\n"
	                     "function on_message(topic)\nlocal ok = r:route(topic)\nreturn ok\nend");
	message(script, "oops", "p");
	script_close(script);
	CHECK(saw("/rules.lua:2: oops"));
	CHECK(saw("/rules.lua:2: in "));
	CHECK(saw("\t?: in method 'route'"));
	CHECK(saw("/rules.lua:5: in "));
}

/* Loading it again takes memory again. */
static void the_library_is_kept_as_long_as_it_is_used(void)
{
	run("local used = require('rules.throttle') local object = used.new({ every = 1 }) collectgarbage()"
	    " local before = collectgarbage('count') local again = require('rules.throttle') collectgarbage()"
	    " log.info('the same: %s %s', again == used, collectgarbage('count') - before < 0.5)"
	    " local options = require('rules.options') collectgarbage()"
	    " log.info('another: %s', collectgarbage('count') - before > 4)");
	CHECK(saw("the same: true true"));
	CHECK(saw("another: true"));
}

/* ---- what the editor is told ---- */

/* Methods of objects cannot be listed by a script (tests/spec/sandbox_spec.lua has the
 * rest), but in the registry they can: each type's metatable, by its name. */
static char *read_stub(void)
{
	static char text[32768];
	FILE *file = fopen("scripts/meta/tidegate.lua", "r");
	size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;

	text[size] = 0;
	REQUIRE(file && size > 1000 && size < sizeof text - 1);
	(void)fclose(file);
	return text;
}

/* Counts the methods of the type whose methods are on top of the stack. */
static int count_methods(lua_State *L, const char *type, const char *stub)
{
	char line[100];
	int n = 0;

	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), n++) {
		(void)snprintf(line, sizeof line, "\nfunction %c%s:%s(", toupper((unsigned char)*type), type + 1,
		               lua_tostring(L, -2));
		if (!strstr(stub, line)) {
			fprintf(stderr, "scripts/meta/tidegate.lua lacks%s\n", line);
			CHECK(!"a method is not in the stub");
		}
	}
	return n;
}

static void stub_has_all_methods(void)
{
	struct script *script = open_script("mqtt.link('core') metric.counter('a') metric.gauge('b')");
	const char *stub = read_stub();
	lua_State *L = script->L;
	int methods = 0, types = 0;

	lua_pushvalue(L, LUA_REGISTRYINDEX);
	for (lua_pushnil(L); lua_next(L, -2); lua_settop(L, 2)) {
		if (lua_type(L, 2) != LUA_TSTRING || !lua_istable(L, 3) || lua_getfield(L, 3, "__name") != LUA_TSTRING)
			continue;
		if (lua_getfield(L, 3, "__index") == LUA_TTABLE) {
			types++;
			methods += count_methods(L, lua_tostring(L, 2), stub);
		}
	}
	CHECK(types >= 4 && methods >= 15); /* link, timer, counter, gauge */
	lua_settop(L, 0);
	script_close(script);
}

int main(void)
{
	if (!open_directory())
		return 1;
	RUN(logs);
	RUN(errors_are_logged_ten_times);
	RUN(log_limits);
	RUN(clock_and_agent);
	RUN(sandbox_has_no_way_out);
	RUN(xpcall_works_as_usual);
	RUN(coroutines_work_as_usual);
	RUN(requires_modules);
	RUN(the_library_names_the_scripts_lines);
	RUN(the_library_is_kept_as_long_as_it_is_used);
	RUN(stub_has_all_methods);
	return test_end();
}
