/* Topics and filters: "filter\ntopic". What is valid, and what matches, is what a slow
 * and plain reading of the specification says.
 */
#include <string.h>

#include "fuzz.h"
#include "topic.h"

struct text {
	const char *data;
	size_t size;
};

/* ---- the specification, literally ---- */

/* The code point at the front of the text, which is taken off; -1: it is not UTF-8. */
static long take_code_point(struct text *text)
{
	static const long least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = (unsigned char)text->data[0];
	size_t size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	long point = size == 1 ? lead : lead & (0x7f >> size);

	if ((lead >= 0x80 && lead < 0xc0) || lead >= 0xf8 || size > text->size)
		return -1;
	for (size_t i = 1; i < size; i++) {
		if (((unsigned char)text->data[i] & 0xc0) != 0x80)
			return -1;
		point = point << 6 | (text->data[i] & 0x3f);
	}
	text->data += size;
	text->size -= size;
	return point < least[size] || point > 0x10ffff ? -1 : point;
}

/* As MQTT wants text, and brokers may insist: no surrogates, no control characters, no
 * non-characters. */
static bool is_text(struct text text)
{
	if (text.size == 0 || text.size > 65535)
		return false;
	while (text.size > 0) {
		long point = take_code_point(&text);

		if (point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0xd800 && point < 0xe000))
			return false;
		if ((point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) == 0xfffe)
			return false;
	}
	return true;
}

/* The first level, which is taken off with its slash; false: there are none left. */
static bool take_level(struct text *text, struct text *level)
{
	const char *slash;

	if (!text->data)
		return false;
	slash = memchr(text->data, '/', text->size);
	*level = (struct text){ text->data, slash ? (size_t)(slash - text->data) : text->size };
	text->data = slash ? slash + 1 : NULL;
	text->size = slash ? text->size - level->size - 1 : 0;
	return true;
}

static bool is(struct text text, const char *other)
{
	return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

static bool has_wildcard(struct text text)
{
	return memchr(text.data, '+', text.size) || memchr(text.data, '#', text.size);
}

/* Takes `$share/group/` off. False if it is there and not as it should be. */
static bool take_share(struct text *filter)
{
	struct text rest = *filter, level;

	if (!take_level(&rest, &level) || !is(level, "$share"))
		return true;
	if (!take_level(&rest, &level) || level.size == 0 || has_wildcard(level))
		return false;
	*filter = rest;
	return rest.data && rest.size > 0;
}

static bool is_filter(struct text filter)
{
	struct text level;

	if (!is_text(filter) || !take_share(&filter))
		return false;
	while (take_level(&filter, &level)) {
		if (has_wildcard(level) && level.size > 1)
			return false;
		if (is(level, "#") && filter.data)
			return false;
	}
	return true;
}

static bool selects(struct text filter, struct text topic)
{
	struct text f, t;

	(void)take_share(&filter);
	if (topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#'))
		return false;
	while (take_level(&filter, &f)) {
		if (is(f, "#"))
			return true; /* the parent too: there is no level left, then */
		if (!take_level(&topic, &t))
			return false;
		if (!is(f, "+") && (f.size != t.size || memcmp(f.data, t.data, f.size) != 0))
			return false;
	}
	return !topic.data;
}

/* ---- against what is used ---- */

/* NUL-terminated, and nothing behind it. */
static char *copy(struct text text)
{
	char *data = malloc(text.size + 1);

	ALWAYS(data);
	memcpy(data, text.data, text.size);
	data[text.size] = 0;
	return data;
}

/* In memory that ends with it. */
static const char *problem_of(struct text text, const char *(*problem)(const char *, size_t))
{
	char *data = malloc(text.size ? text.size : 1);
	const char *result;

	ALWAYS(data);
	memcpy(data, text.data, text.size);
	result = problem(data, text.size);
	free(data);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *line = size > 0 ? memchr(data, '\n', size) : NULL;
	struct text filter = { (const char *)data, line ? (size_t)(line - (const char *)data) : size };
	struct text topic = { line ? line + 1 : "", line ? size - filter.size - 1 : 0 };
	bool good_filter, good_topic;
	char *f, *t;

	if (size == 0)
		return 0;
	good_filter = is_filter(filter);
	good_topic = is_text(topic) && !has_wildcard(topic);
	ALWAYS(!problem_of(filter, topic_filter_problem) == good_filter);
	ALWAYS(!problem_of(topic, topic_problem) == good_topic);
	ALWAYS(!problem_of(topic, topic_text_problem) == is_text(topic));
	if (!good_filter || !good_topic)
		return 0;
	f = copy(filter);
	t = copy(topic);
	ALWAYS(topic_matches(f, t) == selects(filter, topic));
	free(f);
	free(t);
	return 0;
}
