/* Lua code without its debug information: names of local variables and lines, a third
 * of what code takes. For modules that nobody debugs but us.
 */
#ifndef TIDEGATE_STRIPPED_H
#define TIDEGATE_STRIPPED_H

struct lua_State;

/* Pushes the chunk in the file at `path`, a text, and returns LUA_OK; or pushes why
 * not. It says "?" where others say their file; errors that name the caller's line
 * (level 2) are as ever. May raise. */
int stripped_load(struct lua_State *L, const char *path);

#endif
