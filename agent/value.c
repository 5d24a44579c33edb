/* A Lua value as bytes, as agent/value_run.h has them. Written by one process and read
 * by a later one, so reading trusts nothing: every length is checked, and damage reads
 * as nil.
 */
#include "value.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kdb_value.h"
#include "place.h"
#include "state_table.h"
#include "value_run.h"

/* Shared subtables are written out each time they are met: a small tangle of
 * them could otherwise grow without end. */
#define SIZE_MAX_BYTES (1024 * 1024)

/* In the registry, the metatable of tables that are marked as arrays. */
static const char array_mark;

struct encoder {
	lua_State *L;
	const char *what; /* begins the path in errors */
	struct buffer *out;
	size_t start; /* where this value begins in it */
	size_t limit; /* of its size */
	char *err;
	size_t err_size;
};

static int refuse(const struct encoder *encoder, const struct place *place, const char *why)
{
	char path[200];

	place_name(encoder->L, place, encoder->what, path, sizeof path);
	(void)snprintf(encoder->err, encoder->err_size, "%s: %s", path, why);
	return -1;
}

static int put(const struct encoder *encoder, const struct place *place, const void *data, size_t size)
{
	if (size > encoder->limit - (encoder->out->size - encoder->start))
		return refuse(encoder, place, "too large to be stored");
	if (buffer_append(encoder->out, data, size))
		return refuse(encoder, place, "not enough memory");
	return 0;
}

static int put_tag(const struct encoder *encoder, const struct place *place, enum value_tag tag)
{
	unsigned char byte = (unsigned char)tag;

	return put(encoder, place, &byte, 1);
}

static int put_word(const struct encoder *encoder, const struct place *place, enum value_tag tag, uint64_t word,
                    size_t width)
{
	unsigned char bytes[9] = { (unsigned char)tag };

	for (size_t i = 0; i < width; i++)
		bytes[1 + i] = (unsigned char)(word >> (8 * i));
	return put(encoder, place, bytes, 1 + width);
}

static int put_number(const struct encoder *encoder, const struct place *place, int index)
{
	double number;
	uint64_t word;

	if (lua_isinteger(encoder->L, index))
		return put_word(encoder, place, VALUE_INTEGER, (uint64_t)lua_tointeger(encoder->L, index), 8);
	number = lua_tonumber(encoder->L, index);
	memcpy(&word, &number, sizeof word);
	return put_word(encoder, place, VALUE_FLOAT, word, 8);
}

static int put_string(const struct encoder *encoder, const struct place *place, int index)
{
	size_t size;
	const char *text = lua_tolstring(encoder->L, index, &size);

	if (size > encoder->limit)
		return refuse(encoder, place, "too large to be stored");
	if (put_word(encoder, place, VALUE_STRING, size, 4))
		return -1;
	return put(encoder, place, text, size);
}

size_t value_scalar_size(struct lua_State *L, int index)
{
	switch (lua_type(L, index)) {
	case LUA_TNUMBER:
		return 9;
	case LUA_TSTRING:
		return 5 + lua_rawlen(L, index);
	default:
		return 1;
	}
}

static int put_value(const struct encoder *encoder, const struct place *place, int index);

static int put_pairs(const struct encoder *encoder, const struct place *place, int index)
{
	lua_State *L = encoder->L;
	int key = lua_gettop(L) + 1;
	struct place inner = { place, key, place->depth + 1 };

	lua_pushnil(L);
	for (; lua_next(L, index); lua_pop(L, 1)) {
		if (state_table_is_gone(L, key + 1))
			continue;
		if (lua_istable(L, key))
			return refuse(encoder, &inner, "a table cannot be a key");
		if (value_is_null(L, key))
			return refuse(encoder, &inner, "json.null cannot be a key");
		if (put_value(encoder, &inner, key) || put_value(encoder, &inner, key + 1))
			return -1;
	}
	return 0;
}

static int put_table(const struct encoder *encoder, const struct place *place, int index)
{
	lua_State *L = encoder->L;
	int top = lua_gettop(L);
	bool marked, state;

	if (place->depth >= VALUE_DEPTH_MAX)
		return refuse(encoder, place, "nested more than 16 deep");
	if (!lua_checkstack(L, 8))
		return refuse(encoder, place, "not enough memory");
	marked = value_is_array(L, index);
	state = state_table_push_data(L, index);
	if (!marked && !state && lua_getmetatable(L, index))
		return refuse(encoder, place, "a table with a metatable cannot be stored");
	if (state)
		index = top + 1;
	if (put_tag(encoder, place, marked ? VALUE_ARRAY : VALUE_OPEN) || put_pairs(encoder, place, index))
		return -1;
	lua_settop(L, top);
	return put_tag(encoder, place, VALUE_CLOSE);
}

