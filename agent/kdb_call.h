/* What a kdb+ message asks for: (`.u.upd; `sensor; columns), and the form with which
 * each batch is applied once,
 *
 *     (`.tidegate.upd; agent; instance; first_seq; last_seq; `sensor; columns)
 *
 * with the gateway's name as a symbol, the instance of its store as a guid, and the
 * sequence numbers of the batch's first and last row as longs.
 */
#ifndef TIDEGATE_KDB_CALL_H
#define TIDEGATE_KDB_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "kdb_ipc.h"

#define KDB_EXACTLY_ONCE ".tidegate.upd"

/* Texts and columns point into the message. */
struct kdb_call {
	struct bytes function, table;
	bool exactly_once;
	struct bytes agent;
	const unsigned char *instance; /* 16 bytes */
	int64_t first, last;
	size_t n_columns, n_rows; /* columns of different length: n_rows is that of the first, `ragged` is set */
	bool ragged;
	struct kdb_input columns; /* the first of them is next: take a copy, and kdb_next */
};

/* Reads the object that is next. False: it is no call of either form. */
bool kdb_call_read(struct kdb_call *call, struct kdb_input input);

/* How many rows a column is: its items, or what it holds. */
size_t kdb_column_rows(const struct kdb_object *column);

#endif
