/* A script's `state`: what can be kept, what a handler that raises leaves, what is
 * written and read again; also when memory ends anywhere. */
#include "script_fixture.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "state_table.h"
#include "test.h"

/* ---- what is saved ---- */

#define ROWS_MAX 2000

static struct row {
	char *key, *value;
	size_t key_size, value_size;
} rows[ROWS_MAX];
static size_t n_rows;
static unsigned changes, written; /* how often the host was told, and what was written */

static void forget_rows(void)
{
	for (; n_rows > 0; n_rows--) {
		free(rows[n_rows - 1].key);
		free(rows[n_rows - 1].value);
	}
}

static char *copy(struct bytes bytes)
{
	char *data = malloc(bytes.size + 1);

	REQUIRE(data);
	memcpy(data, bytes.data, bytes.size);
	return data;
}

static int put_row(void *arg, struct bytes key, struct bytes value)
{
	size_t at = 0;

	(void)arg;
	written++;
	while (at < n_rows && (rows[at].key_size != key.size || memcmp(rows[at].key, key.data, key.size) != 0))
		at++;
	if (at < n_rows) {
		free(rows[at].key);
		free(rows[at].value);
		rows[at] = rows[--n_rows];
	}
	if (value.size == 0)
		return 0;
	REQUIRE(n_rows < ROWS_MAX);
	rows[n_rows++] = (struct row){ copy(key), copy(value), key.size, value.size };
	return 0;
}

static void save(struct script *script)
{
	written = 0;
	CHECK(script_state_write(script, put_row, NULL) == 0);
	script_state_written(script);
}

static int load_rows(void *arg, uint32_t origin, int (*row)(void *to, struct bytes key, struct bytes value), void *to)
{
	(void)arg;
	CHECK(origin == 42);
	for (size_t i = 0; i < n_rows; i++)
		if (row(to, (struct bytes){ rows[i].key, rows[i].key_size },
		        (struct bytes){ rows[i].value, rows[i].value_size }))
			return -1;
	return 0;
}

static void state_changed(void *arg, struct script *script)
{
	(void)arg;
	(void)script;
	changes++;
	note("state;");
}

/* ---- scripts ---- */

static const char interpreter[] =
        "function dump(v)\n"
        "	if type(v) ~= 'table' then return type(v) == 'string' and ('%q'):format(v) or tostring(v) end\n"
        "	local keys, parts = {}, {}\n"
        "	for k in pairs(v) do keys[#keys + 1] = k end\n"
        "	table.sort(keys, function(a, b) return type(a) .. tostring(a) < type(b) .. tostring(b) end)\n"
        "	for i, k in ipairs(keys) do parts[i] = '[' .. dump(k) .. ']=' .. dump(v[k]) end\n"
        "	return '{' .. table.concat(parts, ',') .. '}'\n"
        "end\n"
        "function on_message(topic, payload) assert(load(payload))() end\n";

static struct script_host our_host;

static struct script *open_limited(const char *source, size_t memory_bytes, size_t state_bytes)
{
	struct script_limits limits = { memory_bytes, 60000, state_bytes };
	struct script *script;

	script_close(open_script("")); /* a fresh world */
	our_host = host;
	our_host.state_load = load_rows;
	our_host.state_changed = state_changed;
	write_file("rules.lua", source, strlen(source));
	script = script_open(path_in("rules.lua"), 42, limits, &our_host, load_error, sizeof load_error);
	if (!script)
		fprintf(stderr, "%s\n", load_error);
	return script;
}

/* A script whose messages are statements, and whose state is what is saved. */
static struct script *reopen(size_t state_bytes)
{
	struct script *script = open_limited(interpreter, 64 << 20, state_bytes);

	REQUIRE(script);
	script_start(script);
	changes = 0;
	(void)did("");
	return script;
}

static struct script *fresh(void)
{
	forget_rows();
	return reopen(0);
}

/* ---- what must hold between calls ---- */

