/* A list: a script has a handful of files. */
#include "sources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void sources_release(struct sources *sources)
{
	while (sources->first) {
		struct source *source = sources->first;

		sources->first = source->next;
		free(source->text);
		free(source);
	}
}

static struct source *find(const struct sources *sources, const char *path)
{
	struct source *source = sources->first;

	while (source && strcmp(source->path, path) != 0)
		source = source->next;
	return source;
}

static struct source *add(struct sources *sources, const char *path, char *text, size_t size)
{
	struct source *source = malloc(sizeof *source + strlen(path) + 1);

	if (!source)
		return NULL;
	*source = (struct source){ .text = text, .size = size, .next = sources->first };
	strcpy(source->path, path);
	sources->first = source;
	return source;
}

/* A pipe would hang the agent. */
static bool is_regular_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool sources_has(struct sources *sources, const char *path)
{
	const struct source *known = find(sources, path);

	if (known)
		return known->text != NULL;
	if (is_regular_file(path))
		return true;
	(void)add(sources, path, NULL, 0); /* if it cannot be, a new file goes unnoticed */
	return false;
}

/* All of a file, malloc'd; NULL with errno. */
static char *read_all(FILE *file, size_t max, size_t *size)
{
	char *text = NULL, *more;

	for (size_t room = 4096; (more = realloc(text, room)) != NULL; room *= 2) {
		text = more;
		*size += fread(text + *size, 1, room - *size, file);
		if (ferror(file))
			break;
		if (max > 0 && *size > max) {
			errno = EFBIG;
			break;
		}
		if (*size < room) {
			more = realloc(text, *size + 1);
			return more ? more : text;
		}
	}
	free(text);
	return NULL;
}

static char *read_file(const char *path, size_t max, size_t *size, char *err, size_t err_size)
{
	FILE *file = fopen(path, "re");
	char *text;

	*size = 0;
	if (!file) {
		(void)snprintf(err, err_size, "cannot open %s: %s", path, strerror(errno));
		return NULL;
	}
	text = read_all(file, max, size);
	if (!text)
		(void)snprintf(err, err_size, "cannot read %s: %s", path, strerror(errno));
	(void)fclose(file);
	return text;
}

const struct source *sources_get(struct sources *sources, const char *path, char *err, size_t err_size)
{
	struct source *source = find(sources, path);
	size_t size;
	char *text;

	if (source && source->text)
		return source;
	text = read_file(path, sources->file_max, &size, err, err_size);
	if (!text)
		return NULL;
	source = add(sources, path, text, size);
	if (!source) {
		(void)snprintf(err, err_size, "not enough memory");
		free(text);
	}
	return source;
}

static bool is_changed(const struct source *source)
{
	char err[1], *text;
	size_t size;
	bool same;

	if (!source->text)
		return is_regular_file(source->path);
	text = read_file(source->path, 0, &size, err, sizeof err);
	same = text && size == source->size && memcmp(text, source->text, size) == 0;
	free(text);
	return !same;
}

bool sources_changed(const struct sources *sources)
{
	const struct source *source = sources->first;

	while (source && !is_changed(source))
		source = source->next;
	return source;
}
