/* Nothing is compiled in, as `make install PREFIX=` may differ from what `make` was
 * told, and a program must not load code from where it happened to be built.
 */
#include "library.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int join(const char *start, const char *end, const char *rest, char *path, size_t size)
{
	int written = snprintf(path, size, "%.*s%s", (int)(end - start), start, rest);

	return written > 0 && (size_t)written < size ? 0 : -1;
}

int library_of_sources(const char *program, char *path, size_t size)
{
	const char *build = NULL;

	for (const char *found = program; (found = strstr(found, "/build/")); found++)
		build = found;
	return build ? join(program, build, "/scripts/lib", path, size) : -1;
}

int library_installed(const char *program, char *path, size_t size)
{
	const char *name = strrchr(program, '/');
	const char *parent = name ? memrchr(program, '/', (size_t)(name - program)) : NULL;

	if (!name)
		return -1;
	return join(program, parent ? parent : name, "/share/tidegate/scripts/lib", path, size);
}

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int library_directory(char *path, size_t size)
{
	char program[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);

	if (length <= 0)
		return -1;
	program[length] = '\0';
	if (library_of_sources(program, path, size) == 0 && is_directory(path))
		return 0;
	return library_installed(program, path, size);
}
