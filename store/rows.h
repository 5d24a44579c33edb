/* One link's table: rows of messages by key. The key puts higher priorities first
 * and, within one, sequence numbers in order, so the table needs no second index. */
#ifndef TIDEGATE_ROWS_H
#define TIDEGATE_ROWS_H

#include "entry.h"
#include "store_internal.h"

#define SEQ_BITS 59 /* of a key; priorities are above them: key = seq - priority * 2^59 */

struct rows {
	struct store *store;
	sqlite3_stmt *insert, *load, *read, *delete, *first, *last, *count;
};

/* Zero-initialise. 0, or -1 with `err`. */
int rows_open(struct rows *rows, struct store *store, const char *name, char *err, size_t err_size);
/* For rows_first() and rows_read() only: makes no table, writes nothing. `id` is the link's. 0, or -1. */
int rows_open_to_read(struct rows *rows, struct store *store, uint32_t id);
void rows_release(struct rows *rows);

int64_t rows_key(uint64_t seq, unsigned priority);
uint64_t rows_seq(int64_t key);
unsigned rows_priority(int64_t key);

/* Inside the store's transaction. 0, or -1. */
int rows_insert(struct rows *rows, const struct message *message);
int rows_delete(struct rows *rows, int64_t first, int64_t last);

/* The rows after key `after` up to `to`, in order, until `take` has enough: it owns the
 * entry, or gets NULL when memory is exhausted, and returns false to stop. 0 if it
 * stopped or there are no more, -1 if the disk failed. `*complete`: there are no more. */
int rows_load(struct rows *rows, int64_t after, int64_t to, bool (*take)(void *arg, struct entry *entry), void *arg,
              bool *complete);

/* One row: 1, and `entry` is it, to be freed with free(); 0 if there is none, -1 if it cannot be read now. */
int rows_read(struct rows *rows, int64_t key, struct entry **entry);

/* The first key from `first` to `last`. 1; 0: there is none; -1: the disk failed. */
int rows_first(struct rows *rows, int64_t first, int64_t last, int64_t *key);

/* The last key from `first` to `last`, or first - 1 if there is none, and the age_ms
 * of its message. 0, or -1. */
int rows_last(struct rows *rows, int64_t first, int64_t last, int64_t *key, int64_t *age_ms);

/* The next `n` rows at or below `*from`, downward: calls `counted` with each one's key
 * and size. `*from` moves below them, to INT64_MIN when all are through. 0, or -1. */
int rows_count(struct rows *rows, int64_t *from, int n, void (*counted)(void *arg, int64_t key, size_t size), void *arg);

/* Tables that exist, opened or not. */
void rows_visit(struct store *store, void (*visit)(void *arg, const char *name, uint64_t messages), void *arg,
                bool (*skip)(struct store *store, const char *name));

#endif
