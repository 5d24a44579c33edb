/* A script whose messages are statements, and the rows that its `state` is saved in; after each
 * statement its tables are looked through. For one source of each program.
 */
#ifndef TIDEGATE_STATE_FIXTURE_H
#define TIDEGATE_STATE_FIXTURE_H

#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "script_fixture.h"
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

static inline void forget_rows(void)
{
	for (; n_rows > 0; n_rows--) {
		free(rows[n_rows - 1].key);
		free(rows[n_rows - 1].value);
	}
}

static inline char *copy(struct bytes bytes)
{
	char *data = malloc(bytes.size + 1);

	REQUIRE(data);
	memcpy(data, bytes.data, bytes.size);
	return data;
}

static inline int put_row(void *arg, struct bytes key, struct bytes value)
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

static inline void save(struct script *script)
{
	written = 0;
	CHECK(script_state_write(script, put_row, NULL) == 0);
	script_state_written(script);
}

static inline int load_rows(void *arg, uint32_t origin, int (*row)(void *to, struct bytes key, struct bytes value),
                            void *to)
{
	(void)arg;
	CHECK(origin == 42);
	for (size_t i = 0; i < n_rows; i++)
		if (row(to, (struct bytes){ rows[i].key, rows[i].key_size },
		        (struct bytes){ rows[i].value, rows[i].value_size }))
			return -1;
	return 0;
}

static inline void state_changed(void *arg, struct script *script)
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

static inline struct script *open_limited(const char *source, size_t memory_bytes, size_t state_bytes)
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
static inline struct script *reopen(size_t state_bytes)
{
	struct script *script = open_limited(interpreter, 64 << 20, state_bytes);

	REQUIRE(script);
	script_start(script);
	changes = 0;
	(void)did("");
	return script;
}

static inline struct script *fresh(void)
{
	forget_rows();
	return reopen(0);
}

/* ---- what must hold between calls ---- */

static inline void check_tree(lua_State *L, int root, int depth)
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

static inline bool sound(struct script *script)
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

/* ---- statements ---- */

/* NULL, or what was raised. */
static inline const char *does(struct script *script, const char *statements)
{
	const char *error = message_sized(script, "t", statements, strlen(statements));

	if (!sound(script))
		fprintf(stderr, "after: %s\n", statements);
	return error;
}

static inline bool works(struct script *script, const char *statements)
{
	const char *error = does(script, statements);

	if (error)
		fprintf(stderr, "%s\nraised: %s\n", statements, error);
	return !error;
}

static inline bool is(struct script *script, const char *expression)
{
	char statements[1000];

	(void)snprintf(statements, sizeof statements, "assert(%s)", expression);
	return works(script, statements);
}

static inline bool fails(struct script *script, const char *statements, const char *expected)
{
	const char *error = does(script, statements);

	if (!error || !strstr(error, expected))
		fprintf(stderr, "%s\nexpected: %s\ngot:      %s\n", statements, expected, error ? error : "no error");
	return error && strstr(error, expected);
}

/* What state holds, as text; malloc'd. */
static inline char *dump_of(struct script *script)
{
	CHECK(works(script, "log.info('%s', dump(state))"));
	return strdup(log_read());
}

static inline bool holds_exactly(struct script *script, const char *expected)
{
	char statements[2000];

	(void)snprintf(statements, sizeof statements, "local is = dump(state) assert(is == [==[%s]==], is)", expected);
	return works(script, statements);
}

static const char things[] = "state.n = 1 state.t = { a = { b = 1, c = { true } } } state.l = { 5, 3, 4 }"
                             " state.tables = { { n = 1 }, { n = 2 }, { n = 3 } } state[false] = 'f'";

#endif
