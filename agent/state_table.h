/* The tables that make up a script's `state`.
 *
 * Each is an ordinary table of the script's that is empty but for two hidden
 * entries: the table that holds its entries (its data), and its root, the key of
 * `state` it hangs under. So every access goes through the metamethods of the one
 * metatable that all tables of the same depth share.
 *
 *     state ── sensors ── t1          the root of both is "sensors"; their depths are 0 and 1
 *
 * What hangs in state is a tree: a table is in it once, and is a value: what is
 * already there is copied when it is stored once more. A table that was taken out is
 * detached: it can be used like any other and stored again.
 *
 * While a handler runs nothing is taken out of data: an entry that is set to nil
 * becomes a mark (GONE, a light userdata), so that undoing needs no memory.
 */
#ifndef TIDEGATE_STATE_TABLE_H
#define TIDEGATE_STATE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct lua_State;
struct luaL_Reg;

/* Slots on the Lua stack that a walk through a tree needs: three a level, and some. */
#define STATE_TABLE_STACK 100

/* Makes the table `state` itself and pushes it; `methods` (static) are the metamethods
 * of all. May raise. */
void state_table_open(struct lua_State *L, const struct luaL_Reg *methods);

/* Pushes the data of the table at `index`; false, with nothing pushed, if it is none
 * of state. Does not raise. */
bool state_table_push_data(struct lua_State *L, int index);

/* Pushes the root of the table of state at `table`: `key` for state itself; nil if it is
 * detached. Does not raise. */
void state_table_push_root(struct lua_State *L, int table, int key);

void state_table_push_top(struct lua_State *L); /* the table `state` */
void state_table_push_gone(struct lua_State *L);

/* True if the value at `index`, read from data, is not there. */
bool state_table_is_gone(struct lua_State *L, int index);

/* -1 for state itself, 0 for the tables in it, and so on. Of no meaning if detached. */
int state_table_depth(struct lua_State *L, int index);

/* What the value at `index` takes when it is encoded (agent/value.h). Does not raise; needs
 * STATE_TABLE_STACK free slots. */
size_t state_table_bytes(struct lua_State *L, int index);

/* The same for a value that is to be stored at `key` of `table`: raises "PATH: a
 * function cannot be stored" and the like; more than `room` bytes raise, too. */
size_t state_table_check(struct lua_State *L, int table, int key, int value, size_t room, size_t limit);

/* Raises "PATH: WHY" for `key` of `table`; 0 is no key. */
int state_table_refuse(struct lua_State *L, int table, int key, const char *why);

/* Makes the table at `index`, which state_table_check() accepted, part of state under the
 * value at `root`, all or nothing: adopts it in place, or a copy of it if it is already
 * there, and leaves that at `index`. May raise. */
void state_table_take(struct lua_State *L, int index, int root, int depth);

/* The table on top, and all in it, are not in state any more; or are again, as they were.
 * Needs no memory but STATE_TABLE_STACK free slots, and does not raise. */
void state_table_detach(struct lua_State *L);
void state_table_attach(struct lua_State *L, int root, int depth);

/* Pushes a plain table with the entries of the one at `index`, of state or not; tables in it,
 * so many levels down, are copied, too, and those below are the same. May raise. */
void state_table_copy(struct lua_State *L, int index, int levels);

#endif
