/* The events a script is told of: which handlers each calls, and with what. */
#include "script.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "script_internal.h"
#include "topic.h"
#include "value.h"

/* Timers of one script that are due may take so long before it is the turn of others. */
#define FIRE_MS 10

static int out_of_memory(lua_State *L)
{
	return luaL_error(L, "not enough memory");
}

int script_effect_failed(lua_State *L)
{
	size_t limit = script_of(L)->effects.limit;

	if (!limit)
		return out_of_memory(L);
	return luaL_error(L, "one handler call cannot publish more than %d bytes (limits.memory)", (int)limit);
}

/* Pushes the table that keeps the filters and functions given to on(). */
static void push_registrations(lua_State *L, struct script *script)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, script) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, script);
}

static int grow_registrations(struct script *script)
{
	size_t max = script->max_registrations, more = 2 * max + 8;
	struct registration *list = script->registrations;

	list = quota_realloc(&script->quota, list, max * sizeof *list, more * sizeof *list);
	if (!list)
		return -1;
	script->registrations = list;
	script->max_registrations = more;
	return 0;
}

int script_register(lua_State *L)
{
	struct script *script = script_of(L);
	size_t n = script->n_registrations;

	if (n == script->max_registrations && grow_registrations(script))
		return out_of_memory(L);
	push_registrations(L, script);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, (lua_Integer)(2 * n + 1));
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, (lua_Integer)(2 * n + 2));
	script->registrations[n].filter = lua_tostring(L, 1);
	script->n_registrations = n + 1;
	return 0;
}

const char *script_name(const struct script *script)
{
	return script->component + strlen("script ");
}

const char *script_path(const struct script *script)
{
	return script->path;
}

uint32_t script_origin(const struct script *script)
{
	return script->origin;
}

struct script_stats script_stats(const struct script *script)
{
	struct script_stats stats = script->stats;

	stats.memory_bytes = script->quota.used_bytes;
	stats.state_bytes = script->state.bytes;
	return stats;
}

struct question {
	const char *name;
	bool yes;
};

static int is_function(lua_State *L)
{
	struct question *question = lua_touserdata(L, 1);

	question->yes = script_push_global(L, question->name) == LUA_TFUNCTION;
	return 0;
}

bool script_defines(struct script *script, const char *handler)
{
	struct question question = { handler, false };

	return script->host && script_enter(script, is_function, &question) == 0 && question.yes;
}

const char *script_start(struct script *script)
{
	struct call call = { .handler = "on_start" };

	script_call(script, &call);
	return call.failed ? script->failure : NULL;
}

void script_stop(struct script *script)
{
	script_call(script, &(struct call){ .handler = "on_stop" });
}

/* Pushes the table that on_message() gets last. */
static void push_details(lua_State *L, const struct call *call)
{
	const struct inbound *message = call->message;

	lua_createtable(L, 0, 6);
	lua_pushstring(L, call->link);
	lua_setfield(L, -2, "link");
	lua_pushinteger(L, message->qos);
	lua_setfield(L, -2, "qos");
	lua_pushboolean(L, message->retain);
	lua_setfield(L, -2, "retain");
	lua_pushboolean(L, message->dup);
	lua_setfield(L, -2, "dup");
	lua_pushnumber(L, (lua_Number)message->time_ms / 1000);
	lua_setfield(L, -2, "time");
	if (message->properties.size) {
		api_properties_push(L, message->properties);
		lua_setfield(L, -2, "properties");
	}
}

/* The table costs more than the rest of a call: it is not made for a function
 * that does not take it. */
static bool takes_three(lua_State *L)
{
	lua_Debug ar;

	lua_pushvalue(L, -1);
	lua_getinfo(L, ">u", &ar);
	return ar.nparams >= 3 || ar.isvararg;
}

static int push_message(lua_State *L, const struct call *call)
{
	bool details = takes_three(L);

	lua_pushstring(L, call->message->topic);
	lua_pushlstring(L, call->message->payload.data, call->message->payload.size);
	if (details)
		push_details(L, call);
	return details ? 3 : 2;
}

const char *script_message(struct script *script, const char *link, const struct inbound *message)
{
	struct call call = { .handler = "on_message", .push = push_message, .message = message, .link = link };
	size_t registrations = script->n_registrations; /* those added meanwhile begin with the next message */

	script_call(script, &call);
	for (size_t i = 0; i < registrations; i++) {
		if (!topic_matches(script->registrations[i].filter, message->topic))
			continue;
		call.handler = NULL;
		call.registration = i;
		script_call(script, &call);
	}
	return call.failed ? script->failure : NULL;
}

static int push_sent(lua_State *L, const struct call *call)
{
	lua_pushinteger(L, (lua_Integer)call->token);
	lua_pushstring(L, call->link);
	if (call->reason)
		lua_pushstring(L, call->reason);
	value_decode(L, call->context);
	return call->reason ? 4 : 3;
}

void script_sent(struct script *script, uint64_t token, const char *link, struct bytes context)
{
	script_call(script, &(struct call){ .handler = "on_sent", .push = push_sent, .token = token, .link = link,
	                               .context = context });
}

void script_drop(struct script *script, uint64_t token, const char *link, const char *reason, struct bytes context)
{
	script_call(script, &(struct call){ .handler = "on_drop", .push = push_sent, .token = token, .link = link,
	                               .reason = reason, .context = context });
}

static int push_connection(lua_State *L, const struct call *call)
{
	lua_pushstring(L, call->link);
	if (call->reason)
		lua_pushstring(L, call->reason);
	return call->reason ? 2 : 1;
}

void script_connect(struct script *script, const char *link)
{
	script_call(script, &(struct call){ .handler = "on_connect", .push = push_connection, .link = link });
}

void script_disconnect(struct script *script, const char *link, const char *reason)
{
	script_call(script, &(struct call){ .handler = "on_disconnect", .push = push_connection, .link = link,
	                               .reason = reason });
}

int64_t script_due_ms(const struct script *script)
{
	return timers_due_ms(&script->timers);
}

static void fire(struct script *script, struct timer *timer)
{
	script_call(script, &(struct call){ .timer = timer });
	if (!timer->repeats)
		api_timer_over(script, timer);
}

void script_fire(struct script *script, int64_t now_ms)
{
	const struct script_host *host = script->host;
	int64_t until_ms = now_ms + FIRE_MS;
	struct timer *timer;

	while ((timer = timers_take(&script->timers, now_ms)) != NULL) {
		fire(script, timer);
		if (host->now_ms(host->arg) >= until_ms)
			return;
	}
}
