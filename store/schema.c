/* Makes a database file ours: how SQLite is to treat it, what is in it, whose it
 * is, and that it can be written at all. */
#include "schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#define SCHEMA_VERSION 3
#define NUMBER_MAX (UINT64_C(1) << 58)

/* ---- migrations: each from its version to the next; a new file passes through all ---- */

static int create_1(struct store *store)
{
	return store_exec(store, "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	                         "CREATE TABLE link (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
	                         "CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
	                         "CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"
	                         "INSERT INTO meta VALUES ('instance', lower(hex(randomblob(16))));"
	                         "INSERT INTO meta VALUES ('seq_limit', '1')");
}

/* Queues know when a message expires, and since when it waits; losses are recorded,
 * and what cannot be handled is kept. */
static int migrate_1(struct store *store)
{
	int64_t id = 0;
	char sql[160];

	for (;;) {
		snprintf(sql, sizeof sql, "SELECT min(id) FROM link WHERE id > %lld", (long long)id);
		id = store_integer(store, sql, -1);
		if (id < 0)
			return -1;
		if (id == 0)
			break;
		snprintf(sql, sizeof sql,
		         "ALTER TABLE queue_%lld ADD COLUMN age_ms INTEGER; ALTER TABLE queue_%lld ADD COLUMN expires_ms INTEGER",
		         (long long)id, (long long)id);
		if (store_exec(store, sql) < 0)
			return -1;
	}
	return store_exec(store, "CREATE TABLE loss (id INTEGER PRIMARY KEY, link TEXT NOT NULL, topic TEXT NOT NULL,"
	                         " reason TEXT NOT NULL, first_seq INTEGER, last_seq INTEGER, first_time_ms INTEGER,"
	                         " last_time_ms INTEGER, count INTEGER, bytes INTEGER, reported INTEGER);"
	                         "CREATE TABLE loss_total (link TEXT, reason TEXT, count INTEGER,"
	                         " PRIMARY KEY (link, reason)) WITHOUT ROWID;"
	                         /* The small columns first: they can be read without the rest. */
	                         "CREATE TABLE dead (id INTEGER PRIMARY KEY, link TEXT NOT NULL, script TEXT NOT NULL,"
	                         " reason TEXT NOT NULL, time_ms INTEGER, flags INTEGER, tries INTEGER, retry INTEGER,"
	                         " topic BLOB NOT NULL, payload BLOB NOT NULL, properties BLOB NOT NULL)");
}

/* Scripts keep state. */
static int migrate_2(struct store *store)
{
	return store_exec(store, "CREATE TABLE state (script INTEGER, key BLOB, value BLOB NOT NULL,"
	                         " PRIMARY KEY (script, key)) WITHOUT ROWID");
}

static int (*const migrations[SCHEMA_VERSION])(struct store *store) = {create_1, migrate_1, migrate_2};

/* All or nothing: whoever fails closes the file, and the old version is back. */
static int migrate(struct store *store, int64_t version)
{
	char sql[128];

	if (version == SCHEMA_VERSION)
		return 0;
	if (store_exec(store, "BEGIN IMMEDIATE") < 0)
		return -1;
	for (; version < SCHEMA_VERSION; version++)
		if (migrations[version](store) < 0)
			return -1;
	snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION_ID,
	         SCHEMA_VERSION);
	return store_exec(store, sql);
}

/* Of a new file; must precede the first write to it, which is that of the journal mode.
 * A commit of a few messages writes each page that it touches: with small pages, and
 * without pointer maps, that is half as much. 4096 is what SQLite has by itself; tests
 * that want it otherwise have set it before. */
static int lay_out(struct store *store)
{
	if (store_integer(store, "PRAGMA page_size", 0) == 4096 && store_exec(store, "PRAGMA page_size = " STRING(PAGE_BYTES)) < 0)
		return -1;
	return store_exec(store, "PRAGMA auto_vacuum = NONE");
}

int schema_create(struct store *store)
{
	return lay_out(store) < 0 ? -1 : migrate(store, 0);
}

/* ---- what is in the file ---- */

bool schema_meta(struct store *store, const char *key, char *text, size_t size)
{
	sqlite3_stmt *statement = NULL;
	bool found = sqlite3_prepare_v2(store->database, "SELECT value FROM meta WHERE key = ?1", -1, &statement, NULL) ==
	                     SQLITE_OK &&
	             sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC) == SQLITE_OK &&
	             sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0);

	snprintf(text, size, "%s", found ? (const char *)sqlite3_column_text(statement, 0) : "");
	sqlite3_finalize(statement);
	return found;
}

