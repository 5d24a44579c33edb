/* A script's `state` as a table: what can be kept in it and how it is seen, also beside a plain
 * table that is treated the same. */
#include "state_fixture.h"

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
	RUN(does_as_a_plain_table_does);
	RUN(can_be_given_where_tables_are);
	RUN(what_json_gives_can_be_kept);
	forget_rows();
	return test_end();
}
