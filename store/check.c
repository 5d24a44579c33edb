/* A wrong bit can take rows away without anything that is left being wrong to SQLite:
 * in the text of the schema it makes of a key a column that is always NULL, at the top of
 * a tree it makes it shorter. So that is looked for where it is cheap. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef CHECK_BYTES_MAX
#define CHECK_BYTES_MAX 1048576 /* of a database that is checked as a whole */
#endif

/* Only a key of just this type is the number by which a row is found. */
#define WRONG_KEY                                                                                                      \
	"SELECT 'a table has another key than it was made with' FROM sqlite_schema AS t WHERE type = 'table'"          \
	" AND (name IN ('link', 'name', 'loss', 'dead') OR name GLOB 'queue_[1-9]*') AND NOT EXISTS"                   \
	" (SELECT 1 FROM pragma_table_info(t.name) WHERE pk = 1 AND type = 'INTEGER' COLLATE NOCASE)"

#define WRONG_LINKS                                                                                                    \
	"SELECT 'a queue is without its link, or a link without its queue' WHERE"                                      \
	" (SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema"                                             \
	"  WHERE type = 'table' AND name GLOB 'queue_[1-9]*' ORDER BY name)) IS NOT"                                   \
	" (SELECT group_concat(name) FROM (SELECT 'queue_' || id AS name FROM link NOT INDEXED ORDER BY 1))"

static int is_damaged(struct store *store, char *why, size_t size, const char *reason)
{
	store_contradicts_itself(store);
	store_fail(why, size, "%s", reason);
	return -1;
}

/* A disk that cannot be read just now says nothing about what is on it. */
static bool is_read_error(const char *answer)
{
	static const char says[] = "unable to get the page. error code=";
	const char *code = strstr(answer, says);

	return code && (atoi(code + sizeof says - 1) & 0xff) == SQLITE_IOERR;
}

/* A question to which the answer is "ok", or none. */
static int ask(struct store *store, const char *sql, char *why, size_t size)
{
	sqlite3_stmt *statement = NULL;
	int result = -1, step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) == SQLITE_OK)
		step = sqlite3_step(statement);
	if (step == SQLITE_DONE) {
		result = 0;
	} else if (step == SQLITE_ROW) {
		const char *answer = (const char *)sqlite3_column_text(statement, 0);

		if (!answer)
			store_fail(why, size, "out of memory");
		else
			result = strcmp(answer, "ok") == 0 || is_read_error(answer) ? 0 : is_damaged(store, why, size, answer);
	} else if (sqlite3_errcode(store->database) == SQLITE_ERROR) { /* what is asked for is not there */
		is_damaged(store, why, size, sqlite3_errmsg(store->database));
	} else {
		store_failed(store);
		store_fail(why, size, "%s", store_error(store));
	}
	sqlite3_finalize(statement);
	return result;
}

/* ---- pages ---- */

static int64_t used_bytes(struct store *store)
{
	int64_t pages = store_integer(store, "PRAGMA page_count", 0) - store_integer(store, "PRAGMA freelist_count", 0);

	return pages * store_integer(store, "PRAGMA page_size", 0);
}

static bool queues_are_empty(struct store *store)
{
	sqlite3_stmt *links = NULL;
	bool empty = true;

	if (sqlite3_prepare_v2(store->database, "SELECT id FROM link", -1, &links, NULL) != SQLITE_OK)
		return false;
	while (empty && sqlite3_step(links) == SQLITE_ROW) {
		char sql[64];

		snprintf(sql, sizeof sql, "SELECT EXISTS (SELECT 1 FROM queue_%u)", (unsigned)sqlite3_column_int64(links, 0));
		empty = store_integer(store, sql, 1) == 0;
	}
	sqlite3_finalize(links);
	return empty;
}

/* ---- */

int check_opened(struct store *store, char *why, size_t size)
{
	if (ask(store, WRONG_KEY, why, size) < 0 || ask(store, WRONG_LINKS, why, size) < 0)
		return -1;
	if (used_bytes(store) > CHECK_BYTES_MAX)
		return ask(store, "PRAGMA integrity_check(link)", why, size);
	return ask(store, "PRAGMA integrity_check(1)", why, size);
}

int check_idle(struct store *store, char *why, size_t size)
{
	int64_t used = used_bytes(store);

	if (used == store->checked_bytes || (used > CHECK_BYTES_MAX && !queues_are_empty(store)))
		return 0;
	store->checked_bytes = used;
	return ask(store, "PRAGMA integrity_check(1)", why, size);
}
