/* Makes a database file ours: how SQLite is to treat it, what is in it, whose it
 * is, and that it can be written at all. */
#include <stdio.h>
#include <string.h>

#include "store_internal.h"

#define APPLICATION_ID 0x54494445 /* "TIDE" in the file's header */
#define SCHEMA_VERSION 2

#define STRING(number) STRING_OF(number)
#define STRING_OF(text) #text

int schema_set_meta(struct store *store, const char *key, const char *text)
{
	sqlite3_bind_text(store->set_meta, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(store->set_meta, 2, text, -1, SQLITE_STATIC);
	return store_step(store->set_meta);
}

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

/* Queues know when a message expires, and since when it waits. */
static int migrate_1(struct store *store)
{
	int64_t id = 0;
	char sql[160];

	for (;;) {
		snprintf(sql, sizeof sql, "SELECT min(id) FROM link WHERE id > %lld", (long long)id);
		id = store_integer(store, sql, -1);
		if (id <= 0)
			return id == 0 ? 0 : -1;
		snprintf(sql, sizeof sql,
		         "ALTER TABLE queue_%lld ADD COLUMN age_ms INTEGER; ALTER TABLE queue_%lld ADD COLUMN expires_ms INTEGER",
		         (long long)id, (long long)id);
		if (store_exec(store, sql) < 0)
			return -1;
	}
}

static int (*const migrations[SCHEMA_VERSION])(struct store *store) = {create_1, migrate_1};

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

/* ---- opening ---- */

/* Where write-ahead logging does not work, SQLite keeps the mode it had and says so. */
static int use_wal(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	bool wal = false;
	int step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(store->database, "PRAGMA journal_mode = WAL", -1, &statement, NULL) == SQLITE_OK &&
	    (step = sqlite3_step(statement)) == SQLITE_ROW)
		wal = strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
	sqlite3_finalize(statement);
	if (step != SQLITE_ROW)
		return -1;
	/* TRUNCATE costs more fsyncs and is as safe. */
	return wal ? 0 : store_exec(store, "PRAGMA journal_mode = TRUNCATE");
}

/* Durability and size; must precede the first write to a new file (auto_vacuum). */
static int configure(struct store *store, enum store_durability durability)
{
	static const char *const levels[] = {"PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
	                                     "PRAGMA synchronous = OFF"};

	/* EXCLUSIVE before WAL: then there is no shared-memory file, which some flash file systems cannot have. */
	if (store_exec(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA auto_vacuum = INCREMENTAL;") < 0 ||
	    use_wal(store) < 0)
		return -1;
	/* Some distributions switch secure_delete on: then every page that is freed is overwritten and written again. */
	return store_exec(store, levels[durability]) < 0 ||
	                       store_exec(store, "PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = OFF;"
	                                         "PRAGMA journal_size_limit = " STRING(WAL_BYTES)) < 0
	               ? -1
	               : 0;
}

static void fail_database(struct store *store, const char *path, char *err, size_t err_size)
{
	bool busy = (sqlite3_errcode(store->database) & 0xff) == SQLITE_BUSY;

	store_fail(err, err_size, "%s: %s", path,
	     busy ? "it is in use by another process (a second agent?)" : sqlite3_errmsg(store->database));
}

/* What the file is: ours and of a known version, new (version 0), or neither (err says). */
static int check_kind(struct store *store, const char *path, int64_t *version, char *err, size_t err_size)
{
	int64_t tables = -1, application = -1;

	if ((tables = store_integer(store, "SELECT count(*) FROM sqlite_schema", -1)) < 0 ||
	    (application = store_integer(store, "PRAGMA application_id", -1)) < 0 ||
	    (*version = store_integer(store, "PRAGMA user_version", -1)) < 0) {
		fail_database(store, path, err, err_size);
		return -1;
	}
	if (tables == 0 && application == 0) {
		*version = 0;
		return 0;
	}
	if (application != APPLICATION_ID) {
		store_fail(err, err_size, "%s: is an SQLite database, but not Tidegate's", path);
		return -1;
	}
	if (*version < 1 || *version > SCHEMA_VERSION) {
		store_fail(err, err_size, "%s: has schema version %lld, this program knows %d: use the program that wrote it", path,
		     (long long)*version, SCHEMA_VERSION);
		return -1;
	}
	return 0;
}

static int load_identity(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	const unsigned char *text;
	int found = -1;

	if (sqlite3_prepare_v2(store->database, "SELECT value FROM meta WHERE key = 'instance'", -1, &statement, NULL) ==
	            SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW && (text = sqlite3_column_text(statement, 0)) != NULL) {
		snprintf(store->instance, sizeof store->instance, "%s", (const char *)text);
		found = 0;
	}
	sqlite3_finalize(statement);
	store->seq_limit = (uint64_t)store_integer(store, "SELECT value FROM meta WHERE key = 'seq_limit'", 0);
	store->next_seq = store->seq_limit;
	return found == 0 && store->seq_limit > 0 ? 0 : -1;
}

/* A place can look writable and fail at the first write: so write for real, and
 * learn of it now. */
static int reserve_first_seqs(struct store *store)
{
	if (store_exec(store, "BEGIN IMMEDIATE") < 0)
		return -1;
	if (store_reserve_seqs(store) < 0 || store_exec(store, "COMMIT") < 0) {
		store_exec(store, "ROLLBACK");
		return -1;
	}
	store_reserved_seqs(store);
	return 0;
}

int schema_open(struct store *store, const char *path, enum store_durability durability, char *err,
                      size_t err_size)
{
	int64_t version;

	if (configure(store, durability) < 0)
		goto failed;
	if (check_kind(store, path, &version, err, err_size) < 0)
		return -1;
	if (migrate(store, version) < 0)
		goto failed;
	if (store_prepare(store, &store->begin, "BEGIN IMMEDIATE", 0) < 0 ||
	    store_prepare(store, &store->commit, "COMMIT", 0) < 0 ||
	    store_prepare(store, &store->rollback, "ROLLBACK", 0) < 0 ||
	    store_prepare(store, &store->set_meta, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", 0) < 0 ||
	    load_identity(store) < 0 || notes_load(store) < 0 || reserve_first_seqs(store) < 0)
		goto failed;
	return 0;
failed:
	fail_database(store, path, err, err_size);
	return -1;
}
