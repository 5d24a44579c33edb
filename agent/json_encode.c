/* The structure is walked here, because it needs an order and a path; strings and
 * floats are written by jansson, one by one, into memory that is already there: no
 * object of the library's outlives the function that makes it.
 */
#include "json_encode.h"

#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kdb_value.h"
#include "place.h"
#include "quota.h"
#include "script_state.h"
#include "value.h"

struct encoder {
	lua_State *L;
	int box; /* stack index of the userdata that `data` is in, once `first` is full */
	char *data;
	size_t size, capacity;
	char first[512];
};

/* A key of an object, to be sorted. */
struct name {
	const char *text;
	size_t size;
	int index; /* of it on the stack */
};

static int refuse(const struct encoder *encoder, const struct place *place, const char *why)
{
	char path[200];

	place_name(encoder->L, place, "", path, sizeof path);
	return luaL_error(encoder->L, "json.encode: %s%s%s", path, *path ? ": " : "", why);
}

/* ---- the text ---- */

/* Where `size` more bytes can be written. */
static char *room(struct encoder *encoder, size_t size)
{
	size_t capacity = 2 * encoder->capacity;
	char *data;

	if (size <= encoder->capacity - encoder->size)
		return encoder->data + encoder->size;
	if (capacity < encoder->size + size)
		capacity = encoder->size + size;
	data = lua_newuserdatauv(encoder->L, capacity, 0);
	memcpy(data, encoder->data, encoder->size);
	lua_replace(encoder->L, encoder->box);
	encoder->data = data;
	encoder->capacity = capacity;
	return data + encoder->size;
}

static void put(struct encoder *encoder, const char *text, size_t size)
{
	memcpy(room(encoder, size), text, size);
	encoder->size += size;
}

static void put_char(struct encoder *encoder, char c)
{
	put(encoder, &c, 1);
}

/* ---- numbers and strings ---- */

static void put_integer(struct encoder *encoder, lua_Integer number)
{
	char text[32];

	put(encoder, text, (size_t)snprintf(text, sizeof text, LUA_INTEGER_FMT, number));
}

/* Writes `json`, which it takes, to `to`. How long that is, whether there was room or
 * not; 0: it cannot be written. */
static size_t dump(json_t *json, char *to, size_t size, size_t digits)
{
	size_t needed = json ? json_dumpb(json, to, size, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits)) : 0;

	json_decref(json);
	return needed;
}

static void put_float(struct encoder *encoder, const struct place *place, double number)
{
	size_t size = 0;
	char text[64];

	if (isnan(number))
		refuse(encoder, place, "NaN cannot be encoded");
	if (isinf(number))
		refuse(encoder, place, number > 0 ? "inf cannot be encoded" : "-inf cannot be encoded");
	for (size_t digits = 15; digits <= 17; digits++) {
		size = dump(json_real(number), text, sizeof text - 1, digits);
		text[size] = 0;
		if (strtod(text, NULL) == number)
			break;
	}
	if (size == 0)
		refuse(encoder, place, "not enough memory");
	put(encoder, text, size);
}

static void put_string(struct encoder *encoder, const struct place *place, int index)
{
	size_t size, have, needed;
	const char *text = lua_tolstring(encoder->L, index, &size);

	needed = size + 16; /* if few characters must be escaped */
	do {
		char *to = room(encoder, have = needed);
		json_t *string = json_stringn_nocheck(text, size);

		if (!string)
			refuse(encoder, place, "not enough memory");
		needed = dump(string, to, have, 0);
		if (needed == 0)
			refuse(encoder, place, "a string that is not valid UTF-8 cannot be encoded");
	} while (needed > have);
	encoder->size += needed;
}

/* ---- tables ---- */

static void put_value(struct encoder *encoder, const struct place *place, int index);

/* Pushes the table in which the entries of the one at `index` stand. A proxy keeps
 * them elsewhere, and what it has itself must not pass for them. */
static void push_entries(const struct encoder *encoder, const struct place *place, int index)
{
	if (script_state_push_entries(encoder->L, index))
		return;
	if (luaL_getmetafield(encoder->L, index, "__pairs") != LUA_TNIL)
		refuse(encoder, place, "a table with __pairs cannot be encoded");
	lua_pushvalue(encoder->L, index);
}

/* What kind of keys a table has. */
struct keys {
	size_t names;
	lua_Integer items, last;
};

/* Counts the key at `place->key`; raises if JSON has none of that kind. */
static void count_key(const struct encoder *encoder, const struct place *place, struct keys *keys)
{
	lua_State *L = encoder->L;
	lua_Integer item = lua_isinteger(L, place->key) ? lua_tointeger(L, place->key) : 0;

	if (lua_type(L, place->key) == LUA_TSTRING)
		keys->names++;
	else if (item >= 1)
		keys->items++;
	else
		refuse(encoder, place, "a key must be a name, or a number from 1 on");
	if (item > keys->last)
		keys->last = item;
}

static struct keys count_keys(const struct encoder *encoder, const struct place *place, int index)
{
	lua_State *L = encoder->L;
	struct keys keys = { 0 };
	struct place inner = { place, lua_gettop(L) + 1, place->depth + 1 };

	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
		count_key(encoder, &inner, &keys);
	if (keys.items > 0 && keys.names > 0)
		refuse(encoder, place, "a table with both numbers and names as keys cannot be encoded");
	if (keys.items != keys.last)
		refuse(encoder, place, "a list with holes cannot be encoded");
	if (keys.names > 0 && value_is_array(L, index))
		refuse(encoder, place, "an array with names as keys cannot be encoded");
	return keys;
}

