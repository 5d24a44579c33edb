/* What makes a script's `state` transactional with its handlers, and durable.
 *
 * Each write is noted in a journal: the table, the key, and what was there before.
 * If the handler raises, the journal is undone backwards; if it returns, the keys of
 * `state` that were touched are marked, and the host is told. With its next commit it
 * asks for what is marked. Undoing and marking need no memory: what they may need is
 * taken when a write is noted, where a lack of it is the script's error.
 */
#ifndef TIDEGATE_SCRIPT_STATE_H
#define TIDEGATE_SCRIPT_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "queue.h"

struct lua_State;
struct script;

struct script_state {
	size_t bytes, limit; /* encoded; 0: no limit */
	size_t bytes_before; /* the first write of this call */
	size_t records;      /* in the journal */
	size_t gone;         /* entries that are only marked as gone */
	bool changed;        /* by the call that is over */
	const void *counted; /* data whose length was asked for last while there were some, */
	long long length;    /* and what it was */
	struct buffer key, value; /* scratch */
};

/* Notes that `key` of the table of state at `table` is about to change from the value at
 * `old`; `root` is that of the table, nil if it is detached. May raise. */
void script_state_note(struct lua_State *L, int table, int key, int old, int root);

/* The handler is over: all of it, or none. */
void script_state_undo(struct script *script);
void script_state_keep(struct script *script);

/* Before the chunk is run: fills state with what is saved. 0, or -1 as script_enter(). */
int script_state_load(struct script *script);

/* The global `state` is not what it was when the chunk began. */
bool script_state_is_hidden(struct script *script);

/* Pushes a table with the entries of the table of state at `index`, to be read raw;
 * false, with nothing pushed, if it is none of state. May raise. */
bool script_state_push_entries(struct lua_State *L, int index);

void script_state_release(struct script *script);

#endif