static void check_tree(lua_State *L, int root, int depth)
{
	int table = lua_gettop(L);
	int hidden = 0;

	CHECK(state_table_depth(L, table) == depth);
	state_table_push_root(L, table, root);
	CHECK(depth < 0 || lua_rawequal(L, -1, root));
	for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
		hidden++;
	CHECK(hidden == 2);
	REQUIRE(state_table_push_data(L, table));
	lua_pushnil(L);
	while (lua_next(L, table + 2)) {
		CHECK(!state_table_is_gone(L, -1));
		if (lua_istable(L, -1))
			check_tree(L, depth < 0 ? table + 3 : root, depth + 1);
		lua_pop(L, 1);
	}
	lua_settop(L, table);
}

static bool sound(struct script *script)
{
	lua_State *L = script->L;
	int broken = test_broken;

	CHECK(lua_gettop(L) == 0);
	state_table_push_top(L);
	check_tree(L, 0, -1);
	CHECK(state_table_bytes(L, 1) == 2 + script->state.bytes);
	CHECK(script->state.records == 0 && script->state.gone == 0);
	lua_settop(L, 0);
	return test_broken == broken;
}

/* NULL, or what was raised. */
static const char *does(struct script *script, const char *statements)
{
	const char *error = message_sized(script, "t", statements, strlen(statements));

	if (!sound(script))
		fprintf(stderr, "after: %s\n", statements);
	return error;
}

static bool works(struct script *script, const char *statements)
{
	const char *error = does(script, statements);

	if (error)
		fprintf(stderr, "%s\nraised: %s\n", statements, error);
	return !error;
}

static bool is(struct script *script, const char *expression)
{
	char statements[1000];

	(void)snprintf(statements, sizeof statements, "assert(%s)", expression);
	return works(script, statements);
}

static bool fails(struct script *script, const char *statements, const char *expected)
{
	const char *error = does(script, statements);

	if (!error || !strstr(error, expected))
		fprintf(stderr, "%s\nexpected: %s\ngot:      %s\n", statements, expected, error ? error : "no error");
	return error && strstr(error, expected);
}

/* What state holds, as text; malloc'd. */
static char *dump_of(struct script *script)
{
	CHECK(works(script, "log.info('%s', dump(state))"));
	return strdup(log_read());
}

static bool holds_exactly(struct script *script, const char *expected)
{
	char statements[2000];

	(void)snprintf(statements, sizeof statements, "local is = dump(state) assert(is == [==[%s]==], is)", expected);
	return works(script, statements);
}

/* ---- reading and writing ---- */

static void keeps_plain_values(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.s = 'a\\0b' state.i = math.mininteger state.f = 0.1 state.t = true state.n = false"));
	CHECK(works(script, "state[1] = 'one' state[2.5] = 'two and a half' state[true] = 'yes' state[false] = 'no'"));
	CHECK(is(script, "state.s == 'a\\0b' and math.type(state.i) == 'integer' and state.n == false and state.x == nil"));
	CHECK(is(script, "state[1.0] == 'one' and state[2.5] and state[true] == 'yes' and state[false] == 'no'"));
	CHECK(works(script, "state.inf = math.huge state.nan = 0/0") && is(script, "state.nan ~= state.nan"));
	CHECK(works(script, "state.s = nil state[true] = nil") && is(script, "state.s == nil and state[true] == nil"));
	CHECK(works(script, "state.i = 1 state.i = 1.0") && is(script, "math.type(state.i) == 'float'"));
	script_close(script);
}

