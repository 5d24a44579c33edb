/* The libraries are Lua's own, with a few functions taken out and some wrapped.
 *
 * A loop is stopped by an error from a count hook, and Lua keeps hooks off while
 * that error looks for somebody to catch it. Whatever of the script's ran then
 * could loop for ever: message handlers (hence xpcall), `__close` of a coroutine
 * the error went through uncaught (hence coroutine.create and wrap), and `__gc`
 * at any time (hence setmetatable). Each coroutine has a hook of its own, so the
 * quota must know which one runs (hence coroutine.resume, wrap and close).
 *
 * What library functions do in one go is out of reach of any hook: string.rep and
 * table.move could be asked for 2^62 steps that need no memory.
 */
#include "sandbox.h"

#include <ctype.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "library.h"
#include "quota.h"
#include "sources.h"
#include "stripped.h"

#define MOVES_MAX 10000000 /* of one table.move: a good tenth of a second */

/* In the table of loaded modules while a module's chunk runs. */
static const char loading;
/* Its address is the registry's key of the library's loaded modules. They are known as
 * long as somebody has them: what was needed once goes. */
static const char library_modules;

/* xpcall(f, handler, ...): pcall, and then the handler. */
static int xpcall_end(lua_State *L, int status, lua_KContext context)
{
	(void)context;
	if (status == LUA_OK || status == LUA_YIELD) {
		lua_pushboolean(L, 1);
		lua_replace(L, 1);
		return lua_gettop(L);
	}
	lua_pushboolean(L, 0);
	lua_pushvalue(L, 1);
	lua_pushvalue(L, -3);
	(void)lua_pcall(L, 1, 1, 0);
	return 2;
}

static int safe_xpcall(lua_State *L)
{
	int arguments = lua_gettop(L) - 2;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, 1);
	lua_copy(L, 2, 1);
	lua_replace(L, 2);
	return xpcall_end(L, lua_pcallk(L, arguments, LUA_MULTRET, 0, 0, xpcall_end), 0);
}

static int safe_setmetatable(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
	if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
		return luaL_error(L, "cannot change a protected metatable");
	lua_settop(L, 2);
	if (lua_istable(L, 2)) {
		lua_pushliteral(L, "__gc");
		luaL_argcheck(L, lua_rawget(L, 2) == LUA_TNIL, 2, "__gc is not available to scripts");
	}
	lua_settop(L, 2);
	lua_setmetatable(L, 1);
	return 1;
}

/* load(chunk [, name [, mode [, env]]]) with the mode always "t". The number of
 * arguments matters to the original: an env of nil is not the same as none. */
static int text_load(lua_State *L)
{
	int arguments = lua_gettop(L);

	luaL_argexpected(L, lua_isstring(L, 1) || lua_isfunction(L, 1), 1, "string or function");
	if (arguments < 3)
		lua_settop(L, arguments = 3);
	lua_pushliteral(L, "t");
	lua_replace(L, 3);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, arguments, LUA_MULTRET);
	return lua_gettop(L);
}

static int coroutine_end(lua_State *L, int status, lua_KContext context)
{
	(void)context;
	if (status != LUA_OK && status != LUA_YIELD)
		return lua_error(L);
	return lua_gettop(L);
}

/* What a coroutine runs instead of the script's function: calls that, protected,
 * and raises again what it raised. By then its variables are closed and hooks
 * are on again. */
static int coroutine_body(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	return coroutine_end(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, coroutine_end), 0);
}

/* Calls the function below `arguments` values on the stack, which goes on with
 * coroutine `co` and comes back when that yields or ends. */
