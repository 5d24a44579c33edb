/* Every entry into Lua is enter(): one protected call with the traceback
 * handler, even for opening the libraries, so that whatever goes wrong at any
 * point (memory included) is a message and never a jump across our frames.
 *
 * A handler call is enter() with the effects list around it.
 */
#include "script.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "log.h"
#include "nearest.h"
#include "sandbox.h"
#include "topic.h"
#include "value.h"

/* What scripts are offered; later modules (state, timers, json, ...) join here. */
static void (*const openers[])(lua_State *L) = { api_base_open, api_mqtt_open };

static const char *const handlers[] = { "on_message", "on_sent", "on_drop", "on_connect", "on_disconnect",
	                                "on_start", "on_stop" };

/* One event on its way to one handler. */
struct call {
	const char *handler;  /* the global's name; NULL: a function given to on() */
	size_t registration;  /* which one, then */
	int (*push)(lua_State *L, const struct call *call); /* its arguments; returns how many */
	bool ran;                                           /* there was a handler */
	bool failed;                                        /* one of those that were called */
	const struct inbound *message;
	const char *link, *reason;
	uint64_t token;
	struct bytes context;
};

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

static const char *error_of(const struct script *script)
{
	return script->error ? script->error : "not enough memory";
}

/* Calls function(arg) in the script's state. 0, or -1 with error_of() saying what
 * happened. */
static int enter(struct script *script, lua_CFunction function, void *arg)
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
static int push_global(lua_State *L, const char *name)
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

	if (!call->handler) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, script_of(L));
		lua_rawgeti(L, -1, (lua_Integer)(2 * call->registration + 2));
		return true;
	}
	type = push_global(L, call->handler);
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
	lua_call(L, call->push ? call->push(L, call) : 0, 0);
	return 0;
}

static void log_unlogged(const struct script *script, uint64_t count)
{
	if (count)
		log_error(script->component, "%llu more errors were not logged", (unsigned long long)count);
}

static bool may_log_failure(struct script *script)
{
	struct timespec now = { 0 };
	uint64_t earlier;
	bool allowed;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	allowed = log_limit_allows(&script->errors, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, &earlier);
	log_unlogged(script, earlier);
	if (!allowed && script->errors.unlogged == 1)
		log_error(script->component, "%d errors within a minute: the next ones are only counted", LOG_LIMIT_LINES);
	return allowed;
}

static void log_failure(struct script *script, const struct call *call)
{
	const char *handler = call->handler ? call->handler : "on";
	const char *filter = call->handler ? "" : script->registrations[call->registration].filter;

	if (!may_log_failure(script))
		return;
	if (call->message)
		log_error(script->component, "%s%s%.200s (topic %.200s): %s", handler, *filter ? " " : "", filter,
		          call->message->topic, error_of(script));
	else if (call->token)
		log_error(script->component, "%s (token %llu, link %s): %s", handler, (unsigned long long)call->token,
		          call->link, error_of(script));
	else if (call->link)
		log_error(script->component, "%s (link %s): %s", handler, call->link, error_of(script));
	else
		log_error(script->component, "%s: %s", handler, error_of(script));
}

/* Hands over the effects of loading, once. */
static void begin(struct script *script)
{
	if (!script->pending)
		return;
	script->pending = false;
	if (script->host)
		effects_apply(&script->effects, script->host);
}

/* Why the first of a message's handlers failed. */
static void keep_failure(struct script *script)
{
	const char *text = error_of(script);

	(void)snprintf(script->failure, sizeof script->failure, "%.*s", (int)strcspn(text, "\n"), text);
}

/* One handler call: all of its effects, or none. */
static void call_handler(struct script *script, struct call *call)
{
	size_t registrations = script->n_registrations;
	int result;

	call->ran = false;
	result = enter(script, run_call, call);
	buffer_reset(&script->properties);
	buffer_reset(&script->context);
	if (call->ran)
		script->stats.calls++;
	if (result == 0) {
		effects_apply(&script->effects, script->host);
		return;
	}
	effects_discard(&script->effects, script->host);
	script->n_registrations = registrations;
	script->stats.errors++;
	if (!call->failed)
		keep_failure(script);
	call->failed = true;
	log_failure(script, call);
}

static void handle(struct script *script, struct call *call)
{
	const struct script_host *host = script->host;

	if (!host)
		return;
	begin(script);
	if (host->running)
		host->running(host->arg, script, call->handler ? call->handler : "on");
	call_handler(script, call);
	if (host->running)
		host->running(host->arg, script, NULL);
}

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

static int set_up(lua_State *L)
{
	sandbox_open(L, script_of(L)->directory);
	for (size_t i = 0; i < sizeof openers / sizeof *openers; i++)
		openers[i](L);
	return 0;
}

static int compile(lua_State *L)
{
	return luaL_loadfilex(L, script_of(L)->path, "t") == LUA_OK ? 1 : lua_error(L);
}

/* A function that is called like a handler but for a slip of the fingers would
 * never run, and nobody would know why. */
static void warn_if_misspelt(const struct script *script, const char *name)
{
	const char *meant = NULL;
	size_t best = NEAREST_MAX + 1;

	for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
		if (nearest(name, handlers[i], &best))
			meant = handlers[i];
	if (meant && best)
		log_warn(script->component, "%s is no handler: did you mean %s?", name, meant);
}

