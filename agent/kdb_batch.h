/* Rows become columns. A row is queued as the body of a kdb+ general list, an object for
 * each column in order, little-endian; what goes out is a call with a vector for each
 * column. The vectors' items are the rows' bytes, so nothing is converted: a batch takes
 * rows of one table and of the same types, whatever is declared by now.
 *
 *     (`.u.upd; `sensor; (sym vector; ts vector; val vector))
 *
 * Pure: no sockets, no clock.
 */
#ifndef TIDEGATE_KDB_BATCH_H
#define TIDEGATE_KDB_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "queue.h"

/* One value of a row: a vector's type and an item of it, or KDB_LIST and a whole char vector. */
struct kdb_cell {
	int type;
	struct bytes item;
};

/* A row that was read; zero-initialise, use for one after the other. */
struct kdb_cells {
	struct kdb_cell *cells;
	size_t n, size;
	unsigned char stamp[8];
};

/* Reads the row in `payload`, which must live as long as the row is used. 0; or -1 with `err`
 * if it is none, or memory is exhausted. */
int kdb_cells_read(struct kdb_cells *row, struct bytes payload, char *err, size_t err_size);

/* A column more, ahead of all others: a timespan or timestamp. After kdb_cells_read(). */
void kdb_cells_stamp(struct kdb_cells *row, int type, int64_t value);

void kdb_cells_release(struct kdb_cells *row);

/* A row's place in a batch. */
struct kdb_place {
	uint64_t seq;
	int handle;
};

struct kdb_batch {
	struct kdb_batch *next;
	char *table;
	struct kdb_place *places; /* of its rows, in order of seq */
	size_t n, size;
	size_t bytes;       /* of all items */
	int64_t opened_ms;  /* 0: just now */
	uint64_t end;       /* no row above this seq may join */
	bool late;          /* its rows go to another function */
	unsigned refusals;  /* by errors that nobody knows */
	size_t n_columns;
	struct kdb_column_items {
		int type; /* KDB_LIST: of char vectors */
		struct buffer items;
	} columns[];
};

/* An empty one, for rows like that. NULL: no memory. */
struct kdb_batch *kdb_batch_open(const char *table, const struct kdb_cells *row);
void kdb_batch_close(struct kdb_batch *batch);

/* Is the row of this table, with values of these types? */
bool kdb_batch_takes(const struct kdb_batch *batch, const char *table, const struct kdb_cells *row);

/* Appends one that it takes. 0, or -1: no memory, and nothing has changed. */
int kdb_batch_add(struct kdb_batch *batch, const struct kdb_cells *row, struct kdb_place place);

size_t kdb_cells_bytes(const struct kdb_cells *row);
uint64_t kdb_batch_first(const struct kdb_batch *batch); /* seq; there must be a row */
uint64_t kdb_batch_last(const struct kdb_batch *batch);

/* Takes the second half of the rows, two at least, away into a batch of their own. NULL: no memory, and
 * nothing has changed. */
struct kdb_batch *kdb_batch_halve(struct kdb_batch *batch);

/* What is called, and how. */
struct kdb_target {
	const char *function;
	bool as_string; /* the function's name, as a char vector */
	const char *agent;             /* with this and what follows: so that the collector knows what it has; or NULL */
	const unsigned char *instance; /* 16 bytes */
};

/* Appends the whole message to `out`: a synchronous call of
 * (function; table; columns), or (function; agent; instance; first seq; last seq; table; columns). 0,
 * or -1: no memory, or more than a message can hold. */
int kdb_batch_encode(const struct kdb_batch *batch, const struct kdb_target *target, struct buffer *out);

#endif
