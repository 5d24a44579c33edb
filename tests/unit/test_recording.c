/* Recordings as they are read: what lines mean together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recording.h"
#include "test.h"

static struct recording recording;
static char err[300];

static int read_text(const char *text, size_t size)
{
	FILE *in = fmemopen((void *)(uintptr_t)text, size, "r");
	int result;

	REQUIRE(in);
	recording_release(&recording);
	err[0] = '\0';
	result = recording_read(&recording, in, "in", "field", err, sizeof err);
	fclose(in);
	return result;
}

static int read_lines(const char *text)
{
	return read_text(text, strlen(text));
}

static void lines_without_a_time_follow_at_once(void)
{
	CHECK(read_lines("{\"topic\":\"a\"}\n{\"at\":2.0005,\"topic\":\"b\"}\n{\"topic\":\"c\"}\n{\"at\":3}\n") == 0);
	CHECK(recording.n == 4);
	CHECK(recording.items[0].at_ms == 0 && recording.items[0].kind == OCCURRENCE_MESSAGE);
	CHECK(recording.items[1].at_ms == 2001 && recording.items[2].at_ms == 2001);
	CHECK(recording.items[3].at_ms == 3000 && recording.items[3].kind == OCCURRENCE_PASS);
}

static void links_are_named_once_each(void)
{
	CHECK(read_lines("{\"link\":\"core\",\"event\":\"down\"}\n{\"topic\":\"a\"}\n{\"link\":\"core\",\"event\":\"up\"}\n") == 0);
	CHECK(strcmp(recording.links->name, "core") == 0);
	CHECK(strcmp(recording.links->next->name, "field") == 0 && !recording.links->next->next);
	CHECK(recording.items[0].link == recording.items[2].link);
	CHECK(recording.items[0].kind == OCCURRENCE_DOWN && strcmp(recording.items[0].reason, "lost") == 0);
}

/* A router without a battery for its clock, started three times. */
static void time_goes_on_at_a_start_whatever_the_clock_says(void)
{
	CHECK(read_lines("{\"at\":10,\"event\":\"start\"}\n{\"at\":15,\"topic\":\"a\"}\n"
	                 "{\"at\":10,\"event\":\"start\"}\n{\"at\":12,\"topic\":\"b\"}\n"
	                 "{\"at\":1767225600,\"event\":\"start\"}\n{\"at\":1767225601,\"topic\":\"c\"}\n") == 0);
	CHECK(recording.n == 6);
	CHECK(recording.items[1].at_ms == 15000);
	CHECK(recording.items[2].at_ms == 15000 && recording.items[3].at_ms == 17000);
	CHECK(recording.items[4].at_ms == 17000 && recording.items[5].at_ms == 18000);
}

static void a_start_after_a_pause_is_a_pause(void)
{
	CHECK(read_lines("{\"at\":1767225600,\"event\":\"start\"}\n{\"at\":1767225610,\"topic\":\"a\"}\n"
	                 "{\"at\":1767229200,\"event\":\"start\"}\n{\"at\":1767229201,\"topic\":\"b\"}\n") == 0);
	CHECK(recording.items[3].at_ms == INT64_C(1767229201000));
}

static void payloads_may_be_large_and_hold_any_bytes(void)
{
	static const char before[] = "{\"topic\":\"t\",\"payload\":\"", after[] = "\\u0000z\"}\n{\"topic\":\"u\",\"payload_base64\":\"AP8=\"}";
	size_t large = 1000000, size = sizeof before - 1 + large + sizeof after - 1;
	char *text = malloc(size);

	REQUIRE(text);
	memcpy(text, before, sizeof before - 1);
	memset(text + sizeof before - 1, 'x', large);
	memcpy(text + sizeof before - 1 + large, after, sizeof after - 1);
	CHECK(read_text(text, size) == 0);
	CHECK(recording.items[0].message.payload.size == large + 2);
	CHECK(memcmp((const char *)recording.items[0].message.payload.data + large - 1, "x\0z", 3) == 0);
	CHECK(recording.items[1].message.payload.size == 2);
	CHECK(memcmp(recording.items[1].message.payload.data, "\0\xff", 2) == 0);
	free(text);
}

static void json_payloads_arrive_as_their_text(void)
{
	CHECK(read_lines("{\"topic\":\"t\",\"payload\":{\"b\": 0.1, \"a\": [1, null]}}\n{\"topic\":\"t\",\"payload\":21.50}\n") == 0);
	CHECK(strcmp(recording.items[0].message.payload.data, "{\"b\":0.1,\"a\":[1,null]}") == 0);
	CHECK(strcmp(recording.items[1].message.payload.data, "21.5") == 0);
}

static void comments_and_empty_lines_count_as_lines_only(void)
{
	CHECK(read_lines("# two\n\n  \t\n{\"topic\":\"a\"}\n{\"topic\":\"\"}\n") < 0);
	CHECK(strncmp(err, "in:5: topic ", 12) == 0);
	CHECK(read_lines("") == 0 && recording.n == 0);
}

int main(void)
{
	RUN(lines_without_a_time_follow_at_once);
	RUN(links_are_named_once_each);
	RUN(time_goes_on_at_a_start_whatever_the_clock_says);
	RUN(a_start_after_a_pause_is_a_pause);
	RUN(payloads_may_be_large_and_hold_any_bytes);
	RUN(json_payloads_arrive_as_their_text);
	RUN(comments_and_empty_lines_count_as_lines_only);
	recording_release(&recording);
	return test_end();
}