static int put_value(const struct encoder *encoder, const struct place *place, int index)
{
	char why[80], kind[40];

	switch (lua_type(encoder->L, index)) {
	case LUA_TNONE:
	case LUA_TNIL:
		return put_tag(encoder, place, VALUE_NIL);
	case LUA_TBOOLEAN:
		return put_tag(encoder, place, lua_toboolean(encoder->L, index) ? VALUE_TRUE : VALUE_FALSE);
	case LUA_TNUMBER:
		return put_number(encoder, place, index);
	case LUA_TSTRING:
		return put_string(encoder, place, index);
	case LUA_TTABLE:
		return put_table(encoder, place, index);
	case LUA_TLIGHTUSERDATA:
		if (value_is_null(encoder->L, index))
			return put_tag(encoder, place, VALUE_NULL);
		/* fallthrough */
	default:
		if (kdb_value_kind(encoder->L, index, kind, sizeof kind))
			(void)snprintf(why, sizeof why, "a %s cannot be stored; see kdb.plain", kind);
		else
			(void)snprintf(why, sizeof why, "a %s cannot be stored", luaL_typename(encoder->L, index));
		return refuse(encoder, place, why);
	}
}

void value_mark_array(struct lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark) != LUA_TTABLE) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushliteral(L, "json.array");
		lua_setfield(L, -2, "__metatable");
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &array_mark);
	}
	lua_setmetatable(L, -2);
}

bool value_is_array(struct lua_State *L, int index)
{
	bool marked;

	if (state_table_push_data(L, index)) { /* that is marked */
		marked = value_is_array(L, -1);
		lua_pop(L, 1);
		return marked;
	}
	if (!lua_getmetatable(L, index))
		return false;
	(void)lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark);
	marked = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return marked;
}

void value_push_null(struct lua_State *L)
{
	lua_pushlightuserdata(L, NULL);
}

bool value_is_null(struct lua_State *L, int index)
{
	return lua_islightuserdata(L, index) && !lua_touserdata(L, index);
}

static int encode(struct encoder *encoder, int index)
{
	struct place whole = { NULL, 0, 0 };
	lua_State *L = encoder->L;
	int top = lua_gettop(L);
	int result;

	encoder->start = encoder->out->size;
	if (!lua_checkstack(L, 8))
		return refuse(encoder, &whole, "not enough memory");
	result = put_value(encoder, &whole, lua_absindex(L, index));
	lua_settop(L, top);
	if (result)
		encoder->out->size = encoder->start;
	return result;
}

int value_encode(struct lua_State *L, int index, const char *what, struct buffer *out, char *err, size_t err_size)
{
	return encode(&(struct encoder){ L, what, out, 0, SIZE_MAX_BYTES, err, err_size }, index);
}

int value_write(struct lua_State *L, int index, struct buffer *out)
{
	char ignored[1] = "";

	return encode(&(struct encoder){ L, "", out, 0, SIZE_MAX, ignored, sizeof ignored }, index);
}

static bool push_integer(lua_State *L, struct bytes *run)
{
	int64_t integer;

	if (!value_take_integer(run, &integer))
		return false;
	lua_pushinteger(L, integer);
	return true;
}

static bool push_float(lua_State *L, struct bytes *run)
{
	double number;

	if (!value_take_float(run, &number))
		return false;
	lua_pushnumber(L, number);
	return true;
}

static bool push_string(lua_State *L, struct bytes *run)
{
	struct bytes text;

	if (!value_take_string(run, &text))
		return false;
	lua_pushlstring(L, text.data, text.size);
	return true;
}

/* Writing never produces others (nil and NaN cannot be keys at all). */
static bool may_be_key(lua_State *L)
{
	if (lua_type(L, -1) == LUA_TNUMBER)
		return lua_rawequal(L, -1, -1);
	return lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TBOOLEAN;
}

static bool push_value(lua_State *L, struct bytes *run, int depth);

static bool push_table(lua_State *L, struct bytes *run, int depth)
{
	if (depth >= VALUE_DEPTH_MAX)
		return false;
	lua_newtable(L);
	while (!value_take_close(run)) {
		if (!push_value(L, run, depth + 1) || !may_be_key(L) || !push_value(L, run, depth + 1))
			return false;
		lua_rawset(L, -3);
	}
	return true;
}

static bool push_value(lua_State *L, struct bytes *run, int depth)
{
	enum value_tag tag;

	if (!value_take_tag(run, &tag))
		return false;
	switch (tag) {
	case VALUE_NIL:
		lua_pushnil(L);
		return true;
	case VALUE_FALSE:
	case VALUE_TRUE:
		lua_pushboolean(L, tag == VALUE_TRUE);
		return true;
	case VALUE_INTEGER:
		return push_integer(L, run);
	case VALUE_FLOAT:
		return push_float(L, run);
	case VALUE_STRING:
		return push_string(L, run);
	case VALUE_OPEN:
		return push_table(L, run, depth);
	case VALUE_ARRAY:
		if (!push_table(L, run, depth))
			return false;
		value_mark_array(L);
		return true;
	case VALUE_NULL:
		value_push_null(L);
		return true;
	default:
		return false;
	}
}

void value_decode(struct lua_State *L, struct bytes run)
{
	int top = lua_gettop(L);

	luaL_checkstack(L, 3 * VALUE_DEPTH_MAX + 4, "value");
	if (!push_value(L, &run, 0) || run.size) {
		lua_settop(L, top);
		lua_pushnil(L);
	}
}
