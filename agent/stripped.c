/* The file is compiled in a state of its own, so that names nobody will ask for are
 * never in the script's: its table of strings, once grown, stays large.
 */
#include "stripped.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#include "buffer.h"

struct job {
	const char *path;
	struct buffer code;
	bool read;
};

static int write_code(lua_State *L, const void *data, size_t size, void *code)
{
	(void)L;
	return buffer_append(code, data, size);
}

static int compile(lua_State *L)
{
	struct job *job = lua_touserdata(L, 1);

	if (luaL_loadfilex(L, job->path, "t") != LUA_OK)
		return lua_error(L);
	return lua_dump(L, write_code, &job->code, 1) ? luaL_error(L, "not enough memory") : 0;
}

static const char *read_code(lua_State *L, void *arg, size_t *size)
{
	struct job *job = arg;

	(void)L;
	*size = job->read ? 0 : job->code.size;
	job->read = true;
	return job->code.data;
}

/* Moves the message of an error from one state to the other. */
static int push_message(lua_State *L)
{
	lua_State *from = lua_touserdata(L, 1);

	lua_pushstring(L, lua_type(from, -1) == LUA_TSTRING ? lua_tostring(from, -1) : "not enough memory");
	return 1;
}

static int load_job(lua_State *L, lua_State *compiler, struct job *job)
{
	int status = LUA_ERRMEM;

	lua_pushcfunction(compiler, compile);
	lua_pushlightuserdata(compiler, job);
	status = lua_pcall(compiler, 1, 0, 0);
	if (status == LUA_OK)
		return lua_load(L, read_code, job, job->path, "b");
	lua_pushcfunction(L, push_message);
	lua_pushlightuserdata(L, compiler);
	(void)lua_pcall(L, 1, 1, 0);
	return status;
}

int stripped_load(struct lua_State *L, const char *path)
{
	struct job job = { .path = path };
	lua_State *compiler = luaL_newstate();
	int status;

	if (!compiler) {
		lua_pushliteral(L, "not enough memory");
		return LUA_ERRMEM;
	}
	status = load_job(L, compiler, &job);
	lua_close(compiler);
	buffer_release(&job.code);
	return status;
}
