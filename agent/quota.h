/* What one lua_State may use: memory, and CPU time per call.
 *
 * Over the memory limit the allocator says no, which Lua turns into an ordinary
 * error. Over the time limit a count hook raises an error, and raises it again
 * at every instruction, so that no pcall in the script can carry on.
 *
 * That holds only if nothing of the script's runs where hooks are off: see
 * agent/sandbox.c.
 */
#ifndef TIDEGATE_QUOTA_H
#define TIDEGATE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;

struct quota {
	size_t memory_bytes; /* 0: no limit */
	int64_t call_ms;     /* 0: no limit */
	size_t used_bytes;
	int64_t deadline_ns; /* of the thread's CPU clock; 0: the clock was not looked at yet */
	bool over;           /* this call has used up its time */
};

void quota_init(struct quota *quota, size_t memory_bytes, int64_t call_ms);

/* A new state under this quota, or NULL. `quota` must stay where it is
 * until lua_close(). */
struct lua_State *quota_new_state(struct quota *quota);

/* A call begins: its time starts to count. */
void quota_begin(struct quota *quota, struct lua_State *L);

/* realloc() for memory of ours that the script makes grow; counts as its own.
 * `old_size` is what was asked for before. A size of 0 frees. */
void *quota_realloc(struct quota *quota, void *data, size_t old_size, size_t size);

#endif