static void is_a_table_to_lua(void)
{
	struct script *script = fresh();

	CHECK(is(script, "type(state) == 'table' and getmetatable(state) == 'state'"));
	CHECK(fails(script, "setmetatable(state, {})", "cannot change a protected metatable"));
	CHECK(works(script, "state.list = { 3, 1, 2 } table.insert(state.list, 5) table.insert(state.list, 1, 9)"));
	CHECK(is(script, "#state.list == 5 and table.concat(state.list, ',') == '9,3,1,2,5'"));
	CHECK(works(script, "table.sort(state.list)") && is(script, "table.concat(state.list, ',') == '1,2,3,5,9'"));
	CHECK(works(script, "assert(table.remove(state.list) == 9 and table.remove(state.list, 1) == 1)"));
	CHECK(is(script, "select('#', table.unpack(state.list)) == 3"));
	CHECK(works(script, "table.move({ 7, 8 }, 1, 2, 2, state.list)") && is(script, "table.concat(state.list) == '278'"));
	CHECK(works(script, "local n = 0 for i, v in ipairs(state.list) do n = n + i * v end assert(n == 40)"));
	CHECK(works(script, "local n = 0 for k, v in pairs(state.list) do n = n + v end assert(n == 17)"));
	CHECK(works(script, "local n = 0 for k, v in next, state.list do n = n + v end assert(n == 17)"));
	CHECK(is(script, "next({}) == nil and next({ 5 }) == 1 and next(state) == 'list' and next(state, 'list') == nil"));
	CHECK(is(script, "rawget(state, 'list') == state.list and rawequal(state.list, state.list)"));
	CHECK(is(script, "rawlen(state.list) == 3 and rawlen('ab') == 2 and rawlen({ 1 }) == 1 and rawget({ 4 }, 1) == 4"));
	CHECK(works(script, "assert(rawset(state, 'r', 1) == state)") && is(script, "state.r == 1"));
	CHECK(works(script, "local t = rawset({}, 1, 2) assert(t[1] == 2 and state.r == 1)"));
	CHECK(is(script, "tostring(state.list):find('^table: ')"));
	script_close(script);
}

/* Entries that are set to nil stay in their place until the handler is over. */
static void what_was_deleted_is_not_seen(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.l = { 1, 2, 3, 4 } state.m = { a = 1, b = 2 }"));
	CHECK(works(script, "local l = state.l l[4] = nil assert(#l == 3 and rawlen(l) == 3) l[3] = nil assert(#l == 2) l[3] = 7"
	                    " assert(#l == 3) l[4] = 8 assert(#l == 4 and table.concat(l) == '1278')"));
	CHECK(works(script, "while #state.l > 0 do table.remove(state.l) end assert(next(state.l) == nil)"
	                    " for i = 1, 5 do state.l[#state.l + 1] = i end assert(#state.l == 5)"));
	CHECK(works(script, "state.m.a = nil assert(next(state.m) == 'b' and next(state.m, 'b') == nil"
	                    " and rawget(state.m, 'a') == nil) for k in pairs(state.m) do assert(k == 'b') end"));
	CHECK(works(script, "for k in pairs(state.m) do state.m[k] = nil end assert(next(state.m) == nil)"));
	CHECK(works(script, "state.m.x = 1 state.m.x = nil mqtt.pub('t', '', { ctx = state.m }) local t = { x = state.m }"
	                    " mqtt.pub('t', '', { ctx = t })"));
	CHECK(holds_exactly(script, "{[\"l\"]={[1]=1,[2]=2,[3]=3,[4]=4,[5]=5},[\"m\"]={}}"));
	script_close(script);
}

static void assigning_adopts(void)
{
	struct script *script = fresh();

	CHECK(works(script, "local s = {} state.x = s s.n = 1 assert(state.x == s and state.x.n == 1)"));
	CHECK(works(script, "local s = { a = { b = { 1 } } } state.x = s s.a.b[2] = 2 assert(state.x.a.b[2] == 2)"
	                    " assert(getmetatable(s.a.b) == 'state')"));
	CHECK(works(script, "kept = state.x kept.late = true") && is(script, "state.x.late"));
	CHECK(works(script, "state.deep = {} local t = state.deep for i = 1, 15 do t.d = {} t = t.d end"));
	script_close(script);
}

/* A loop that began before ends, and sees nothing that is hidden; but the order is another
 * one now, so what it sees of the rest is left to chance. */
