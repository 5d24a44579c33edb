/* A tree of tables in tables, walked recursively: it is at most DEPTH_MAX deep.
 *
 * Taking a table into state first builds all that is needed beside it, which may
 * run out of memory, and then turns everything over, which may not: so nothing is
 * ever half adopted.
 */
#include "state_table.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kdb_value.h"
#include "place.h"
#include "quota.h"
#include "value.h"

#define DEPTH_MAX 16 /* of value.c */
#define PATH_MAX_BYTES 200

/* Their addresses are keys that no script has: of a table of state, of a metatable, of
 * the registry. */
enum { DATA, ROOT, DEPTH, METATABLES, METHODS, TOP, KEYS };
static const char keys[KEYS];

/* Their addresses are values that no script has: the root of `state` itself, of what is
 * detached, of what is being taken; and what stands for an entry that is not there. */
enum { IS_TOP, IS_DETACHED, IS_BEING_TAKEN, IS_GONE, MARKS };
static const char marks[MARKS];

static void push_mark(lua_State *L, int mark)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)&marks[mark]);
}

static bool is_mark(lua_State *L, int index, int mark)
{
	return lua_islightuserdata(L, index) && lua_touserdata(L, index) == &marks[mark];
}

static bool is_hidden(lua_State *L, int key)
{
	const char *address = lua_touserdata(L, key);

	return lua_islightuserdata(L, key) && address >= keys && address < keys + KEYS;
}

/* ---- looking ---- */

bool state_table_push_data(struct lua_State *L, int index)
{
	if (!lua_istable(L, index))
		return false;
	if (lua_rawgetp(L, index, &keys[DATA]) == LUA_TTABLE)
		return true;
	lua_pop(L, 1);
	return false;
}

void state_table_push_root(struct lua_State *L, int table, int key)
{
	if (lua_rawgetp(L, table, &keys[ROOT]) != LUA_TLIGHTUSERDATA)
		return;
	if (is_mark(L, -1, IS_TOP))
		lua_pushvalue(L, key);
	else
		lua_pushnil(L);
	lua_remove(L, -2);
}

void state_table_push_top(struct lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[TOP]);
}

void state_table_push_gone(struct lua_State *L)
{
	push_mark(L, IS_GONE);
}

bool state_table_is_gone(struct lua_State *L, int index)
{
	return is_mark(L, index, IS_GONE);
}

int state_table_depth(struct lua_State *L, int index)
{
	int depth;

	if (!lua_getmetatable(L, index))
		return -1;
	lua_rawgetp(L, -1, &keys[DEPTH]);
	depth = (int)lua_tointeger(L, -1);
	lua_pop(L, 2);
	return depth;
}

/* Pushes the table that holds the entries of the one at `index`, of state or not. */
static void push_entries(lua_State *L, int index)
{
	if (!state_table_push_data(L, index))
		lua_pushvalue(L, index);
}

/* lua_next() without what is hidden and, if `skip_gone`, what is not there. */
static bool next_entry(lua_State *L, int entries, bool skip_gone)
{
	while (lua_next(L, entries)) {
		if (!is_hidden(L, -2) && !(skip_gone && is_mark(L, -1, IS_GONE)))
			return true;
		lua_pop(L, 1);
	}
	return false;
}

size_t state_table_bytes(struct lua_State *L, int index)
{
	int entries = lua_gettop(L) + 1;
	size_t bytes = 2;

	if (!lua_istable(L, index))
		return value_scalar_size(L, index);
	push_entries(L, index);
	lua_pushnil(L);
	while (next_entry(L, entries, true)) {
		bytes += value_scalar_size(L, entries + 1) + state_table_bytes(L, entries + 2);
		lua_pop(L, 1);
	}
	lua_settop(L, entries - 1);
	return bytes;
}

/* ---- where it is, for people ---- */

/* Adds the keys that lead from the table on top to the one that `sought` points to. */
static bool find(lua_State *L, const void *sought, char *path, size_t size)
{
	int table = lua_gettop(L);
	size_t length = strlen(path);
	bool found = lua_topointer(L, table) == sought;

	push_entries(L, table);
	lua_pushnil(L);
	while (!found && next_entry(L, table + 1, true)) {
		if (lua_istable(L, -1)) {
			place_add_key(L, table + 2, path, size);
			found = find(L, sought, path, size);
			if (!found)
				path[length] = '\0';
		}
		lua_pop(L, 1);
	}
	lua_settop(L, table);
	return found;
}

