/* Tables and numbers for people. */
#include <stdbool.h>
#include <string.h>

#include "cli_table.h"
#include "test.h"

static char printed[2000];

/* What the table looks like. */
static const char *look(struct table *table)
{
	FILE *out = tmpfile();
	size_t size;

	REQUIRE(out != NULL);
	table_print(table, out);
	rewind(out);
	size = fread(printed, 1, sizeof printed - 1, out);
	printed[size] = 0;
	fclose(out);
	return printed;
}

static struct table *two_by_two(size_t width)
{
	static const char *const heads[] = {"name", ">count", "about", NULL};
	struct table *table = table_open(heads, width);

	table_cell(table, "%s", "a");
	table_cell(table, "%d", 1);
	table_cell(table, "%s", "first");
	table_cell(table, "%s", "l\xc3\xa4nger");
	table_cell(table, "%d", 1234567);
	table_cell(table, "%s", "sensors/\xc3\xa4/b");
	return table;
}

static void aligns_columns(void)
{
	CHECK(strcmp(look(two_by_two(0)), "name      count  about\n"
	                                  "a             1  first\n"
	                                  "l\xc3\xa4nger  1234567  sensors/\xc3\xa4/b\n\n") == 0);
}

static void cuts_what_is_too_wide(void)
{
	CHECK(strcmp(look(two_by_two(29)), "name      count  about\n"
	                                   "a             1  first\n"
	                                   "l\xc3\xa4nger  1234567  sensors/\xc3\xa4/b\n\n") == 0);
	CHECK(strcmp(look(two_by_two(27)), "name      count  about\n"
	                                   "a             1  first\n"
	                                   "l\xc3\xa4nger  1234567  sensors...\n\n") == 0);
	CHECK(strcmp(look(two_by_two(3)), look(two_by_two(0))) == 0);
}

static void does_not_cut_numbers(void)
{
	static const char *const heads[] = {"name", ">count", NULL};
	struct table *table = table_open(heads, 8);

	table_cell(table, "a long name");
	table_cell(table, "%d", 77);
	CHECK(strcmp(look(table), "name         count\na long name     77\n\n") == 0);
}

static void prints_nothing_without_rows(void)
{
	static const char *const heads[] = {"a", "b", NULL};

	CHECK(strcmp(look(table_open(heads, 0)), "") == 0);
	CHECK(strcmp(look(NULL), "") == 0);
}

/* A topic must not steer the terminal. */
static void escapes_what_is_not_text(void)
{
	static const char *const heads[] = {"topic", NULL};
	static const char bytes[] = "a\0b\n\x1b[31m\x7f\xc2\x9b" "1\xff\xed\xa0\x80\xe2\x82\xac";
	struct table *table = table_open(heads, 0);
	FILE *out = tmpfile();
	size_t size;

	table_cell(table, "%s", "x\x1b]0;y\x07\n");
	CHECK(strcmp(look(table), "topic\nx\\x1b]0;y\\x07\\x0a\n\n") == 0);
	REQUIRE(out != NULL);
	text_print(out, bytes, sizeof bytes - 1, "\n");
	rewind(out);
	size = fread(printed, 1, sizeof printed - 1, out);
	printed[size] = 0;
	fclose(out);
	CHECK(strcmp(printed, "a\\x00b\n\\x1b[31m\\x7f\\xc2\\x9b1\\xff\\xed\\xa0\\x80\xe2\x82\xac") == 0);
}

static bool duration_is(double seconds, const char *expected)
{
	return strcmp(text_duration(seconds).string, expected) == 0;
}

static bool bytes_are(double bytes, const char *expected)
{
	return strcmp(text_bytes(bytes).string, expected) == 0;
}

static void writes_numbers_for_people(void)
{
	CHECK(duration_is(-1, "0 s") && duration_is(59.9, "59 s") && duration_is(60, "1 min"));
	CHECK(duration_is(12000, "3 h 20 min") && duration_is(86400 * 12 + 3 * 3600, "12 d 3 h"));
	CHECK(bytes_are(0, "0 B") && bytes_are(1023, "1023 B") && bytes_are(1024, "1.0 KB") && bytes_are(20480, "20 KB"));
	CHECK(bytes_are(1.5 * 1024 * 1024, "1.5 MB") && bytes_are(3e15, "2728 TB"));
	setenv("TZ", "UTC", 1);
	CHECK(strcmp(text_time(1763719872.5).string, "2025-11-21 10:11:12") == 0);
	CHECK(strcmp(text_time(1e30).string, "?") == 0);
}

int main(void)
{
	RUN(aligns_columns);
	RUN(cuts_what_is_too_wide);
	RUN(does_not_cut_numbers);
	RUN(prints_nothing_without_rows);
	RUN(escapes_what_is_not_text);
	RUN(writes_numbers_for_people);
	return test_end();
}
