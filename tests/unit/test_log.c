/* What log lines look like: stderr is a file while an event is logged. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "test.h"

static char logged[40000];

static FILE *begin(int *saved)
{
	FILE *file = tmpfile();
	fflush(stderr);
	*saved = dup(STDERR_FILENO);
	if (!file || *saved < 0 || dup2(fileno(file), STDERR_FILENO) < 0)
		abort();
	return file;
}

static void end(FILE *file, int saved)
{
	rewind(file);
	logged[fread(logged, 1, sizeof logged - 1, file)] = 0;
	dup2(saved, STDERR_FILENO);
	close(saved);
	fclose(file);
}

static bool text_gives(enum log_level level, const char *text, const char *expected)
{
	int saved;
	FILE *file = begin(&saved);
	log_text(level, "link core", text);
	end(file, saved);
	if (strcmp(logged, expected) == 0)
		return true;
	fprintf(stderr, "got: %s", logged);
	return false;
}

static void format(void)
{
	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR);
	CHECK(text_gives(LOG_LEVEL_INFO, "connected port=1883", "info link core: connected port=1883\n"));
	CHECK(text_gives(LOG_LEVEL_WARN, "", "warn link core: \n"));
	CHECK(text_gives(LOG_LEVEL_DEBUG, "silent", ""));

	int saved;
	FILE *file = begin(&saved);
	log_error("store", "%s failed=%d", "commit", 3);
	log_warn("agent", "w");
	log_info("agent", "i");
	log_debug("agent", "d");
	end(file, saved);
	CHECK(strcmp(logged, "error store: commit failed=3\nwarn agent: w\ninfo agent: i\n") == 0);
}

static void threshold(void)
{
	log_setup(LOG_LEVEL_ERROR, LOG_TARGET_STDERR);
	CHECK(log_enabled(LOG_LEVEL_ERROR) && !log_enabled(LOG_LEVEL_WARN));
	CHECK(text_gives(LOG_LEVEL_WARN, "silent", ""));
	log_setup(LOG_LEVEL_DEBUG, LOG_TARGET_STDERR);
	CHECK(text_gives(LOG_LEVEL_DEBUG, "loud", "debug link core: loud\n"));
}

static void continuation_lines(void)
{
	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR);
	CHECK(text_gives(LOG_LEVEL_ERROR, "a.lua:1: oops\nstack traceback:\n\t[C]: in ?\n",
	                 "error link core: a.lua:1: oops\n    stack traceback:\n    [C]: in ?\n"));
	CHECK(text_gives(LOG_LEVEL_ERROR, "one\n\n\n", "error link core: one\n"));
}

static void escapes(void)
{
	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR);
	CHECK(text_gives(LOG_LEVEL_INFO, "a\tb\rc\x1b[2Jd\x7f", "info link core: a\\tb\\rc\\x1b[2Jd\\x7f\n"));
	CHECK(text_gives(LOG_LEVEL_INFO, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x8a",
	                 "info link core: caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x8a\n"));
	CHECK(text_gives(LOG_LEVEL_INFO, "\xff\xc3 \xc2\x9b \xed\xa0\x80 \xe2\x82",
	                 "info link core: \\xff\\xc3 \\xc2\\x9b \\xed\\xa0\\x80 \\xe2\\x82\n"));
}

static void long_text_is_cut(void)
{
	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR);
	char *text = malloc(100001);
	memset(text, 1, 100000);
	text[100000] = 0;
	int saved;
	FILE *file = begin(&saved);
	log_text(LOG_LEVEL_INFO, "agent", text);
	log_info("agent", "%s", text);
	log_text(LOG_LEVEL_INFO, "agent", "next");
	end(file, saved);
	CHECK(strlen(logged) < 2 * 16500 + 100);
	CHECK(strstr(logged, "...\ninfo agent: \\x01"));
	CHECK(strstr(logged, "...\ninfo agent: next\n"));
	memset(text, 'x', 100000);
	file = begin(&saved);
	log_info("agent", "%s", text);
	end(file, saved);
	CHECK(strstr(logged, "xxx...\n"));
	free(text);
}

static void journal_prefix(void)
{
	struct stat st;
	char stream[64];
	int saved;
	FILE *file = begin(&saved);
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR);
	log_text(LOG_LEVEL_ERROR, "script a", "oops\ntraceback");
	log_info("agent", "fine");
	end(file, saved);
	CHECK(strcmp(logged, "<3>error script a: oops\n<3>    traceback\n<6>info agent: fine\n") == 0);

	setenv("JOURNAL_STREAM", "1:1", 1);
	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR);
	CHECK(text_gives(LOG_LEVEL_INFO, "plain", "info link core: plain\n"));
	unsetenv("JOURNAL_STREAM");
}

int main(void)
{
	RUN(format);
	RUN(threshold);
	RUN(continuation_lines);
	RUN(escapes);
	RUN(long_text_is_cut);
	RUN(journal_prefix);
	return test_end();
}
