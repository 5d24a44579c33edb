/* A script's life but for its calls: opening a state with everything scripts are
 * offered in it, loading the chunk, and closing.
 */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "nearest.h"
#include "sandbox.h"
#include "script_internal.h"

/* What scripts are offered; later modules (state, timers, json, ...) join here. */
static void (*const openers[])(lua_State *L) = {
	api_base_open,
	api_mqtt_open,
	api_timer_open,
	api_json_open,
	api_kdb_open,
	api_metric_open,
	api_state_open,
	api_rehearsal_open,
};

static const char *const handlers[] = { "on_message", "on_sent", "on_drop", "on_connect", "on_disconnect",
	                                "on_start", "on_stop" };

static int set_up(lua_State *L)
{
	sandbox_open(L, script_of(L)->directory, &script_of(L)->sources);
	for (size_t i = 0; i < sizeof openers / sizeof *openers; i++)
		openers[i](L);
	return 0;
}

static int compile(lua_State *L)
{
	sandbox_load(L, &script_of(L)->sources, script_of(L)->path);
	return 1;
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
	if (meant && best && !script->quiet)
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
		int type = script_push_global(L, handlers[i]);

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
	const char *text = script_error(script);

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
		return script_enter(script, compile, NULL);
	if (script_enter(script, set_up, NULL) || script_state_load(script) || script_enter(script, load, NULL))
		return -1;
	/* The next script can use what is left over from loading. Not in script_enter(): this is no time of the script's,
	 * and nothing that is finalized can raise. */
	(void)lua_gc(script->L, LUA_GCCOLLECT);
	if (script_state_is_hidden(script) && !script->quiet)
		log_warn(script->component, "the global `state` was assigned: nothing in it is kept across restarts");
	return 0;
}

static struct script *open_from(const char *path, struct sources *sources, bool quiet, uint32_t origin,
                                struct script_limits limits, const struct script_host *host, char *err, size_t err_size)
{
	struct script *script = allocate(path);

	if (!script) {
		sources_release(sources);
		(void)snprintf(err, err_size, "%s: not enough memory", path);
		return NULL;
	}
	script->sources = *sources;
	*sources = (struct sources){ 0 };
	script->sources.file_max = limits.memory_bytes;
	script->origin = origin;
	script->host = host;
	script->pending = true;
	script->quiet = quiet;
	quota_init(&script->quota, script->component, limits.memory_bytes, limits.call_ms);
	effects_init(&script->effects, limits.memory_bytes);
	script->state.limit = limits.state_bytes;
	if (open_state(script)) {
		report(script, err, err_size);
		script_close(script);
		return NULL;
	}
	script->quiet = false;
	return script;
}

struct script *script_open(const char *path, uint32_t origin, struct script_limits limits,
                           const struct script_host *host, char *err, size_t err_size)
{
	return open_from(path, &(struct sources){ 0 }, false, origin, limits, host, err, err_size);
}

struct script *script_open_again(const char *path, struct sources *sources, uint32_t origin, struct script_limits limits,
                                 const struct script_host *host, char *err, size_t err_size)
{
	return open_from(path, sources, true, origin, limits, host, err, err_size);
}

void script_take_sources(struct script *script, struct sources *sources)
{
	*sources = script->sources;
	script->sources = (struct sources){ 0 };
}

bool script_sources_changed(const struct script *script)
{
	return sources_changed(&script->sources);
}

void script_set_limits(struct script *script, struct script_limits limits)
{
	script->sources.file_max = limits.memory_bytes;
	script->effects.limit = limits.memory_bytes;
	script->state.limit = limits.state_bytes;
	quota_set_limits(&script->quota, script->L, limits.memory_bytes, limits.call_ms);
}

void script_close(struct script *script)
{
	if (!script)
		return;
	script_log_unlogged(script, script->errors.unlogged);
	if (script->L)
		lua_close(script->L);
	quota_realloc(&script->quota, script->registrations,
	              script->max_registrations * sizeof *script->registrations, 0);
	timers_release(&script->timers, &script->quota);
	effects_release(&script->effects, script->host);
	buffer_release(&script->properties);
	buffer_release(&script->context);
	buffer_release(&script->kdb);
	script_state_release(script);
	problems_release(&script->problems);
	sources_release(&script->sources);
	free(script->error);
	free(script->component);
	free(script->directory);
	free(script->path);
	free(script);
}
