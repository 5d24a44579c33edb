/* kdb+ values as scripts have them. What Lua can hold exactly is a Lua value:
 *
 *     boolean, long, float          boolean, integer, float
 *     char vector                   string
 *     general list                  table, a plain list
 *
 * Everything else is a typed value: a userdata that holds the object as it is encoded,
 * little-endian and without attributes. It never changes; two are equal if their bytes are.
 *
 * All functions that take L may raise, for want of memory if for nothing else.
 */
#ifndef TIDEGATE_KDB_VALUE_H
#define TIDEGATE_KDB_VALUE_H

#include <stdbool.h>

#include "buffer.h"
#include "kdb_ipc.h"

struct lua_State;

/* Makes the metatable of typed values. Once in a state. */
void kdb_value_open(struct lua_State *L);

/* Pushes the next object of `input`, which is little-endian, was checked, and has no
 * attributes; it must stay where it is meanwhile. */
void kdb_value_push(struct lua_State *L, struct kdb_input *input);

/* The encoded object of a typed value, valid as long as that is; no data: it is none. */
struct bytes kdb_value_bytes(struct lua_State *L, int index);
/* Its type, negative for an atom; 0: it is no typed value. */
int kdb_value_type(struct lua_State *L, int index);
/* What messages call it: "kdb int", "kdb symbol vector"; NULL: it is no typed value. Does not raise. */
const char *kdb_value_kind(struct lua_State *L, int index, char *text, size_t size);

/* Appends the value at `index` as kdb.encode writes it. Raises "WHAT: [3]: a function cannot be encoded"; the buffer may
 * then hold a part. No more than `limit` bytes. */
void kdb_value_encode(struct lua_State *L, int index, const char *what, struct buffer *out, size_t limit);

/* How many items the list at `index` has; raises "WHAT: ..." if it has holes or names. */
long long kdb_value_count(struct lua_State *L, int index, const char *what);

/* Appends what was read, without attributes and little-endian. 0, or -1 for want of memory. */
int kdb_value_normalise(struct kdb_input *input, struct buffer *out);

/* Pushes what JSON would make of the value at `index`: no typed values are in it. */
void kdb_value_plain(struct lua_State *L, int index);

#endif