static int run_coroutine(lua_State *L, lua_State *co, int arguments)
{
	lua_State *before = quota_switch(L, co);
	int status = lua_pcall(L, arguments, LUA_MULTRET, 0);

	(void)quota_switch(L, before);
	return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* coroutine.resume and coroutine.close; the original is the upvalue. */
static int with_coroutine(lua_State *L)
{
	lua_State *co = lua_tothread(L, 1);
	int arguments = lua_gettop(L);

	luaL_argexpected(L, co, 1, "coroutine");
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	return run_coroutine(L, co, arguments);
}

/* What coroutine.wrap gives; the upvalues are Lua's own such function and its
 * coroutine. */
static int wrapped_coroutine(lua_State *L)
{
	int arguments = lua_gettop(L);

	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	return run_coroutine(L, lua_tothread(L, lua_upvalueindex(2)), arguments);
}

/* coroutine.create, and the same in coroutine.wrap; the original is the upvalue. */
static int make_coroutine(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_pushcclosure(L, coroutine_body, 1);
	lua_call(L, 1, 1);
	return 1;
}

static int wrap_coroutine(lua_State *L)
{
	(void)make_coroutine(L);
	if (!lua_getupvalue(L, -1, 1) || !lua_isthread(L, -1))
		return luaL_error(L, "coroutine.wrap is not as expected");
	lua_pushcclosure(L, wrapped_coroutine, 2);
	return 1;
}

/* Calls the original, the upvalue, with the arguments on the stack. */
static int call_original(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

/* string.rep */
static int bounded_rep(lua_State *L)
{
	size_t size, between;

	(void)luaL_checklstring(L, 1, &size);
	(void)luaL_checkinteger(L, 2);
	(void)luaL_optlstring(L, 3, "", &between);
	if (size + between > 0)
		return call_original(L);
	lua_pushliteral(L, "");
	return 1;
}

/* table.move */
static int bounded_move(lua_State *L)
{
	lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);

	luaL_checktype(L, 1, LUA_TTABLE);
	(void)luaL_checkinteger(L, 4);
	luaL_argcheck(L, last < first || (lua_Unsigned)last - (lua_Unsigned)first < MOVES_MAX, 3,
	              "too many elements to move");
	return call_original(L);
}

/* "rules.deadband" → true: letters, digits, `_` and `-`, parted by single dots. */
static int is_module_name(const char *name, size_t size)
{
	int inside = 0;

	for (size_t i = 0; i < size; i++) {
		if (name[i] == '.') {
			if (!inside)
				return 0;
			inside = 0;
		} else if (isalnum((unsigned char)name[i]) || name[i] == '_' || name[i] == '-') {
			inside = 1;
		} else {
			return 0;
		}
	}
	return inside;
}

static struct sources *sources_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(3));
}

/* Pushes the path of the module's file, the upvalues being the script's directory and the
 * library's, and its sources, and says whether it is the library's; raises if there is none. */
static const char *module_path(lua_State *L, const char *name, bool *of_library)
{
	static const char *const places[] = { "%s/%s.lua", "%s/lib/%s.lua", "%s/%s.lua" };
	const char *directory = lua_tostring(L, lua_upvalueindex(1));
	const char *library = lua_tostring(L, lua_upvalueindex(2));
	const char *relative = luaL_gsub(L, name, ".", "/");

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		const char *path = lua_pushfstring(L, places[i], i < 2 ? directory : library, relative);

		*of_library = i == 2;
		if (sources_has(sources_of(L), path))
			return path;
	}
	luaL_error(L, "module '%s' not found: no file '%s', no file '%s', no file '%s'", name, lua_tostring(L, -3),
	           lua_tostring(L, -2), lua_tostring(L, -1));
	return NULL;
}

void sandbox_load(struct lua_State *L, struct sources *sources, const char *path)
{
	char err[500];
	const struct source *source = sources_get(sources, path, err, sizeof err);
	const char *text, *end;

	if (!source) {
		lua_pushstring(L, err);
		(void)lua_error(L);
		return;
	}
	text = source->text;
	end = text + source->size;
	if (end - text >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) /* a byte order mark */
		text += 3;
	if (text < end && *text == '#') /* for Unix; its line is counted */
		while (text < end && *text != '\n')
			text++;
	lua_pushfstring(L, "@%s", path);
	if (luaL_loadbufferx(L, text, (size_t)(end - text), lua_tostring(L, -1), "t") != LUA_OK)
		(void)lua_error(L);
	lua_remove(L, -2);
}

/* run_module(name, path, of_library) → the module's value, never nil. The upvalues are
 * require's. The library belongs to the program and not to what a script is made of. */
static int run_module(lua_State *L)
{
	const char *path = lua_tostring(L, 2);

	if (!lua_toboolean(L, 3))
		sandbox_load(L, sources_of(L), path);
	else if (stripped_load(L, path) != LUA_OK)
		return lua_error(L);
	lua_replace(L, 3);
	lua_rotate(L, 1, 1);
	lua_call(L, 2, 1);
	if (lua_isnil(L, -1))
		lua_pushboolean(L, 1);
	return 1;
}

/* Runs the module at `path` and enters its value (or, if it raises, nothing) in
 * the table of loaded modules at index 2 or, if it is the library's, 3. Leaves the value
 * or the error. */
static int load_module(lua_State *L, const char *name, const char *path, bool of_library)
{
	int loaded = of_library ? 3 : 2;
	int status;

	lua_pushlightuserdata(L, (void *)(uintptr_t)&loading);
	lua_setfield(L, loaded, name);
	for (int i = 1; i <= 3; i++)
		lua_pushvalue(L, lua_upvalueindex(i));
	lua_pushcclosure(L, run_module, 3);
	lua_pushstring(L, name);
	lua_pushstring(L, path);
	lua_pushboolean(L, of_library);
	status = lua_pcall(L, 3, 1, 0);
	if (status == LUA_OK)
		lua_pushvalue(L, -1);
	else
		lua_pushnil(L);
	lua_setfield(L, loaded, name);
	return status;
}

