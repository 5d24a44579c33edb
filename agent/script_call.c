/* Every entry into Lua is script_enter(): one protected call with the traceback
 * handler, even for opening the libraries, so that whatever goes wrong at any
 * point (memory included) is a message and never a jump across our frames.
 *
 * A handler call is script_enter() with the effects list around it.
 */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "histogram.h"
#include "log.h"
#include "script_internal.h"

struct script *script_of(lua_State *L)
{
	return *(struct script **)lua_getextraspace(L);
}

static bool ends_with(const char *text, size_t size, const char *end)
{
	size_t end_size = strlen(end);

	return size >= end_size && !memcmp(text + size - end_size, end, end_size);
}

/* The error becomes a text with a traceback. An error object's __tostring is code
 * of the script's and may loop; that is safe because the hook is on whenever the
 * error is not the hook's own, which is a string. */
static int add_traceback(lua_State *L)
{
	static const char host_frame[] = "\n\t[C]: in ?", empty[] = "\nstack traceback:";
	const char *text = lua_tostring(L, 1);
	size_t size;

	if (!text && luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
		text = lua_tostring(L, -1);
	else if (!text)
		text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
	luaL_traceback(L, L, text, 1);
	luaL_gsub(L, lua_tostring(L, -1), "\n\t...\t", "\n\t... "); /* "(skipping 16000 levels)" */
	text = lua_tolstring(L, -1, &size);
	/* The last frame is ours (run_call() and the like), and may be the only one. */
	if (ends_with(text, size, host_frame))
		size -= strlen(host_frame);
	if (ends_with(text, size, empty))
		size -= strlen(empty);
	lua_pushlstring(L, text, size);
	return 1;
}

/* Keeps what went wrong as the script's error. Only a string is taken from the
 * stack: anything else would have to be converted, which may raise. */
static void keep_error(struct script *script, int status)
{
	lua_State *L = script->L;
	int size = -1;

	free(script->error);
	script->error = NULL;
	if (status == LUA_OK)
		size = asprintf(&script->error, "used more than %lld ms of CPU time",
		                (long long)script->quota.call_ms);
	else if (status == LUA_ERRMEM && script->quota.memory_bytes)
		size = asprintf(&script->error, "not enough memory (limit %zu bytes)", script->quota.memory_bytes);
	else if (lua_type(L, -1) == LUA_TSTRING)
		size = asprintf(&script->error, "%s", lua_tostring(L, -1));
	if (size < 0)
		script->error = NULL;
}

const char *script_error(const struct script *script)
{
	return script->error ? script->error : "not enough memory";
}

int script_enter(struct script *script, lua_CFunction function, void *arg)
{
	lua_State *L = script->L;
	int top = lua_gettop(L);
	int status;
	bool failed;

	quota_begin(&script->quota, L);
	lua_pushcfunction(L, add_traceback);
	lua_pushcfunction(L, function);
	lua_pushlightuserdata(L, arg);
	status = lua_pcall(L, 1, 0, top + 1);
	quota_end(&script->quota);
	/* Over without an error: it was about to end by itself. */
	failed = status != LUA_OK || script->quota.over;
	if (failed)
		keep_error(script, status);
	lua_settop(L, top);
	return failed ? -1 : 0;
}

/* Raw, because a script may give its globals a metatable that forbids undefined
 * ones. */
int script_push_global(lua_State *L, const char *name)
{
	int type;

	lua_pushglobaltable(L);
	lua_pushstring(L, name);
	type = lua_rawget(L, -2);
	lua_remove(L, -2);
	return type;
}

/* Pushes the function of a call; false if the script has none. */
static bool push_function(lua_State *L, const struct call *call)
{
	int type;

	if (call->timer) {
		api_timer_push(L, call->timer);
		return true;
	}
	if (!call->handler) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, script_of(L));
		lua_rawgeti(L, -1, (lua_Integer)(2 * call->registration + 2));
		return true;
	}
	type = script_push_global(L, call->handler);
	if (type != LUA_TNIL && type != LUA_TFUNCTION)
		luaL_error(L, "expected a function, got a %s", lua_typename(L, type));
	return type == LUA_TFUNCTION;
}

static int run_call(lua_State *L)
{
	struct call *call = lua_touserdata(L, 1);

	if (!push_function(L, call))
		return 0;
	call->ran = true;
	lua_call(L, call->timer ? 1 : call->push ? call->push(L, call) : 0, 0);
	return 0;
}