uint64_t schema_meta_number(struct store *store, const char *key)
{
	char text[24], *end;
	uint64_t number;

	if (!schema_meta(store, key, text, sizeof text))
		return 0;
	number = strtoull(text, &end, 10);
	return *end || number >= NUMBER_MAX ? 0 : number;
}

int schema_set_meta(struct store *store, const char *key, const char *text)
{
	sqlite3_bind_text(store->set_meta, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(store->set_meta, 2, text, -1, SQLITE_STATIC);
	return store_step(store->set_meta);
}

uint64_t schema_seq_limit(struct store *store)
{
	uint64_t limit = schema_meta_number(store, "seq_limit"), again = schema_meta_number(store, "seq_limit_again");

	return limit > again ? limit : again;
}

int schema_set_seq_limit(struct store *store, uint64_t limit)
{
	char text[24];

	snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
	return schema_set_meta(store, "seq_limit", text) < 0 ? -1 : schema_set_meta(store, "seq_limit_again", text);
}

/* What was salvaged when this file was made, if that was not told yet. */
static void load_salvage(struct store *store)
{
	struct store_salvage *salvaged = &store->salvaged;
	char told[8], name[sizeof salvaged->moved_to];
	const char *slash = strrchr(store->path, '/');

	store->stats.salvages = schema_meta_number(store, "salvages");
	store->news = schema_meta(store, "salvage_untold", told, sizeof told);
	if (!store->news)
		return;
	schema_meta(store, "salvage_to", name, sizeof name);
	store_fail(salvaged->moved_to, sizeof salvaged->moved_to, "%.*s%s", slash ? (int)(slash + 1 - store->path) : 0,
	           store->path, name);
	schema_meta(store, "salvage_why", salvaged->why, sizeof salvaged->why);
	salvaged->messages = schema_meta_number(store, "salvage_messages");
	salvaged->gaps = schema_meta_number(store, "salvage_gaps");
}

static int load(struct store *store)
{
	if (schema_meta(store, "instance", store->instance, sizeof store->instance) &&
	    strlen(store->instance) == sizeof store->instance - 1)
		store->seq_limit = schema_seq_limit(store);
	if (store->seq_limit == 0)
		return -1;
	store->next_seq = store->seq_limit;
	load_salvage(store);
	return notes_load(store);
}

static int prepare(struct store *store)
{
	return store_prepare(store, &store->begin, "BEGIN IMMEDIATE", 0) < 0 ||
	                       store_prepare(store, &store->commit, "COMMIT", 0) < 0 ||
	                       store_prepare(store, &store->rollback, "ROLLBACK", 0) < 0 ||
	                       store_prepare(store, &store->set_meta, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", 0) < 0
	               ? -1
	               : 0;
}

/* ---- opening ---- */

/* Where write-ahead logging does not work, SQLite keeps the mode it had and says so. */
static int use_wal(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	bool wal = false;
	int step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(store->database, "PRAGMA journal_mode = WAL", -1, &statement, NULL) == SQLITE_OK &&
	    (step = sqlite3_step(statement)) == SQLITE_ROW) {
		wal = strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
		step = sqlite3_step(statement); /* that the change is written is known at the end only */
	}
	sqlite3_finalize(statement);
	if (step != SQLITE_DONE)
		return -1;
	/* TRUNCATE costs more fsyncs and is as safe. */
	return wal ? 0 : store_exec(store, "PRAGMA journal_mode = TRUNCATE");
}

static int configure(struct store *store)
{
	char sql[80];

	/* Some distributions switch secure_delete on: then every page that is freed is overwritten and written again. */
	if (lay_out(store) < 0 || use_wal(store) < 0 ||
	    store_exec(store, "PRAGMA synchronous = FULL; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;"
	                      "PRAGMA secure_delete = OFF") < 0)
		return -1;
	snprintf(sql, sizeof sql, "PRAGMA wal_autocheckpoint = %d; PRAGMA journal_size_limit = %d", WAL_PAGES, WAL_BYTES);
	return store_exec(store, sql);
}

/* The log may be that of a process whose sync failed: reading shows what it wrote, but
 * that is not on the disk, and what is appended to it would be lost in a power cut. So
 * what is in it goes into the database, synced, before anything new. A disk that is full
 * takes nothing, and must be emptied by deletions first. */
static int settle_log(struct store *store)
{
	int result = sqlite3_wal_checkpoint_v2(store->database, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	int number = sqlite3_system_errno(store->database);
	bool full = (result & 0xff) == SQLITE_FULL ||
	            (result == SQLITE_IOERR_WRITE && (number == EFBIG || number == EDQUOT)); /* a limit or quota */

	return result == SQLITE_OK || full ? 0 : -1;
}

/* A place can look writable and fail at the first write: so write for real, and
 * learn of it now. Always synced: numbers that leave may not come back after a
 * power cut, however much else it takes. */
static int reserve_first_seqs(struct store *store)
{
	if (store_exec(store, "BEGIN IMMEDIATE; DELETE FROM meta WHERE key = 'salvage_untold'") < 0 ||
	    store_reserve_seqs(store) < 0 || store_exec(store, "COMMIT") < 0)
		return -1;
	store_reserved_seqs(store);
	/* Out of the log, if there is room: whatever becomes of that, these numbers stay used. */
	if (store_exec(store, "PRAGMA wal_checkpoint") < 0 && store_corrupt(store))
		return -1;
	return 0;
}

int schema_set_durability(struct store *store, enum store_durability durability)
{
	static const char *const levels[] = {"PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
	                                     "PRAGMA synchronous = OFF"};

	return store_exec(store, levels[durability]);
}

/* What SQLite's last complaint means for the file. One of ours lacks nothing; a header
 * that says that it is not to be written to, though it may be, is damaged. */
static enum schema_result judge(struct store *store, bool ours, char *why, size_t size)
{
	int code = sqlite3_errcode(store->database) & 0xff;

	store_failed(store);
	if (code == SQLITE_OK)
		store_fail(why, size, store->seq_limit == 0 ? "what identifies it is missing" : "out of memory");
	else
		store_fail(why, size, "%s", code == SQLITE_BUSY ? IN_USE : sqlite3_errmsg(store->database));
	if (store_corrupt(store) || (ours && (code == SQLITE_ERROR || (code == SQLITE_OK && store->seq_limit == 0))))
		return SCHEMA_DAMAGED;
	return code == SQLITE_READONLY && access(store->path, W_OK) == 0 ? SCHEMA_DAMAGED : SCHEMA_FAILED;
}

/* What the file is: ours and of a known version, new (version 0), or neither. */
static enum schema_result check_kind(struct store *store, int64_t *version, char *why, size_t size)
{
	int64_t tables = -1, application = -1;

	if ((tables = store_integer(store, "SELECT count(*) FROM sqlite_schema", -1)) < 0 ||
	    (application = store_integer(store, "PRAGMA application_id", -1)) < 0 ||
	    (*version = store_integer(store, "PRAGMA user_version", INT64_MIN)) == INT64_MIN)
		return judge(store, false, why, size);
	if (tables == 0 && application == 0) {
		*version = 0;
		return SCHEMA_OK;
	}
	if (application != APPLICATION_ID) {
		store_fail(why, size, "is an SQLite database, but not Tidegate's");
		return SCHEMA_DAMAGED;
	}
	if (*version < 1) {
		store_fail(why, size, "has no schema version");
		return SCHEMA_DAMAGED;
	}
	if (*version <= SCHEMA_VERSION)
		return SCHEMA_OK;
	store_fail(why, size, "has schema version %lld, this program knows %d: use the program that wrote it",
	           (long long)*version, SCHEMA_VERSION);
	return SCHEMA_FAILED;
}

/* What a file of ours holds is what it must hold, or it is damaged; except that a
 * migration that fails may be our own mistake. */
enum schema_result schema_open(struct store *store, enum store_durability durability, char *why, size_t size)
{
	enum schema_result result;
	int64_t version;

	/* A file that is not ours stays as it is, its log too. EXCLUSIVE before WAL: then there is no
	 * shared-memory file, which some flash file systems cannot have. */
	sqlite3_db_config(store->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	if (store_exec(store, "PRAGMA locking_mode = EXCLUSIVE") < 0)
		return judge(store, false, why, size);
	result = check_kind(store, &version, why, size);
	if (result != SCHEMA_OK)
		return result;
	if (configure(store) < 0 || migrate(store, version) < 0)
		return judge(store, false, why, size);
	if (prepare(store) < 0 || load(store) < 0)
		return judge(store, true, why, size);
	if (check_opened(store, why, size) < 0)
		return store_corrupt(store) ? SCHEMA_DAMAGED : SCHEMA_FAILED;
	if (settle_log(store) < 0 || reserve_first_seqs(store) < 0 || schema_set_durability(store, durability) < 0)
		return judge(store, false, why, size);
	sqlite3_db_config(store->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, (int *)NULL);
	return SCHEMA_OK;
}

enum schema_result schema_open_to_read(struct store *store, char *why, size_t size)
{
	enum schema_result result;
	int64_t version;

	result = check_kind(store, &version, why, size);
	if (result != SCHEMA_OK)
		return result;
	if (version != SCHEMA_VERSION) {
		store_fail(why, size, "has schema version %lld and can be read when an agent has been started on it",
		           (long long)version);
		return SCHEMA_FAILED;
	}
	if (store_exec(store, "PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY") < 0 || load(store) < 0)
		return judge(store, true, why, size);
	return SCHEMA_OK;
}