/* Pushes the module's value and returns true; or false if it is not loaded. */
static bool push_loaded(lua_State *L, int loaded, const char *name)
{
	int type = lua_getfield(L, loaded, name);

	if (type == LUA_TLIGHTUSERDATA && lua_touserdata(L, -1) == &loading)
		luaL_error(L, "module '%s' requires itself", name);
	if (type == LUA_TNIL)
		lua_pop(L, 1);
	return type != LUA_TNIL;
}

static int safe_require(lua_State *L)
{
	size_t size;
	const char *name = luaL_checklstring(L, 1, &size), *path;
	bool of_library;

	luaL_argcheck(L, is_module_name(name, size), 1,
	              "module names are made of letters, digits, '_' and '-', parted by single dots");
	lua_settop(L, 1);
	lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &library_modules);
	if (push_loaded(L, 2, name) || push_loaded(L, 3, name))
		return 1;
	path = module_path(L, name, &of_library);
	return load_module(L, name, path, of_library) == LUA_OK ? 1 : lua_error(L);
}

/* Replaces field `name` of the table on top by `function`, which gets the
 * original as its upvalue. */
static void wrap(lua_State *L, const char *name, lua_CFunction function)
{
	lua_getfield(L, -1, name);
	lua_pushcclosure(L, function, 1);
	lua_setfield(L, -2, name);
}

static void remove_field(lua_State *L, const char *name)
{
	lua_pushnil(L);
	lua_setfield(L, -2, name);
}

static void open_base(lua_State *L, const char *directory, struct sources *sources)
{
	char library[PATH_MAX];

	luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
	remove_field(L, "dofile");
	remove_field(L, "loadfile");
	wrap(L, "load", text_load);
	wrap(L, "xpcall", safe_xpcall);
	wrap(L, "setmetatable", safe_setmetatable);
	lua_pushstring(L, directory);
	lua_pushstring(L, library_directory(library, sizeof library) ? directory : library);
	lua_pushlightuserdata(L, sources);
	lua_pushcclosure(L, safe_require, 3);
	lua_setfield(L, -2, "require");
	lua_pop(L, 1);
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	lua_pushliteral(L, "v");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &library_modules);
}

/* Lua's math without what only some builds of Lua have, for the sake of Lua 5.2: a
 * script that works on the desk must work on the router. A copy, as a table keeps
 * the room of what is taken out. */
static int open_math(lua_State *L)
{
	static const char *const old[] = { "atan2", "cosh", "sinh", "tanh", "pow", "frexp", "ldexp", "log10" };

	lua_settop(L, 0);
	lua_newtable(L);
	lua_pushcfunction(L, luaopen_math);
	lua_call(L, 0, 1);
	for (size_t i = 0; i < sizeof old / sizeof *old; i++)
		remove_field(L, old[i]);
	for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, 1);
	}
	lua_settop(L, 1);
	return 1;
}

/* A table of `os` with the clock functions only. */
static int open_os(lua_State *L)
{
	static const char *const kept[] = { "time", "date", "clock", "difftime" };

	lua_newtable(L);
	lua_pushcfunction(L, luaopen_os);
	lua_call(L, 0, 1);
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		lua_getfield(L, -1, kept[i]);
		lua_setfield(L, -3, kept[i]);
	}
	lua_pop(L, 1);
	return 1;
}

void sandbox_bound(struct lua_State *L)
{
	lua_getglobal(L, LUA_STRLIBNAME);
	wrap(L, "rep", bounded_rep);
	lua_getglobal(L, LUA_TABLIBNAME);
	wrap(L, "move", bounded_move);
	lua_pop(L, 2);
}

void sandbox_open(struct lua_State *L, const char *directory, struct sources *sources)
{
	open_base(L, directory, sources);
	luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
	luaL_requiref(L, LUA_MATHLIBNAME, open_math, 1);
	luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
	luaL_requiref(L, LUA_OSLIBNAME, open_os, 1);
	lua_pop(L, 4);
	luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
	remove_field(L, "dump");
	luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 1);
	wrap(L, "create", make_coroutine);
	wrap(L, "wrap", wrap_coroutine);
	wrap(L, "resume", with_coroutine);
	wrap(L, "close", with_coroutine);
	lua_pop(L, 2);
	sandbox_bound(L);
}
