/* What is in a database, past the store. */
#ifndef TIDEGATE_SQL_H
#define TIDEGATE_SQL_H

#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>

#include "test.h"

static inline void sql_in(const char *file, const char *text)
{
	sqlite3 *database = NULL;
	char *complaint = NULL;

	CHECK(sqlite3_open(file, &database) == SQLITE_OK);
	CHECK(sqlite3_exec(database, text, NULL, NULL, &complaint) == SQLITE_OK);
	if (complaint)
		fprintf(stderr, "%s: %s\n", text, complaint);
	sqlite3_free(complaint);
	sqlite3_close(database);
}

/* The first value of the first row; -1: there is none. */
static inline int64_t number_in(const char *file, const char *query)
{
	sqlite3 *database = NULL;
	sqlite3_stmt *statement = NULL;
	int64_t value = -1;

	CHECK(sqlite3_open(file, &database) == SQLITE_OK);
	CHECK(sqlite3_prepare_v2(database, query, -1, &statement, NULL) == SQLITE_OK);
	if (sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(database);
	return value;
}

#endif
