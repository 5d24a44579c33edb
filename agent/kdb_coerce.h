/* A Lua value as an item of a declared kdb+ type: the type decides, and what does not fit it
 * exactly is refused. Nothing is guessed from the value.
 */
#ifndef TIDEGATE_KDB_COERCE_H
#define TIDEGATE_KDB_COERCE_H

#include "buffer.h"
#include "config.h"

struct lua_State;

enum kdb_coerced {
	KDB_COERCED,
	KDB_MISFIT,        /* see kdb_expected() */
	KDB_COERCE_MEMORY, /* none is left */
};

/* Appends the value at `index` as an object of the column's type, or without its type byte as an item of a vector of that
 * (not of strings). nil and json.null are the type's null. Does not raise. */
enum kdb_coerced kdb_coerce(struct lua_State *L, int index, const struct kdb_column *type, bool item,
                            struct buffer *out);

/* What would have fitted: "short (-32766 to 32766)". */
const char *kdb_expected(const struct kdb_column *type);

#endif
