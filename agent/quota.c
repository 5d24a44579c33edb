/* The allocator, the hook, and the clock behind it.
 *
 * The clock is a timer of the thread's CPU time, started once: it ticks while the
 * process works and is still while it sleeps, and a call costs no system call. A
 * tick in a call that is over its time sets the hook, as lua.c does for ^C.
 */
#include "quota.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define NS_PER_MS 1000000
#define TICK_MS   10

/* A call over its time that no hook ended sits in one library function, most
 * likely a pattern that backtracks. It cannot be left from outside: after so long
 * it counts as hanging, and the process ends. Not sooner, because it may well come
 * back, and after a restart the same message would be there again. */
#ifndef QUOTA_STUCK_MS
#define QUOTA_STUCK_MS 60000
#endif
/* The same if somebody waits for the process to stop: the loop is not there to see
 * the signal. */
#define STUCK_STOPPING_MS 1000

/* How often the hook looks whether it should be there when nothing is wrong. */
#define HOOK_COUNT 1000

/* Calls within calls. A function that calls itself without end would run into the
 * memory limit, which cannot tell where it happened. */
#define DEPTH_MAX 16000

static struct quota *volatile current; /* of the call that runs: a signal handler has no other way to know */
static bool ticking;                   /* else this system has no such timers, and the hook looks at the clock */

void quota_init(struct quota *quota, const char *owner, size_t memory_bytes, int64_t call_ms)
{
	*quota = (struct quota){ .owner = owner, .memory_bytes = memory_bytes, .call_ms = call_ms };
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

static struct quota *quota_of(lua_State *L)
{
	void *ud;

	(void)lua_getallocf(L, &ud);
	return ud;
}

static bool has_room(const struct quota *quota, size_t bytes)
{
	return !quota->memory_bytes ||
	       (quota->used_bytes <= quota->memory_bytes && bytes <= quota->memory_bytes - quota->used_bytes);
}

bool quota_reserve(struct lua_State *L, size_t bytes)
{
	struct quota *quota = quota_of(L);

	if (!has_room(quota, bytes))
		lua_gc(L, LUA_GCCOLLECT);
	if (!has_room(quota, bytes))
		return false;
	quota->used_bytes += bytes;
	return true;
}

void quota_give_back(struct lua_State *L, size_t bytes)
{
	quota_of(L)->used_bytes -= bytes;
}

/* lua_error() knows this text. */
int quota_out_of_memory(struct lua_State *L)
{
	lua_pushliteral(L, "not enough memory");
	return lua_error(L);
}

void quota_check_stack(struct lua_State *L, int values)
{
	if (!lua_checkstack(L, values))
		(void)quota_out_of_memory(L);
}

/* Raises an error where the script is. */
static void raise_error(lua_State *L, lua_Debug *ar, const char *format, int number)
{
	lua_getinfo(L, "l", ar);
	luaL_where(L, ar->currentline > 0 ? 0 : 1); /* a function of C has no lines: its caller's */
	lua_pushfstring(L, format, number);
	lua_concat(L, 2);
	(void)lua_error(L);
}

void quota_check_time(struct lua_State *L)
{
	const struct quota *quota = quota_of(L);

	if (quota->over)
		(void)luaL_error(L, "used more than %d ms of CPU time", (int)quota->call_ms);
}

static void hook(lua_State *L, lua_Debug *ar);
static void judge(struct quota *quota);

static void hook_now_and_then(lua_State *L)
{
	if (lua_gethookmask(L) != LUA_MASKCOUNT)
		lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_COUNT);
}

static void hook_everything(lua_State *L)
{
	lua_sethook(L, hook, LUA_MASKCALL | LUA_MASKCOUNT, 1);
}

/* Runs in whatever coroutine is running; each has a hook of its own, inherited
 * from the one that made it. */
static void hook(lua_State *L, lua_Debug *ar)
{
	struct quota *quota = quota_of(L);
	lua_Debug deep;

	if (!ticking && !quota->over)
		judge(quota);
	if (quota->over) {
		hook_everything(L);
		raise_error(L, ar, "used more than %d ms of CPU time", (int)quota->call_ms);
	}
	hook_now_and_then(L);
	if (lua_getstack(L, DEPTH_MAX, &deep))
		raise_error(L, ar, "stack overflow: calls nested more than %d deep", DEPTH_MAX);
}

/* A signal that asks to stop and waits to be looked at; 0: none. */
static int stop_signal(void)
{
	sigset_t waiting;

	if (sigpending(&waiting))
		return 0;
	return sigismember(&waiting, SIGTERM) == 1 ? SIGTERM : sigismember(&waiting, SIGINT) == 1 ? SIGINT : 0;
}

/* As if nobody had handled the signal. */
static void die_of(int number)
{
	sigset_t set;

	(void)signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* The end, so that logging from a signal handler can do no more harm. */
static void end_if_stuck(const struct quota *quota, int64_t ms)
{
	int number = ms > quota->call_ms + STUCK_STOPPING_MS ? stop_signal() : 0;

	if (number == 0 && ms <= quota->call_ms + QUOTA_STUCK_MS)
		return;
	log_error(quota->owner, "a library function did not come back within %lld ms of CPU time (a pattern that "
	          "backtracks?) and cannot be interrupted: the process ends; nothing acknowledged is lost",
	          (long long)ms);
	if (number)
		die_of(number);
	_exit(1);
}

static void judge(struct quota *quota)
{
	int64_t now = cpu_ns(), ms;

	if (quota->since_ns == 0)
		quota->since_ns = now;
	ms = (now - quota->since_ns) / NS_PER_MS;
	if (ms <= quota->call_ms)
		return;
	if (quota->over)
		end_if_stuck(quota, ms);
	quota->over = true;
	hook_everything(quota->running);
}

static void on_tick(int number)
{
	int error = errno;

	(void)number;
	if (current)
		judge(current);
	errno = error;
}

/* Only the thread that calls this is interrupted. */
static bool start_clock(void)
{
	struct sigaction action = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGVTALRM };
	struct itimerspec every = { { 0, TICK_MS * NS_PER_MS }, { 0, TICK_MS * NS_PER_MS } };
	timer_t timer;

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGVTALRM, &action, NULL) || timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer))
		return false;
	return timer_settime(timer, 0, &every, NULL) == 0;
}

lua_State *quota_new_state(struct quota *quota)
{
	lua_State *L = lua_newstate(allocate, quota);

	if (L)
		quota_set_limits(quota, L, quota->memory_bytes, quota->call_ms);
	return L;
}

void quota_set_limits(struct quota *quota, lua_State *L, size_t memory_bytes, int64_t call_ms)
{
	quota->memory_bytes = memory_bytes;
	quota->call_ms = call_ms;
	if (!call_ms)
		return;
	if (!ticking)
		ticking = start_clock();
	hook_now_and_then(L);
}

void quota_begin(struct quota *quota, lua_State *L)
{
	if (!quota->call_ms)
		return;
	quota->running = L;
	quota->since_ns = 0;
	quota->over = false;
	hook_now_and_then(L);
	current = quota;
}

void quota_end(struct quota *quota)
{
	(void)quota;
	current = NULL;
}

struct lua_State *quota_switch(struct lua_State *L, struct lua_State *to)
{
	struct quota *quota = quota_of(L);
	lua_State *before = quota->running;

	quota->running = to;
	if (quota->over)
		hook_everything(to);
	return before;
}
