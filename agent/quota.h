/* What one lua_State may use: memory, and CPU time per call.
 *
 * Over the memory limit the allocator says no, which Lua turns into an ordinary
 * error. Over the time limit a hook raises an error, and raises it again at every
 * instruction and every call, so that no pcall in the script can carry on.
 *
 * That holds only if nothing of the script's runs where hooks are off: see
 * agent/sandbox.c. A single library function cannot be interrupted: if one does
 * not come back at all, the process is ended.
 */
#ifndef TIDEGATE_QUOTA_H
#define TIDEGATE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;

struct quota {
	const char *owner;   /* for the log: "script rules.lua" */
	size_t memory_bytes; /* 0: no limit */
	int64_t call_ms;     /* 0: no limit */
	size_t used_bytes;
	/* Of the call that runs now; a signal handler looks at them too. */
	struct lua_State *volatile running; /* the coroutine that does, or the state itself */
	volatile int64_t since_ns;          /* of the thread's CPU clock; 0: the clock was not looked at yet */
	volatile bool over;                 /* it has used up its time */
};

/* `owner` must live as long as the quota. */
void quota_init(struct quota *quota, const char *owner, size_t memory_bytes, int64_t call_ms);

/* A new state under this quota, or NULL. `quota` must stay where it is
 * until lua_close(). */
struct lua_State *quota_new_state(struct quota *quota);

/* Other limits from the next call on; what is over the new one already stays. */
void quota_set_limits(struct quota *quota, struct lua_State *L, size_t memory_bytes, int64_t call_ms);

/* A call begins: its time starts to count; and ends. One at a time in the process,
 * all from the thread that makes the first. */
void quota_begin(struct quota *quota, struct lua_State *L);
void quota_end(struct quota *quota);

/* From here on it is `to` that runs, a coroutine of the state of L. Returns what ran
 * before, to be switched back to. */
struct lua_State *quota_switch(struct lua_State *L, struct lua_State *to);

/* realloc() for memory of ours that the script makes grow; counts as its own.
 * `old_size` is what was asked for before. A size of 0 frees. */
void *quota_realloc(struct quota *quota, void *data, size_t old_size, size_t size);

/* For library functions of ours that walk through much, where no hook looks: raises if
 * the call has used up its time. */
void quota_check_time(struct lua_State *L);

/* Memory that a library takes for a moment on behalf of L's script, and may take
 * no more than: counts as the script's own until it is given back. False if there
 * is not so much left, even without garbage. */
bool quota_reserve(struct lua_State *L, size_t bytes);
void quota_give_back(struct lua_State *L, size_t bytes);

/* Raises what Lua raises when memory is exhausted; luaL_checkstack() without a word
 * about the stack, which is not what is too small. */
int quota_out_of_memory(struct lua_State *L);
void quota_check_stack(struct lua_State *L, int values);

#endif
