/* Option tables: every key is looked up in a list, its reader takes the value.
 * A misspelt option that is silently ignored would be found out in the field
 * only, so it raises.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "api.h"
#include "kdb_value.h"
#include "nearest.h"

#define GOT_MAX 40 /* bytes of a string */

/* "opts.qos" → "qos" */
static const char *key_of(const struct api_option *option)
{
	const char *dot = strrchr(option->path, '.');

	return dot ? dot + 1 : option->path;
}

static int unknown_key(lua_State *L, const char *what, const char *key, const struct api_option *options)
{
	const char *meant = NULL;
	size_t best = NEAREST_MAX + 1;

	for (; options->path; options++)
		if (nearest(key, key_of(options), &best))
			meant = key_of(options);
	if (meant)
		return luaL_error(L, "%s.%s: unknown key; did you mean '%s'?", what, key, meant);
	return luaL_error(L, "%s.%s: unknown key", what, key);
}

static const struct api_option *find(lua_State *L, const char *what, const struct api_option *options)
{
	const struct api_option *option = options;
	const char *key;

	if (lua_type(L, -2) != LUA_TSTRING) {
		luaL_error(L, "%s: keys are names, got a %s", what, luaL_typename(L, -2));
		return NULL;
	}
	key = lua_tostring(L, -2);
	while (option->path && strcmp(key_of(option), key) != 0)
		option++;
	if (!option->path)
		unknown_key(L, what, key, options);
	return option;
}

void api_options_read(struct lua_State *L, int index, const char *what, const struct api_option *options,
                      void *target)
{
	if (lua_isnoneornil(L, index))
		return;
	index = lua_absindex(L, index);
	if (!lua_istable(L, index))
		luaL_error(L, "%s: table expected, got %s", what, api_kind(L, index));
	luaL_checkstack(L, 8, what);
	api_state_plain(L, index);
	lua_pushnil(L);
	while (lua_next(L, index)) {
		const struct api_option *option = find(L, what, options);

		option->read(L, option, target);
		lua_pop(L, 1);
	}
}

const char *api_kind(struct lua_State *L, int index)
{
	char typed[40];

	if (kdb_value_kind(L, index, typed, sizeof typed))
		return lua_pushstring(L, typed);
	return luaL_getmetafield(L, index, "__name") == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, index);
}

const char *api_got(struct lua_State *L, int index)
{
	char shown[2 * GOT_MAX + 1];
	size_t size, at = 0;
	const char *text;

	index = lua_absindex(L, index);
	if (lua_type(L, index) == LUA_TNUMBER)
		return luaL_tolstring(L, index, NULL);
	if (lua_type(L, index) != LUA_TSTRING)
		return api_kind(L, index);
	text = lua_tolstring(L, index, &size);
	for (size_t i = 0; i < size && i < GOT_MAX; i++) {
		shown[at++] = text[i] ? text[i] : '\\'; /* a NUL as \0: it may be what is wrong */
		if (!text[i])
			shown[at++] = '0';
	}
	shown[at] = 0;
	return lua_pushfstring(L, size > GOT_MAX ? "\"%s...\"" : "\"%s\"", shown);
}

const char *api_check_string(struct lua_State *L, int arg, const char *name, size_t *size)
{
	if (lua_type(L, arg) != LUA_TSTRING)
		luaL_argerror(L, arg, lua_pushfstring(L, "%s: string expected, got %s", name, api_kind(L, arg)));
	return lua_tolstring(L, arg, size);
}

const char *api_check_text(struct lua_State *L, int arg, const char *name)
{
	size_t size;
	const char *text = api_check_string(L, arg, name, &size);

	if (strlen(text) != size)
		luaL_argerror(L, arg, lua_pushfstring(L, "%s contains a NUL byte", name));
	return text;
}

int64_t api_whole_number(struct lua_State *L, int index)
{
	int whole = 0;
	lua_Integer number = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &whole) : -1;

	return whole && number >= 0 ? number : -1;
}

int api_option_expected(struct lua_State *L, const struct api_option *option, const char *expected)
{
	return luaL_error(L, "%s: %s expected, got %s", option->path, expected, api_got(L, -1));
}

void api_option_bool(struct lua_State *L, const struct api_option *option, void *target)
{
	if (!lua_isboolean(L, -1))
		api_option_expected(L, option, "boolean");
	*(bool *)(void *)((char *)target + option->offset) = lua_toboolean(L, -1);
}

void api_option_int(struct lua_State *L, const struct api_option *option, void *target)
{
	int64_t number = api_whole_number(L, -1);

	if (number < 0 || number > option->max) {
		lua_pushfstring(L, option->max == 1 ? "0 or %d" : option->max == 2 ? "0, 1 or %d" : "0 to %d", option->max);
		lua_insert(L, -2);
		api_option_expected(L, option, lua_tostring(L, -2));
	}
	*(int *)(void *)((char *)target + option->offset) = (int)number;
}