static void what_is_gone_through_may_be_stored(void)
{
	static const char statements[] =
	        "for n = 1, 40 do local t, seen = {}, 0 for i = 1, n do t['k' .. i] = i end"
	        " for k, v in %s do assert(type(k) == 'string' and v == t[k]) state.x = t seen = seen + 1 end"
	        " assert(seen >= 1 and seen <= 2 * n, seen) end";
	struct script *script = fresh();
	char text[300];

	(void)snprintf(text, sizeof text, statements, "pairs(t)");
	CHECK(works(script, text));
	(void)snprintf(text, sizeof text, statements, "next, t");
	CHECK(works(script, text));
	CHECK(fails(script, "pairs()", "bad argument #1 to 'pairs' (value expected)"));
	CHECK(fails(script, "for _ in pairs(nil) do end", "bad argument #1 to 'for iterator' (table expected, got nil)"));
	CHECK(works(script, "local t = setmetatable({}, { __pairs = function(t) coroutine.yield(1) return 1, 2, 3, 4 end })"
	                    " local co = coroutine.wrap(function() return pairs(t) end) assert(co() == 1)"
	                    " local a, b, c, d = co() assert(a == 1 and b == 2 and c == 3 and d == nil)"));
	script_close(script);
}

static void tables_are_values(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.today = { n = 1, l = { 1, 2 } } state.yesterday = state.today state.today = {}"));
	CHECK(holds_exactly(script, "{[\"today\"]={},[\"yesterday\"]={[\"l\"]={[1]=1,[2]=2},[\"n\"]=1}}"));
	CHECK(works(script, "state.a = state.yesterday state.a.l[1] = 9 assert(state.yesterday.l[1] == 1)"));
	CHECK(works(script, "local t = { 1 } state.p = { t, t } state.p[1][1] = 2 assert(state.p[2][1] == 1)"));
	CHECK(works(script, "state = state state.me = state") && is(script, "state.me.today and not state.me.me"));
	CHECK(works(script, "local x = state.a state.a = x assert(state.a == x)"));
	CHECK(works(script, "state.q = { inner = state.p } state.q.inner[1][1] = 5 assert(state.p[1][1] == 2)"));
	CHECK(works(script, "state.a = state.a.l") && is(script, "state.a[1] == 9"));
	script_close(script);
}

static void detached_tables_are_tables(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.x = { n = 1, sub = { 2 } } old = state.x state.x = nil"));
	CHECK(works(script, "old.n = 5 old.f = print old[old] = 1 old[old] = nil assert(old.f == print and old.sub[1] == 2)"));
	CHECK(holds_exactly(script, "{}"));
	CHECK(fails(script, "state.y = old", "state.y.f: a function cannot be stored"));
	CHECK(works(script, "old.f = nil state.y = old old.n = 6 old.sub[1] = 3") && is(script, "state.y == old"));
	CHECK(holds_exactly(script, "{[\"y\"]={[\"n\"]=6,[\"sub\"]={[1]=3}}}"));
	CHECK(works(script, "sub = old.sub old.sub = nil sub.up = old sub.up = nil state.z = sub sub.k = 1 old.sub = sub"));
	CHECK(works(script, "old.sub.k = 2") && is(script, "state.z.k == 1 and state.y.sub.k == 2"));
	CHECK(works(script, "local t = table.remove({ state.y }) state.y = nil t.sub.k = 3"));
	CHECK(holds_exactly(script, "{[\"z\"]={[1]=3,[\"k\"]=1}}"));
	script_close(script);
}

static void what_cannot_be_kept_is_refused(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.sensors = { t1 = { v = 1 } } state[7] = { {} }"));
	CHECK(fails(script, "state.f = print", "state.f: a function cannot be stored"));
	CHECK(fails(script, "state.sensors.t1.fn = print", "state.sensors.t1.fn: a function cannot be stored"));
	CHECK(fails(script, "state[7][1].co = coroutine.create(print)", "state[7][1].co: a thread cannot be stored"));
	CHECK(fails(script, "state.sensors.t1.l = { { x = mqtt.link('core') } }",
	            "state.sensors.t1.l[1].x: a userdata cannot be stored"));
	CHECK(fails(script, "state.m = { 1, setmetatable({}, {}) }", "state.m[2]: a table with a metatable cannot be stored"));
	CHECK(fails(script, "local t = {} t.a = { b = t } state.c = t", "state.c.a.b: a table cannot be stored in itself"));
	CHECK(fails(script, "state.sensors[{}] = 1", "state.sensors: a table cannot be a key"));
	CHECK(fails(script, "state.k = { [print] = 1 }", "state.k: a function cannot be a key"));
	CHECK(fails(script, "state[0/0] = 1", "index is NaN") && fails(script, "state[nil] = 1", "index is nil"));
	CHECK(works(script, "assert(state[nil] == nil and state[0/0] == nil and state[print] == nil)"));
	CHECK(fails(script, "local t = {} state.d = t for i = 1, 16 do t.d = {} t = t.d end", ".d.d: nested more than 16 deep"));
	CHECK(fails(script, "state.sensors.t1.x = 1 error('after')", "after"));
	CHECK(holds_exactly(script, "{[7]={[1]={}},[\"sensors\"]={[\"t1\"]={[\"v\"]=1}}}"));
	CHECK(works(script, "t = { 1, { 2 }, print } assert(not pcall(function() state.t = t end))"
	                    " assert(getmetatable(t) == nil and getmetatable(t[2]) == nil and #t == 3)"));
	script_close(script);
}

