/* One pass over the text, which tells strings from the rest and counts what stands
 * between them. What each costs is jansson's (2.13, 2.14) largest on a 64-bit machine, with
 * what malloc() adds; tests/unit/test_json.c holds it against what is really used.
 */
#include "json_need.h"

#include <string.h>

#define COST_CONTAINER 256 /* an object or array, and its first few places */
#define COST_MEMBER    144 /* of an object: key, hash, old and new buckets while they grow */
#define COST_ITEM      72  /* a number, its place, and the old place while the array grows */
#define COST_STRING    88
#define COST_PARSER    512 /* of any text */
#define COST_TOKEN     4   /* times the longest token: a buffer that doubles, and a copy */

struct scan {
	size_t containers, members, items, strings;
	size_t longest, token; /* where the current token began */
	int depth;
};

static size_t string_end(const char *text, size_t size, size_t i)
{
	while (i < size && text[i] != '"')
		i += text[i] == '\\' ? 2 : 1;
	return i < size ? i : size;
}

static void end_token(struct scan *scan, size_t i)
{
	if (i - scan->token > scan->longest)
		scan->longest = i - scan->token;
	scan->token = i + 1;
}

static size_t bytes_of(const struct scan *scan, size_t size)
{
	return COST_PARSER + size + COST_TOKEN * scan->longest + COST_CONTAINER * scan->containers +
	       COST_MEMBER * scan->members + COST_ITEM * (scan->items + 1) + COST_STRING * scan->strings;
}

/* The character at i, outside of strings. Returns where the next one is. */
static size_t look(struct scan *scan, const char *text, size_t size, size_t i)
{
	switch (text[i]) {
	case '"':
		scan->strings++;
		end_token(scan, i);
		i = string_end(text, size, i + 1);
		break;
	case '{':
	case '[':
		scan->containers++;
		scan->depth++;
		break;
	case '}':
	case ']':
		scan->depth--;
		break;
	case ':':
		scan->members++;
		break;
	case ',':
		scan->items++;
		break;
	default:
		return i + 1;
	}
	end_token(scan, i);
	return i + 1;
}

struct json_need json_need(const char *text, size_t size, int depth_max)
{
	const char *nul = size ? memchr(text, 0, size) : NULL;
	struct json_need need = { .problem = nul ? "a NUL byte" : NULL, .at = nul ? (size_t)(nul - text) : 0 };
	struct scan scan = { 0 };
	size_t next;

	for (size_t i = 0; i < size && !need.problem; i = next) {
		next = look(&scan, text, size, i);
		if (scan.depth > depth_max) {
			need.problem = "nested too deep";
			need.at = i;
		}
	}
	end_token(&scan, size > scan.token ? size : scan.token);
	need.bytes = bytes_of(&scan, size);
	return need;
}

void json_position(const char *text, size_t offset, int *line, int *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			++*line;
			*column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			++*column;
		}
	}
}
