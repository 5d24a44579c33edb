/* Topic names and filters: the examples of MQTT's section 4.7, then hostile bytes. */
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "topic.h"

static const char *name_problem(const char *topic)
{
	return topic_problem(topic, strlen(topic));
}

static const char *filter_problem(const char *filter)
{
	return topic_filter_problem(filter, strlen(filter));
}

static bool says(const char *problem, const char *expected)
{
	if (problem && strcmp(problem, expected) == 0)
		return true;
	fprintf(stderr, "got: %s\n", problem ? problem : "no problem");
	return false;
}

static void names(void)
{
	CHECK(!name_problem("sensors/1/temperature"));
	CHECK(!name_problem("/"));
	CHECK(!name_problem("/finance"));
	CHECK(!name_problem("Accounts payable"));
	CHECK(!name_problem("$SYS/monitor"));
	CHECK(!name_problem("caf\xc3\xa9/\xe6\xb8\xa9\xe5\xba\xa6/\xf0\x9f\x8c\x8a"));
	CHECK(says(name_problem(""), "is empty"));
	CHECK(says(name_problem("a/+/b"), "contains a wildcard"));
	CHECK(says(name_problem("a/#"), "contains a wildcard"));
	CHECK(says(name_problem("a+b"), "contains a wildcard"));
	CHECK(says(topic_problem("a\0b", 3), "contains a NUL byte"));
	CHECK(says(name_problem("a\nb"), "contains a control character"));
	CHECK(says(name_problem("a\x7f"), "contains a control character"));
	CHECK(says(name_problem("a\xc2\x85"), "contains a control character"));
}

static void filters(void)
{
	CHECK(!filter_problem("#"));
	CHECK(!filter_problem("+"));
	CHECK(!filter_problem("sport/tennis/#"));
	CHECK(!filter_problem("+/tennis/#"));
	CHECK(!filter_problem("sport/+/player1"));
	CHECK(!filter_problem("/+"));
	CHECK(!filter_problem("$SYS/#"));
	CHECK(says(filter_problem(""), "is empty"));
	CHECK(says(filter_problem("sport/tennis#"), "has a wildcard in the wrong place"));
	CHECK(says(filter_problem("sport/tennis/#/ranking"), "has a wildcard in the wrong place"));
	CHECK(says(filter_problem("sport+"), "has a wildcard in the wrong place"));
	CHECK(says(filter_problem("+sport"), "has a wildcard in the wrong place"));
	CHECK(says(filter_problem("#/"), "has a wildcard in the wrong place"));
	CHECK(says(topic_filter_problem("a\0b", 3), "contains a NUL byte"));
	CHECK(says(filter_problem("\xff"), "is not valid UTF-8"));
}

static void shared_filters(void)
{
	CHECK(!filter_problem("$share/group/sensors/#"));
	CHECK(!filter_problem("$share/g/#"));
	CHECK(!filter_problem("$share/g//"));
	CHECK(!filter_problem("$share/g/$SYS/#"));
	CHECK(!filter_problem("$shared/#"));
	CHECK(says(filter_problem("$share"), "has no filter after $share/ and the group"));
	CHECK(says(filter_problem("$share/"), "has an empty group after $share/"));
	CHECK(says(filter_problem("$share//a"), "has an empty group after $share/"));
	CHECK(says(filter_problem("$share/g"), "has no filter after $share/ and the group"));
	CHECK(says(filter_problem("$share/g/"), "has no filter after $share/ and the group"));
	CHECK(says(filter_problem("$share/+/a"), "has a wildcard in the group after $share/"));
	CHECK(says(filter_problem("$share/a#/b"), "has a wildcard in the group after $share/"));
	CHECK(says(filter_problem("$share/#"), "has a wildcard in the group after $share/"));
	CHECK(says(filter_problem("$share/g/a#"), "has a wildcard in the wrong place"));
}

static void utf8(void)
{
	static const char *const invalid[] = {
		"\x80",             /* a continuation byte alone */
		"\xc0\xaf",         /* overlong */
		"\xe0\x80\xaf",     /* overlong */
		"\xf0\x80\x80\xaf", /* overlong */
		"\xed\xa0\x80",     /* a surrogate */
		"\xf4\x90\x80\x80", /* above U+10FFFF */
		"\xf5\x80\x80\x80", "\xff", "a\xc3",
		"\xe2\x82", "\xf0\x9f\x8c", "\xc3/",
		"\xef\xbf\xbf",     /* a non-character */
	};
	for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
		CHECK(says(name_problem(invalid[i]), "is not valid UTF-8"));
}

