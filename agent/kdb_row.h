/* A row that a script gives, as what waits in the queue of a kdb+ link: the body of a general
 * list with one object for each column, in the order in which they are declared.
 */
#ifndef TIDEGATE_KDB_ROW_H
#define TIDEGATE_KDB_ROW_H

#include "buffer.h"
#include "config.h"

struct lua_State;

/* Appends the row at `index`, a list in the order of the columns or a table keyed by their
 * names. Columns that are not given are null. Raises what does not fit:
 * "kdb.upd: table sensor, column val: float (a number, exactly) expected, got "x"". */
void kdb_row_encode(struct lua_State *L, int index, const struct kdb_table *table, struct buffer *out);

#endif
