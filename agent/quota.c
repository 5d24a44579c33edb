/* The allocator and the hook. The clock is a system call, so it is not read for
 * every call: time counts from the first time the hook fires, which a handler
 * of ordinary length never sees.
 */
#include "quota.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <time.h>

/* Small enough that the slowest instructions (a concatenation of megabytes)
 * between two looks at the clock stay within seconds; large enough not to be
 * felt. */
#define HOOK_COUNT 1000

/* Calls within calls. A function that calls itself without end would run into the
 * memory limit, which cannot tell where it happened. */
#define DEPTH_MAX 16000

void quota_init(struct quota *quota, size_t memory_bytes, int64_t call_ms)
{
	*quota = (struct quota){ .memory_bytes = memory_bytes, .call_ms = call_ms };
}

void *quota_realloc(struct quota *quota, void *data, size_t old_size, size_t size)
{
	size_t others = quota->used_bytes - old_size;
	void *fresh;

	if (size == 0) {
		free(data);
		quota->used_bytes = others;
		return NULL;
	}
	if (size > old_size && quota->memory_bytes &&
	    (others > quota->memory_bytes || size > quota->memory_bytes - others))
		return NULL;
	fresh = realloc(data, size);
	if (!fresh) {
		if (size > old_size)
			return NULL;
		fresh = data; /* Lua relies on shrinking to succeed */
	}
	quota->used_bytes = others + size;
	return fresh;
}

/* For a new block Lua passes a type where the old size would be. */
static void *allocate(void *quota, void *data, size_t old_size, size_t size)
{
	return quota_realloc(quota, data, data ? old_size : 0, size);
}

static int64_t cpu_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now))
		return 0;
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void check_time(struct quota *quota)
{
	int64_t now = cpu_ns();

	if (quota->deadline_ns == 0)
		quota->deadline_ns = now + quota->call_ms * 1000000;
	else if (now > quota->deadline_ns)
		quota->over = true;
}

/* Raises an error where the script is. */
static void raise_error(lua_State *L, const char *format, int number)
{
	luaL_where(L, 0);
	lua_pushfstring(L, format, number);
	lua_concat(L, 2);
	(void)lua_error(L);
}

/* Runs in whatever coroutine is running; each has its own count, inherited
 * from the one that made it. */
static void hook(lua_State *L, lua_Debug *ar)
{
	void *ud;
	struct quota *quota;
	lua_Debug deep;

	(void)ar;
	(void)lua_getallocf(L, &ud);
	quota = ud;
	if (!quota->over)
		check_time(quota);
	if (quota->over) {
		lua_sethook(L, hook, LUA_MASKCOUNT, 1);
		raise_error(L, "used more than %d ms of CPU time", (int)quota->call_ms);
	}
	if (lua_gethookcount(L) != HOOK_COUNT)
		lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_COUNT);
	if (lua_getstack(L, DEPTH_MAX, &deep))
		raise_error(L, "stack overflow: calls nested more than %d deep", DEPTH_MAX);
}

lua_State *quota_new_state(struct quota *quota)
{
	lua_State *L = lua_newstate(allocate, quota);

	if (L && quota->call_ms)
		lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_COUNT);
	return L;
}

void quota_begin(struct quota *quota, lua_State *L)
{
	quota->deadline_ns = 0;
	quota->over = false;
	if (quota->call_ms && lua_gethookcount(L) != HOOK_COUNT)
		lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_COUNT);
}
