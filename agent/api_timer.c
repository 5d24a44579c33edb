/* every(seconds, fn) and after(seconds, fn). The timer is the Lua object they return;
 * while it is set, a table in the registry keeps it, so it need not be kept by the
 * script. Its function is the object's user value.
 */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>

#include "config.h"
#include "script_internal.h"

#define TIMER_TYPE "timer"
#define MIN_S      0.001
#define MAX_S      3155760000.0 /* a century */

/* Seconds, or a duration as in agent.lua. What is sooner than a millisecond is rounded up
 * to that: with after(0, ...) over and over, time goes on. */
static int64_t check_delay(lua_State *L, bool repeats)
{
	double seconds = -1;
	int64_t ms;

	if (lua_type(L, 1) == LUA_TNUMBER)
		seconds = lua_tonumber(L, 1);
	else if (lua_type(L, 1) == LUA_TSTRING && duration_parse(lua_tostring(L, 1), &ms))
		seconds = (double)ms / 1000;
	if (!(seconds >= (repeats ? MIN_S : 0) && seconds <= MAX_S))
		luaL_argerror(L, 1, lua_pushfstring(L, "seconds: %s or a duration such as \"5s\" or \"10m\" expected, got %s",
		                                    repeats ? "a number from 0.001 up" : "a number from 0 up",
		                                    api_got(L, 1)));
	return (int64_t)llround((seconds < MIN_S ? MIN_S : seconds) * 1e9);
}

/* Pushes the table that keeps the timers that are set. Allocates nothing. */
static void push_kept(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &script_of(L)->timers);
}

/* Lets go of a timer and of its function, also outside a protected call: neither
 * assignment allocates, as both places are there. */
static void forget(void *arg, struct timer *timer)
{
	lua_State *L = arg;

	push_kept(L);
	if (lua_rawgetp(L, -1, timer) == LUA_TUSERDATA) {
		lua_pushnil(L);
		lua_setiuservalue(L, -2, 1);
	}
	lua_pushnil(L);
	lua_rawsetp(L, -3, timer);
	lua_pop(L, 2);
}

static int set(lua_State *L, bool repeats)
{
	struct script *script = script_of(L);
	int64_t delay_ns = check_delay(L, repeats);
	struct timer *timer;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	timer = lua_newuserdatauv(L, sizeof *timer, 1);
	*timer = (struct timer){ .delay_ns = delay_ns, .repeats = repeats };
	luaL_setmetatable(L, TIMER_TYPE);
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, 1);
	push_kept(L);
	lua_pushvalue(L, -2);
	lua_rawsetp(L, -2, timer);
	lua_pop(L, 1);
	if (timers_set(&script->timers, timer, &script->quota)) {
		forget(L, timer);
		return luaL_error(L, "not enough memory");
	}
	return 1;
}

static int timer_every(lua_State *L)
{
	return set(L, true);
}

static int timer_after(lua_State *L)
{
	return set(L, false);
}

static int timer_cancel(lua_State *L)
{
	lua_pushboolean(L, timers_cancel(&script_of(L)->timers, luaL_checkudata(L, 1, TIMER_TYPE)));
	return 1;
}

/* ---- for script_call.c ---- */

void api_timer_push(struct lua_State *L, const struct timer *timer)
{
	push_kept(L);
	lua_rawgetp(L, -1, timer);
	lua_getiuservalue(L, -1, 1);
	lua_insert(L, -2);
	lua_remove(L, -3);
}

void api_timer_settle(struct script *script, bool happens)
{
	struct timers *timers = &script->timers;

	if (timers->first)
		timers_settle(timers, happens, script->host->now_ms(script->host->arg), forget, script->L);
}

void api_timer_over(struct script *script, struct timer *timer)
{
	forget(script->L, timer);
}

void api_timer_describe(struct script *script, const struct timer *timer, char *text, size_t size)
{
	lua_State *L = script->L;
	lua_Debug ar = { 0 };

	api_timer_push(L, timer);
	lua_pop(L, 1);
	if (lua_isfunction(L, -1))
		lua_getinfo(L, ">S", &ar);
	else
		lua_pop(L, 1);
	(void)snprintf(text, size, "%s %g s (%s:%d)", timer->repeats ? "every" : "after", (double)timer->delay_ns / 1e9,
	               ar.short_src, ar.linedefined);
}

void api_timer_open(struct lua_State *L)
{
	luaL_newmetatable(L, TIMER_TYPE);
	lua_pushliteral(L, TIMER_TYPE); /* closed to scripts, as that of links is */
	lua_setfield(L, -2, "__metatable");
	lua_newtable(L);
	lua_pushcfunction(L, timer_cancel);
	lua_setfield(L, -2, "cancel");
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &script_of(L)->timers);
	lua_register(L, "every", timer_every);
	lua_register(L, "after", timer_after);
}