/* A character cut off by the end of the memory: nothing behind it may be read. */
static void unterminated(void)
{
	static const char *const cut[] = {"\xc3", "\xe2", "\xe2\x82", "\xf0", "\xf0\x9f", "\xf0\x9f\x8c"};
	for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
		size_t size = strlen(cut[i]);
		char *copy = malloc(size);
		memcpy(copy, cut[i], size);
		CHECK(says(topic_problem(copy, size), "is not valid UTF-8"));
		CHECK(says(topic_filter_problem(copy, size), "is not valid UTF-8"));
		free(copy);
	}
}

static void longest(void)
{
	char *text = malloc(65536);
	memset(text, 'a', 65536);
	CHECK(!topic_problem(text, 65535));
	CHECK(!topic_filter_problem(text, 65535));
	CHECK(says(topic_problem(text, 65536), "is longer than 65535 bytes"));
	CHECK(says(topic_filter_problem(text, 65536), "is longer than 65535 bytes"));
	free(text);
}

static void matching(void)
{
	CHECK(topic_matches("sport/tennis/player1/#", "sport/tennis/player1"));
	CHECK(topic_matches("sport/tennis/player1/#", "sport/tennis/player1/ranking"));
	CHECK(topic_matches("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"));
	CHECK(topic_matches("sport/#", "sport"));
	CHECK(topic_matches("#", "a/b/c"));
	CHECK(topic_matches("sport/tennis/+", "sport/tennis/player1"));
	CHECK(!topic_matches("sport/tennis/+", "sport/tennis/player1/ranking"));
	CHECK(!topic_matches("sport/+", "sport"));
	CHECK(topic_matches("sport/+", "sport/"));
	CHECK(topic_matches("+/+", "/finance"));
	CHECK(topic_matches("/+", "/finance"));
	CHECK(!topic_matches("+", "/finance"));
	CHECK(!topic_matches("ACCOUNTS", "Accounts"));
	CHECK(!topic_matches("/A", "A"));
}

static void dollar_topics(void)
{
	CHECK(!topic_matches("#", "$SYS/uptime"));
	CHECK(!topic_matches("+/monitor/Clients", "$SYS/monitor/Clients"));
	CHECK(topic_matches("$SYS/#", "$SYS/uptime"));
	CHECK(topic_matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
	CHECK(topic_matches("$share/g/sensors/+", "sensors/1"));
	CHECK(!topic_matches("$share/g/sensors/+", "alarms/1"));
	CHECK(!topic_matches("$share/g/#", "$SYS/uptime"));
	CHECK(topic_matches("$share/g/$SYS/#", "$SYS/uptime"));
}

/* The definition, a level at a time. */
static bool matches_by_definition(const char *filter, const char *topic)
{
	for (;;) {
		if (strcmp(filter, "#") == 0)
			return true;
		size_t f = strcspn(filter, "/"), t = strcspn(topic, "/");
		if (!(f == 1 && *filter == '+') && (f != t || memcmp(filter, topic, f) != 0))
			return false;
		filter += f;
		topic += t;
		if (!*filter || !*topic)
			return !*topic && (!*filter || strcmp(filter, "/#") == 0);
		filter++;
		topic++;
	}
}

static void spell(char *out, unsigned number, const char *letters)
{
	size_t n = strlen(letters), i = 0;
	for (; number; number /= (unsigned)(n + 1)) {
		unsigned digit = number % (unsigned)(n + 1);
		if (digit)
			out[i++] = letters[digit - 1];
	}
	out[i] = 0;
}

/* Every valid filter of up to six of "a/+#" against every topic of up to five of "a/". */
static void matching_exhaustively(void)
{
	unsigned pairs = 0, wrong = 0;
	for (unsigned f = 1; f < 5 * 5 * 5 * 5 * 5 * 5; f++) {
		char filter[8];
		spell(filter, f, "a/+#");
		if (filter_problem(filter))
			continue;
		for (unsigned t = 1; t < 3 * 3 * 3 * 3 * 3; t++) {
			char topic[8];
			spell(topic, t, "a/");
			pairs++;
			if (topic_matches(filter, topic) != matches_by_definition(filter, topic)) {
				wrong++;
				fprintf(stderr, "%s against %s\n", filter, topic);
			}
		}
	}
	CHECK(pairs > 10000);
	CHECK(wrong == 0);
}

int main(void)
{
	RUN(names);
	RUN(filters);
	RUN(shared_filters);
	RUN(utf8);
	RUN(unterminated);
	RUN(longest);
	RUN(matching);
	RUN(dollar_topics);
	RUN(matching_exhaustively);
	return test_end();
}
