/* In simulated time scripts do the same whenever they run: the clocks of `os` are the
 * simulated ones, random numbers begin alike, and pairs() and next() go through tables
 * in the order of the keys. Lua hashes strings with a seed that is another one in each
 * process, and so would be that order.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "api.h"
#include "script_state.h"
#include "clock.h"
#include "state_table.h"

#define SEED 1

static int os_time(lua_State *L)
{
	if (lua_isnoneornil(L, 1)) {
		lua_pushinteger(L, (lua_Integer)(clock_wall_ms() / 1000));
		return 1;
	}
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

static int os_date(lua_State *L)
{
	lua_settop(L, 2);
	if (lua_isnil(L, 1)) {
		lua_pushliteral(L, "%c");
		lua_replace(L, 1);
	}
	if (lua_isnil(L, 2)) {
		lua_pushinteger(L, (lua_Integer)(clock_wall_ms() / 1000));
		lua_replace(L, 2);
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 1);
	return 1;
}

static int os_clock(lua_State *L)
{
	lua_pushnumber(L, clock_monotonic_s());
	return 1;
}

/* ---- the order of keys ---- */

/* Numbers, then strings, then booleans. Others have an address only: 0, and last. */
static int rank(lua_State *L, int index)
{
	switch (lua_type(L, index)) {
	case LUA_TNUMBER:
		return 1;
	case LUA_TSTRING:
		return 2;
	case LUA_TBOOLEAN:
		return 3;
	default:
		return 0;
	}
}

static int is_before(lua_State *L, int a, int b)
{
	int rank_a = rank(L, a), rank_b = rank(L, b);

	if (rank_a != rank_b)
		return rank_b == 0 || (rank_a != 0 && rank_a < rank_b);
	if (rank_a == 3)
		return lua_toboolean(L, a) < lua_toboolean(L, b);
	return rank_a != 0 && lua_compare(L, a, b, LUA_OPLT);
}

/* Pushes what comes after the unordered key at index 2 (or, if that is ordered or nil,
 * first) among the unordered keys, with its value; false at their end. */
static bool push_unordered(lua_State *L)
{
	if (lua_isnil(L, 2) || rank(L, 2))
		lua_pushnil(L);
	else
		lua_pushvalue(L, 2);
	while (lua_next(L, 1)) {
		if (!rank(L, -2))
			return true;
		lua_pop(L, 1);
	}
	return false;
}

/* A table of `state` at index 1 becomes one that can be read raw. */
static bool replace_by_entries(lua_State *L)
{
	if (!script_state_push_entries(L, 1))
		return false;
	lua_replace(L, 1);
	return true;
}

/* next(t, key): the least key above `key`. */
static int ordered_next(lua_State *L)
{
	int found = 0;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	replace_by_entries(L);
	if (lua_isnil(L, 2) || rank(L, 2)) {
		lua_settop(L, 4); /* 3 and 4: the best so far */
		lua_pushnil(L);
		while (lua_next(L, 1)) {
			if (rank(L, 5) && (lua_isnil(L, 2) || is_before(L, 2, 5)) && (!found || is_before(L, 5, 3))) {
				lua_copy(L, 5, 3);
				lua_copy(L, 6, 4);
				found = 1;
			}
			lua_pop(L, 1);
		}
		if (found) {
			lua_settop(L, 4);
			return 2;
		}
	}
	if (push_unordered(L))
		return 2;
	lua_pushnil(L);
	return 1;
}

static void sift(lua_State *L, int list, lua_Integer at, lua_Integer n)
{
	for (;;) {
		lua_Integer child = 2 * at;

		if (child > n)
			return;
		lua_rawgeti(L, list, child);
		if (child < n) {
			lua_rawgeti(L, list, child + 1);
			if (is_before(L, -2, -1))
				child++;
			lua_pop(L, 2);
			lua_rawgeti(L, list, child);
		}
		lua_rawgeti(L, list, at);
		if (!is_before(L, -1, -2)) {
			lua_pop(L, 2);
			return;
		}
		lua_rawseti(L, list, child);
		lua_rawseti(L, list, at);
		at = child;
	}
}

/* Heap sort of the keys in the list at index `list`. */
static void sort_keys(lua_State *L, int list, lua_Integer n)
{
	for (lua_Integer at = n / 2; at > 0; at--)
		sift(L, list, at, n);
	for (lua_Integer end = n; end > 1; end--) {
		lua_rawgeti(L, list, 1);
		lua_rawgeti(L, list, end);
		lua_rawseti(L, list, 1);
		lua_rawseti(L, list, end);
		sift(L, list, 1, end - 1);
	}
}

/* The upvalues: the sorted keys, and how many have been visited. Keys that were removed
 * meanwhile are left out; the table may have become one of `state`. */
static int step(lua_State *L)
{
	lua_Integer at = lua_tointeger(L, lua_upvalueindex(2));
	bool is_state;
	int type;

	do {
		lua_settop(L, 1);
		if (lua_rawgeti(L, lua_upvalueindex(1), ++at) == LUA_TNIL)
			return 1;
		is_state = state_table_push_data(L, 1);
		lua_settop(L, 2);
		lua_pushvalue(L, 2);
		type = is_state ? lua_gettable(L, 1) : lua_rawget(L, 1);
	} while (type == LUA_TNIL);
	lua_pushinteger(L, at);
	lua_replace(L, lua_upvalueindex(2));
	return 2;
}

/* For the table at index 2, whose entries are those of the one at index 1. */
static int push_pairs(lua_State *L)
{
	lua_Integer n = 0;

	lua_newtable(L);
	for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
		lua_pushvalue(L, -2);
		lua_rawseti(L, 3, ++n);
	}
	sort_keys(L, 3, n);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, step, 2);
	lua_pushvalue(L, 2);
	lua_pushnil(L);
	return 3;
}

static int ordered_pairs(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_settop(L, 1);
	lua_pushvalue(L, 1);
	if (replace_by_entries(L))
		return push_pairs(L);
	if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
		lua_pushvalue(L, 1);
		lua_call(L, 1, 3);
		return 3;
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	return push_pairs(L);
}

/* ---- opening ---- */

/* Replaces a field of the table on top; the original is the upvalue. */
static void replace(lua_State *L, const char *name, lua_CFunction function)
{
	lua_getfield(L, -1, name);
	lua_pushcclosure(L, function, 1);
	lua_setfield(L, -2, name);
}

void api_rehearsal_open(struct lua_State *L)
{
	if (!clock_simulated())
		return;
	lua_getglobal(L, "os");
	replace(L, "time", os_time);
	replace(L, "date", os_date);
	replace(L, "clock", os_clock);
	lua_getglobal(L, "math");
	lua_getfield(L, -1, "randomseed");
	lua_pushinteger(L, SEED);
	lua_call(L, 1, 0);
	lua_pop(L, 2);
	lua_register(L, "next", ordered_next);
	lua_register(L, "pairs", ordered_pairs);
}
