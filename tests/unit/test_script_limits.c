/* What a script may use of processor and memory. */
#include "script_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "test.h"

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
	"while true do pcall(json.decode, '[' .. ('[],'):rep(10000) .. '0]') end",
	/* One call that looks at eight thousand million places that are empty. */
	"local e = {} for i = 1, 8192 do e['k' .. i] = 1 end for k in pairs(e) do e[k] = nil end"
	" local t = {} for i = 1, 1000 do t[i] = e end local u = {} for i = 1, 1000 do u[i] = t end pcall(json.encode, u)",
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

/* Each costs as little as the first: else it would be half a minute until there is no room for more. */
static void a_call_may_have_many_effects(void)
{
	struct script *script =
		open_or_abort("function on_message() while true do mqtt.sub('t') end end", 8 << 20, 5000);

	message(script, "t", "");
	CHECK(script_stats(script).errors == 1 && saw("one handler call cannot publish more than"));
	script_close(script);
}

static void effects_are_limited(void)
{
	long before;

	run("local s = ('x'):rep(1e6) while true do mqtt.pub('t', s) end");
	CHECK(did("") && saw("one handler call cannot publish more than 8388608 bytes"));
	/* One text, many times: it is small in Lua and large outside. */
	before = peak_kb();
	run("local s = ('x'):rep(65535) local pair, user = { s, s }, {} for i = 1, 8000 do user[i] = pair end"
	    " mqtt.pub('t', 'p', { properties = { user = user } })");
	CHECK(did("") && saw("one handler call cannot publish more than 8388608 bytes"));
	CHECK(peak_kb() - before < 100 << 10);
}

/* Many scripts are loaded one after the other. */
static void loading_leaves_no_garbage(void)
{
	struct script *script = open_script("local words = {} for i = 1, 5000 do words[i] = ('word'):rep(10) .. i end");

	CHECK(script_stats(script).memory_bytes < 100000);
	script_close(script);
}

int main(void)
{
	if (!open_directory())
		return 1;
	RUN(loops_are_stopped);
	RUN(single_calls_come_back);
	RUN(coroutines_go_on_after_a_stop);
	RUN(memory_is_limited);
	RUN(loading_leaves_no_garbage);
	RUN(effects_are_limited);
	RUN(a_call_may_have_many_effects);
	return test_end();
}
