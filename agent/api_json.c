/* json: encode, decode, null, array.
 *
 * jansson's tree is made and freed in one function; what turns it into Lua values,
 * and may run out of memory, is a protected call in between. The tree's memory counts
 * as the script's while it is there.
 */
#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#include "api.h"
#include "json_encode.h"
#include "json_need.h"
#include "value.h"

/* ---- decode ---- */

static void push_json(lua_State *L, json_t *json);

static void push_object(lua_State *L, json_t *object)
{
	size_t n = json_object_size(object);
	const char *key;
	json_t *value;

	quota_check_time(L);
	lua_createtable(L, 0, n < INT32_MAX ? (int)n : 0);
	json_object_foreach (object, key, value) {
		lua_pushstring(L, key); /* jansson refuses keys with a NUL in them */
		push_json(L, value);
		lua_rawset(L, -3);
	}
}

static void push_array(lua_State *L, json_t *array)
{
	size_t n = json_array_size(array);

	quota_check_time(L);
	lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
	for (size_t i = 0; i < n; i++) {
		push_json(L, json_array_get(array, i));
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	value_mark_array(L);
}

/* As deep as json_need() let the text be; there is stack for that. */
static void push_json(lua_State *L, json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		push_object(L, json);
		break;
	case JSON_ARRAY:
		push_array(L, json);
		break;
	case JSON_STRING:
		lua_pushlstring(L, json_string_value(json), json_string_length(json));
		break;
	case JSON_INTEGER:
		lua_pushinteger(L, json_integer_value(json));
		break;
	case JSON_REAL:
		lua_pushnumber(L, json_real_value(json));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		lua_pushboolean(L, json_is_true(json));
		break;
	case JSON_NULL:
		value_push_null(L);
		break;
	}
}

static int convert(lua_State *L)
{
	quota_check_stack(L, 3 * JSON_DEPTH_MAX + 16);
	push_json(L, lua_touserdata(L, 1));
	return 1;
}

static int fail(lua_State *L, int line, int column, const char *why)
{
	lua_pushnil(L);
	lua_pushfstring(L, "line %d, column %d: %s", line, column, why);
	return 2;
}

/* `bytes` are reserved for jansson, and there is room on the stack. */
static int decode(lua_State *L, const char *text, size_t size, size_t bytes)
{
	json_error_t problem;
	json_t *json = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
	int status = LUA_OK;

	if (json) {
		lua_pushcfunction(L, convert);
		lua_pushlightuserdata(L, json);
		status = lua_pcall(L, 1, 1, 0);
		json_decref(json);
	}
	quota_give_back(L, bytes);
	if (!json && !problem.text[0])
		return quota_out_of_memory(L);
	if (!json)
		return fail(L, problem.line, problem.column, problem.text);
	return status == LUA_OK ? 1 : lua_error(L);
}

static int json_decode(lua_State *L)
{
	size_t size;
	const char *text = api_check_string(L, 1, "text", &size);
	struct json_need need = json_need(text, size, JSON_DEPTH_MAX);
	int line, column;

	if (need.problem) {
		json_position(text, need.at, &line, &column);
		return fail(L, line, column, need.problem);
	}
	quota_check_stack(L, 4);
	if (!quota_reserve(L, need.bytes))
		return quota_out_of_memory(L);
	return decode(L, text, size, need.bytes);
}

/* ---- the rest ---- */

static int encode(lua_State *L)
{
	luaL_checkany(L, 1);
	json_encode(L, 1);
	return 1;
}

/* json.array([t]) */
static int json_array_mark(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_isnil(L, 1)) {
		lua_newtable(L);
		lua_replace(L, 1);
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	if (value_is_array(L, 1))
		return 1;
	luaL_argcheck(L, !lua_getmetatable(L, 1), 1, "it has a metatable already");
	value_mark_array(L);
	return 1;
}

static int null_text(lua_State *L)
{
	lua_pushliteral(L, "json.null");
	return 1;
}

/* All light userdata of a state share one metatable, and scripts meet no other. */
static void push_null(lua_State *L)
{
	value_push_null(L);
	lua_newtable(L);
	lua_pushcfunction(L, null_text);
	lua_setfield(L, -2, "__tostring");
	lua_pushliteral(L, "json.null");
	lua_setfield(L, -2, "__metatable");
	lua_pushliteral(L, "json.null"); /* what luaL_checknumber() and others say they got */
	lua_setfield(L, -2, "__name");
	lua_setmetatable(L, -2);
}

static int open_json(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "encode", encode }, { "decode", json_decode }, { "array", json_array_mark }, { NULL, NULL }
	};

	luaL_newlib(L, functions);
	push_null(L);
	lua_setfield(L, -2, "null");
	return 1;
}

void api_json_open(struct lua_State *L)
{
	luaL_requiref(L, "json", open_json, 1);
	lua_pop(L, 1);
}
