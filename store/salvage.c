/* Copies what can still be read of a damaged database into a new one.
 *
 * Rows are read in order of their keys. Where a page cannot be read, reading goes on
 * behind it: the first key beyond is found by trying keys ever further away, then by
 * halving. SQLite finds its way to each from the top, so only what hangs below the
 * damaged page is lost. Nothing that is read is trusted. */
#include "salvage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema.h"

#define PROBES_MAX 500000 /* keys tried behind unreadable places, all in all: bounds the time */
#define COLUMNS_MAX 16
#define LINKS_MAX 1024
#define PRIORITY_MAX 10
#define SEQ_BITS 59                 /* of a queue's key: seq - priority * 2^59 */
#define SEQ_SANE (INT64_C(1) << 48) /* no gateway gets there */

struct salvage {
	sqlite3 *from;
	struct store *to;
	int64_t seq_end; /* no sequence number is at or above it */
	int64_t seq_top; /* the highest found */
	uint64_t messages, gaps, rows_max;
	unsigned probes;
};

/* One table on both sides. */
struct copy {
	struct salvage *salvage;
	sqlite3_stmt *select, *insert;
	int columns;
	bool queue; /* its keys hold sequence numbers */
	uint64_t rows, copied;
};

/* What the old side says is damage, except that there is no memory. What the new
 * side says ends it all. */
static bool is_damage(int step)
{
	return step != SQLITE_ROW && step != SQLITE_DONE && (step & 0xff) != SQLITE_NOMEM;
}

static int prepare(sqlite3 *database, sqlite3_stmt **statement, char *sql)
{
	int result = sql ? sqlite3_prepare_v2(database, sql, -1, statement, NULL) : SQLITE_NOMEM;

	sqlite3_free(sql);
	return result;
}

/* ---- one row ---- */

/* Texts byte by byte: the encoding that the old file claims is not trusted either. */
static int copy_value(sqlite3_stmt *to, int at, sqlite3_stmt *from, int column)
{
	switch (sqlite3_column_type(from, column)) {
	case SQLITE_INTEGER:
		return sqlite3_bind_int64(to, at, sqlite3_column_int64(from, column));
	case SQLITE_FLOAT:
		return sqlite3_bind_double(to, at, sqlite3_column_double(from, column));
	case SQLITE_NULL:
		return sqlite3_bind_null(to, at);
	default:
		break;
	}
	const char *data = sqlite3_column_blob(from, column);
	sqlite3_uint64 size = (sqlite3_uint64)sqlite3_column_bytes(from, column);

	if (sqlite3_column_type(from, column) == SQLITE_TEXT)
		return sqlite3_bind_text64(to, at, data ? data : "", size, SQLITE_STATIC, SQLITE_UTF8);
	return data ? sqlite3_bind_blob64(to, at, data, size, SQLITE_STATIC) : sqlite3_bind_zeroblob(to, at, 0);
}

static int64_t seq_of(int64_t key)
{
	return key & ((INT64_C(1) << SEQ_BITS) - 1);
}

static bool key_is_sane(struct copy *copy, int64_t key)
{
	struct salvage *salvage = copy->salvage;
	int64_t seq = seq_of(key);

	if (!copy->queue)
		return true;
	if (seq == 0 || seq >= salvage->seq_end || key >= salvage->seq_end)
		return false;
	salvage->seq_top = seq > salvage->seq_top ? seq : salvage->seq_top;
	return true;
}

/* The key comes first, then the columns. A row that the new table does not take is
 * a gap: of the same key as another, or without what it must have. */
static int copy_row(struct copy *copy)
{
	bool sane = key_is_sane(copy, sqlite3_column_int64(copy->select, 0));

	for (int i = 0; sane && i < copy->columns; i++)
		if (copy_value(copy->insert, i + 1, copy->select, i + 1) != SQLITE_OK)
			return -1;
	if (sane && store_step(copy->insert) < 0)
		return -1;
	if (sane && sqlite3_changes(copy->salvage->to->database) > 0)
		copy->copied++;
	else
		copy->salvage->gaps++;
	return 0;
}