static void errors_say_where(void)
{
	struct script *script = open_limited("function on_start()\n\tstate.x = print\nend", 8 << 20, 0);

	script_start(script);
	CHECK(saw("rules.lua:2: state.x: a function cannot be stored"));
	script_close(script);
}

/* ---- all or nothing ---- */

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

static const char things[] = "state.n = 1 state.t = { a = { b = 1, c = { true } } } state.l = { 5, 3, 4 }"
                             " state.tables = { { n = 1 }, { n = 2 }, { n = 3 } } state[false] = 'f'";

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

/* Random statements on state and on a plain copy of it, with handlers that raise. */
static void does_as_a_plain_table_does(void)
{
	static const char model[] =
	        "local seed = ... math.randomseed(seed)\n"
	        "local function copy(v) if type(v) ~= 'table' then return v end\n"
	        "	local c = {} for k, x in pairs(v) do c[k] = copy(x) end return c end\n"
	        "local keys = { 'a', 'b', 'c', 1, 2, 3, true }\n"
	        "local function any() return keys[math.random(#keys)] end\n"
	        "local function fresh(d) if d > 3 or math.random(3) == 1 then return math.random(5) end\n"
	        "	local t = {} for i = 1, math.random(0, 3) do t[any()] = fresh(d + 1) end return t end\n"
	        "local function pick(s, m) while math.random(3) > 1 do local k = any()\n"
	        "	if type(m[k]) ~= 'table' then break end s, m = s[k], m[k] end return s, m end\n"
	        "model = model or {} local m = copy(model)\n"
	        "for i = 1, math.random(12) do\n"
	        "	local s, t = pick(state, m) local k, what = any(), math.random(6)\n"
	        "	if what <= 2 then local v = fresh(1) t[k] = copy(v) s[k] = v\n"
	        "	elseif what == 3 then t[k] = nil s[k] = nil\n"
	        "	elseif what == 4 then local f, g = pick(state, m) if #dump(g) < 500 then t[k] = copy(g) s[k] = f end\n"
	        "	elseif what == 5 and math.random(4) == 1 then collectgarbage()\n"
	        "	elseif type(t[k]) == 'table' then local j, old = any(), s[k] local x = t[k] t[k] = nil s[k] = nil\n"
	        "		old.z = (old.z or 0) + 1 x.z = (x.z or 0) + 1 t[j] = x s[j] = old end\n"
	        "	for x = 1, 4 do assert(rawlen(s) == #s and (#s == 0 or s[#s] ~= nil) and s[#s + 1] == nil) end\n"
	        "	assert(dump(state) == dump(m), dump(state) .. ' is not ' .. dump(m))\n"
	        "	if #dump(m) > 5000 then for k in pairs(m) do m[k] = nil state[k] = nil end end\n"
	        "end\n"
	        "if math.random(3) == 1 then error('on purpose') end\n"
	        "model = m\n";
	struct script *script = fresh();
	char source[3600];

	for (int seed = 1; seed <= 400; seed++) {
		const char *error;

		(void)snprintf(source, sizeof source, "local function run(...) %s end run(%d)", model, seed);
		error = does(script, source);
		CHECK(!error || strstr(error, "on purpose"));
		if (error && !strstr(error, "on purpose"))
			fprintf(stderr, "seed %d: %s\n", seed, error);
		CHECK(works(script, "assert(dump(state) == dump(model or {}))"));
		if (seed % 10 == 0) {
			save(script);
			CHECK(works(script, "saved = dump(state) log.info('%s', saved)"));
			script_close(script);
			script = reopen(0);
			CHECK(works(script, "local function copy(v) if type(v) ~= 'table' then return v end local c = {}"
			                    " for k, x in pairs(v) do c[k] = copy(x) end return c end model = copy(state)"));
		}
	}
	script_close(script);
}

