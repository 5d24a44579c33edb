/* The database file: opening, checking, migrating, and the one transaction a
 * turn. Queues collect in memory and take part in store_commit(); a commit
 * that fails leaves memory as it was, so it can simply be tried again. */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "store_internal.h"

#define APPLICATION_ID 0x54494445 /* "TIDE" in the file's header */
#define SCHEMA_VERSION 1
#define WAL_BYTES 4194304 /* the log is checkpointed at 1,000 pages, and cut back to this */
#define LOCK_WAIT_MS 3000 /* a killed process's lock lives as long as its corpse: restarts are quick */
#define SPACE_RESERVE (2 * WAL_BYTES) /* left free, or half of a disk that is smaller than twice that */
#define SEQ_BLOCK 1024 /* sequence numbers reserved at a time: one write to meta for so many messages */

#define STRING(number) STRING_OF(number)
#define STRING_OF(text) #text

struct note {
	char *name, *text;
	bool dirty;
	struct note *next;
};

struct name {
	uint32_t id;
	struct name *next;
	char text[];
};

struct store {
	sqlite3 *database;
	char *path;
	sqlite3_stmt *begin, *commit, *rollback, *set_meta;
	struct participant *participants;
	struct note *notes; /* all of them: few and short */
	struct name *names;
	char instance[33];
	uint64_t next_seq;
	uint64_t seq_limit; /* as on disk: a new process starts there */
	struct store_stats stats;
};

