/* Between kdb_value.c, which makes typed values, and kdb_access.c and kdb_plain.c, which have what
 * scripts can do with them. Nobody else includes this.
 */
#ifndef TIDEGATE_KDB_ACCESS_H
#define TIDEGATE_KDB_ACCESS_H

#include <stdint.h>

#include <lauxlib.h>

#include "kdb_value.h"

#define KDB_VECTOR_HEAD 6 /* type, attribute, count */

struct kdb_value {
	uint32_t size;
	unsigned char bytes[]; /* of a vector of symbols, where each begins is behind them */
};

struct kdb_value *kdb_value_of(struct lua_State *L, int index); /* NULL: it is no typed value. Does not raise */

/* Of one that is a vector (not a list). */
struct kdb_object kdb_vector_of(const struct kdb_value *value);
struct bytes kdb_symbol_of(struct kdb_value *value, size_t i);
/* Pushes what kdb_value_push() makes of an atom that is item i, from 0. */
void kdb_push_item(struct lua_State *L, struct kdb_value *value, size_t i);

extern const struct luaL_Reg kdb_metamethods[];

/* ---- for kdb_plain.c ---- */

int kdb_type_of(const struct kdb_value *value);
bool kdb_is_vector(const struct kdb_value *value);
bool kdb_is_atom(const struct kdb_value *value);
size_t kdb_length(const struct kdb_value *value); /* items, rows or keys */

/* Takes the first object off the input, which it makes. */
struct kdb_object kdb_open_value(const struct kdb_value *value, struct kdb_input *input);
/* Pushes child `i`, 0 or 1, of a dictionary or table. */
void kdb_push_child(struct lua_State *L, const struct kdb_value *value, int i);

/* A value that has items, and, of a table, what rows are made of: decoded once for all of them. */
struct kdb_items {
	int of, names, columns; /* where they are on the stack */
};

/* Pushes two values, which must stay. */
struct kdb_items kdb_open_items(struct lua_State *L, int index);
/* Item i, from 0, of a list, string, vector or table. */
void kdb_items_push(struct lua_State *L, const struct kdb_items *items, size_t i);

bool kdb_is_null(const struct kdb_object *atom);
/* Each pushes one value and returns 1; or 0 if there is none. The seconds of a time; what is in an atom or error, as
 * a number or string. */
int kdb_push_seconds(struct lua_State *L, const struct kdb_object *atom);
int kdb_push_text(struct lua_State *L, const struct kdb_object *object);

#endif
