/* Messages in hex: those of the tests themselves, and those that others' libraries wrote,
 * in $SHARED/kdb (../shared/kdb), where they are.
 */
#ifndef TIDEGATE_KDB_VECTORS_H
#define TIDEGATE_KDB_VECTORS_H

#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "queue.h"
#include "test.h"

static inline unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

static inline size_t from_hex(const char *hex, unsigned char *bytes, size_t size)
{
	size_t n = strlen(hex) / 2;

	REQUIRE(n <= size);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
	return n;
}

/* NULL, said aloud, if there are none. */
static inline json_t *open_vectors(const char *name)
{
	const char *shared = getenv("SHARED");
	char path[500];
	json_error_t error;
	json_t *list;

	(void)snprintf(path, sizeof path, "%s/kdb/%s", shared && *shared ? shared : "../shared", name);
	list = json_load_file(path, 0, &error);
	if (!list)
		printf("skipped: %s: %s\n", path, error.text);
	return list;
}

static inline const char *vector_text(const json_t *vector, const char *key)
{
	const char *text = json_string_value(json_object_get(vector, key));

	REQUIRE(text);
	return text;
}

/* To be freed. In memory that ends with them. */
static inline struct bytes vector_bytes(const json_t *vector)
{
	const char *hex = vector_text(vector, "hex");
	size_t size = strlen(hex) / 2;
	unsigned char *bytes = malloc(size ? size : 1);

	REQUIRE(bytes);
	return (struct bytes){ bytes, from_hex(hex, bytes, size) };
}

#endif