static void fail(char *err, size_t err_size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void fail(char *err, size_t err_size, const char *format, ...)
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

int store_exec(struct store *store, const char *sql)
{
	return sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

int store_prepare(struct store *store, sqlite3_stmt **statement, const char *sql, uint32_t number)
{
	char *text = sqlite3_mprintf(sql, number);
	int result = SQLITE_NOMEM;

	if (text)
		result = sqlite3_prepare_v3(store->database, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
	sqlite3_free(text);
	return result == SQLITE_OK ? 0 : -1;
}

int store_step(sqlite3_stmt *statement)
{
	int stepped = sqlite3_step(statement);
	int reset = sqlite3_reset(statement);

	return stepped == SQLITE_DONE && reset == SQLITE_OK ? 0 : -1;
}

/* The one integer a query returns, or `otherwise`. */
static int64_t query_integer(struct store *store, const char *sql, int64_t otherwise)
{
	sqlite3_stmt *statement = NULL;
	int64_t value = otherwise;

	if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

/* ---- opening ---- */

static int set_meta(struct store *store, const char *key, const char *text)
{
	sqlite3_bind_text(store->set_meta, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(store->set_meta, 2, text, -1, SQLITE_STATIC);
	return store_step(store->set_meta);
}

static int create_schema(struct store *store)
{
	char sql[128];

	if (store_exec(store, "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	                      "CREATE TABLE link (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
	                      "CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
	                      "CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"
	                      "INSERT INTO meta VALUES ('instance', lower(hex(randomblob(16))));"
	                      "INSERT INTO meta VALUES ('seq_limit', '1');") < 0)
		return -1;
	snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, SCHEMA_VERSION);
	return store_exec(store, sql);
}

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

	fail(err, err_size, "%s: %s", path,
	     busy ? "it is in use by another process (a second agent?)" : sqlite3_errmsg(store->database));
}

/* What the file is: ours and of a known version, new, or neither (err says). */
static int check_kind(struct store *store, const char *path, bool *fresh, char *err, size_t err_size)
{
	int64_t tables = -1, application = -1, version = -1;

	if ((tables = query_integer(store, "SELECT count(*) FROM sqlite_schema", -1)) < 0 ||
	    (application = query_integer(store, "PRAGMA application_id", -1)) < 0 ||
	    (version = query_integer(store, "PRAGMA user_version", -1)) < 0) {
		fail_database(store, path, err, err_size);
		return -1;
	}
	*fresh = tables == 0 && application == 0;
	if (*fresh)
		return 0;
	if (application != APPLICATION_ID) {
		fail(err, err_size, "%s: is an SQLite database, but not Tidegate's", path);
		return -1;
	}
	if (version != SCHEMA_VERSION) {
		fail(err, err_size, "%s: has schema version %lld, this program knows %d: use the program that wrote it", path,
		     (long long)version, SCHEMA_VERSION);
		return -1;
	}
	return 0;
}

static int load_notes(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	int step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(store->database, "SELECT name, text FROM note", -1, &statement, NULL) == SQLITE_OK)
		while ((step = sqlite3_step(statement)) == SQLITE_ROW)
			if (store_set_note(store, (const char *)sqlite3_column_text(statement, 0),
			                   (const char *)sqlite3_column_text(statement, 1)) < 0)
				break;
	sqlite3_finalize(statement);
	for (struct note *note = store->notes; note; note = note->next)
		note->dirty = false;
	return step == SQLITE_DONE ? 0 : -1;
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
	store->seq_limit = (uint64_t)query_integer(store, "SELECT value FROM meta WHERE key = 'seq_limit'", 0);
	store->next_seq = store->seq_limit;
	return found == 0 && store->seq_limit > 0 ? 0 : -1;
}

/* A place can look writable and fail at the first write: so write for real,
 * and learn of it now. */
static int probe_write(struct store *store)
{
	if (store_exec(store, "BEGIN IMMEDIATE") < 0)
		return -1;
	if (store_exec(store, "INSERT OR REPLACE INTO meta VALUES ('probe', hex(randomblob(4)))") < 0 ||
	    store_exec(store, "COMMIT") < 0) {
		store_exec(store, "ROLLBACK");
		return -1;
	}
	return 0;
}

static int initialise(struct store *store, const char *path, enum store_durability durability, char *err,
                      size_t err_size)
{
	bool fresh;

	if (configure(store, durability) < 0)
		goto failed;
	if (check_kind(store, path, &fresh, err, err_size) < 0)
		return -1;
	if (fresh && (store_exec(store, "BEGIN IMMEDIATE") < 0 || create_schema(store) < 0 || store_exec(store, "COMMIT") < 0))
		goto failed;
	if (store_prepare(store, &store->begin, "BEGIN IMMEDIATE", 0) < 0 ||
	    store_prepare(store, &store->commit, "COMMIT", 0) < 0 ||
	    store_prepare(store, &store->rollback, "ROLLBACK", 0) < 0 ||
	    store_prepare(store, &store->set_meta, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", 0) < 0 ||
	    load_identity(store) < 0 || load_notes(store) < 0 || probe_write(store) < 0)
		goto failed;
	return 0;
failed:
	fail_database(store, path, err, err_size);
	return -1;
}

struct store *store_open(const char *path, enum store_durability durability, char *err, size_t err_size)
{
	struct store *store = calloc(1, sizeof *store);

	if (!store) {
		fail(err, err_size, "%s: out of memory", path);
		return NULL;
	}
	store->path = strdup(path);
	if (!store->path) {
		fail(err, err_size, "%s: out of memory", path);
		store_close(store);
		return NULL;
	}
	if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
		int number = store->database ? sqlite3_system_errno(store->database) : 0;

		fail(err, err_size, "%s: %s%s%s", path, store->database ? sqlite3_errmsg(store->database) : "out of memory",
		     number ? ": " : "", number ? strerror(number) : "");
		store_close(store);
		return NULL;
	}
	sqlite3_extended_result_codes(store->database, 1);
	sqlite3_busy_timeout(store->database, LOCK_WAIT_MS);
	if (initialise(store, path, durability, err, err_size) < 0) {
		store_close(store);
		return NULL;
	}
	return store;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	assert(!store->participants);
	while (store->notes) {
		struct note *note = store->notes;

		store->notes = note->next;
		free(note->name);
		free(note->text);
		free(note);
	}
	while (store->names) {
		struct name *name = store->names;

		store->names = name->next;
		free(name);
	}
	sqlite3_finalize(store->begin);
	sqlite3_finalize(store->commit);
	sqlite3_finalize(store->rollback);
	sqlite3_finalize(store->set_meta);
	sqlite3_close(store->database);
	free(store->path);
	free(store);
}

const char *store_instance(const struct store *store)
{
	return store->instance;
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

/* Called inside the transaction: numbers below the limit on disk are never
 * given out by a later process, so the limit must stay above what was used. */
static int reserve_seqs(struct store *store)
{
	char text[24];

	if (store->next_seq <= store->seq_limit)
		return 0;
	snprintf(text, sizeof text, "%llu", (unsigned long long)(store->next_seq + SEQ_BLOCK));
	return set_meta(store, "seq_limit", text);
}

/* ---- names and notes ---- */

static struct name *remember_name(struct store *store, uint32_t id, const char *text)
{
	struct name *name = malloc(sizeof *name + strlen(text) + 1);

	if (!name)
		return NULL;
	name->id = id;
	strcpy(name->text, text);
	name->next = store->names;
	store->names = name;
	return name;
}

uint32_t store_name_id(struct store *store, const char *text)
{
	sqlite3_stmt *insert = NULL, *find = NULL;
	uint32_t id = 0;

	for (struct name *name = store->names; name; name = name->next)
		if (strcmp(name->text, text) == 0)
			return name->id;
	if (sqlite3_prepare_v2(store->database, "INSERT OR IGNORE INTO name (name) VALUES (?1)", -1, &insert, NULL) ==
	            SQLITE_OK &&
	    sqlite3_bind_text(insert, 1, text, -1, SQLITE_STATIC) == SQLITE_OK && store_step(insert) == 0 &&
	    sqlite3_prepare_v2(store->database, "SELECT id FROM name WHERE name = ?1", -1, &find, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(find, 1, text, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(find) == SQLITE_ROW)
		id = (uint32_t)sqlite3_column_int64(find, 0);
	sqlite3_finalize(insert);
	sqlite3_finalize(find);
	if (id != 0 && !remember_name(store, id, text))
		id = 0;
	return id;
}

const char *store_name(struct store *store, uint32_t id)
{
	sqlite3_stmt *find = NULL;
	const char *text = NULL;

	for (struct name *name = store->names; name; name = name->next)
		if (name->id == id)
			return name->text;
	if (sqlite3_prepare_v2(store->database, "SELECT name FROM name WHERE id = ?1", -1, &find, NULL) == SQLITE_OK &&
	    sqlite3_bind_int64(find, 1, id) == SQLITE_OK && sqlite3_step(find) == SQLITE_ROW &&
	    sqlite3_column_text(find, 0)) {
		struct name *name = remember_name(store, id, (const char *)sqlite3_column_text(find, 0));

		text = name ? name->text : NULL;
	}
	sqlite3_finalize(find);
	return text;
}

static struct note *find_note(struct store *store, const char *name)
{
	struct note *note = store->notes;

	while (note && strcmp(note->name, name) != 0)
		note = note->next;
	return note;
}

char *store_note(struct store *store, const char *name)
{
	struct note *note = find_note(store, name);

	return note ? strdup(note->text) : NULL;
}

int store_set_note(struct store *store, const char *name, const char *text)
{
	struct note *note = find_note(store, name);
	char *copy;

	if (note && strcmp(note->text, text) == 0)
		return 0;
	copy = strdup(text);
	if (!copy)
		return -1;
	if (!note) {
		note = calloc(1, sizeof *note);
		if (!note || !(note->name = strdup(name))) {
			free(note);
			free(copy);
			return -1;
		}
		note->next = store->notes;
		store->notes = note;
	}
	free(note->text);
	note->text = copy;
	note->dirty = true;
	return 0;
}

static int write_notes(struct store *store)
{
	sqlite3_stmt *put = NULL;
	int result = 0;

	for (struct note *note = store->notes; note && result == 0; note = note->next) {
		if (!note->dirty)
			continue;
		if (!put && sqlite3_prepare_v2(store->database, "INSERT OR REPLACE INTO note VALUES (?1, ?2)", -1, &put,
		                               NULL) != SQLITE_OK)
			return -1;
		sqlite3_bind_text(put, 1, note->name, -1, SQLITE_STATIC);
		sqlite3_bind_text(put, 2, note->text, -1, SQLITE_STATIC);
		result = store_step(put);
	}
	sqlite3_finalize(put);
	return result;
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

bool store_dirty(const struct store *store, bool *urgent)
{
	bool dirty = false;

	*urgent = false;
	for (const struct participant *p = store->participants; p; p = p->next) {
		bool participant_urgent = false;

		if (p->dirty(p->owner, &participant_urgent))
			dirty = true;
		*urgent = *urgent || participant_urgent;
	}
	for (const struct note *note = store->notes; note; note = note->next)
		*urgent = *urgent || note->dirty;
	return dirty || *urgent;
}

static int write_everything(struct store *store, bool additions)
{
	if (store_step(store->begin) < 0)
		return -1;
	for (struct participant *p = store->participants; p; p = p->next)
		if (p->write(p->owner, additions) < 0)
			return -1;
	if (additions && (write_notes(store) < 0 || reserve_seqs(store) < 0))
		return -1;
	return store_step(store->commit);
}

static void everything_written(struct store *store, bool additions)
{
	for (struct participant *p = store->participants; p; p = p->next)
		p->written(p->owner, additions);
	store->stats.commits++;
	if (!additions)
		return;
	if (store->next_seq > store->seq_limit)
		store->seq_limit = store->next_seq + SEQ_BLOCK;
	for (struct note *note = store->notes; note; note = note->next)
		note->dirty = false;
}

/* 0, or -1 with the transaction rolled back. */
static int transact(struct store *store, bool additions, char *err, size_t err_size)
{
	if (write_everything(store, additions) == 0) {
		everything_written(store, additions);
		return 0;
	}
	fail(err, err_size, "%s", sqlite3_errmsg(store->database));
	/* An error may have rolled back by itself; only an open transaction needs it. */
	if (!sqlite3_get_autocommit(store->database))
		store_step(store->rollback);
	store->stats.failures++;
	return -1;
}

/* Deletions need space too, before they give any back: for their frames in the
 * write-ahead log and for the checkpoint after it. */
static bool has_space(struct store *store)
{
	struct statvfs disk;
	uint64_t total, available, reserve;

	if (statvfs(store->path, &disk) < 0)
		return true; /* the commit will tell */
	total = (uint64_t)disk.f_blocks * disk.f_frsize;
	available = (uint64_t)disk.f_bavail * disk.f_frsize;
	reserve = total / 2 < SPACE_RESERVE ? total / 2 : SPACE_RESERVE;
	if (available >= reserve)
		return true;
	/* Deleted rows leave free pages in the file. */
	available += (uint64_t)(query_integer(store, "PRAGMA freelist_count", 0) * query_integer(store, "PRAGMA page_size", 0));
	return available >= reserve;
}

enum store_result store_commit(struct store *store, char *err, size_t err_size)
{
	char ignored[8];
	bool urgent;

	store_dirty(store, &urgent);
	if (urgent && !has_space(store))
		fail(err, err_size, "the disk is nearly full");
	else if (transact(store, true, err, err_size) == 0)
		return STORE_OK;
	transact(store, false, ignored, sizeof ignored);
	return STORE_RETRY;
}
