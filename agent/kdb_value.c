/* A typed value is its own encoding: making one of a message is a copy, encoding one is a copy, and what is
 * in a large one is only looked at when a script asks for it.
 */
#include "kdb_value.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "api.h"
#include "kdb_access.h"
#include "kdb_bytes.h"
#include "place.h"
#include "quota.h"
#include "script_state.h"
#include "value.h"

/* In the registry, the metatable. */
static const char type_key;

/* ---- making them ---- */

struct kdb_value *kdb_value_of(lua_State *L, int index)
{
	bool typed = lua_type(L, index) == LUA_TUSERDATA && lua_getmetatable(L, index);
	bool ours;

	if (!typed)
		return NULL;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &type_key);
	ours = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return ours ? lua_touserdata(L, index) : NULL;
}

/* Where the symbols of a vector begin: behind its bytes. */
static size_t starts_at(size_t size)
{
	return (size + sizeof(uint32_t) - 1) & ~(sizeof(uint32_t) - 1);
}

static uint32_t *starts_of(struct kdb_value *value)
{
	return (uint32_t *)(void *)(value->bytes + starts_at(value->size));
}

static struct kdb_value *push_new(lua_State *L, size_t size, size_t n_starts)
{
	struct kdb_value *value;

	if (size > KDB_SIZE_MAX)
		quota_out_of_memory(L);
	value = lua_newuserdatauv(L, sizeof *value + starts_at(size) + n_starts * sizeof(uint32_t), 0);
	value->size = (uint32_t)size;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &type_key);
	lua_setmetatable(L, -2);
	return value;
}

static void find_starts(struct kdb_value *value, size_t n)
{
	uint32_t *starts = starts_of(value);
	size_t at = KDB_VECTOR_HEAD;

	for (size_t i = 0; i < n; i++) {
		starts[i] = (uint32_t)at;
		at += strlen((const char *)value->bytes + at) + 1;
	}
}

/* `object` was read from `bytes`. */
static void push_typed(lua_State *L, const struct kdb_object *object, struct bytes bytes)
{
	size_t n = object->type == KDB_SYMBOL ? object->n : 0;
	struct kdb_value *value = push_new(L, bytes.size, n);

	memcpy(value->bytes, bytes.data, bytes.size);
	find_starts(value, n);
}

/* An atom of `size` bytes behind its type. */
static void push_atom(lua_State *L, int type, const void *item, size_t size)
{
	struct kdb_value *value = push_new(L, 1 + size, 0);

	value->bytes[0] = (unsigned char)-type;
	memcpy(value->bytes + 1, item, size);
}

void kdb_push_item(lua_State *L, struct kdb_value *value, size_t i)
{
	struct kdb_object object = kdb_vector_of(value);
	size_t size = kdb_item_size(object.type);
	const char *symbol;

	switch (object.type) {
	case KDB_BOOLEAN:
		lua_pushboolean(L, (int)kdb_integer_at(&object, i));
		return;
	case KDB_LONG:
		lua_pushinteger(L, kdb_integer_at(&object, i));
		return;
	case KDB_FLOAT:
		lua_pushnumber(L, kdb_float_at(&object, i));
		return;
	case KDB_SYMBOL:
		symbol = (const char *)value->bytes + starts_of(value)[i];
		push_atom(L, KDB_SYMBOL, symbol, strlen(symbol) + 1);
		return;
	default:
		push_atom(L, object.type, (const char *)object.items.data + i * size, size);
	}
}

struct kdb_object kdb_vector_of(const struct kdb_value *value)
{
	return (struct kdb_object){
		.type = (signed char)value->bytes[0],
		.n = kdb_load(value->bytes + 2, 4, false),
		.items = { value->bytes + KDB_VECTOR_HEAD, value->size - KDB_VECTOR_HEAD },
		.swap = KDB_BIG_ENDIAN_HOST,
	};
}

struct bytes kdb_symbol_of(struct kdb_value *value, size_t i)
{
	const char *text = (const char *)value->bytes + starts_of(value)[i];

	return (struct bytes){ text, strlen(text) };
}

/* ---- reading ---- */