/* The path of a table in state. */
static void path_of(lua_State *L, int table, char *path, size_t size)
{
	const void *sought = lua_topointer(L, table);

	(void)snprintf(path, size, "state");
	quota_check_stack(L, STATE_TABLE_STACK);
	lua_rawgetp(L, table, &keys[ROOT]);
	state_table_push_top(L);
	if (!is_mark(L, -2, IS_TOP)) {
		state_table_push_data(L, -1);
		place_add_key(L, -3, path, size);
		lua_pushvalue(L, -3);
		lua_rawget(L, -2);
		if (lua_istable(L, -1))
			(void)find(L, sought, path, size);
		lua_pop(L, 2);
	}
	lua_pop(L, 2);
}

int state_table_refuse(struct lua_State *L, int table, int key, const char *why)
{
	char path[PATH_MAX_BYTES];

	path_of(L, table, path, sizeof path);
	if (key)
		place_add_key(L, key, path, sizeof path);
	return luaL_error(L, "%s: %s", path, why);
}

/* ---- checking what is to be stored ---- */

struct check {
	lua_State *L;
	int table, key; /* where it goes */
	size_t bytes, room, limit;
};

/* Where in the value the check is, and which tables it is in. */
struct spot {
	struct place place;
	const struct spot *outer;
	const void *table;
};

static void refuse(const struct check *check, const struct place *place, const char *why)
{
	char path[PATH_MAX_BYTES], whole[2 * PATH_MAX_BYTES];

	path_of(check->L, check->table, path, sizeof path);
	place_add_key(check->L, check->key, path, sizeof path);
	place_name(check->L, place, path, whole, sizeof whole);
	(void)luaL_error(check->L, "%s: %s", whole, why);
}

static void add_bytes(struct check *check, const struct place *place, size_t bytes)
{
	char why[80];

	check->bytes += bytes;
	if (check->bytes <= check->room)
		return;
	(void)snprintf(why, sizeof why, "state would take more than %zu bytes (limits.state)", check->limit);
	refuse(check, place, why);
}

static void refuse_kind(const struct check *check, const struct place *place, int index, const char *what)
{
	bool null = value_is_null(check->L, index);
	char why[80], kind[40];

	if (kdb_value_kind(check->L, index, kind, sizeof kind))
		(void)snprintf(why, sizeof why, "a %s %s; see kdb.plain", kind, what);
	else
		(void)snprintf(why, sizeof why, "%s%s %s", null ? "" : "a ", null ? "json.null" : luaL_typename(check->L, index),
	               what);
	refuse(check, place, why);
}

static void check_key(struct check *check, const struct place *place)
{
	int type = lua_type(check->L, place->key);

	if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN)
		refuse_kind(check, place->parent, place->key, "cannot be a key");
	add_bytes(check, place, value_scalar_size(check->L, place->key));
}

/* A table that contains itself; what state has already is a tree. */
static bool is_in_itself(const struct spot *spot)
{
	for (const struct spot *outer = spot->outer; outer; outer = outer->outer)
		if (outer->table == spot->table)
			return true;
	return false;
}

static void check_value(struct check *check, const struct spot *spot, int index);

static void check_entries(struct check *check, const struct spot *spot, int entries)
{
	lua_State *L = check->L;

	lua_pushnil(L);
	while (next_entry(L, entries, true)) {
		struct spot inner = { .place = { &spot->place, entries + 1, spot->place.depth + 1 }, .outer = spot };

		check_key(check, &inner.place);
		check_value(check, &inner, entries + 2);
		lua_pop(L, 1);
	}
}

static void check_table(struct check *check, struct spot *spot, int index)
{
	lua_State *L = check->L;
	int top = lua_gettop(L);

	spot->table = lua_topointer(L, index);
	if (is_in_itself(spot))
		refuse(check, &spot->place, "a table cannot be stored in itself");
	if (spot->place.depth >= DEPTH_MAX)
		refuse(check, &spot->place, "nested more than 16 deep");
	quota_check_stack(L, 10);
	quota_check_time(L);
	if (!state_table_push_data(L, index)) {
		if (!value_is_array(L, index) && lua_getmetatable(L, index))
			refuse(check, &spot->place, "a table with a metatable cannot be stored");
		lua_pushvalue(L, index);
	}
	add_bytes(check, &spot->place, 2);
	check_entries(check, spot, top + 1);
	lua_settop(L, top);
}

