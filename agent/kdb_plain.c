/* Values as JSON would have them: types are gone, times are seconds, nulls json.null. */
#include <math.h>

#include <lauxlib.h>
#include <lua.h>

#include "kdb_access.h"
#include "quota.h"
#include "value.h"

static void push_plain_atom(lua_State *L, const struct kdb_object *atom)
{
	int64_t infinite = kdb_infinite_integer(-atom->type);
	int64_t value = infinite ? kdb_integer_at(atom, 0) : 0;

	if (-atom->type == KDB_SYMBOL || -atom->type == KDB_CHAR) /* no text is a text */
		kdb_push_text(L, atom);
	else if (kdb_is_null(atom))
		value_push_null(L);
	else if (kdb_push_seconds(L, atom))
		return;
	else if (infinite && (value == infinite || value == -infinite))
		lua_pushnumber(L, value > 0 ? INFINITY : -INFINITY);
	else if (!kdb_push_text(L, atom))
		value_push_null(L);
}

static void push_plain_value(lua_State *L, int index, int depth);

static void replace_by_plain(lua_State *L, int depth)
{
	push_plain_value(L, lua_gettop(L), depth + 1);
	lua_replace(L, -2);
}

static void push_plain_list(lua_State *L, int index, size_t n, int depth)
{
	struct kdb_items items = kdb_open_items(L, index);

	lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
	for (size_t i = 0; i < n; i++) {
		if (i % 1024 == 0)
			quota_check_time(L);
		kdb_items_push(L, &items, i);
		replace_by_plain(L, depth);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_replace(L, items.names);
	lua_settop(L, items.names);
}

/* A row, or what else has names. */
static void push_plain_fields(lua_State *L, int index, int depth)
{
	int fields = lua_gettop(L) + 1;

	lua_newtable(L);
	for (lua_pushnil(L); lua_next(L, index);) {
		replace_by_plain(L, depth);
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, fields);
	}
}

/* Keys that are no numbers or strings, those of keyed tables, stand beside their values in a list of pairs. */
static void put_pair(lua_State *L, int table, size_t i)
{
	if (lua_type(L, -2) == LUA_TSTRING || lua_type(L, -2) == LUA_TNUMBER) {
		lua_rawset(L, table);
		return;
	}
	lua_createtable(L, 2, 0);
	lua_insert(L, -3);
	lua_rawseti(L, -3, 2);
	lua_rawseti(L, -2, 1);
	lua_rawseti(L, table, (lua_Integer)i + 1);
}

static void push_plain_dictionary(lua_State *L, const struct kdb_value *value, int depth)
{
	size_t n = kdb_length(value);
	int top = lua_gettop(L), table = top + 7;

	kdb_push_child(L, value, 0);
	kdb_push_child(L, value, 1);
	struct kdb_items keys = kdb_open_items(L, top + 1), values = kdb_open_items(L, top + 2);
	lua_newtable(L);
	for (size_t i = 0; i < n; i++) {
		if (i % 1024 == 0)
			quota_check_time(L);
		kdb_items_push(L, &keys, i);
		replace_by_plain(L, depth);
		kdb_items_push(L, &values, i);
		replace_by_plain(L, depth);
		put_pair(L, table, i);
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
}

static void push_plain_typed(lua_State *L, int index, struct kdb_value *value, int depth)
{
	struct kdb_input input;
	struct kdb_object object = kdb_open_value(value, &input);

	if (kdb_is_atom(value))
		push_plain_atom(L, &object);
	else if (kdb_is_vector(value) || object.type == KDB_TABLE)
		push_plain_list(L, index, kdb_length(value), depth);
	else if (object.type == KDB_DICTIONARY)
		push_plain_dictionary(L, value, depth);
	else if (!kdb_push_text(L, &object))
		value_push_null(L);
}

static void push_plain_value(lua_State *L, int index, int depth)
{
	struct kdb_value *value = kdb_value_of(L, index);

	if (depth > KDB_DEPTH_MAX)
		luaL_error(L, "kdb.plain: nested too deep, or a table that contains itself");
	quota_check_stack(L, 16);
	if (value)
		push_plain_typed(L, index, value, depth);
	else if (lua_istable(L, index) && lua_rawlen(L, index) > 0)
		push_plain_list(L, index, lua_rawlen(L, index), depth);
	else if (lua_istable(L, index))
		push_plain_fields(L, index, depth);
	else if (lua_type(L, index) == LUA_TNUMBER && isnan(lua_tonumber(L, index)))
		value_push_null(L);
	else
		lua_pushvalue(L, index);
}

void kdb_value_plain(struct lua_State *L, int index)
{
	push_plain_value(L, lua_absindex(L, index), 0);
}
