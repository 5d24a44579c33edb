/* The texts of a script's files. */
#include "sources.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static char directory[] = "/tmp/tidegate-sources-XXXXXX";
static char err[300];

static const char *path_of(const char *name)
{
	static char path[100];

	(void)snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	REQUIRE(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static bool has_text(struct sources *sources, const char *name, const char *text)
{
	const struct source *source = sources_get(sources, path_of(name), err, sizeof err);

	return source && source->size == strlen(text) && !memcmp(source->text, text, source->size);
}

static void keeps_what_it_read(void)
{
	struct sources sources = { 0 };

	write_file("a", "one");
	write_file("empty", "");
	CHECK(sources_has(&sources, path_of("a")) && has_text(&sources, "a", "one") && has_text(&sources, "empty", ""));
	CHECK(!sources_changed(&sources));
	write_file("a", "two");
	CHECK(sources_changed(&sources) && has_text(&sources, "a", "one"));
	write_file("a", "one");
	CHECK(!sources_changed(&sources));
	write_file("a", "one more");
	CHECK(sources_changed(&sources));
	CHECK(unlink(path_of("a")) == 0);
	CHECK(sources_changed(&sources) && sources_has(&sources, path_of("a")) && has_text(&sources, "a", "one"));
	sources_release(&sources);
	CHECK(!sources_has(&sources, path_of("a")));
	sources_release(&sources);
}

static void remembers_what_was_not_there(void)
{
	struct sources sources = { 0 };

	CHECK(!sources_has(&sources, path_of("late")) && !sources_changed(&sources));
	write_file("late", "x");
	CHECK(sources_changed(&sources) && !sources_has(&sources, path_of("late")));
	CHECK(!sources_has(&sources, directory));
	sources_release(&sources);
}

static void says_what_cannot_be_read(void)
{
	struct sources sources = { .file_max = 9000 };
	char large[20000];

	CHECK(!sources_get(&sources, path_of("none"), err, sizeof err) && strstr(err, "cannot open ") && strstr(err, "none"));
	CHECK(!sources_get(&sources, directory, err, sizeof err) && strstr(err, "cannot read "));
	memset(large, 'x', sizeof large - 1);
	large[sizeof large - 1] = 0;
	write_file("large", large);
	CHECK(!sources_get(&sources, path_of("large"), err, sizeof err) && strstr(err, strerror(EFBIG)));
	sources.file_max = 0;
	CHECK(has_text(&sources, "large", large));
	large[8192] = 0;
	write_file("page", large);
	CHECK(has_text(&sources, "page", large) && !sources_changed(&sources));
	sources_release(&sources);
}

int main(void)
{
	REQUIRE(mkdtemp(directory));
	RUN(keeps_what_it_read);
	RUN(remembers_what_was_not_there);
	RUN(says_what_cannot_be_read);
	return test_end();
}