void script_log_unlogged(const struct script *script, uint64_t count)
{
	if (count)
		log_error(script->component, "%llu more errors were not logged", (unsigned long long)count);
}

static bool may_log_failure(struct script *script)
{
	uint64_t earlier;
	bool allowed = log_limit_allows(&script->errors, clock_monotonic_ms(), &earlier);

	script_log_unlogged(script, earlier);
	if (!allowed && script->errors.unlogged == 1)
		log_error(script->component, "%d errors within a minute: the next ones are only counted", LOG_LIMIT_LINES);
	return allowed;
}

static void describe_call(struct script *script, const struct call *call, char *text, size_t size)
{
	bool on = !call->handler && !call->timer;
	const char *handler = call->handler ? call->handler : "on";
	const char *filter = on ? script->registrations[call->registration].filter : "";

	if (call->timer)
		api_timer_describe(script, call->timer, text, size);
	else if (call->message)
		(void)snprintf(text, size, "%s%s%.200s (topic %.200s)", handler, *filter ? " " : "", filter,
		               call->message->topic);
	else if (call->token)
		(void)snprintf(text, size, "%s (token %llu, link %s)", handler, (unsigned long long)call->token, call->link);
	else if (call->link)
		(void)snprintf(text, size, "%s (link %s)", handler, call->link);
	else
		(void)snprintf(text, size, "%s", handler);
}

static void tell_failure(struct script *script, const struct call *call)
{
	const struct script_host *host = script->host;
	char where[600];

	describe_call(script, call, where, sizeof where);
	if (host->failed)
		host->failed(host->arg, script, where, script_error(script));
	else if (may_log_failure(script))
		log_error(script->component, "%s: %s", where, script_error(script));
}

/* Hands over the effects of loading, once. */
static void begin(struct script *script)
{
	if (!script->pending)
		return;
	script->pending = false;
	effects_apply(&script->effects, script->host);
	api_timer_settle(script, true);
	script_state_keep(script);
}

/* Why the first of a message's handlers failed. */
static void keep_failure(struct script *script)
{
	const char *text = script_error(script);

	(void)snprintf(script->failure, sizeof script->failure, "%.*s", (int)strcspn(text, "\n"), text);
}

const char *const script_handlers[SCRIPT_HANDLERS] = {
        "on_message", "on", "on_sent", "on_drop", "every", "after", "on_connect", "on_disconnect", "on_start", "on_stop",
};

static size_t number_of(const struct call *call)
{
	const char *name = call->timer ? (call->timer->repeats ? "every" : "after") : call->handler ? call->handler : "on";
	size_t i = 0;

	while (i < SCRIPT_HANDLERS - 1 && strcmp(script_handlers[i], name) != 0)
		i++;
	return i;
}

/* script_enter(), timed if somebody wants to know. */
static int enter_handler(struct script *script, struct call *call)
{
	struct histogram *times = script->host->times;
	double began = times ? clock_monotonic_s() : 0;
	int result = script_enter(script, run_call, call);

	if (times && call->ran)
		histogram_add(times, clock_monotonic_s() - began);
	return result;
}

/* One handler call, script_handlers[number]: all of its effects, or none. */
static void call_handler(struct script *script, struct call *call, size_t number)
{
	size_t registrations = script->n_registrations;
	int result;

	call->ran = false;
	result = enter_handler(script, call);
	buffer_reset(&script->properties);
	buffer_reset(&script->context);
	buffer_reset(&script->kdb);
	if (call->ran) {
		script->stats.calls++;
		script->stats.calls_of[number]++;
	}
	if (result == 0) {
		effects_apply(&script->effects, script->host);
		api_timer_settle(script, true);
		script_state_keep(script);
		return;
	}
	script_state_undo(script);
	effects_discard(&script->effects, script->host);
	api_timer_settle(script, false);
	script->n_registrations = registrations;
	script->stats.errors++;
	if (!call->failed)
		keep_failure(script);
	call->failed = true;
	tell_failure(script, call);
}

void script_call(struct script *script, struct call *call)
{
	const struct script_host *host = script->host;
	size_t number;

	if (!host)
		return;
	number = number_of(call);
	if (host->running)
		host->running(host->arg, script, script_handlers[number]);
	begin(script);
	call_handler(script, call, number);
	if (host->running)
		host->running(host->arg, script, NULL);
}
