/* Topics by libmosquitto's own rules, so that what passes here cannot be
 * refused by the library later. But for agent/mqtt*.c this is the only file that
 * includes mosquitto.h: here it is a set of pure functions on strings, no handle
 * is opened or passed. What the library leaves unchecked (empty topics,
 * `$share`, NUL bytes by name) is added.
 */
#include "topic.h"

#include <string.h>

#include <mosquitto.h>

#define TOPIC_MAX 65535
#define SHARE     "$share/"

/* True if the text holds a control character, U+0001 to U+001F or U+007F to
 * U+009F: the specification allows a peer to hang up on those, libmosquitto
 * refuses to send them. */
static bool has_control(const unsigned char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (text[i] < 0x20 || text[i] == 0x7f)
			return true;
		if (text[i] == 0xc2 && i + 1 < size && text[i + 1] >= 0x80 && text[i + 1] < 0xa0)
			return true;
	}
	return false;
}

/* True if the last character lacks bytes. mosquitto_validate_utf8() would read
 * up to three bytes past the end to find that out. */
static bool ends_inside_character(const unsigned char *text, size_t size)
{
	for (size_t back = 1; back <= 3 && back <= size; back++) {
		unsigned char lead = text[size - back];
		if ((lead & 0xc0) == 0x80)
			continue;
		size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
		return length > back;
	}
	return false;
}

const char *topic_text_problem(const char *text, size_t size)
{
	const unsigned char *bytes = (const unsigned char *)text;

	if (size == 0)
		return "is empty";
	if (size > TOPIC_MAX)
		return "is longer than 65535 bytes";
	if (memchr(text, 0, size))
		return "contains a NUL byte";
	if (ends_inside_character(bytes, size))
		return "is not valid UTF-8";
	if (mosquitto_validate_utf8(text, (int)size) != MOSQ_ERR_SUCCESS)
		return has_control(bytes, size) ? "contains a control character" : "is not valid UTF-8";
	return NULL;
}

/* The part of a shared filter that selects topics, behind `$share/group/`; the
 * filter itself if it is not shared. `end` is the filter's. NULL if there is no
 * slash after the group. */
static const char *behind_share(const char *filter, const char *end)
{
	size_t prefix = strlen(SHARE);

	if ((size_t)(end - filter) < prefix || memcmp(filter, SHARE, prefix) != 0)
		return filter;
	const char *group = filter + prefix;
	const char *slash = memchr(group, '/', (size_t)(end - group));
	return slash ? slash + 1 : NULL;
}

static const char *share_problem(const char *filter, const char *selector, const char *end)
{
	const char *group = filter + strlen(SHARE);

	if (group == end || *group == '/')
		return "has an empty group after $share/";
	const char *group_end = selector ? selector - 1 : end;
	for (const char *c = group; c < group_end; c++)
		if (*c == '+' || *c == '#')
			return "has a wildcard in the group after $share/";
	if (!selector || selector == end)
		return "has no filter after $share/ and the group";
	return NULL;
}

const char *topic_problem(const char *topic, size_t size)
{
	const char *problem = topic_text_problem(topic, size);
	if (problem)
		return problem;
	if (mosquitto_pub_topic_check2(topic, size) != MOSQ_ERR_SUCCESS)
		return "contains a wildcard";
	return NULL;
}

const char *topic_filter_problem(const char *filter, size_t size)
{
	const char *problem = topic_text_problem(filter, size);
	if (problem)
		return problem;

	const char *end = filter + size;
	if (size == strlen("$share") && memcmp(filter, "$share", size) == 0)
		return "has no filter after $share/ and the group";
	const char *selector = behind_share(filter, end);
	if (selector != filter) {
		problem = share_problem(filter, selector, end);
		if (problem)
			return problem;
	}
	if (mosquitto_sub_topic_check2(selector, (size_t)(end - selector)) != MOSQ_ERR_SUCCESS)
		return "has a wildcard in the wrong place";
	return NULL;
}

bool topic_matches(const char *filter, const char *topic)
{
	const char *selector = behind_share(filter, filter + strlen(filter));
	bool matches = false;

	if (!selector || mosquitto_topic_matches_sub(selector, topic, &matches) != MOSQ_ERR_SUCCESS)
		return false;
	return matches;
}
