/* The global `state`: what happens when a script reads and writes its tables, and the
 * functions of the base library that would look past that.
 */
#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#include "api.h"
#include "state_table.h"
#include "value.h"

/* ---- reading ---- */

/* state_get(table, key) */
static int state_get(lua_State *L)
{
	state_table_push_data(L, 1);
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	if (state_table_is_gone(L, -1))
		lua_pushnil(L);
	return 1;
}

static bool has_entry(lua_State *L, int data, lua_Integer number)
{
	bool has = lua_rawgeti(L, data, number) != LUA_TNIL && !state_table_is_gone(L, -1);

	lua_pop(L, 1);
	return has;
}

/* A border, where Lua's own takes what is only marked as gone for an entry. Begins where
 * the last one was found: lists are emptied and filled one by one. */
static lua_Integer count(lua_State *L, struct script_state *state, int data)
{
	lua_Integer n = state->length;

	if (lua_topointer(L, data) != state->counted)
		n = (lua_Integer)lua_rawlen(L, data);
	while (has_entry(L, data, n + 1))
		n++;
	while (n > 0 && !has_entry(L, data, n))
		n--;
	state->counted = lua_topointer(L, data);
	state->length = n;
	return n;
}

static int state_length(lua_State *L)
{
	struct script_state *state = &script_of(L)->state;

	state_table_push_data(L, 1);
	lua_pushinteger(L, state->gone ? count(L, state, lua_gettop(L)) : (lua_Integer)lua_rawlen(L, -1));
	return 1;
}

/* next(table [, key]), for any table. Most have no metatable: asking for that is cheaper
 * than asking for data. */
static int state_next(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	if (lua_getmetatable(L, 1)) {
		lua_settop(L, 2);
		if (state_table_push_data(L, 1))
			lua_replace(L, 1);
	}
	while (lua_next(L, 1)) {
		if (!state_table_is_gone(L, -1))
			return 2;
		lua_pop(L, 1);
	}
	lua_pushnil(L);
	return 1;
}