/* ---- all rows ---- */

static int seek(struct copy *copy, int64_t from)
{
	sqlite3_reset(copy->select); /* what failed was told when it did */
	sqlite3_bind_int64(copy->select, 1, from);
	return sqlite3_step(copy->select);
}

static bool is_readable(struct copy *copy, int64_t from)
{
	copy->salvage->probes++;
	return !is_damage(seek(copy, from));
}

/* The next key to try, `*step` further on, which grows. In queues the keys of one
 * priority are close together and far from those of the next. False: that was the end. */
static bool try_further(const struct copy *copy, int64_t *key, int64_t *step)
{
	int64_t first = -PRIORITY_MAX * (INT64_C(1) << SEQ_BITS);

	if (*key > INT64_MAX - *step)
		return false;
	*key += *step;
	*step += *step / 4 + 1;
	if (!copy->queue)
		return true;
	if (*key < first || seq_of(*key) >= copy->salvage->seq_end) {
		*key = *key < first ? first : *key - seq_of(*key) + (INT64_C(1) << SEQ_BITS);
		*step = 1;
	}
	return *key < copy->salvage->seq_end;
}

/* The first key from `*from` on where reading works; false: there is none. */
static bool find_end_of_gap(struct copy *copy, int64_t *from)
{
	int64_t bad = *from, good = *from, step = 1;

	while (!is_readable(copy, good)) {
		bad = good;
		if (copy->salvage->probes > PROBES_MAX || !try_further(copy, &good, &step))
			return false;
	}
	while (good > bad && (uint64_t)good - (uint64_t)bad > 1) {
		int64_t middle = bad + (int64_t)(((uint64_t)good - (uint64_t)bad) / 2);

		if (is_readable(copy, middle))
			good = middle;
		else
			bad = middle;
	}
	*from = good;
	return copy->salvage->probes <= PROBES_MAX;
}

/* Copies rows with keys from `*from` on until something cannot be read, and leaves
 * `*from` behind the last that could. What sqlite3_step() said last. */
static int copy_readable(struct copy *copy, int64_t *from)
{
	int step;

	for (step = seek(copy, *from); step == SQLITE_ROW; step = sqlite3_step(copy->select)) {
		int64_t key = sqlite3_column_int64(copy->select, 0);

		if (copy_row(copy) < 0)
			return SQLITE_NOMEM;
		if (key >= *from && key < INT64_MAX && key_is_sane(copy, key))
			*from = key + 1;
		if (copy->rows++ > copy->salvage->rows_max)
			return SQLITE_DONE; /* pages that refer to each other in a circle */
	}
	return step;
}

static int copy_rows(struct copy *copy)
{
	int64_t from = INT64_MIN;

	for (;;) {
		int step = copy_readable(copy, &from);

		if (step == SQLITE_DONE)
			return 0;
		if (!is_damage(step))
			return -1;
		copy->salvage->gaps++;
		if (!find_end_of_gap(copy, &from))
			return 0;
	}
}

/* ---- a table ---- */

static bool has_column(sqlite3 *database, const char *table, const char *column)
{
	sqlite3_stmt *statement = NULL;
	bool found = prepare(database, &statement, sqlite3_mprintf("SELECT \"%w\".\"%w\" FROM \"%w\"", table, column, table)) ==
	             SQLITE_OK;

	sqlite3_finalize(statement);
	return found;
}