static void put_array(struct encoder *encoder, const struct place *place, int index, lua_Integer n)
{
	lua_State *L = encoder->L;
	struct place inner = { place, lua_gettop(L) + 1, place->depth + 1 };

	put_char(encoder, '[');
	for (lua_Integer i = 1; i <= n; i++) {
		if (i > 1)
			put_char(encoder, ',');
		lua_pushinteger(L, i);
		lua_rawgeti(L, index, i);
		put_value(encoder, &inner, inner.key + 1);
		lua_pop(L, 2);
	}
	put_char(encoder, ']');
}

static int compare(const void *left, const void *right)
{
	const struct name *a = left, *b = right;
	int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);

	return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* Pushes all `n` keys of the table, and after them their order. They stay on the stack
 * because a table with weak values may lose them before they are written. */
static const struct name *push_names(lua_State *L, int index, size_t n)
{
	struct name *names;
	int first = lua_gettop(L) + 1;

	quota_check_stack(L, n < LUAI_MAXSTACK ? (int)n + 16 : LUAI_MAXSTACK);
	for (lua_pushnil(L); lua_next(L, index);) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
	}
	names = lua_newuserdatauv(L, n * sizeof *names, 0);
	for (size_t i = 0; i < n; i++) {
		names[i].index = first + (int)i;
		names[i].text = lua_tolstring(L, names[i].index, &names[i].size);
	}
	qsort(names, n, sizeof *names, compare);
	return names;
}

static void put_object(struct encoder *encoder, const struct place *place, int index, size_t n)
{
	lua_State *L = encoder->L;
	int top = lua_gettop(L);
	const struct name *names = push_names(L, index, n);

	put_char(encoder, '{');
	for (size_t i = 0; i < n; i++) {
		struct place inner = { place, names[i].index, place->depth + 1 };

		if (i > 0)
			put_char(encoder, ',');
		if (memchr(names[i].text, 0, names[i].size)) /* nor would it be read back */
			refuse(encoder, &inner, "a key with a NUL byte cannot be encoded");
		put_string(encoder, &inner, inner.key);
		put_char(encoder, ':');
		lua_pushvalue(L, inner.key);
		lua_rawget(L, index);
		put_value(encoder, &inner, lua_gettop(L));
		lua_pop(L, 1);
	}
	put_char(encoder, '}');
	lua_settop(L, top);
}

static void put_table(struct encoder *encoder, const struct place *place, int index)
{
	struct keys keys;

	if (place->depth >= JSON_DEPTH_MAX)
		refuse(encoder, place, "nested too deep, or a table that contains itself");
	quota_check_stack(encoder->L, 16);
	quota_check_time(encoder->L);
	push_entries(encoder, place, index);
	index = lua_gettop(encoder->L);
	keys = count_keys(encoder, place, index);
	if (keys.items > 0)
		put_array(encoder, place, index, keys.items);
	else if (keys.names > 0)
		put_object(encoder, place, index, keys.names);
	else
		put(encoder, value_is_array(encoder->L, index) ? "[]" : "{}", 2);
	lua_pop(encoder->L, 1);
}

/* ---- any value ---- */

static void put_value(struct encoder *encoder, const struct place *place, int index)
{
	lua_State *L = encoder->L;
	int type = lua_type(L, index);
	char why[80], kind[40];

	if (type == LUA_TSTRING) {
		put_string(encoder, place, index);
	} else if (lua_isinteger(L, index)) {
		put_integer(encoder, lua_tointeger(L, index));
	} else if (type == LUA_TNUMBER) {
		put_float(encoder, place, lua_tonumber(L, index));
	} else if (type == LUA_TBOOLEAN && lua_toboolean(L, index)) {
		put(encoder, "true", 4);
	} else if (type == LUA_TBOOLEAN) {
		put(encoder, "false", 5);
	} else if (value_is_null(L, index)) {
		put(encoder, "null", 4);
	} else if (type == LUA_TTABLE) {
		put_table(encoder, place, index);
	} else if (kdb_value_kind(L, index, kind, sizeof kind)) {
		(void)snprintf(why, sizeof why, "a %s cannot be encoded; see kdb.plain", kind);
		refuse(encoder, place, why);
	} else {
		(void)snprintf(why, sizeof why, "a %s cannot be encoded", lua_typename(L, type));
		refuse(encoder, place, type == LUA_TNIL ? "nil cannot be encoded; null is json.null" : why);
	}
}

void json_encode(struct lua_State *L, int index)
{
	struct encoder encoder = { .L = L, .capacity = sizeof encoder.first };
	struct place whole = { 0 };
	int top = lua_gettop(L);

	index = lua_absindex(L, index);
	encoder.data = encoder.first;
	lua_pushnil(L);
	encoder.box = top + 1;
	put_value(&encoder, &whole, index);
	lua_pushlstring(L, encoder.data, encoder.size);
	lua_replace(L, encoder.box);
	lua_settop(L, encoder.box);
}
