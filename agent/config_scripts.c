/* The `scripts` list: paths and glob(3) patterns into the paths of files that
 * exist, each once, in the order of the list and sorted within a pattern.
 */
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_read.h"

static bool is_listed(const struct config *config, const char *path)
{
	for (size_t i = 0; i < config->n_scripts; i++)
		if (strcmp(config->scripts[i], path) == 0)
			return true;
	return false;
}

static bool add_script(struct config *config, const char *path)
{
	char **scripts = realloc(config->scripts, (config->n_scripts + 1) * sizeof *scripts);

	if (!scripts)
		return false;
	config->scripts = scripts;
	scripts[config->n_scripts] = strdup(path);
	return scripts[config->n_scripts] && ++config->n_scripts > 0;
}

/* The paths that a pattern found. Directories do not count as scripts. */
static void add_matches(struct reader *reader, struct config *config, const char *pattern, const glob_t *found)
{
	size_t files = 0;

	for (size_t i = 0; i < found->gl_pathc; i++) {
		const char *path = found->gl_pathv[i];
		struct stat st;
		if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
			continue;
		files++;
		if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* opening a pipe would hang */
			reader_problem(reader, "%s is no regular file", path);
		else if (access(path, R_OK) != 0)
			reader_problem(reader, "cannot read %s: %s", path, strerror(errno));
		else if (!is_listed(config, path) && !add_script(config, path))
			reader_out_of_memory(reader);
	}
	if (files == 0)
		reader_problem(reader, "expected script files, got no match for %s", pattern);
}

/* The pattern seen from the configuration's directory, whose own name is no
 * pattern. malloc'd, NULL after a problem. */
static char *resolve_pattern(struct reader *reader, const char *pattern)
{
	const char *directory = reader->directory;
	size_t n = 0;

	if (*pattern == '/' || strcmp(directory, ".") == 0)
		return reader_resolve(reader, pattern);
	char *out = malloc(2 * strlen(directory) + 1 + strlen(pattern) + 1);
	if (!out) {
		reader_out_of_memory(reader);
		return NULL;
	}
	for (; *directory; directory++) {
		if (strchr("*?[]\\", *directory))
			out[n++] = '\\';
		out[n++] = *directory;
	}
	out[n] = '/';
	strcpy(out + n + 1, pattern);
	return out;
}

/* One entry of `scripts`, a path or a pattern, on top of the stack. */
static void read_script(struct reader *reader, struct config *config)
{
	char *given = NULL, *pattern;
	glob_t found;

	if (!reader_copy(reader, &given))
		return;
	pattern = resolve_pattern(reader, given);
	int status = pattern ? glob(pattern, GLOB_ERR, NULL, &found) : GLOB_NOSPACE;
	if (status == 0) {
		add_matches(reader, config, given, &found);
		globfree(&found);
	} else if (status == GLOB_NOMATCH && strpbrk(given, "*?[")) {
		reader_problem(reader, "expected script files, got no match for %s", given);
	} else if (status == GLOB_NOMATCH) {
		reader_problem(reader, "expected a script, got no such file: %s", given);
	} else if (pattern) {
		reader_problem(reader, "cannot read the directory of %s", given);
	}
	free(pattern);
	free(given);
}

void read_scripts(struct reader *reader, struct config *config)
{
	size_t count;

	if (!reader_list(reader, "a list of scripts, { \"scripts/*.lua\" }", &count))
		return;
	for (size_t i = 1; i <= count; i++) {
		size_t mark = reader_item(reader, i);
		read_script(reader, config);
		reader_item_end(reader, mark);
	}
}
