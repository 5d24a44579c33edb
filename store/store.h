/* The durable store: one SQLite file that holds every link's queue, and beside them what
 * else must be in the same transaction: dead letters, losses, the state of scripts.
 *
 * A turn of the agent's loop is one transaction: queues collect what was
 * pushed and what was acknowledged in memory, and store_commit() makes all of
 * it durable at once (group commit). Nothing is on disk before store_commit()
 * returned STORE_OK; nothing is forgotten if it did not.
 *
 * Knows nothing of Lua, MQTT or the clock.
 */
#ifndef TIDEGATE_STORE_H
#define TIDEGATE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

enum store_durability {
	STORE_FULL,   /* fdatasync at every commit: survives a power cut */
	STORE_NORMAL, /* sync at checkpoints only: survives kill -9; a power cut may take the last commits */
	STORE_OFF,    /* never sync: survives kill -9 only */
};

enum store_result {
	STORE_OK,
	STORE_RETRY, /* disk full or an I/O error: everything stays in memory; commit again later */
};

/* What the store has done since it was opened. */
struct store_stats {
	uint64_t commits;  /* transactions that wrote something */
	uint64_t failures; /* commits that returned STORE_RETRY */
	uint64_t salvages; /* not since then but ever: damaged databases replaced by this one and those before it */
};

/* What became of a damaged database. */
struct store_salvage {
	char moved_to[512]; /* where it is now, as it was */
	char why[160];      /* "database disk image is malformed" */
	uint64_t messages;  /* that are queued in the new one */
	uint64_t gaps;      /* places that could not be read: of one message, or of many */
};

/* Opens or creates the database file `path` (its directory must exist), takes
 * the exclusive lock, migrates the schema, and proves by a real write that the
 * place can be written. A file that is corrupt or not Tidegate's is replaced, see
 * store_set_aside(); one that is in use or of a newer schema is left alone. NULL on
 * failure, with the reason in `err`: names the file and what is wrong (locked by another agent, newer
 * schema, read-only, ...). Free with store_close(). */
struct store *store_open(const char *path, enum store_durability durability, char *err, size_t err_size);

/* Opens it to read only: no file is made, changed or locked against other readers, and no permission to
 * write is needed; what a killed process left in the write-ahead log is read from there. While it is open
 * no agent can start on it. What is not there, in use, damaged or of another schema: NULL, with the
 * reason in `err`. store_commit() may not be called. */
struct store *store_open_to_read(const char *path, char *err, size_t err_size);

/* The database that was here before was damaged: what became of it. NULL: nothing of
 * the kind happened since the file was opened last. Lives as long as `store`. */
const struct store_salvage *store_salvaged(const struct store *store);

/* True once anything that was asked of the database showed that it is corrupt: then
 * nothing it says can be relied on. Close the store, call store_set_aside(), open again. */
bool store_corrupt(const struct store *store);

/* Replaces the database file `path`, which no store may have open: it is renamed to
 * "PATH.corrupt-DATE" with its log, and never changed; a new one with a new instance
 * takes its place, with every message, note and record that could be read. Sequence
 * numbers stay, and are not used again. A crash meanwhile loses nothing. 0, or -1
 * with the reason in `err`: it is in use, the disk is full, ... */
int store_set_aside(const char *path, const char *why, char *err, size_t err_size);

/* Gives space back to the file system when most of what the file had is gone, in some
 * milliseconds; writes nothing, and returns false, if there is little to gain. Looks for what
 * the queues should have given and did not: then store_corrupt() is true. To be called
 * when nothing else is to do. */
bool store_shrink(struct store *store);

/* Closes without committing: whoever wants the pending entries kept commits
 * first. Queues of this store must be closed before. NULL is allowed. */
void store_close(struct store *store);

/* Random identity of this database file, 32 hexadecimal digits: (gateway name,
 * instance, sequence number) names a message for ever. Lives as long as `store`. */
const char *store_instance(const struct store *store);

/* A sequence number never handed out before, by this or any earlier process on
 * this database: 1, 2, 3, ... with gaps after a restart, never 0. Numbers are
 * reserved on disk in blocks, so most may leave the process before the next commit;
 * when the block is used up, store_pending() says STORE_URGENT, and what has a
 * newer number must wait. */
uint64_t store_next_seq(struct store *store);
uint64_t store_newest_seq(const struct store *store); /* the last one given */

/* What a power cut or a kill would take now: entries that are neither on disk nor
 * acknowledged by the collector. */
struct store_unsafe {
	uint64_t first; /* the lowest sequence number of them: all below are safe. UINT64_MAX: none is unsafe */
	size_t messages, bytes;
	size_t states, state_bytes; /* scripts whose state changed: no acknowledgement makes that safe */
	size_t deletions; /* what else there is to write: rows that can go */
	bool urgent; /* something that no acknowledgement can make safe */
};

enum store_pending {
	STORE_CLEAN,
	STORE_DELETIONS, /* forgetting one costs a duplicate, not a loss: no hurry */
	STORE_UNSAFE,    /* entries, which the collector may make safe first, or state */
	STORE_URGENT,    /* what only a commit makes safe: before anything leaves */
};

/* Why store_commit() would be called, and in `*unsafe` for what. */
enum store_pending store_pending(const struct store *store, struct store_unsafe *unsafe);

/* Makes everything pushed and acknowledged so far durable, in one transaction.
 * On STORE_RETRY nothing that was pushed is on disk, all of it is still pending
 * and `err` says why. When the disk is nearly full nothing is added any more, but
 * what was acknowledged is still deleted: so a full disk empties again. */
enum store_result store_commit(struct store *store, char *err, size_t err_size);

/* A small durable note, written at the next store_commit(): what the agent must
 * remember about itself across restarts (the subscriptions a session has).
 * store_note() returns a malloc'd string or NULL if there is none.
 * What is named "received ..." says which messages are in the queues already; it is
 * forgotten when a damaged database is salvaged. */
#define STORE_NOTE_RECEIVED "received"
/* What is named "sending ..." depends on nothing else in a commit: it is written even when
 * the disk is nearly full, as what it is about makes room. */
#define STORE_NOTE_SENDING "sending"
char *store_note(struct store *store, const char *name);
int store_set_note(struct store *store, const char *name, const char *text);
/* The note is on disk as it was set last. */
bool store_noted(const struct store *store, const char *name);

/* A short number that stands for `name` in this database, for ever (scripts
 * are named so in queued messages). 0 on failure. */
uint32_t store_name_id(struct store *store, const char *name);

/* The name behind an id, or NULL; lives as long as `store`. */
const char *store_name(struct store *store, uint32_t id);

struct store_stats store_stats(const struct store *store);

/* "3.40.1": the SQLite this program runs with. */
const char *store_library_version(void);

#endif
