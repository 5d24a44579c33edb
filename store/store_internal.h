/* What the files of store/ share: the database handle, and how a queue takes part
 * in the store's one transaction a turn. Nothing outside store/ includes it. */
#ifndef TIDEGATE_STORE_INTERNAL_H
#define TIDEGATE_STORE_INTERNAL_H

#include <sqlite3.h>

#include "store.h"

/* Tests compile with tiny ones. */
#ifndef SEQ_BLOCK
#define SEQ_BLOCK 1048576 /* sequence numbers reserved at a time: a commit for that alone is rare */
#endif
/* The log is checkpointed when it has about so many pages, and cut back to their size. */
#ifndef WAL_PAGES
#define WAL_PAGES 4096
#endif
#define WAL_BYTES (WAL_PAGES * PAGE_BYTES)
#define PAGE_BYTES 1024

#ifndef LOCK_WAIT_MS
#define LOCK_WAIT_MS 3000 /* a killed process's lock lives as long as its corpse: restarts are quick */
#endif
#define IN_USE "it is in use by another process (a second agent?)"

#define STRING(number) STRING_OF(number)
#define STRING_OF(text) #text

/* A link's queue, named after the link's id; for printf. */
#define QUEUE_TABLE                                                                                                \
	"CREATE TABLE queue_%u (seq INTEGER PRIMARY KEY, topic BLOB NOT NULL, payload BLOB, properties BLOB,"      \
	" context BLOB, time_ms INTEGER, origin INTEGER, flags INTEGER, age_ms INTEGER, expires_ms INTEGER)"

/* Embedded in whatever has something to commit. */
struct participant {
	void *owner;
	size_t (*dirty)(const void *owner); /* how much it has to write beside what is unsafe */
	void (*unsafe)(const void *owner, struct store_unsafe *unsafe); /* adds what it has to `unsafe` */
	int (*write)(void *owner, bool additions);    /* inside the transaction, without additions only deletions; 0, or -1 */
	void (*written)(void *owner, bool additions); /* the transaction is durable */
	struct participant *next;
};

struct still;

struct store {
	sqlite3 *database;
	struct still *still; /* it is open to read only; else NULL */
	char *path;
	sqlite3_stmt *begin, *commit, *rollback, *set_meta;
	struct participant *participants;
	struct note *notes; /* all of them: few and short */
	struct name *names;
	enum store_durability durability;
	char instance[33];
	uint64_t next_seq;
	uint64_t seq_limit; /* as on disk: a new process starts there */
	bool failing;       /* the last commit */
	bool stuck;         /* its transaction is open still: it could not be rolled back, for want of memory */
	struct store_stats stats;
	struct store_salvage salvaged;
	bool news;    /* that it was salvaged */
	bool corrupt; /* SQLite has said so */
	bool out_of_memory; /* a participant was, in the last commit */
	int64_t checked_bytes; /* how much was used when all of it was checked last */
};

void store_join(struct store *store, struct participant *participant);
void store_leave(struct store *store, struct participant *participant);

sqlite3 *store_database(struct store *store);

/* False: what a commit that failed has written is there still, and will be undone. To be asked outside of
 * a commit before anything is read that it may have written, and before anything else is written, which would be
 * undone with it. Tries to roll it back. */
bool store_rolled_back(struct store *store);

/* SQLite has just said that something failed: remembers it if the database is corrupt.
 * To be called for every failure, before anything else is asked of SQLite; the functions
 * below do so themselves. */
void store_failed(struct store *store);

/* What SQLite read without complaint cannot be: the database is corrupt. */
void store_contradicts_itself(struct store *store);

/* What failed last, for people. */
const char *store_error(struct store *store);

/* Runs SQL that returns no rows. 0, or -1 (sqlite3_errmsg() says why). */
int store_exec(struct store *store, const char *sql);

/* Prepares a statement that is kept; `sql` is a format with one %u. */
int store_prepare(struct store *store, sqlite3_stmt **statement, const char *sql, uint32_t number);

/* Steps a statement that returns no rows, and resets it. 0, or -1. */
int store_step(sqlite3_stmt *statement);

/* The one integer a query returns, or `otherwise`. */
int64_t store_integer(struct store *store, const char *sql, int64_t otherwise);

/* Writes "FILE: reason" as printf does. */
void store_fail(char *err, size_t err_size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Inside a transaction: numbers below the limit on disk are never given out by a
 * later process, so the limit must stay above what is used. Renewed when half of
 * the block is gone, with whatever is committed then. */
int store_reserve_seqs(struct store *store);
void store_reserved_seqs(struct store *store); /* it is durable */

/* notes.c */
int notes_load(struct store *store);
bool notes_dirty(const struct store *store);
int notes_write(struct store *store, bool additions); /* without: only those that depend on nothing else */
void notes_written(struct store *store, bool additions);
void notes_release(struct store *store);

#endif