/* The columns that both sides have, as SQL; NULL: none, or no memory. */
static char *common_columns(struct copy *copy, const char *table)
{
	sqlite3_stmt *columns = NULL;
	char *list = NULL;

	if (prepare(copy->salvage->to->database, &columns, sqlite3_mprintf("SELECT name FROM pragma_table_info(%Q)", table)) ==
	    SQLITE_OK)
		while (sqlite3_step(columns) == SQLITE_ROW) {
			const char *name = (const char *)sqlite3_column_text(columns, 0);

			if (copy->columns == COLUMNS_MAX || !name || !has_column(copy->salvage->from, table, name))
				continue;
			list = list ? sqlite3_mprintf("%z, \"%w\"", list, name) : sqlite3_mprintf("\"%w\"", name);
			copy->columns++;
		}
	sqlite3_finalize(columns);
	return list;
}

static int prepare_copy(struct copy *copy, const char *table, const char *format)
{
	static const char marks[] = "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?";
	char *columns = common_columns(copy, table);
	int result = SQLITE_NOTFOUND;

	if (columns &&
	    prepare(copy->salvage->to->database, &copy->insert,
	            sqlite3_mprintf("INSERT OR IGNORE INTO \"%w\" (%s) VALUES (%.*s)", table, columns, 2 * copy->columns - 1,
	                            marks)) == SQLITE_OK)
		result = prepare(copy->salvage->from, &copy->select, sqlite3_mprintf(format, columns, table));
	sqlite3_free(columns);
	return result == SQLITE_OK ? 0 : -1;
}

static void release_copy(struct copy *copy)
{
	sqlite3_finalize(copy->select);
	sqlite3_finalize(copy->insert);
}

#define BY_ROWID "SELECT rowid, %s FROM \"%w\" WHERE rowid >= ?1 ORDER BY rowid"

/* A table keyed by an integer. One that is not there is nothing to copy. */
static int copy_table(struct salvage *salvage, const char *table)
{
	struct copy copy = {.salvage = salvage};
	int result = 0;

	if (prepare_copy(&copy, table, BY_ROWID) == 0)
		result = copy_rows(&copy);
	release_copy(&copy);
	return result;
}

/* One direction of a table keyed by a text. */
static int copy_texts(struct salvage *salvage, const char *table, const char *format)
{
	struct copy copy = {.salvage = salvage};
	int step = SQLITE_DONE;

	if (prepare_copy(&copy, table, format) == 0)
		for (step = sqlite3_step(copy.select); step == SQLITE_ROW; step = sqlite3_step(copy.select)) {
			if (copy_row(&copy) < 0) {
				step = SQLITE_NOMEM;
				break;
			}
			if (copy.rows++ > salvage->rows_max)
				break;
		}
	release_copy(&copy);
	return step == SQLITE_DONE ? 0 : is_damage(step) ? 1 : -1;
}

/* From one end and, if need be, from the other. */
static int copy_from_both_ends(struct salvage *salvage, const char *table, const char *upward, const char *downward)
{
	uint64_t gaps = salvage->gaps;
	int result = copy_texts(salvage, table, upward);

	if (result == 1) {
		result = copy_texts(salvage, table, downward);
		salvage->gaps = gaps + 1;
	}
	return result < 0 ? -1 : 0;
}

/* Notes that vouch for messages which may be lost now are not kept. */
static int copy_keyed_by_text(struct salvage *salvage)
{
	if (copy_from_both_ends(salvage, "note", "SELECT 0, %s FROM \"%w\" ORDER BY name",
	                        "SELECT 0, %s FROM \"%w\" ORDER BY name DESC") < 0 ||
	    store_exec(salvage->to, "DELETE FROM note WHERE name GLOB '" STORE_NOTE_RECEIVED " *'") < 0)
		return -1;
	return copy_from_both_ends(salvage, "loss_total", "SELECT 0, %s FROM \"%w\" ORDER BY link, reason",
	                           "SELECT 0, %s FROM \"%w\" ORDER BY link DESC, reason DESC");
}

/* ---- queues ---- */

/* A queue needs a link. One whose name is lost gets a name that says so. */
static int create_queue(struct salvage *salvage, uint32_t id)
{
	char sql[sizeof QUEUE_TABLE + 128];
	int used = snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO link VALUES (%u, 'salvaged-%u');", id, id);

	snprintf(sql + used, sizeof sql - (size_t)used, QUEUE_TABLE, id);
	return store_exec(salvage->to, sql);
}

