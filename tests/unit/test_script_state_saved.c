/* What of a script's `state` is written, when, and how it comes back; how large it may be. */
#include "state_fixture.h"

static void tells_what_changed(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.a = 1 mqtt.pub('t', 'p') state.b = { x = { 1 } }") && did("pub core t=p q1 #1;state;"));
	save(script);
	CHECK(written == 2 && n_rows == 2);
	CHECK(works(script, "state.b.x[1] = 2") && did("state;"));
	save(script);
	CHECK(written == 1 && n_rows == 2);
	CHECK(works(script, "state.a = 1 state.b.x[1] = 2 local x = state.b.x[1]") && did(""));
	CHECK(works(script, "old = state.b state.c = state.b.x state.b = nil") && did("state;"));
	CHECK(works(script, "old.x[1] = 5") && did(""));
	save(script);
	CHECK(written == 2 && n_rows == 2);
	CHECK(does(script, "state.a = 2 error('x')") && did(""));
	CHECK(works(script, "pcall(function() state.a = print end)") && did(""));
	save(script);
	CHECK(written == 0);
	CHECK(works(script, "state.a = nil state.c = nil") && did("state;"));
	save(script);
	CHECK(n_rows == 0 && script_stats(script).state_bytes == 0);
	script_close(script);
}

/* A write that fails is tried again with what there is then. */
static int refuse_row(void *arg, struct bytes key, struct bytes value)
{
	(void)arg;
	(void)key;
	(void)value;
	return -1;
}

static void what_was_not_written_is_written_later(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.a = 1 state.b = 2"));
	CHECK(script_state_write(script, refuse_row, NULL) == -1);
	CHECK(works(script, "state.a = 3 state.b = nil"));
	save(script);
	CHECK(written == 2 && n_rows == 1);
	script_close(script);
	script = reopen(0);
	CHECK(holds_exactly(script, "{[\"a\"]=3}"));
	script_close(script);
}

static void comes_back(void)
{
	struct script *script = fresh();
	char *before, *after;

	CHECK(works(script, things) && works(script, "state.inf = -math.huge state.z = -0.0 state.e = {} state.s = ('x'):rep(70000)"));
	save(script);
	logged.size = 0;
	before = dump_of(script);
	script_close(script);
	script = reopen(0);
	after = dump_of(script);
	CHECK(strcmp(before, after) == 0);
	CHECK(sound(script) && is(script, "1 / state.z < 0 and math.type(state.n) == 'integer'"));
	CHECK(works(script, "state.t.a.b = 2 state.t.a.c[2] = {}") && changes == 1);
	save(script);
	CHECK(written == 1);
	free(before);
	free(after);
	script_close(script);
}

static void damage_reads_as_nil(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.good = 1 state.bad = { 1, 2 } state[3] = 'x'"));
	save(script);
	for (size_t i = 0; i < n_rows; i++) {
		if (rows[i].value[0] == '{')
			rows[i].value[1] = 'q';
		if (rows[i].value[0] == 's')
			rows[i].key[0] = '{';
	}
	script_close(script);
	script = open_limited(interpreter, 8 << 20, 0);
	REQUIRE(script);
	CHECK(saw("warn script rules.lua: state.bad is damaged and reads as nil"));
	CHECK(holds_exactly(script, "{[\"good\"]=1}"));
	CHECK(works(script, "state.bad = 2"));
	save(script);
	CHECK(n_rows == 3);
	script_close(script);
}

static void loading_belongs_to_starting(void)
{
	struct script *script;

	forget_rows();
	script = open_limited("state.starts = (state.starts or 0) + 1\nstate.cfg = { a = 1 }\n", 8 << 20, 0);
	CHECK(did(""));
	script_start(script);
	CHECK(did("state;") && sound(script));
	save(script);
	script_close(script);
	script = open_limited("state.starts = (state.starts or 0) + 1\nstate.cfg = { a = state.cfg.a + 1 }\n", 8 << 20, 0);
	script_start(script);
	save(script);
	script_close(script);
	script = reopen(0);
	CHECK(holds_exactly(script, "{[\"cfg\"]={[\"a\"]=2},[\"starts\"]=2}"));
	script_close(script);
	CHECK(!open_limited("state.starts = 9 error('no')", 8 << 20, 0));
	script = open_limited("state = {}", 8 << 20, 0);
	CHECK(saw("the global `state` was assigned: nothing in it is kept"));
	script_close(script);
	CHECK(!open_limited("state.x = print", 8 << 20, 0) && strstr(load_error, "rules.lua:1: state.x: a function"));
}

static void is_limited(void)
{
	struct script *script;

	forget_rows();
	script = reopen(1000);
	/* Key: 5 + 1 bytes; string: 5 bytes and what it holds. */
	CHECK(works(script, "state.s = ('x'):rep(989)") && script_stats(script).state_bytes == 1000);
	CHECK(fails(script, "state.s = ('x'):rep(990)", "state.s: state would take more than 1000 bytes (limits.state)"));
	CHECK(fails(script, "state.n = 1", "state.n: state would take more than 1000 bytes"));
	CHECK(works(script, "state.s = ('x'):rep(900)"));
	CHECK(fails(script, "state.t = { a = { b = ('x'):rep(200) } }", "state.t.a.b: state would take"));
	CHECK(works(script, "local t = {} for i = 1, 16 do t = { t, t, t, t } if i == 3 then break end end state.t = nil"
	                    " assert(not pcall(function() state.u = t end))"));
	CHECK(fails(script, "local t = { 1 } for i = 1, 14 do t = { t, t, t, t, t, t, t, t } end state.u = t", "(limits.state)"));
	save(script);
	script_close(script);
	script = reopen(100); /* lowered: what is there stays, and may shrink */
	CHECK(fails(script, "state.n = 1", "more than 100 bytes"));
	CHECK(works(script, "state.s = ('y'):rep(900) state.s = ('x'):rep(500)"));
	CHECK(fails(script, "state.s = ('x'):rep(501)", "more than 100 bytes"));
	CHECK(works(script, "state.s = nil state.n = 1"));
	script_close(script);
}

int main(void)
{
	REQUIRE(open_directory());
	RUN(tells_what_changed);
	RUN(what_was_not_written_is_written_later);
	RUN(comes_back);
	RUN(damage_reads_as_nil);
	RUN(loading_belongs_to_starting);
	RUN(is_limited);
	forget_rows();
	return test_end();
}