static void check_value(struct check *check, const struct spot *spot, int index)
{
	struct spot here = *spot;
	int type = lua_type(check->L, index);

	if (type == LUA_TTABLE)
		check_table(check, &here, index);
	else if (type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING || value_is_null(check->L, index))
		add_bytes(check, &spot->place, value_scalar_size(check->L, index));
	else
		refuse_kind(check, &spot->place, index, "cannot be stored");
}

size_t state_table_check(struct lua_State *L, int table, int key, int value, size_t room, size_t limit)
{
	struct check check = { .L = L, .table = table, .key = key, .room = room, .limit = limit };
	struct spot whole = { .place = { .depth = state_table_depth(L, table) + 1 } };

	check_value(&check, &whole, value);
	return check.bytes;
}

/* ---- taking ---- */

/* A metatable for each depth, made when the first table gets there. */
static void make_metatable(lua_State *L, int depth)
{
	const luaL_Reg *methods;

	quota_check_stack(L, 10);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[METATABLES]);
	if (lua_rawgeti(L, -1, depth + 2) == LUA_TNIL) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[METHODS]);
		methods = lua_touserdata(L, -1);
		lua_createtable(L, 0, 8);
		luaL_setfuncs(L, methods, 0);
		lua_pushliteral(L, "state");
		lua_setfield(L, -2, "__metatable");
		lua_pushinteger(L, depth);
		lua_rawsetp(L, -2, &keys[DEPTH]);
		lua_rawseti(L, -4, depth + 2);
		lua_pop(L, 1);
	}
	lua_pop(L, 2);
}

static void set_metatable(lua_State *L, int table, int depth)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[METATABLES]);
	lua_rawgeti(L, -1, depth + 2);
	lua_setmetatable(L, table);
	lua_pop(L, 1);
}

/* What is taken: three entries of a list for each table, the table that will be in state,
 * its data, and its depth. */
struct taking {
	int list;
	int n;
	int depth; /* of the whole value */
};

static void enlist(lua_State *L, struct taking *taking, int table, int data, int depth)
{
	lua_pushvalue(L, table);
	lua_rawseti(L, taking->list, 3 * taking->n + 1);
	lua_pushvalue(L, data);
	lua_rawseti(L, taking->list, 3 * taking->n + 2);
	lua_pushinteger(L, depth);
	lua_rawseti(L, taking->list, 3 * taking->n + 3);
	taking->n++;
}

/* In state, or about to be. */
static bool is_elsewhere(lua_State *L, int table)
{
	bool elsewhere = lua_rawgetp(L, table, &keys[ROOT]) != LUA_TNIL && !is_mark(L, -1, IS_DETACHED);

	lua_pop(L, 1);
	return elsewhere;
}

/* Makes room in the table for what is hidden there. */
static void reserve(lua_State *L, int table)
{
	bool detached = state_table_push_data(L, table);

	if (!detached)
		push_mark(L, IS_BEING_TAKEN);
	lua_rawsetp(L, table, &keys[DATA]);
	push_mark(L, IS_BEING_TAKEN);
	lua_rawsetp(L, table, &keys[ROOT]);
}

/* Builds data for the table at `from` and for all in it; pushes the table that will be in
 * state. What is detached may have entries that are marked as gone: undoing needs them. */
static void build(lua_State *L, struct taking *taking, int from, int depth)
{
	int table = lua_gettop(L) + 1, data = table + 1, entries = table + 2;
	bool copies = is_elsewhere(L, from);

	quota_check_stack(L, 10);
	make_metatable(L, depth);
	if (copies)
		lua_newtable(L);
	else
		lua_pushvalue(L, from);
	lua_newtable(L);
	if (value_is_array(L, from))
		value_mark_array(L);
	push_entries(L, from);
	enlist(L, taking, table, data, depth);
	reserve(L, table);
	lua_pushnil(L);
	while (next_entry(L, entries, copies)) {
		if (lua_istable(L, -1)) {
			build(L, taking, entries + 2, depth + 1);
			lua_replace(L, -2);
		}
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, data);
	}
	lua_settop(L, table);
}

/* build_all(table, list, taking) */
static int build_all(lua_State *L)
{
	struct taking *taking = lua_touserdata(L, 3);

	build(L, taking, 1, taking->depth);
	return 1;
}

