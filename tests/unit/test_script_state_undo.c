/* What a handler that raises leaves in `state`: nothing, whatever it did to its tables, and also
 * when memory ends anywhere. */
#include "state_fixture.h"

/* Each is done, and then the handler raises. */
static const char *const undone[] = {
	"state.n = state.n + 1",
	"state.n = nil state.n = 7",
	"state.n = nil",
	"state.new = 1",
	"state.new = 1 state.new = nil",
	"state.new = { 1, { 2 } } state.new[2][1] = 3",
	"state.t = nil",
	"state.t.a.b = nil state.t.a = nil state.t = nil",
	"local t = state.t state.t = nil t.a.x = 1 t.a = nil",
	"local t = state.t state.t = nil state.u = t t.a.b = 9",
	"local t = state.t state.t = nil t.f = print t.f = nil state.t = t t.a.b = 9",
	"state.t = state.t.a state.t.b = 9",
	"state.copy = state state.copy.t.a.b = 9 state.t = nil",
	"for i = 1, 100 do state.l[i] = i end",
	"for i = 1, 100 do state[i] = { i } end for i = 1, 100 do state[i] = nil end",
	"while #state.l > 0 do table.remove(state.l, 1) end state.l.x = 1",
	"table.sort(state.l, function(a, b) return a > b end)",
	"table.sort(state.tables, function(a, b) return a.n > b.n end)",
	"table.insert(state.tables, 1, { n = 0 }) table.remove(state.tables, 2)",
	"for k in pairs(state) do state[k] = nil end",
	"for k in pairs(state.t) do state.t[k] = nil end collectgarbage() for i = 1, 50 do state.t['k' .. i] = {} end",
	"local old = state.t state.t = { old.a } old.a = nil old.a = { b = 2 } state.l = old",
	"global = { deep = { 1 } } state.g = global global.deep[2] = 2 state.g = nil",
	"pcall(function() state.n = 8 state.bad = { {}, print } end) state.n = 9",
	"local a, b = state.t, state.l state.t, state.l = b, a state.t[1] = 'x'",
	"rawset(state, 'n', 1) rawset(state.t, 'n', 1)",
	"coroutine.wrap(function() state.n = 3 coroutine.yield() end)()",
};

static void a_handler_that_raises_leaves_nothing(void)
{
	static const char *const ways[] = { "%s error('on purpose')", "%s local x = nil + 1", "%s collectgarbage() error({})",
		                            "pcall(function() %s end) error('later')" };
	struct script *script = fresh();
	char statements[1000];

	CHECK(works(script, things));
	for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
		for (size_t i = 0; i < sizeof undone / sizeof *undone; i++) {
			char *before, *after;
			unsigned changes_before;

			logged.size = 0;
			before = dump_of(script);
			changes_before = changes;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			(void)snprintf(statements, sizeof statements, ways[way], undone[i]);
#pragma GCC diagnostic pop
			CHECK(does(script, statements));
			CHECK(changes == changes_before);
			logged.size = 0;
			after = dump_of(script);
			if (strcmp(before, after) != 0)
				fprintf(stderr, "%s\nleaves:   %sit was:   %s", statements, after, before);
			CHECK(strcmp(before, after) == 0);
			free(before);
			free(after);
		}
	/* And each does something when the handler returns. */
	for (size_t i = 0; i < sizeof undone / sizeof *undone; i++) {
		script_close(script);
		script = fresh();
		CHECK(works(script, things) && works(script, undone[i]));
	}
	script_close(script);
}

/* ---- without memory ---- */

static const char *const hungry[] = {
	"state.t.a.x = { 1, { 2, { 3 } }, k = { l = {} } }",
	"state.new = { { {} }, { {} } } state.new[1] = nil for i = 1, 40 do state.l[#state.l + 1] = i end",
	"state.copy = state.t state.copy.a = state.tables state.t = nil",
	"local t = state.t state.t = nil t.more = { 1, state.l } state.u = t t.more[1] = nil",
	"for i = 1, 30 do state['k' .. i] = { i } end for i = 1, 30 do state['k' .. i] = nil end",
	"for k in pairs(state) do state[k] = nil end collectgarbage() for i = 1, 30 do state[i + 1] = 1.5 end",
	"plain = { { 1 }, { x = { 2 } }, state.t } pcall(function() state.p = plain end) state.q = plain",
};

static void memory_may_end_anywhere(void)
{
	for (size_t i = 0; i < sizeof hungry / sizeof *hungry; i++) {
		struct script *script = fresh();
		char *before, *after;
		bool done = false;
		unsigned failures = 0;

		CHECK(works(script, things));
		save(script);
		for (size_t room = 0; !done; room += 24) {
			logged.size = 0;
			before = dump_of(script);
			lua_gc(script->L, LUA_GCCOLLECT);
			script->quota.memory_bytes = script->quota.used_bytes + room;
			done = !message_sized(script, "t", hungry[i], strlen(hungry[i]));
			script->quota.memory_bytes = 0;
			failures += !done;
			CHECK(sound(script));
			logged.size = 0;
			after = dump_of(script);
			CHECK(done || strcmp(before, after) == 0);
			free(before);
			free(after);
		}
		CHECK(failures > 10);
		save(script);
		script_close(script);
		script = reopen(0);
		script_close(script);
	}
}

/* A script that goes on after a lack of memory finds each of its tables whole. */
static void a_lack_of_memory_may_be_caught(void)
{
	struct script *script = fresh();

	CHECK(works(script, "for i = 1, 3 do state[i] = { { i } } end"));
	for (size_t room = 0; room < 9000; room += 24) {
		CHECK(works(script, "t = { { 1, { 2 } }, state[2], state[2][1], k = { l = {} }, [true] = 1 }"
		                    " d = state[3] state[3] = nil d.x = { 1 } d.y = state[2] both = dump(t) .. dump(d)"));
		lua_gc(script->L, LUA_GCCOLLECT);
		script->quota.memory_bytes = script->quota.used_bytes + room;
		(void)message_sized(script, "t", "pcall(function() state[1] = t state[3] = d end)", 47);
		script->quota.memory_bytes = 0;
		CHECK(sound(script));
		CHECK(works(script, "assert(dump(t) .. dump(d) == both, dump(t) .. dump(d))"));
		CHECK(works(script, "assert(getmetatable(t) == nil or state[1] == t)"));
		CHECK(works(script, "for k in pairs(t) do assert(type(k) ~= 'userdata') end state[3] = { { 3 } } t.x = { 1 }"));
		CHECK(works(script, "state[1] = nil state[3] = { { 3 } } t = nil d = nil"));
	}
	script_close(script);
}

static void a_long_handler_may_write_much(void)
{
	struct script *script = fresh();

	CHECK(works(script, "for i = 1, 100000 do state.n = i end assert(state.n == 100000)"));
	CHECK(does(script, "for i = 1, 20000 do state['k' .. i] = i end error('x')"));
	CHECK(works(script, "for i = 1, 20000 do state['k' .. i] = i state['k' .. i] = nil end"));
	CHECK(holds_exactly(script, "{[\"n\"]=100000}"));
	save(script);
	CHECK(n_rows == 1);
	script_close(script);
}

int main(void)
{
	REQUIRE(open_directory());
	RUN(a_handler_that_raises_leaves_nothing);
	RUN(memory_may_end_anywhere);
	RUN(a_lack_of_memory_may_be_caught);
	RUN(a_long_handler_may_write_much);
	forget_rows();
	return test_end();
}
