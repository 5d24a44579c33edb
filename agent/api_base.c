/* What scripts get besides messages: on, log, print, warn, now, uptime, agent. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "api.h"
#include "clock.h"
#include "log.h"
#include "topic.h"

static int base_on(lua_State *L)
{
	size_t size;
	const char *filter = api_check_string(L, 1, "filter", &size);
	const char *problem = topic_filter_problem(filter, size);

	if (problem)
		return luaL_argerror(L, 1, lua_pushfstring(L, "filter %s", problem));
	luaL_argcheck(L, strncmp(filter, "$share/", 7) != 0, 1,
	              "$share is for subscriptions; on() only compares topics: leave out $share/GROUP/");
	luaL_checktype(L, 2, LUA_TFUNCTION);
	return script_register(L);
}

/* Logs the text on top. Log lines are C strings: a NUL byte is shown as \0. */
static void write_log(lua_State *L, enum log_level level)
{
	size_t size;
	const char *text = lua_tolstring(L, -1, &size);
	luaL_Buffer b;

	if (memchr(text, 0, size)) {
		luaL_buffinit(L, &b);
		for (size_t i = 0; i < size; i++) {
			if (text[i])
				luaL_addchar(&b, text[i]);
			else
				luaL_addstring(&b, "\\0");
		}
		luaL_pushresult(&b);
		text = lua_tostring(L, -1);
	}
	if (!script_of(L)->quiet)
		log_text(level, script_of(L)->component, text);
}

/* string.format says where it was called, and that is here: says who called us. */
static int raise_format_error(lua_State *L)
{
	const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";

	if (!strncmp(text, "bad argument", strlen("bad argument"))) {
		luaL_where(L, 1);
		lua_insert(L, -2);
		lua_concat(L, 2);
	}
	return lua_error(L);
}

/* log.LEVEL(fmt, ...): the upvalues are the level and string.format. A text alone
 * is no format: sensors send per cent signs. */
static int log_at_level(lua_State *L)
{
	enum log_level level = (enum log_level)lua_tointeger(L, lua_upvalueindex(1));
	int arguments = lua_gettop(L);

	luaL_checkany(L, 1);
	if (!log_enabled(level))
		return 0;
	if (arguments > 1) {
		lua_pushvalue(L, lua_upvalueindex(2));
		lua_insert(L, 1);
		if (lua_pcall(L, arguments, 1, 0) != LUA_OK)
			return raise_format_error(L);
	} else {
		luaL_tolstring(L, 1, NULL);
	}
	write_log(L, level);
	return 0;
}

/* print and warn: all arguments as text, the upvalues being the level and what
 * goes between. */
static int log_joined(lua_State *L)
{
	enum log_level level = (enum log_level)lua_tointeger(L, lua_upvalueindex(1));
	int arguments = lua_gettop(L);
	luaL_Buffer b;

	if (!log_enabled(level))
		return 0;
	luaL_buffinit(L, &b);
	for (int i = 1; i <= arguments; i++) {
		if (i > 1)
			luaL_addstring(&b, lua_tostring(L, lua_upvalueindex(2)));
		luaL_tolstring(L, i, NULL);
		luaL_addvalue(&b);
	}
	luaL_pushresult(&b);
	write_log(L, level);
	return 0;
}

static int base_now(lua_State *L)
{
	lua_pushnumber(L, clock_wall_s());
	return 1;
}

static int base_uptime(lua_State *L)
{
	lua_pushnumber(L, clock_monotonic_s());
	return 1;
}

static void set_joined(lua_State *L, const char *name, enum log_level level, const char *between)
{
	lua_pushinteger(L, level);
	lua_pushstring(L, between);
	lua_pushcclosure(L, log_joined, 2);
	lua_setglobal(L, name);
}

/* string.format is taken now: what scripts do to `string` later does not matter. */
static int open_log(lua_State *L)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "debug", LOG_LEVEL_DEBUG },
		       { "info", LOG_LEVEL_INFO },
		       { "warn", LOG_LEVEL_WARN },
		       { "error", LOG_LEVEL_ERROR } };

	lua_newtable(L);
	lua_getglobal(L, "string");
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
		lua_pushinteger(L, levels[i].level);
		lua_getfield(L, -2, "format");
		lua_pushcclosure(L, log_at_level, 2);
		lua_setfield(L, -3, levels[i].name);
	}
	lua_pop(L, 1);
	return 1;
}

static int open_agent(lua_State *L)
{
	lua_newtable(L);
	lua_pushstring(L, script_of(L)->host->agent_name);
	lua_setfield(L, -2, "name");
	lua_pushliteral(L, VERSION);
	lua_setfield(L, -2, "version");
	return 1;
}

void api_base_open(struct lua_State *L)
{
	lua_register(L, "on", base_on);
	lua_register(L, "now", base_now);
	lua_register(L, "uptime", base_uptime);
	set_joined(L, "print", LOG_LEVEL_INFO, "\t");
	set_joined(L, "warn", LOG_LEVEL_WARN, "");
	luaL_requiref(L, "log", open_log, 1);
	luaL_requiref(L, "agent", open_agent, 1);
	lua_pop(L, 2);
}
