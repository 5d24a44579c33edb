/* For the tests of the configuration: agent.lua written in a fresh directory,
 * loaded, and what came of it.
 */
#ifndef TIDEGATE_CONFIG_FILE_H
#define TIDEGATE_CONFIG_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-config-XXXXXX";
static struct problems problems;

/* Every test's file needs a store that can be written; lines stay as they are. */
#define STORE "store={path='queue.db'},"

static inline const char *in_directory(const char *name)
{
	static char path[512];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

static inline void write_bytes(const char *name, const char *data, size_t size)
{
	FILE *file = fopen(in_directory(name), "w");
	if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
		abort();
}

static inline void write_file(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

static inline struct config *load(const char *source)
{
	problems_release(&problems);
	write_file("agent.lua", source);
	return config_load(in_directory("agent.lua"), NULL, &problems);
}

/* Loads what must be right. */
static inline struct config *good(const char *source)
{
	struct config *config = load(source);
	for (size_t i = 0; i < problems.n; i++)
		fprintf(stderr, "unexpected: %s\n", problems.lines[i]);
	if (!config)
		abort();
	return config;
}

/* The text with the directory taken out wherever it stands. */
static inline const char *shorten(char *text)
{
	size_t size = strlen(directory) + 1;
	for (char *at; (at = strstr(text, in_directory("")));)
		memmove(at, at + size, strlen(at + size) + 1);
	return text;
}

/* True if exactly these problems were found, in that order, shortened. */
static inline bool gives_list(const char *source, const char *const *expected)
{
	struct config *config = load(source);
	bool same = !config;
	size_t n = 0;

	for (; expected[n]; n++)
		same = same && n < problems.n && strcmp(shorten(problems.lines[n]), expected[n]) == 0;
	same = same && n == problems.n;
	for (size_t i = 0; !same && i < problems.n; i++)
		fprintf(stderr, "got: %s\n", problems.lines[i]);
	if (!same && problems.n == 0)
		fprintf(stderr, "got no problem\n");
	config_free(config);
	return same;
}
#define gives(source, ...) gives_list(source, (const char *const[]){__VA_ARGS__, NULL})

/* One link named core with these keys, a problem on line 1. */
static inline bool link_gives(const char *keys, const char *expected)
{
	char source[2048], line[1024];
	snprintf(source, sizeof source, "return {" STORE " links = { core = { %s } } }", keys);
	snprintf(line, sizeof line, "agent.lua:1: links.core%s", expected);
	return gives(source, line);
}

static inline bool is(const char *text, const char *expected)
{
	return text && strcmp(text, expected) == 0;
}

static inline void config_test_begin(void)
{
	if (!mkdtemp(directory))
		abort();
}

static inline void config_test_end(void)
{
	char command[64];

	problems_release(&problems);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		perror(command);
}

#endif
