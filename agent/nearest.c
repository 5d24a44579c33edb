/* Edit distance, row by row; words longer than any key of ours are near nothing. */
#include "nearest.h"

#include <string.h>

#define WORD_MAX 40

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

static size_t edits(const char *a, size_t a_size, const char *b, size_t b_size)
{
	size_t row[WORD_MAX + 1];

	for (size_t k = 0; k <= b_size; k++)
		row[k] = k;
	for (size_t i = 1; i <= a_size; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b_size; k++) {
			size_t above = row[k];

			row[k] = least(above + 1, row[k - 1] + 1, diagonal + (a[i - 1] != b[k - 1]));
			diagonal = above;
		}
	}
	return row[b_size];
}

bool nearest(const char *word, const char *known, size_t *best)
{
	size_t word_size = strlen(word), known_size = strlen(known);
	size_t distance;

	if (word_size > WORD_MAX || known_size > WORD_MAX)
		return false;
	distance = edits(word, word_size, known, known_size);
	if (distance >= *best || distance >= known_size)
		return false;
	/* Short words are within two edits of one another: `qos` is no slip for `tls`. */
	if (2 * distance > known_size && *word != *known)
		return false;
	*best = distance;
	return true;
}