static int copy_queue(struct salvage *salvage, uint32_t id)
{
	struct copy copy = {.salvage = salvage, .queue = true};
	char table[32];
	int result = create_queue(salvage, id);

	snprintf(table, sizeof table, "queue_%u", id);
	if (result == 0 && prepare_copy(&copy, table, BY_ROWID) == 0)
		result = copy_rows(&copy);
	else if (result == 0)
		salvage->gaps++; /* the link is there, its table is not */
	salvage->messages += copy.copied;
	release_copy(&copy);
	return result;
}

/* Those that the old side lists, and those whose link is known. */
static int copy_queues(struct salvage *salvage)
{
	static const char known[] = "SELECT id FROM link";
	static const char listed[] = "SELECT substr(name, 7) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'queue_[1-9]*'";
	uint32_t ids[LINKS_MAX];
	size_t n = 0;

	for (int side = 0; side < 2; side++) {
		sqlite3_stmt *list = NULL;

		if (sqlite3_prepare_v2(side ? salvage->from : salvage->to->database, side ? listed : known, -1, &list, NULL) ==
		    SQLITE_OK)
			while (n < LINKS_MAX && sqlite3_step(list) == SQLITE_ROW) {
				int64_t id = sqlite3_column_int64(list, 0);
				size_t same = 0;

				while (same < n && ids[same] != id)
					same++;
				if (same == n && id > 0 && id <= UINT32_MAX)
					ids[n++] = (uint32_t)id;
			}
		sqlite3_finalize(list);
	}
	for (size_t i = 0; i < n; i++)
		if (copy_queue(salvage, ids[i]) < 0)
			return -1;
	return 0;
}

/* ---- the whole ---- */

/* A database of another program may have tables of the same names. */
static bool was_ours(struct store *old)
{
	char instance[sizeof old->instance + 1];

	if (store_integer(old, "PRAGMA application_id", 0) == APPLICATION_ID)
		return true;
	return schema_meta(old, "instance", instance, sizeof instance) && strlen(instance) == sizeof old->instance - 1;
}

static int set_number(struct store *store, const char *key, int64_t value)
{
	char sql[96];

	snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO meta VALUES ('%s', '%lld')", key, (long long)value);
	return store_exec(store, sql);
}

static int copy_everything(struct salvage *salvage)
{
	static const char *const tables[] = {"link", "name", "loss", "dead"};

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (copy_table(salvage, tables[i]) < 0)
			return -1;
	return copy_keyed_by_text(salvage) < 0 ? -1 : copy_queues(salvage);
}

int salvage_copy(sqlite3 *from, struct store *to, uint64_t bytes, struct store_salvage *salvaged)
{
	struct salvage salvage = {.from = from, .to = to, .rows_max = 1000 + bytes / 8};
	struct store old = {.database = from};
	int64_t limit = 0, times = 0;
	bool ours = from && was_ours(&old);

	if (ours) {
		limit = (int64_t)schema_seq_limit(&old);
		times = (int64_t)schema_meta_number(&old, "salvages");
	}
	if (limit <= 0 || limit >= SEQ_SANE / 16)
		limit = 0;
	salvage.seq_end = limit ? 16 * limit : SEQ_SANE; /* one digit of it may be wrong */
	if (store_exec(to, "BEGIN") < 0 || (ours && copy_everything(&salvage) < 0))
		return -1;
	if (limit <= salvage.seq_top)
		limit = salvage.seq_top + SEQ_BLOCK; /* what was given out may be beyond what was found */
	salvaged->messages = salvage.messages;
	salvaged->gaps = salvage.gaps;
	if (set_number(to, "seq_limit", limit) < 0 || set_number(to, "salvages", times + 1) < 0)
		return -1;
	return store_exec(to, "COMMIT");
}