static void check_names(lua_State *L, const struct script *script)
{
	lua_pushglobaltable(L);
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		if (lua_isfunction(L, -1) && lua_type(L, -2) == LUA_TSTRING && !strncmp(lua_tostring(L, -2), "on_", 3))
			warn_if_misspelt(script, lua_tostring(L, -2));
		lua_pop(L, 1);
	}
}

static int load(lua_State *L)
{
	compile(L);
	lua_call(L, 0, 0);
	for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
		int type = push_global(L, handlers[i]);

		if (type != LUA_TNIL && type != LUA_TFUNCTION)
			luaL_error(L, "%s: expected a function, got a %s", handlers[i], lua_typename(L, type));
	}
	check_names(L, script_of(L));
	return 0;
}

/* Lua shortens long file names in its messages to "..." and their end. */
static bool is_shortened(const char *text, const char *path)
{
	const size_t tail = LUA_IDSIZE - 4;
	size_t size = strlen(path);

	return size > tail && !strncmp(text, "...", 3) && !strncmp(text + 3, path + size - tail, tail);
}

/* "file:line: message", also where Lua says less. */
static void report(const struct script *script, char *err, size_t err_size)
{
	const char *text = error_of(script);

	if (is_shortened(text, script->path))
		(void)snprintf(err, err_size, "%s%s", script->path, text + LUA_IDSIZE - 1);
	else if (!strncmp(text, script->path, strlen(script->path)))
		(void)snprintf(err, err_size, "%s", text);
	else
		(void)snprintf(err, err_size, "%s: %s", script->path, text);
}

static struct script *allocate(const char *path)
{
	struct script *script = calloc(1, sizeof *script);
	const char *slash = strrchr(path, '/');

	if (!script)
		return NULL;
	script->path = strdup(path);
	script->directory = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	if (asprintf(&script->component, "script %s", slash ? slash + 1 : path) < 0)
		script->component = NULL;
	if (!script->path || !script->directory || !script->component) {
		script_close(script);
		return NULL;
	}
	return script;
}

static int open_state(struct script *script)
{
	script->L = quota_new_state(&script->quota);
	if (!script->L)
		return -1;
	*(struct script **)lua_getextraspace(script->L) = script;
	if (!script->host)
		return enter(script, compile, NULL);
	if (enter(script, set_up, NULL))
		return -1;
	return enter(script, load, NULL);
}

struct script *script_open(const char *path, uint32_t origin, struct script_limits limits,
                           const struct script_host *host, char *err, size_t err_size)
{
	struct script *script = allocate(path);

	if (!script) {
		(void)snprintf(err, err_size, "%s: not enough memory", path);
		return NULL;
	}
	script->origin = origin;
	script->host = host;
	script->pending = true;
	quota_init(&script->quota, script->component, limits.memory_bytes, limits.call_ms);
	effects_init(&script->effects, limits.memory_bytes);
	if (open_state(script)) {
		report(script, err, err_size);
		script_close(script);
		return NULL;
	}
	return script;
}

void script_close(struct script *script)
{
	if (!script)
		return;
	log_unlogged(script, script->errors.unlogged);
	if (script->L)
		lua_close(script->L);
	quota_realloc(&script->quota, script->registrations,
	              script->max_registrations * sizeof *script->registrations, 0);
	effects_release(&script->effects, script->host);
	buffer_release(&script->properties);
	buffer_release(&script->context);
	problems_release(&script->problems);
	free(script->error);
	free(script->component);
	free(script->directory);
	free(script->path);
	free(script);
}

const char *script_name(const struct script *script)
{
	return script->component + strlen("script ");
}

uint32_t script_origin(const struct script *script)
{
	return script->origin;
}

struct script_stats script_stats(const struct script *script)
{
	struct script_stats stats = script->stats;

	stats.memory_bytes = script->quota.used_bytes;
	return stats;
}

struct question {
	const char *name;
	bool yes;
};

static int is_function(lua_State *L)
{
	struct question *question = lua_touserdata(L, 1);

	question->yes = push_global(L, question->name) == LUA_TFUNCTION;
	return 0;
}

bool script_defines(struct script *script, const char *handler)
{
	struct question question = { handler, false };

	return script->host && enter(script, is_function, &question) == 0 && question.yes;
}

void script_start(struct script *script)
{
	handle(script, &(struct call){ .handler = "on_start" });
}

void script_stop(struct script *script)
{
	handle(script, &(struct call){ .handler = "on_stop" });
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

	handle(script, &call);
	for (size_t i = 0; i < registrations; i++) {
		if (!topic_matches(script->registrations[i].filter, message->topic))
			continue;
		call.handler = NULL;
		call.registration = i;
		handle(script, &call);
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
	handle(script, &(struct call){ .handler = "on_sent", .push = push_sent, .token = token, .link = link,
	                               .context = context });
}

void script_drop(struct script *script, uint64_t token, const char *link, const char *reason, struct bytes context)
{
	handle(script, &(struct call){ .handler = "on_drop", .push = push_sent, .token = token, .link = link,
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
	handle(script, &(struct call){ .handler = "on_connect", .push = push_connection, .link = link });
}

void script_disconnect(struct script *script, const char *link, const char *reason)
{
	handle(script, &(struct call){ .handler = "on_disconnect", .push = push_connection, .link = link,
	                               .reason = reason });
}
