/* What a JSON text can make jansson take, before it is given to jansson: the
 * library allocates outside the script's memory, up to a hundred bytes for each of
 * `[[[[`, and goes as deep as the text says.
 */
#ifndef TIDEGATE_JSON_NEED_H
#define TIDEGATE_JSON_NEED_H

#include <stdbool.h>
#include <stddef.h>

struct json_need {
	size_t bytes;        /* allocated at the same time, at most */
	const char *problem; /* why it must not be parsed at all; NULL: it may */
	size_t at;           /* byte offset of that */
};

/* Of text that is no JSON it says as much as of what comes before the first
 * mistake, where jansson stops. */
struct json_need json_need(const char *text, size_t size, int depth_max);

/* Line and column of a byte, counted from 1; columns are characters. */
void json_position(const char *text, size_t offset, int *line, int *column);

#endif
