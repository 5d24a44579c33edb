/* A path from the outside in: the chain is walked to its end first. */
#include "place.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

/* Long paths are cut: this is only for a message. */
static void add(char *text, size_t size, const char *before, const char *part, const char *after)
{
	size_t used = strlen(text);

	(void)snprintf(text + used, size - used, "%s%s%s", before, part, after);
}

void place_add_key(struct lua_State *L, int key, char *text, size_t size)
{
	char number[64];

	if (lua_type(L, key) == LUA_TSTRING) {
		add(text, size, *text ? "." : "", lua_tostring(L, key), "");
	} else if (lua_isinteger(L, key)) {
		(void)snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, key));
		add(text, size, "[", number, "]");
	} else if (lua_type(L, key) == LUA_TNUMBER) {
		(void)snprintf(number, sizeof number, "%.14g", (double)lua_tonumber(L, key));
		add(text, size, "[", number, "]");
	} else if (lua_type(L, key) == LUA_TBOOLEAN) {
		add(text, size, "[", lua_toboolean(L, key) ? "true" : "false", "]");
	} else {
		add(text, size, "[a ", luaL_typename(L, key), "]");
	}
}

static void name(lua_State *L, const struct place *place, char *text, size_t size)
{
	if (!place->parent)
		return;
	name(L, place->parent, text, size);
	place_add_key(L, place->key, text, size);
}

void place_name(struct lua_State *L, const struct place *place, const char *what, char *text, size_t size)
{
	(void)snprintf(text, size, "%s", what);
	name(L, place, text, size);
}
