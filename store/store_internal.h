/* What store.c and queue.c share: the database handle, and how a queue takes
 * part in the store's one transaction a turn. Nothing outside store/ includes it. */
#ifndef TIDEGATE_STORE_INTERNAL_H
#define TIDEGATE_STORE_INTERNAL_H

#include <sqlite3.h>

#include "store.h"

/* Embedded in whatever has something to commit. */
struct participant {
	void *owner;
	bool (*dirty)(const void *owner, bool *urgent);
	int (*write)(void *owner, bool additions);    /* inside the transaction, without additions only deletions; 0, or -1 */
	void (*written)(void *owner, bool additions); /* the transaction is durable */
	struct participant *next;
};

void store_join(struct store *store, struct participant *participant);
void store_leave(struct store *store, struct participant *participant);

sqlite3 *store_database(struct store *store);

/* Runs SQL that returns no rows. 0, or -1 (sqlite3_errmsg() says why). */
int store_exec(struct store *store, const char *sql);

/* Prepares a statement that is kept; `sql` is a format with one %u. */
int store_prepare(struct store *store, sqlite3_stmt **statement, const char *sql, uint32_t number);

/* Steps a statement that returns no rows, and resets it. 0, or -1. */
int store_step(sqlite3_stmt *statement);

#endif
