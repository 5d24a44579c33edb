/* library.c: where the rules library is, by where the program is. */
#include "library.h"

#include <string.h>
#include <sys/stat.h>

#include "test.h"

static void test_installed(void)
{
	char path[100];

	REQUIRE(library_installed("/usr/bin/tidegate", path, sizeof path) == 0);
	CHECK(strcmp(path, "/usr/share/tidegate/scripts/lib") == 0);
	/* replaced by an upgrade while it runs */
	REQUIRE(library_installed("/usr/bin/tidegate (deleted)", path, sizeof path) == 0);
	CHECK(strcmp(path, "/usr/share/tidegate/scripts/lib") == 0);
	REQUIRE(library_installed("/tidegate", path, sizeof path) == 0);
	CHECK(strcmp(path, "/share/tidegate/scripts/lib") == 0);
	CHECK(library_installed("tidegate", path, sizeof path) == -1);
	CHECK(library_installed("/usr/bin/tidegate", path, 10) == -1);
}

static int sources_are(const char *program, const char *expected)
{
	char path[100];

	return library_of_sources(program, path, sizeof path) == 0 && strcmp(path, expected) == 0;
}

static void test_of_sources(void)
{
	char path[100];

	CHECK(sources_are("/home/me/tidegate/build/tidegate", "/home/me/tidegate/scripts/lib"));
	CHECK(sources_are("/home/me/tidegate/build/asan/tests/test_x", "/home/me/tidegate/scripts/lib"));
	CHECK(sources_are("/build/tidegate-0.1/build/tidegate", "/build/tidegate-0.1/scripts/lib"));
	CHECK(library_of_sources("/opt/builds/bin/tidegate", path, sizeof path) == -1);
	CHECK(library_of_sources("/home/me/build/tidegate", path, 10) == -1);
}

/* This program was built below the sources. */
static void test_of_this_program(void)
{
	char path[4096];
	struct stat st;

	CHECK(library_directory(path, sizeof path) == 0);
	REQUIRE(strlen(path) + strlen("/rules/deadband.lua") < sizeof path);
	CHECK(stat(strcat(path, "/rules/deadband.lua"), &st) == 0);
}

int main(void)
{
	RUN(test_installed);
	RUN(test_of_sources);
	RUN(test_of_this_program);
	return test_end();
}
