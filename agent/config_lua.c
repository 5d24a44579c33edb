/* A bare Lua state for agent.lua: it can compute a table and nothing else. What
 * is left of the base library is a list below; memory and CPU time are
 * limited. There is no pcall and no __gc in it, so the limits cannot be caught.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "config_read.h"
#include "quota.h"
#include "sandbox.h"

#define MEMORY_MAX (16 << 20)
#ifndef CONFIG_CPU_MS
#define CONFIG_CPU_MS 2000
#endif
#define SECRET_MAX 65536 /* what file() reads */
#define CHUNK "agent"    /* short: Lua cuts long names; see chunk_problem() */

struct lua_State *config_state_open(struct quota *quota)
{
	quota_init(quota, "config", MEMORY_MAX, CONFIG_CPU_MS);
	return quota_new_state(quota);
}

const char *config_lua_version(void)
{
	return LUA_RELEASE;
}

static struct reader *reader_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

static int current_line(lua_State *L)
{
	lua_Debug caller;

	if (!lua_getstack(L, 1, &caller) || !lua_getinfo(L, "l", &caller) || caller.currentline < 0)
		return 0;
	return caller.currentline;
}

/* env(name [, default]) */
static int l_env(lua_State *L)
{
	const char *value = getenv(luaL_checkstring(L, 1));

	lua_settop(L, 2);
	if (value) {
		lua_pushstring(L, value);
		secrets_from_environment(L);
	}
	return 1;
}

long config_file_read(const char *path, char *data, size_t capacity)
{
	struct stat st;
	size_t size = 0;
	ssize_t n = -1;

	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) != 0)
		goto close;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		goto close;
	}
	while (size < capacity && ((n = read(fd, data + size, capacity - size)) > 0 || (n < 0 && errno == EINTR)))
		size += n > 0 ? (size_t)n : 0;
	if (n > 0) {
		errno = EFBIG;
		n = -1;
	}
close:
	close(fd);
	if (n < 0)
		return -1;
	data[size] = 0;
	return (long)size;
}

/* `path`, or `path` seen from the configuration's directory, on top of the stack. */
static const char *push_resolved(lua_State *L, struct reader *reader, const char *path)
{
	if (*path == '/' || !reader->directory || strcmp(reader->directory, ".") == 0)
		return lua_pushstring(L, path);
	return lua_pushfstring(L, "%s/%s", reader->directory, path);
}

/* file(path): its contents without blanks around them. One that cannot be read
 * is a problem, and an empty text so that evaluation can go on. */
static int l_file(lua_State *L)
{
	struct reader *reader = reader_of(L);
	const char *path = push_resolved(L, reader, luaL_checkstring(L, 1));
	char data[SECRET_MAX];
	long size = config_file_read(path, data, sizeof data);

	if (size < 0 && !reader->elsewhere)
		reader_problem_at(reader, current_line(L), "file: cannot read %s: %s", path, strerror(errno));
	const char *start = data, *end = data + (size > 0 ? size : 0);
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	while (start < end && isspace((unsigned char)*start))
		start++;
	lua_pushlstring(L, start, (size_t)(end - start));
	secrets_from_file(reader, path, current_line(L));
	return 1;
}

/* A name that nobody defined, such as `ture`: nil, as in Lua, but never meant. */
static int l_undefined(lua_State *L)
{
	if (lua_type(L, 2) == LUA_TSTRING)
		reader_problem_at(reader_of(L), current_line(L), "unknown name `%s`", lua_tostring(L, 2));
	return 0;
}

/* Takes everything out of the globals but what can do no harm. */
static void keep_harmless(lua_State *L)
{
	static const char *const harmless[] = {
		"_VERSION", "assert", "error", "ipairs", "next", "pairs", "select",
		"tonumber", "tostring", "type", NULL,
	};

	lua_pushglobaltable(L);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		size_t i = 0;
		while (harmless[i] && strcmp(lua_tostring(L, -2), harmless[i]) != 0)
			i++;
		if (!harmless[i]) {
			lua_pushvalue(L, -2);
			lua_pushnil(L);
			lua_rawset(L, -5);
		}
	}
	lua_pop(L, 1);
}

static void add_function(lua_State *L, const char *name, lua_CFunction function, struct reader *reader)
{
	lua_pushlightuserdata(L, reader);
	lua_pushcclosure(L, function, 1);
	lua_setfield(L, -2, name);
}

static void fill(lua_State *L, struct reader *reader)
{
	static const luaL_Reg libraries[] = {
		{LUA_STRLIBNAME, luaopen_string},
		{LUA_TABLIBNAME, luaopen_table},
		{LUA_MATHLIBNAME, luaopen_math},
		{LUA_UTF8LIBNAME, luaopen_utf8},
	};

	luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
	lua_pop(L, 1);
	keep_harmless(L);
	for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
		luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
		lua_pop(L, 1);
	}
	sandbox_bound(L);
	secrets_begin(L);
	lua_pushglobaltable(L);
	add_function(L, "env", l_env, reader);
	add_function(L, "file", l_file, reader);
	lua_newtable(L);
	add_function(L, "__index", l_undefined, reader);
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

/* How much of a message can be shown: Lua repeats strings that it stumbled over,
 * and one may be a password. */
static int shown_size(const char *message)
{
	const char *near = strstr(message, " near '"), *constant = strstr(message, " (constant '");

	if (near && strspn(near + strlen(" near '"), "\"'[.0123456789") > 0)
		return (int)(near - message);
	return (int)(constant ? (size_t)(constant - message) : strlen(message));
}

/* The error message on top of the stack, `agent:12: ...`, as a problem. */
static void chunk_problem(struct reader *reader, bool over)
{
	const char *message = lua_type(reader->L, -1) == LUA_TSTRING ? lua_tostring(reader->L, -1)
								     : "the error is no text";
	int line = 0;

	if (strncmp(message, CHUNK ":", strlen(CHUNK ":")) == 0) {
		char *end;
		line = (int)strtol(message + strlen(CHUNK ":"), &end, 10);
		message = strncmp(end, ": ", 2) == 0 ? end + 2 : message;
	}
	if (over)
		message = "does not come to an end (an endless loop?)";
	reader_problem_at(reader, line, "%.*s", shown_size(message), message);
	lua_pop(reader->L, 1);
}

int config_state_run(struct reader *reader, struct quota *quota, const char *source, size_t size)
{
	lua_State *L = reader->L;

	fill(L, reader);
	int status = luaL_loadbufferx(L, source, size, "=" CHUNK, "t");
	if (status == LUA_OK) {
		quota_begin(quota, L);
		status = lua_pcall(L, 0, 1, 0);
		quota_end(quota);
	}
	if (status == LUA_OK)
		return 0;
	chunk_problem(reader, quota->over && status != LUA_ERRMEM);
	return -1;
}