/* As it was before reserve(), which may not have got to it. */
static void forget(lua_State *L, int table)
{
	bool detached = state_table_push_data(L, table);

	if (detached) {
		push_mark(L, IS_DETACHED);
		lua_rawsetp(L, table, &keys[ROOT]);
		lua_pop(L, 1);
		return;
	}
	for (int key = DATA; key <= ROOT; key++) {
		if (lua_rawgetp(L, table, &keys[key]) != LUA_TNIL) {
			lua_pushnil(L);
			lua_rawsetp(L, table, &keys[key]);
		}
		lua_pop(L, 1);
	}
}

/* What could not be built is forgotten; raises the error on top. */
static int give_up(lua_State *L, int list)
{
	for (int i = 0; lua_rawgeti(L, list, 3 * i + 1) == LUA_TTABLE; i++) {
		forget(L, lua_gettop(L));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return lua_error(L);
}

/* Its entries are in its data now. */
static void empty(lua_State *L, int table)
{
	lua_pushnil(L);
	while (next_entry(L, table, false)) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushnil(L);
		lua_rawset(L, table);
	}
}

/* The point of no return: needs no memory. */
static void turn_over(lua_State *L, const struct taking *taking, int root)
{
	int table = lua_gettop(L) + 1;

	for (int i = 0; i < taking->n; i++) {
		lua_rawgeti(L, taking->list, 3 * i + 1);
		if (!state_table_push_data(L, table))
			empty(L, table);
		lua_settop(L, table);
		lua_rawgeti(L, taking->list, 3 * i + 2);
		lua_rawsetp(L, table, &keys[DATA]);
		lua_pushvalue(L, root);
		lua_rawsetp(L, table, &keys[ROOT]);
		lua_rawgeti(L, taking->list, 3 * i + 3);
		set_metatable(L, table, (int)lua_tointeger(L, -1));
		lua_settop(L, table - 1);
	}
}

void state_table_take(struct lua_State *L, int index, int root, int depth)
{
	struct taking taking = { .list = 2, .depth = depth };
	int list;

	quota_check_stack(L, 10);
	lua_newtable(L);
	list = lua_gettop(L);
	lua_pushcfunction(L, build_all);
	lua_pushvalue(L, index);
	lua_pushvalue(L, list);
	lua_pushlightuserdata(L, &taking);
	if (lua_pcall(L, 3, 1, 0) != LUA_OK)
		(void)give_up(L, list);
	lua_replace(L, index);
	taking.list = list;
	turn_over(L, &taking, root);
	lua_settop(L, list - 1);
}

/* ---- in and out ---- */

void state_table_attach(struct lua_State *L, int root, int depth)
{
	int table = lua_gettop(L);

	if (root)
		lua_pushvalue(L, root);
	else
		push_mark(L, IS_DETACHED);
	lua_rawsetp(L, table, &keys[ROOT]);
	if (root)
		set_metatable(L, table, depth);
	state_table_push_data(L, table);
	lua_pushnil(L);
	while (lua_next(L, table + 1)) {
		if (lua_istable(L, -1))
			state_table_attach(L, root, depth + 1);
		lua_pop(L, 1);
	}
	lua_settop(L, table);
}

void state_table_detach(struct lua_State *L)
{
	state_table_attach(L, 0, 0);
}

static void copy(lua_State *L, int index, int levels)
{
	int table = lua_gettop(L) + 1;

	quota_check_stack(L, 10);
	lua_newtable(L);
	if (value_is_array(L, index))
		value_mark_array(L);
	push_entries(L, index);
	lua_pushnil(L);
	while (next_entry(L, table + 1, true)) {
		if (lua_istable(L, -1) && levels > 1) {
			copy(L, table + 3, levels - 1);
			lua_replace(L, -2);
		}
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, table);
	}
	lua_settop(L, table);
}

void state_table_copy(struct lua_State *L, int index, int levels)
{
	copy(L, lua_absindex(L, index), levels);
}

void state_table_open(struct lua_State *L, const struct luaL_Reg *methods)
{
	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[METATABLES]);
	lua_pushlightuserdata(L, (void *)(uintptr_t)methods);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[METHODS]);
	make_metatable(L, -1);
	lua_newtable(L);
	lua_newtable(L);
	lua_rawsetp(L, -2, &keys[DATA]);
	push_mark(L, IS_TOP);
	lua_rawsetp(L, -2, &keys[ROOT]);
	set_metatable(L, lua_gettop(L), -1);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[TOP]);
}