/* ---- saving ---- */

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

/* ---- limits ---- */

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

/* ---- elsewhere ---- */

static void can_be_given_where_tables_are(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.opts = { qos = 0, retain = true, properties = { content_type = 'x', user = { { 'a', 'b' } } } }"));
	(void)did("state;");
	CHECK(works(script, "mqtt.pub('t', 'p', state.opts)") && did("pub core t=p q0r #1;"));
	CHECK(world.properties.size > 8);
	CHECK(works(script, "mqtt.pub('t', 'p', { properties = { user = { state.opts.properties.user[1] } } })"));
	CHECK(works(script, "mqtt.pub('t', 'p', { properties = { user = state.opts.properties.user } })"));
	CHECK(works(script, "state.conn = { default = true, tls = {} } mqtt.conn('mqtt://127.0.0.1:1', 'late', { window = 7 })"));
	CHECK(works(script, "mqtt.pub('t', 'p', { ctx = { state.opts } })"));
	CHECK(world.context.size > 50);
	script_close(script);
}

static void what_json_gives_can_be_kept(void)
{
	struct script *script = fresh();

	CHECK(works(script, "state.j = json.decode('{\"a\":[],\"b\":[1,[null]],\"c\":{},\"d\":null}')"));
	CHECK(is(script, "json.encode(state) == '{\"j\":{\"a\":[],\"b\":[1,[null]],\"c\":{},\"d\":null}}'"));
	CHECK(works(script, "local a = json.array() state.l = a a[1] = 5 a[2] = 6 a[2] = nil state.m = state.l state.j.x = 1"
	                    " state.j.x = nil state.j.e = {} assert(json.encode(state.l) == '[5]')"
	                    " assert(json.encode({ state.j.e, state.m }) == '[{},[5]]') assert(json.array(state.l) == a)"));
	CHECK(fails(script, "state.k = { { [json.null] = 1 } }", "state.k[1]: json.null cannot be a key"));
	CHECK(fails(script, "state[json.null] = 1", "state: json.null cannot be a key"));
	CHECK(works(script, "state.n = json.null assert(state.n == json.null and next({ [json.null] = 1 }) == json.null)"));
	save(script);
	script_close(script);
	script = reopen(0);
	CHECK(is(script, "json.encode(state.j) == '{\"a\":[],\"b\":[1,[null]],\"c\":{},\"d\":null,\"e\":{}}'"));
	CHECK(is(script, "json.encode(state.m) == '[5]' and state.n == json.null"));
	CHECK(works(script, "state.m[1] = nil assert(json.encode(state.m) == '[]')"));
	script_close(script);
}

int main(void)
{
	REQUIRE(open_directory());
	RUN(keeps_plain_values);
	RUN(is_a_table_to_lua);
	RUN(what_was_deleted_is_not_seen);
	RUN(assigning_adopts);
	RUN(what_is_gone_through_may_be_stored);
	RUN(tables_are_values);
	RUN(detached_tables_are_tables);
	RUN(what_cannot_be_kept_is_refused);
	RUN(errors_say_where);
	RUN(a_handler_that_raises_leaves_nothing);
	RUN(does_as_a_plain_table_does);
	RUN(tells_what_changed);
	RUN(what_was_not_written_is_written_later);
	RUN(comes_back);
	RUN(damage_reads_as_nil);
	RUN(loading_belongs_to_starting);
	RUN(is_limited);
	RUN(memory_may_end_anywhere);
	RUN(a_lack_of_memory_may_be_caught);
	RUN(a_long_handler_may_write_much);
	RUN(can_be_given_where_tables_are);
	RUN(what_json_gives_can_be_kept);
	forget_rows();
	return test_end();
}
