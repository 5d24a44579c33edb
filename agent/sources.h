/* The texts of the files a script is made of: its own and those of its modules, as they
 * were when they were read first. So it can be told whether a file has changed since, and
 * the script can be loaded once more as it was.
 */
#ifndef TIDEGATE_SOURCES_H
#define TIDEGATE_SOURCES_H

#include <stdbool.h>
#include <stddef.h>

struct source {
	struct source *next;
	char *text; /* NULL: there was no such file */
	size_t size;
	char path[];
};

/* Zero-initialise. */
struct sources {
	struct source *first;
	size_t file_max; /* bytes of one file; 0: no limit */
};

void sources_release(struct sources *sources);

/* Whether there is a regular file, as far as is known; also what is not there is kept. */
bool sources_has(struct sources *sources, const char *path);

/* The file's text. NULL with the reason in `err`. */
const struct source *sources_get(struct sources *sources, const char *path, char *err, size_t err_size);

/* True if any file is different now, or may be. */
bool sources_changed(const struct sources *sources);

#endif
