/* Declared columns beside what `meta` answers, and answers that are something else. */
#include <string.h>

#include "kdb_ipc.h"
#include "kdb_meta.h"
#include "test.h"

static struct kdb_column columns[] = {
        {(char *)"sym", KDB_SYMBOL, false}, {(char *)"val", KDB_FLOAT, false}, {(char *)"text", KDB_CHAR, true}};
static const struct kdb_table table = {(char *)"sensor", columns, 3};
static struct buffer message;
static char err[300];

static struct bytes text(const char *string)
{
	return (struct bytes){string, strlen(string)};
}

/* A table of one column. */
static void put_table(const char *name, int type, size_t n)
{
	REQUIRE(kdb_put_table(&message) == 0 && kdb_put_vector_head(&message, KDB_SYMBOL, 1) == 0 &&
	        kdb_put_symbol_item(&message, text(name)) == 0 && kdb_put_list(&message, 1) == 0 &&
	        kdb_put_vector_head(&message, type, n) == 0);
}

/* ([c:names] t:letters), as meta has it; names are parted by blanks. */
static int compare(const char *names, const char *letters, enum kdb_time_column time_column)
{
	size_t begin, n = 1;

	message.size = 0;
	begin = kdb_message_begin(&message, KDB_RESPONSE);
	for (const char *at = names; *at; at++)
		n += *at == ' ';
	REQUIRE(kdb_put_dictionary(&message) == 0);
	put_table("c", KDB_SYMBOL, n);
	for (const char *at = names; at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL)
		REQUIRE(kdb_put_symbol_item(&message, (struct bytes){at, strcspn(at, " ")}) == 0);
	put_table("t", KDB_CHAR, strlen(letters));
	REQUIRE(buffer_append(&message, letters, strlen(letters)) == 0 && kdb_message_end(&message, begin) == 0);
	return kdb_meta_compare(&table, time_column, (struct bytes){message.data, message.size}, err, sizeof err);
}

static void test_what_fits(void)
{
	CHECK(compare("sym val text", "sfC", KDB_TIME_COLUMN_NONE) == 0);
	CHECK(compare("sym val text", "sf ", KDB_TIME_COLUMN_NONE) == 0); /* an empty table */
	CHECK(compare("time sym val text", "nsfC", KDB_TIME_COLUMN_NONE) == 0);
	CHECK(compare("time sym val text", "psfC", KDB_TIME_COLUMN_NONE) == 0);
	CHECK(compare("t sym val text", "nsfC", KDB_TIME_COLUMN_TIMESPAN) == 0);
	CHECK(compare("t sym val text", "psfC", KDB_TIME_COLUMN_TIMESTAMP) == 0);
}

static void test_what_does_not(void)
{
	CHECK(compare("sym val text", "sjC", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(strcmp(err, "column 2 is val with type j there, and val with type f here") == 0);
	CHECK(compare("sym value text", "sfC", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(compare("val sym text", "fsC", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(compare("sym val", "sf", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(strcmp(err, "it has 2 columns there, and 3 here") == 0);
	CHECK(compare("a b sym val text", "nnsfC", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(compare("a sym val text", "ssfC", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(compare("sym val text", "sfC", KDB_TIME_COLUMN_TIMESPAN) < 0);
	CHECK(compare("t sym val text", "psfC", KDB_TIME_COLUMN_TIMESPAN) < 0);
}

static void test_what_is_no_answer(void)
{
	struct bytes whole;
	size_t begin;

	CHECK(compare("sym val text extra", "sfC", KDB_TIME_COLUMN_NONE) < 0); /* ragged */
	CHECK(compare("sym val", "sfC", KDB_TIME_COLUMN_NONE) < 0);
	CHECK(compare("sym val text", "sfC", KDB_TIME_COLUMN_NONE) == 0);
	whole = (struct bytes){message.data, message.size};
	while (--whole.size > 0)
		CHECK(kdb_meta_compare(&table, KDB_TIME_COLUMN_NONE, whole, err, sizeof err) < 0);
	message.size = 0;
	begin = kdb_message_begin(&message, KDB_RESPONSE);
	REQUIRE(kdb_put_null(&message) == 0 && kdb_message_end(&message, begin) == 0);
	whole = (struct bytes){message.data, message.size};
	CHECK(kdb_meta_compare(&table, KDB_TIME_COLUMN_NONE, whole, err, sizeof err) < 0);
	message.size = 0;
	begin = kdb_message_begin(&message, KDB_RESPONSE);
	REQUIRE(kdb_put_error(&message, text("sensor")) == 0 && kdb_message_end(&message, begin) == 0);
	whole = (struct bytes){message.data, message.size};
	CHECK(kdb_meta_compare(&table, KDB_TIME_COLUMN_NONE, whole, err, sizeof err) < 0);
	CHECK(strcmp(err, "meta answers 'sensor") == 0);
}

int main(void)
{
	RUN(test_what_fits);
	RUN(test_what_does_not);
	RUN(test_what_is_no_answer);
	buffer_release(&message);
	return test_end();
}