static int state_pairs(lua_State *L)
{
	lua_pushcfunction(L, state_next);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

static int pairs_end(lua_State *L, int status, lua_KContext context)
{
	(void)L;
	(void)status;
	(void)context;
	return 3;
}

/* pairs(), for any table: what is hidden in one that becomes part of state while it is gone
 * through must not be seen. */
static int any_pairs(lua_State *L)
{
	luaL_checkany(L, 1);
	if (luaL_getmetafield(L, 1, "__pairs") == LUA_TNIL)
		return state_pairs(L);
	lua_pushvalue(L, 1);
	lua_callk(L, 1, 3, 0, pairs_end);
	return pairs_end(L, LUA_OK, 0);
}

/* ---- writing ---- */

/* Where the parts of a write are on the stack. */
enum { TABLE = 1, KEY, VALUE, DATA, ROOT, OLD };

/* Keys that no table has raise as they do in Lua; others are refused where they would be
 * saved. */
static void check_key(lua_State *L)
{
	int type = lua_type(L, KEY);

	if (type == LUA_TNIL)
		(void)luaL_error(L, "index is nil");
	if (type == LUA_TNUMBER && !lua_rawequal(L, KEY, KEY))
		(void)luaL_error(L, "index is NaN");
	if (lua_isnil(L, ROOT) || type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN)
		return;
	if (value_is_null(L, KEY))
		(void)state_table_refuse(L, TABLE, 0, "json.null cannot be a key");
	lua_pushfstring(L, "a %s cannot be a key", lua_typename(L, type));
	(void)state_table_refuse(L, TABLE, 0, lua_tostring(L, -1));
}

/* 1 and 1.0 are equal, and not the same. */
static bool is_the_same(lua_State *L)
{
	return lua_rawequal(L, VALUE, OLD) && lua_isinteger(L, VALUE) == lua_isinteger(L, OLD);
}

/* How much of state key and value take, and will take. Raises if the value cannot be
 * stored. */
static void weigh(lua_State *L, const struct script_state *state, size_t *before, size_t *after)
{
	size_t key = value_scalar_size(L, KEY), others, room = SIZE_MAX;

	if (lua_istable(L, OLD) || lua_istable(L, VALUE))
		quota_check_stack(L, STATE_TABLE_STACK);
	*before = lua_isnil(L, OLD) ? 0 : key + state_table_bytes(L, OLD);
	*after = 0;
	if (lua_isnil(L, VALUE))
		return;
	others = state->bytes - *before;
	if (state->limit)
		room = others < state->limit ? state->limit - others : 0;
	if (room < *before)
		room = *before; /* the limit was lowered: what takes no more may be written */
	if (room < key)
		room = key;
	*after = key + state_table_check(L, TABLE, KEY, VALUE, room - key, state->limit);
}

/* All that may fail; what is noted and does not come about does no harm. Makes room for the
 * entry with the mark that it is gone, which put() replaces. */
static void prepare(lua_State *L, struct script_state *state, bool attached)
{
	script_state_note(L, TABLE, KEY, OLD, ROOT);
	lua_pushvalue(L, KEY);
	if (lua_rawget(L, DATA) == LUA_TNIL) {
		state->gone++;
		lua_pushvalue(L, KEY);
		state_table_push_gone(L);
		lua_rawset(L, DATA);
	} else if (lua_isnil(L, VALUE)) {
		state->gone++;
	}
	lua_settop(L, OLD);
	if (attached && lua_istable(L, VALUE))
		state_table_take(L, VALUE, ROOT, state_table_depth(L, TABLE) + 1);
}

static void put(lua_State *L, struct script_state *state, bool attached)
{
	if (attached && lua_istable(L, OLD))
		state_table_detach(L);
	lua_pushvalue(L, KEY);
	if (lua_isnil(L, VALUE)) {
		state_table_push_gone(L);
	} else {
		state->gone -= lua_isnil(L, OLD);
		lua_pushvalue(L, VALUE);
	}
	lua_rawset(L, DATA);
}

/* state_set(table, key, value) */
static int state_set(lua_State *L)
{
	struct script_state *state = &script_of(L)->state;
	size_t before = 0, after = 0;
	bool attached;

	lua_settop(L, VALUE);
	state_table_push_data(L, TABLE);
	state_table_push_root(L, TABLE, KEY);
	(void)state_get(L);
	lua_replace(L, OLD);
	lua_settop(L, OLD);
	check_key(L);
	if (is_the_same(L))
		return 0;
	attached = !lua_isnil(L, ROOT);
	if (attached)
		weigh(L, state, &before, &after);
	prepare(L, state, attached);
	put(L, state, attached);
	state->bytes = state->bytes - before + after;
	return 0;
}

/* ---- the base library ---- */

static int state_rawget(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkany(L, 2);
	lua_settop(L, 2);
	if (state_table_push_data(L, 1)) {
		lua_pop(L, 1);
		return state_get(L);
	}
	lua_rawget(L, 1);
	return 1;
}

static int state_rawset(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkany(L, 2);
	luaL_checkany(L, 3);
	lua_settop(L, 3);
	if (state_table_push_data(L, 1))
		(void)state_set(L);
	else
		lua_rawset(L, 1);
	lua_settop(L, 1);
	return 1;
}

static int state_rawlen(lua_State *L)
{
	luaL_argexpected(L, lua_istable(L, 1) || lua_type(L, 1) == LUA_TSTRING, 1, "table or string");
	if (state_table_push_data(L, 1))
		return state_length(L);
	lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
	return 1;
}

void api_state_plain(struct lua_State *L, int index)
{
	index = lua_absindex(L, index);
	if (!state_table_push_data(L, index))
		return;
	lua_pop(L, 1);
	state_table_copy(L, index, 1);
	lua_replace(L, index);
}

void api_state_open(struct lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "__index", state_get },
		{ "__newindex", state_set },
		{ "__len", state_length },
		{ "__pairs", state_pairs },
		{ NULL, NULL },
	};

	state_table_open(L, methods);
	lua_setglobal(L, "state");
	lua_register(L, "next", state_next);
	lua_register(L, "pairs", any_pairs);
	lua_register(L, "rawget", state_rawget);
	lua_register(L, "rawset", state_rawset);
	lua_register(L, "rawlen", state_rawlen);
}
