/* SQL of a queue's table. Every result of SQLite is looked at; what failed is told
 * by the caller, who knows what it was for. */
#include "rows.h"

#include <stdio.h>

#define COLUMNS "seq, topic, payload, properties, context, time_ms, origin, flags, age_ms, expires_ms"
#define READ "SELECT " COLUMNS " FROM queue_%u WHERE seq = ?1"
#define FIRST "SELECT seq FROM queue_%u WHERE seq >= ?1 ORDER BY seq LIMIT 1"
#define FLAG_RETAIN 4 /* above the QoS */

int64_t rows_key(uint64_t seq, unsigned priority)
{
	return (int64_t)seq - (int64_t)priority * (INT64_C(1) << SEQ_BITS);
}

uint64_t rows_seq(int64_t key)
{
	return (uint64_t)key & ((UINT64_C(1) << SEQ_BITS) - 1);
}

unsigned rows_priority(int64_t key)
{
	return (unsigned)(((int64_t)rows_seq(key) - key) >> SEQ_BITS);
}

/* ---- opening ---- */

static uint32_t link_id(struct store *store, const char *name)
{
	sqlite3_stmt *statement = NULL;
	uint32_t id = 0;

	if (sqlite3_prepare_v2(store_database(store), "SELECT id FROM link WHERE name = ?1", -1, &statement, NULL) ==
	            SQLITE_OK &&
	    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		id = (uint32_t)sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	store_failed(store);
	return id;
}

static int create_table(struct store *store, const char *name)
{
	sqlite3_stmt *add = NULL, *create = NULL;
	int result = -1;

	if (!store_rolled_back(store))
		return -1;
	if (sqlite3_prepare_v2(store_database(store), "INSERT INTO link (name) VALUES (?1)", -1, &add, NULL) ==
	            SQLITE_OK &&
	    sqlite3_bind_text(add, 1, name, -1, SQLITE_STATIC) == SQLITE_OK && store_exec(store, "BEGIN IMMEDIATE") == 0) {
		if (store_step(add) == 0 &&
		    store_prepare(store, &create, QUEUE_TABLE, (uint32_t)sqlite3_last_insert_rowid(store_database(store))) == 0 &&
		    store_step(create) == 0)
			result = 0;
		if (result < 0 || store_exec(store, "COMMIT") < 0) {
			store_failed(store);
			store->stuck = true;
			store_rolled_back(store);
			result = -1;
		}
	}
	sqlite3_finalize(create);
	sqlite3_finalize(add);
	return result;
}

static int prepare(struct rows *rows, uint32_t id)
{
	const struct {
		sqlite3_stmt **statement;
		const char *sql;
	} all[] = {
	        {&rows->first, FIRST},
	        {&rows->read, READ},
	        {&rows->insert, "INSERT OR REPLACE INTO queue_%u (" COLUMNS ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"},
	        {&rows->load, "SELECT " COLUMNS " FROM queue_%u WHERE seq > ?1 ORDER BY seq"},
	        {&rows->delete, "DELETE FROM queue_%u WHERE seq BETWEEN ?1 AND ?2"},
	        {&rows->last, "SELECT seq, age_ms FROM queue_%u WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq DESC LIMIT 1"},
	        {&rows->count, "SELECT seq, length(topic) + ifnull(length(payload), 0) FROM queue_%u WHERE seq <= ?1"
	                       " ORDER BY seq DESC LIMIT ?2"},
	};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (store_prepare(rows->store, all[i].statement, all[i].sql, id) < 0)
			return -1;
	return 0;
}

int rows_open(struct rows *rows, struct store *store, const char *name, char *err, size_t err_size)
{
	uint32_t id;

	rows->store = store;
	if ((link_id(store, name) != 0 || create_table(store, name) == 0) && (id = link_id(store, name)) != 0 &&
	    prepare(rows, id) == 0)
		return 0;
	if (sqlite3_errcode(store_database(store)) == SQLITE_ERROR) /* its tables are not what they were made as */
		store_contradicts_itself(store);
	snprintf(err, err_size, "queue of link %s: %s", name, store_error(store));
	return -1;
}

int rows_open_to_read(struct rows *rows, struct store *store, uint32_t id)
{
	rows->store = store;
	return store_prepare(store, &rows->first, FIRST, id) < 0 || store_prepare(store, &rows->read, READ, id) < 0 ? -1 : 0;
}

void rows_release(struct rows *rows)
{
	sqlite3_finalize(rows->first);
	sqlite3_finalize(rows->insert);
	sqlite3_finalize(rows->load);
	sqlite3_finalize(rows->read);
	sqlite3_finalize(rows->delete);
	sqlite3_finalize(rows->last);
	sqlite3_finalize(rows->count);
}

/* ---- rows ---- */

static struct bytes column_bytes(sqlite3_stmt *row, int column)
{
	/* In this order: the size is of the form that the first call converted to. */
	const void *data = sqlite3_column_blob(row, column);

	return (struct bytes){.data = data, .size = (size_t)sqlite3_column_bytes(row, column)};
}

static struct entry *entry_from(sqlite3_stmt *row)
{
	int64_t key = sqlite3_column_int64(row, 0);
	int flags = sqlite3_column_int(row, 7);
	struct message message = {
	        .seq = rows_seq(key),
	        .topic = column_bytes(row, 1),
	        .payload = column_bytes(row, 2),
	        .properties = column_bytes(row, 3),
	        .context = column_bytes(row, 4),
	        .time_ms = sqlite3_column_int64(row, 5),
	        .age_ms = sqlite3_column_int64(row, 8),
	        .expires_ms = sqlite3_column_int64(row, 9),
	        .origin = (uint32_t)sqlite3_column_int64(row, 6),
	        .qos = (uint8_t)(flags & 3),
	        .priority = (uint8_t)rows_priority(key),
	        .retain = (flags & FLAG_RETAIN) != 0,
	};
	struct entry *entry = entry_copy(&message);

	if (entry)
		entry->saved = true;
	return entry;
}

static void bind_optional(sqlite3_stmt *row, int column, struct bytes bytes)
{
	if (bytes.size > 0)
		sqlite3_bind_blob64(row, column, bytes.data, bytes.size, SQLITE_STATIC);
	else
		sqlite3_bind_null(row, column);
}

int rows_insert(struct rows *rows, const struct message *message)
{
	sqlite3_stmt *row = rows->insert;

	sqlite3_bind_int64(row, 1, rows_key(message->seq, message->priority));
	sqlite3_bind_blob64(row, 2, message->topic.data, message->topic.size, SQLITE_STATIC);
	bind_optional(row, 3, message->payload);
	bind_optional(row, 4, message->properties);
	bind_optional(row, 5, message->context);
	sqlite3_bind_int64(row, 6, message->time_ms);
	sqlite3_bind_int64(row, 7, message->origin);
	sqlite3_bind_int(row, 8, message->qos | (message->retain ? FLAG_RETAIN : 0));
	sqlite3_bind_int64(row, 9, message->age_ms);
	if (message->expires_ms)
		sqlite3_bind_int64(row, 10, message->expires_ms);
	else
		sqlite3_bind_null(row, 10);
	return store_step(row);
}

int rows_delete(struct rows *rows, int64_t first, int64_t last)
{
	sqlite3_bind_int64(rows->delete, 1, first);
	sqlite3_bind_int64(rows->delete, 2, last);
	return store_step(rows->delete);
}

/* A number that nobody was given, or keys that are not in order, are of a damaged page. */
static bool is_sane(const struct rows *rows, int64_t key, int64_t after)
{
	if (key > after && rows_seq(key) < rows->store->next_seq)
		return true;
	store_contradicts_itself(rows->store);
	return false;
}

int rows_load(struct rows *rows, int64_t after, int64_t to, bool (*take)(void *arg, struct entry *entry), void *arg,
              bool *complete)
{
	bool more = true;
	int step;

	*complete = false;
	if (!store_rolled_back(rows->store))
		return -1;
	sqlite3_bind_int64(rows->load, 1, after);
	while ((step = sqlite3_step(rows->load)) == SQLITE_ROW) {
		int64_t key = sqlite3_column_int64(rows->load, 0);

		if (!is_sane(rows, key, after)) {
			step = SQLITE_CORRUPT;
			break;
		}
		if (!more)
			break; /* only its key was of interest: a wrong one before it would be above it */
		*complete = key > to;
		more = !*complete && take(arg, entry_from(rows->load));
		after = key;
	}
	sqlite3_reset(rows->load);
	store_failed(rows->store);
	*complete = *complete || step == SQLITE_DONE;
	return step == SQLITE_DONE || step == SQLITE_ROW ? 0 : -1;
}

int rows_read(struct rows *rows, int64_t key, struct entry **entry)
{
	int step;

	*entry = NULL;
	if (!store_rolled_back(rows->store))
		return -1;
	sqlite3_bind_int64(rows->read, 1, key);
	step = sqlite3_step(rows->read);
	if (step == SQLITE_ROW)
		*entry = entry_from(rows->read);
	sqlite3_reset(rows->read);
	store_failed(rows->store);
	return *entry ? 1 : step == SQLITE_DONE ? 0 : -1;
}

/* What is above `last` is looked at as well: a damaged key, far above, would be the end of all that follows it. */
int rows_first(struct rows *rows, int64_t first, int64_t last, int64_t *key)
{
	int step;

	if (!store_rolled_back(rows->store))
		return -1;
	sqlite3_bind_int64(rows->first, 1, first);
	step = sqlite3_step(rows->first);
	if (step == SQLITE_ROW)
		*key = sqlite3_column_int64(rows->first, 0);
	sqlite3_reset(rows->first);
	store_failed(rows->store);
	if (step == SQLITE_ROW)
		return is_sane(rows, *key, first - 1) ? *key <= last : -1;
	return step == SQLITE_DONE ? 0 : -1;
}

int rows_last(struct rows *rows, int64_t first, int64_t last, int64_t *key, int64_t *age_ms)
{
	int step;

	*key = first - 1;
	*age_ms = 0;
	sqlite3_bind_int64(rows->last, 1, first);
	sqlite3_bind_int64(rows->last, 2, last);
	step = sqlite3_step(rows->last);
	if (step == SQLITE_ROW) {
		*key = sqlite3_column_int64(rows->last, 0);
		*age_ms = sqlite3_column_int64(rows->last, 1);
	}
	sqlite3_reset(rows->last);
	store_failed(rows->store);
	if (step == SQLITE_ROW && !is_sane(rows, *key, first - 1))
		return -1;
	return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : -1;
}

int rows_count(struct rows *rows, int64_t *from, int n, void (*counted)(void *arg, int64_t key, size_t size), void *arg)
{
	int step, seen = 0;

	sqlite3_bind_int64(rows->count, 1, *from);
	sqlite3_bind_int(rows->count, 2, n);
	while ((step = sqlite3_step(rows->count)) == SQLITE_ROW) {
		int64_t key = sqlite3_column_int64(rows->count, 0);

		counted(arg, key, (size_t)sqlite3_column_int64(rows->count, 1));
		*from = key - 1;
		seen++;
	}
	sqlite3_reset(rows->count);
	store_failed(rows->store);
	if (step == SQLITE_DONE && seen < n)
		*from = INT64_MIN;
	return step == SQLITE_DONE ? 0 : -1;
}

void rows_visit(struct store *store, void (*visit)(void *arg, const char *name, uint64_t messages), void *arg,
                bool (*skip)(struct store *store, const char *name))
{
	sqlite3_stmt *links = NULL;

	if (store_prepare(store, &links, "SELECT id, name FROM link ORDER BY id", 0) == 0)
		while (sqlite3_step(links) == SQLITE_ROW) {
			const char *name = (const char *)sqlite3_column_text(links, 1);
			sqlite3_stmt *count = NULL;

			if (name && !skip(store, name) &&
			    store_prepare(store, &count, "SELECT count(*) FROM queue_%u",
			                  (uint32_t)sqlite3_column_int64(links, 0)) == 0 &&
			    sqlite3_step(count) == SQLITE_ROW)
				visit(arg, name, (uint64_t)sqlite3_column_int64(count, 0));
			sqlite3_finalize(count);
			store_failed(store);
		}
	sqlite3_finalize(links);
	store_failed(store);
}
