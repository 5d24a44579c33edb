/* The database file: opening, checking, migrating, and the one transaction a
 * turn. Queues collect in memory and take part in store_commit(); a commit
 * that fails leaves memory as it was, so it can simply be tried again. */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "check.h"
#include "quarantine.h"
#include "schema.h"
#include "still.h"

#define OPEN_TRIES 4      /* it is replaced once, unless somebody else does so meanwhile */
#define ROW_BYTES 256 /* about, beside topic and payload; in the log, and once more when it is checkpointed */
#define SPACE_RESERVE (2 * WAL_BYTES) /* left free, or half of a disk that is smaller than twice that */

void store_fail(char *err, size_t err_size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err, err_size, format, args);
	va_end(args);
}

sqlite3 *store_database(struct store *store)
{
	return store->database;
}

void store_failed(struct store *store)
{
	int code = sqlite3_errcode(store->database) & 0xff;

	store->corrupt = store->corrupt || code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

const char *store_error(struct store *store)
{
	if (store->corrupt)
		return "the database is corrupt";
	return store->out_of_memory ? "out of memory" : sqlite3_errmsg(store->database);
}

void store_contradicts_itself(struct store *store)
{
	store->corrupt = true;
}

int store_exec(struct store *store, const char *sql)
{
	if (sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	store_failed(store);
	return -1;
}

int store_prepare(struct store *store, sqlite3_stmt **statement, const char *sql, uint32_t number)
{
	char *text = sqlite3_mprintf(sql, number);
	int result = SQLITE_NOMEM;

	if (text)
		result = sqlite3_prepare_v3(store->database, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
	sqlite3_free(text);
	if (result == SQLITE_OK)
		return 0;
	store_failed(store);
	if (result == SQLITE_ERROR) /* what we ask for is there, unless a table was lost or changed */
		store_contradicts_itself(store);
	return -1;
}

int store_step(sqlite3_stmt *statement)
{
	int stepped = sqlite3_step(statement);
	int reset = sqlite3_reset(statement);

	return stepped == SQLITE_DONE && reset == SQLITE_OK ? 0 : -1;
}

int64_t store_integer(struct store *store, const char *sql, int64_t otherwise)
{
	sqlite3_stmt *statement = NULL;
	int64_t value = otherwise;

	if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	store_failed(store);
	return value;
}

/* ---- opening ---- */

/* The file itself, where `path` is a symbolic link: what lies beside it belongs to it. */
static char *real_path(const char *path)
{
	char *real = realpath(path, NULL);

	return real ? real : strdup(path);
}

static struct store *open_file(const char *path, enum store_durability durability, enum schema_result *result,
                               char *why, size_t size)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX; /* one thread */
	struct store *store = calloc(1, sizeof *store);

	*result = SCHEMA_FAILED;
	if (!store || !(store->path = strdup(path))) {
		store_fail(why, size, "out of memory");
		free(store);
		return NULL;
	}
	if (sqlite3_open_v2(path, &store->database, flags, NULL) == SQLITE_OK) {
		sqlite3_extended_result_codes(store->database, 1);
		sqlite3_busy_timeout(store->database, LOCK_WAIT_MS);
		store->durability = durability;
		*result = schema_open(store, durability, why, size);
		if (*result == SCHEMA_OK)
			return store;
	} else {
		int number = store->database ? sqlite3_system_errno(store->database) : 0;

		store_fail(why, size, "%s%s%s", store->database ? sqlite3_errmsg(store->database) : "out of memory",
		           number ? ": " : "", number ? strerror(number) : "");
	}
	store_close(store);
	return NULL;
}

/* An empty file whose log is not: SQLite would take it for a new one. */
static bool lost_its_content(const char *path, const struct stat *file)
{
	char log[PATH_MAX + 8];
	struct stat status;

	snprintf(log, sizeof log, "%s-wal", path);
	return S_ISREG(file->st_mode) && file->st_size == 0 && stat(log, &status) == 0 && status.st_size > 0;
}

/* Opens it as it is, or moves it aside so that the next try finds a new one. */
static struct store *try_open(const char *path, enum store_durability durability, bool *again, char *why, size_t size)
{
	enum schema_result result = SCHEMA_DAMAGED;
	struct store *store = NULL;
	struct stat file = {0};
	char reason[160];

	if (quarantine_resume(path, why, size) < 0)
		return NULL;
	if (stat(path, &file) == 0 && lost_its_content(path, &file))
		store_fail(reason, sizeof reason, "the file is empty, its log is not");
	else
		store = open_file(path, durability, &result, reason, sizeof reason);
	*again = result == SCHEMA_DAMAGED && S_ISREG(file.st_mode) && quarantine(path, &file, reason, why, size) == 0;
	if (result == SCHEMA_FAILED || (result == SCHEMA_DAMAGED && !S_ISREG(file.st_mode)))
		store_fail(why, size, "%s", reason);
	return store;
}

struct store *store_open(const char *path, enum store_durability durability, char *err, size_t err_size)
{
	char *real = real_path(path), why[512] = "out of memory";
	struct store *store = NULL;
	bool again = real != NULL;

	for (int tries = 0; again && tries < OPEN_TRIES; tries++) {
		again = false;
		store_fail(why, sizeof why, "is replaced again and again");
		store = try_open(real, durability, &again, why, sizeof why);
	}
	if (!store)
		store_fail(err, err_size, "%s: %s", path, why);
	free(real);
	return store;
}

struct store *store_open_to_read(const char *path, char *err, size_t err_size)
{
	struct store *store = calloc(1, sizeof *store);
	char why[512] = "out of memory";

	if (store && (store->path = real_path(path)) && (store->still = still_open(store->path, why, sizeof why)) &&
	    (store->database = still_database(store->still, why, sizeof why)) &&
	    schema_open_to_read(store, why, sizeof why) == SCHEMA_OK)
		return store;
	store_fail(err, err_size, "%s: %s", path, why);
	store_close(store);
	return NULL;
}

int store_set_aside(const char *path, const char *why, char *err, size_t err_size)
{
	char *real = real_path(path), reason[512] = "out of memory";
	struct stat file;
	int result = -1;

	if (real && stat(real, &file) == 0)
		result = quarantine(real, &file, why, reason, sizeof reason);
	else if (real)
		store_fail(reason, sizeof reason, "%s", strerror(errno));
	if (result < 0)
		store_fail(err, err_size, "%s: %s", path, reason);
	free(real);
	return result;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	assert(!store->participants);
	notes_release(store);
	if (store->corrupt) /* what is in the log stays there for whoever reads it next */
		sqlite3_db_config(store->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	sqlite3_finalize(store->begin);
	sqlite3_finalize(store->commit);
	sqlite3_finalize(store->rollback);
	sqlite3_finalize(store->set_meta);
	sqlite3_close(store->database);
	still_close(store->still);
	free(store->path);
	free(store);
}

const char *store_instance(const struct store *store)
{
	return store->instance;
}

bool store_corrupt(const struct store *store)
{
	return store->corrupt;
}

const struct store_salvage *store_salvaged(const struct store *store)
{
	return store->news ? &store->salvaged : NULL;
}

const char *store_library_version(void)
{
	return sqlite3_libversion();
}

struct store_stats store_stats(const struct store *store)
{
	return store->stats;
}

/* ---- sequence numbers ---- */

uint64_t store_next_seq(struct store *store)
{
	return store->next_seq++;
}

uint64_t store_newest_seq(const struct store *store)
{
	return store->next_seq - 1;
}

/* After a failure always, to see whether it can be written. */
static bool reserves_seqs(const struct store *store)
{
	return store->next_seq + SEQ_BLOCK / 2 > store->seq_limit || store->failing;
}

int store_reserve_seqs(struct store *store)
{
	if (!reserves_seqs(store))
		return 0;
	return schema_set_seq_limit(store, store->next_seq + SEQ_BLOCK);
}

void store_reserved_seqs(struct store *store)
{
	if (reserves_seqs(store))
		store->seq_limit = store->next_seq + SEQ_BLOCK;
}

/* ---- the transaction ---- */

void store_join(struct store *store, struct participant *participant)
{
	participant->next = store->participants;
	store->participants = participant;
}

void store_leave(struct store *store, struct participant *participant)
{
	for (struct participant **at = &store->participants; *at; at = &(*at)->next)
		if (*at == participant) {
			*at = participant->next;
			return;
		}
}

enum store_pending store_pending(const struct store *store, struct store_unsafe *unsafe)
{
	*unsafe = (struct store_unsafe){.first = UINT64_MAX, .urgent = notes_dirty(store) || store->next_seq > store->seq_limit};
	for (const struct participant *p = store->participants; p; p = p->next) {
		p->unsafe(p->owner, unsafe);
		unsafe->deletions += p->dirty(p->owner);
	}
	if (unsafe->urgent)
		return STORE_URGENT;
	if (unsafe->messages > 0 || unsafe->states > 0)
		return STORE_UNSAFE;
	return unsafe->deletions ? STORE_DELETIONS : STORE_CLEAN;
}

bool store_rolled_back(struct store *store)
{
	/* An error may have rolled back by itself; only an open transaction needs it. */
	if (store->stuck && (sqlite3_get_autocommit(store->database) || store_step(store->rollback) == 0))
		store->stuck = false;
	return !store->stuck;
}

static int write_everything(struct store *store, bool additions)
{
	if (!store_rolled_back(store) || store_step(store->begin) < 0)
		return -1;
	for (struct participant *p = store->participants; p; p = p->next)
		if (p->write(p->owner, additions) < 0)
			return -1;
	if (notes_write(store, additions) < 0 || (additions && store_reserve_seqs(store) < 0))
		return -1;
	return store_step(store->commit);
}

static void everything_written(struct store *store, bool additions)
{
	for (struct participant *p = store->participants; p; p = p->next)
		p->written(p->owner, additions);
	store->stats.commits++;
	notes_written(store, additions);
	if (additions)
		store_reserved_seqs(store);
}

/* Numbers that leave may not come back after a power cut, however much else it takes. */
static int write_durably(struct store *store, bool additions)
{
	bool syncs = additions && store->durability != STORE_FULL && reserves_seqs(store);
	int result;

	if (syncs && schema_set_durability(store, STORE_FULL) < 0)
		return -1;
	result = write_everything(store, additions);
	if (syncs && schema_set_durability(store, store->durability) < 0)
		store_failed(store); /* more is synced than was asked for */
	return result;
}

/* 0, or -1 with the transaction rolled back, or stuck. */
static int transact(struct store *store, bool additions, char *err, size_t err_size)
{
	store->out_of_memory = false;
	if (write_durably(store, additions) == 0) {
		everything_written(store, additions);
		return 0;
	}
	store_failed(store);
	store_fail(err, err_size, "%s", store_error(store));
	store->stuck = true;
	store_rolled_back(store);
	store->stats.failures++;
	return -1;
}

/* What is free on the disk and in the file, where deleted rows were. */
static uint64_t free_bytes(struct store *store, const struct statvfs *disk)
{
	int64_t pages = store_integer(store, "PRAGMA freelist_count", 0);

	return (uint64_t)disk->f_bavail * disk->f_frsize + (uint64_t)(pages * store_integer(store, "PRAGMA page_size", 0));
}

/* Deletions need space too, before they give any back: for their frames in the
 * write-ahead log and for the checkpoint after it. On a small disk much of the rest is
 * the log, which keeps its size: so it is written back and cut before it comes to that. */
static bool has_space(struct store *store, const struct store_unsafe *unsafe)
{
	struct statvfs disk;
	uint64_t total, reserve;

	if (statvfs(store->path, &disk) < 0)
		return true; /* the commit will tell */
	total = (uint64_t)disk.f_blocks * disk.f_frsize;
	reserve = total / 2 < SPACE_RESERVE ? total / 2 : SPACE_RESERVE;
	reserve += 2 * (unsafe->bytes + unsafe->state_bytes + unsafe->messages * ROW_BYTES);
	if ((uint64_t)disk.f_bavail * disk.f_frsize >= reserve || free_bytes(store, &disk) >= reserve)
		return true;
	return store_exec(store, "PRAGMA wal_checkpoint(TRUNCATE)") == 0 && statvfs(store->path, &disk) == 0 &&
	       free_bytes(store, &disk) >= reserve;
}

/* After a failure something is always written, the reservation at least: to see whether
 * it can be. */
enum store_result store_commit(struct store *store, char *err, size_t err_size)
{
	struct store_unsafe unsafe;
	char ignored[8];

	if ((store_pending(store, &unsafe) >= STORE_UNSAFE || store->failing) && !has_space(store, &unsafe)) {
		store->stats.failures++;
		store_fail(err, err_size, "the disk is nearly full");
	} else if (transact(store, true, err, err_size) == 0) {
		store->failing = false;
		return STORE_OK;
	}
	store->failing = true;
	transact(store, false, ignored, sizeof ignored);
	return STORE_RETRY;
}

/* ---- giving space back ---- */

#define SHRINK_USED_MAX 1048576 /* it is written anew: that must not take long */
#define SHRINK_FREE_MIN 262144 /* less than that is not worth a write */

/* What nobody finds would be thrown away: so it is looked for before. The file itself gets
 * shorter at a checkpoint. */
bool store_shrink(struct store *store)
{
	char ignored[8];
	int64_t page_bytes = store_integer(store, "PRAGMA page_size", 0);
	int64_t free_bytes = store_integer(store, "PRAGMA freelist_count", 0) * page_bytes;
	int64_t used_bytes = store_integer(store, "PRAGMA page_count", 0) * page_bytes - free_bytes;

	if (check_idle(store, ignored, sizeof ignored) < 0)
		return false;
	return free_bytes > SHRINK_FREE_MIN && free_bytes > used_bytes && used_bytes < SHRINK_USED_MAX &&
	       store_exec(store, "VACUUM") == 0 && store_exec(store, "PRAGMA wal_checkpoint(TRUNCATE)") == 0;
}
