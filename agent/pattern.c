/* A throwaway Lua state with nothing but string.find in it. */
#include "pattern.h"

#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

struct question {
	const char *pattern, *text;
	size_t size;
};

static int l_find(lua_State *L)
{
	const struct question *question = lua_touserdata(L, 1);

	luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
	lua_getfield(L, -1, "find");
	lua_pushlstring(L, question->text, question->size);
	lua_pushstring(L, question->pattern);
	lua_call(L, 2, 1);
	return 1;
}

int pattern_find(const char *pattern, const char *text, size_t size, char *err, size_t err_size)
{
	struct question question = {pattern, text, size};
	lua_State *L = luaL_newstate();
	int found;

	if (!L) {
		snprintf(err, err_size, "out of memory");
		return -1;
	}
	lua_pushcfunction(L, l_find);
	lua_pushlightuserdata(L, &question);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
		found = !lua_isnil(L, -1);
	} else {
		snprintf(err, err_size, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "failed");
		found = -1;
	}
	lua_close(L);
	return found;
}