static void push_list(lua_State *L, struct kdb_input *input, size_t n)
{
	quota_check_time(L);
	quota_check_stack(L, 8);
	lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
	for (size_t i = 0; i < n; i++) {
		kdb_value_push(L, input);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

void kdb_value_push(struct lua_State *L, struct kdb_input *input)
{
	size_t begin = input->at;
	struct kdb_object object = { 0 };

	(void)kdb_next(input, &object);
	switch (object.type) {
	case KDB_LIST:
		push_list(L, input, object.children);
		return;
	case -KDB_BOOLEAN:
		lua_pushboolean(L, (int)kdb_integer_at(&object, 0));
		return;
	case -KDB_LONG:
		lua_pushinteger(L, kdb_integer_at(&object, 0));
		return;
	case -KDB_FLOAT:
		lua_pushnumber(L, kdb_float_at(&object, 0));
		return;
	case KDB_CHAR:
		lua_pushlstring(L, object.items.data, object.items.size);
		return;
	default:
		kdb_skip(input, &object);
		push_typed(L, &object, (struct bytes){ (const char *)input->bytes.data + begin, input->at - begin });
	}
}

struct bytes kdb_value_bytes(struct lua_State *L, int index)
{
	struct kdb_value *value = kdb_value_of(L, index);

	return value ? (struct bytes){ value->bytes, value->size } : (struct bytes){ NULL, 0 };
}

int kdb_value_type(struct lua_State *L, int index)
{
	const struct kdb_value *value = kdb_value_of(L, index);

	return value ? (signed char)value->bytes[0] : 0;
}

const char *kdb_value_kind(struct lua_State *L, int index, char *text, size_t size)
{
	int type = kdb_value_type(L, index);

	if (type == 0)
		return NULL;
	(void)snprintf(text, size, "kdb %s%s", kdb_type_name(type), type > 0 && type <= KDB_TIME ? " vector" : "");
	return text;
}

int kdb_value_normalise(struct kdb_input *input, struct buffer *out)
{
	struct kdb_object object;

	while (kdb_next(input, &object)) {
		object.attribute = 0;
		if (object.type == KDB_SORTED_DICTIONARY)
			object.type = KDB_DICTIONARY;
		if (kdb_put_object(out, &object))
			return -1;
	}
	return 0;
}

/* ---- encoding ---- */

struct encoder {
	lua_State *L;
	const char *what;
	struct buffer *out;
	size_t limit;
};

static int refuse(const struct encoder *encoder, const struct place *place, const char *why)
{
	char path[200];

	place_name(encoder->L, place, "", path, sizeof path);
	return luaL_error(encoder->L, "%s: %s%s%s", encoder->what, path, *path ? ": " : "", why);
}

/* Raises before so much more would be too much. */
static void check_room(const struct encoder *encoder, size_t size)
{
	if (encoder->out->size > encoder->limit || size > encoder->limit - encoder->out->size)
		quota_out_of_memory(encoder->L);
}

static void put_value(const struct encoder *encoder, const struct place *place, int index);

/* How many values there are from 1 on; raises if there are others. */
static lua_Integer count_items(const struct encoder *encoder, const struct place *place, int index)
{
	lua_State *L = encoder->L;
	lua_Integer n = 0, last = 0;

	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1), n++) {
		lua_Integer item = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;

		if (item < 1)
			refuse(encoder, place, "a table with names cannot be encoded, see kdb.dictionary");
		if (item > last)
			last = item;
	}
	if (n != last)
		refuse(encoder, place, "a list with holes cannot be encoded");
	return n;
}

long long kdb_value_count(struct lua_State *L, int index, const char *what)
{
	struct encoder encoder = { L, what, NULL, 0 };
	struct place whole = { 0 };

	return count_items(&encoder, &whole, index);
}

static void put_list(const struct encoder *encoder, const struct place *place, int index)
{
	lua_State *L = encoder->L;
	struct place inner = { place, 0, place->depth + 1 };
	int top = lua_gettop(L), status;
	lua_Integer n;

	if (place->depth >= KDB_DEPTH_MAX)
		refuse(encoder, place, "nested too deep, or a table that contains itself");
	quota_check_stack(L, 16);
	quota_check_time(L);
	if (!script_state_push_entries(L, index))
		lua_pushvalue(L, index);
	n = count_items(encoder, place, top + 1);
	check_room(encoder, 6 + 2 * (size_t)n);
	status = kdb_put_list(encoder->out, (size_t)n);
	inner.key = top + 2;
	for (lua_Integer i = 1; status == 0 && i <= n; i++) {
		lua_pushinteger(L, i);
		lua_rawgeti(L, top + 1, i);
		put_value(encoder, &inner, top + 3);
		lua_settop(L, top + 1);
	}
	if (status)
		quota_out_of_memory(L);
	lua_settop(L, top);
}

/* What needs no more than its own bytes: 0, or -1 for want of memory; 1: it is none of that. */
static int put_scalar(const struct encoder *encoder, int index)
{
	lua_State *L = encoder->L;
	struct bytes bytes = kdb_value_bytes(L, index);
	size_t size = 0;
	const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &size) : NULL;

	check_room(encoder, size + bytes.size + 9);
	if (bytes.data)
		return buffer_append(encoder->out, bytes.data, bytes.size);
	if (text)
		return kdb_put_string(encoder->out, (struct bytes){ text, size });
	if (lua_isinteger(L, index))
		return kdb_put_integer(encoder->out, KDB_LONG, lua_tointeger(L, index));
	if (lua_type(L, index) == LUA_TNUMBER)
		return kdb_put_float(encoder->out, KDB_FLOAT, lua_tonumber(L, index));
	if (lua_isboolean(L, index))
		return kdb_put_integer(encoder->out, KDB_BOOLEAN, lua_toboolean(L, index));
	if (lua_isnil(L, index) || value_is_null(L, index))
		return kdb_put_null(encoder->out);
	return 1;
}

static void put_value(const struct encoder *encoder, const struct place *place, int index)
{
	int status = put_scalar(encoder, index);
	char why[80];

	if (status == 0)
		return;
	if (status < 0)
		quota_out_of_memory(encoder->L);
	if (lua_istable(encoder->L, index)) {
		put_list(encoder, place, index);
		return;
	}
	(void)snprintf(why, sizeof why, "a %s cannot be encoded", luaL_typename(encoder->L, index));
	refuse(encoder, place, why);
}

void kdb_value_encode(struct lua_State *L, int index, const char *what, struct buffer *out, size_t limit)
{
	struct encoder encoder = { L, what, out, limit };
	struct place whole = { 0 };

	put_value(&encoder, &whole, lua_absindex(L, index));
}

/* ---- the metatable ---- */

void kdb_value_open(struct lua_State *L)
{
	lua_createtable(L, 0, 8);
	lua_pushliteral(L, "kdb value");
	lua_setfield(L, -2, "__name");
	lua_pushliteral(L, "kdb value"); /* closed: a `__gc` there would run out of reach of the CPU limit */
	lua_setfield(L, -2, "__metatable");
	luaL_setfuncs(L, kdb_metamethods, 0);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &type_key);
}
