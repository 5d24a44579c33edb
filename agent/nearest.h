/* "Did you mean ...": which of several names a misspelt one comes nearest to. */
#ifndef TIDEGATE_NEAREST_H
#define TIDEGATE_NEAREST_H

#include <stdbool.h>
#include <stddef.h>

/* More edits than this are no slip of the fingers. */
#define NEAREST_MAX 2

/* True if `known` is fewer than *best edits (letters added, lost or changed) from
 * `word`; then *best is that number. Start with NEAREST_MAX + 1. */
bool nearest(const char *word, const char *known, size_t *best);

#endif
