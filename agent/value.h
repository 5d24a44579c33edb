/* A Lua value as a run of bytes, exact for every string, integer and float:
 * what a script gave as `ctx` waits in the queue in this form.
 *
 * nil, booleans, numbers, strings, json.null, and tables of those without
 * metatables or cycles, at most 16 deep. A mark as an array stays. Tables of `state` are
 * read like plain ones.
 */
#ifndef TIDEGATE_VALUE_H
#define TIDEGATE_VALUE_H

#include <stdbool.h>

#include "buffer.h"
#include "queue.h"

struct lua_State;

/* Appends the value at `index`. 0; or -1 with `err` naming the path and kind of
 * what cannot be kept ("ctx.items[3]: a function cannot be stored"); `what`
 * begins that path. Never raises. */
int value_encode(struct lua_State *L, int index, const char *what, struct buffer *out, char *err, size_t err_size);

/* The same for what is known to fit, however large: 0, or -1 for want of memory. */
int value_write(struct lua_State *L, int index, struct buffer *out);

/* What a value that is no table takes. */
size_t value_scalar_size(struct lua_State *L, int index);

/* Pushes the value that `run` holds; nil for an empty or damaged run. May raise
 * a memory error. */
void value_decode(struct lua_State *L, struct bytes run);

/* What JSON has and Lua has not. An array is a table with a metatable that scripts
 * can neither read nor change, nor exchange for another: what they put into it would
 * act on all arrays. null is the null pointer as a light userdata. */
void value_mark_array(struct lua_State *L); /* the table on top. May raise a memory error */
bool value_is_array(struct lua_State *L, int index);
void value_push_null(struct lua_State *L);
bool value_is_null(struct lua_State *L, int index);

#endif
