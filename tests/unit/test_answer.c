/* Requests and answers, without a socket. */
#include <string.h>

#include "answer.h"
#include "test.h"

static int begins, ends, made;

struct counting {
	json_int_t from, to;
	bool fail;
};

static int begin(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	struct counting *counting = state;
	json_error_t wrong;
	const char *command;
	int fail = 0;

	CHECK(strcmp(arg, "agent") == 0);
	begins++;
	if (json_unpack_ex(request, &wrong, JSON_STRICT, "{s:s, s:I, s?b}", "command", &command, "to", &counting->to, "fail",
	                   &fail) < 0) {
		snprintf(err, err_size, "%s", wrong.text);
		return -1;
	}
	counting->fail = fail;
	return 0;
}

static bool next(void *arg, void *state, struct answer *answer)
{
	struct counting *counting = state;

	CHECK(strcmp(arg, "agent") == 0);
	if (counting->from == counting->to) {
		if (counting->fail)
			answer_fail(answer, "no more than %lld", (long long)counting->to);
		return false;
	}
	answer_line(answer, json_pack("{s:s, s:I}", "kind", "number", "n", counting->from++));
	made++;
	return true;
}

static void end(void *state)
{
	(void)state;
	ends++;
}

/* Works for three turns before it has anything to say. */
static bool work_next(void *arg, void *state, struct answer *answer)
{
	struct counting *counting = state;

	(void)arg;
	made++;
	if (++counting->from <= 3)
		answer_pause(answer);
	else
		answer_line(answer, json_pack("{s:s}", "kind", "done"));
	return counting->from <= 3;
}

static const struct answer_command work = {.name = "work", .next = work_next, .state_size = sizeof(struct counting)};
static const struct answer_command count = {
        .name = "count", .state_size = sizeof(struct counting), .begin = begin, .next = next, .end = end};
static const struct answer_command broken = {.name = "broken", .next = next, .state_size = sizeof(struct counting)};
static const struct answer_command *const commands[] = {&count, &broken, &work, NULL};

static char agent[] = "agent";

static struct answer *ask(const char *request)
{
	struct answer *answer = answer_open(commands, agent, request, strlen(request));

	REQUIRE(answer != NULL);
	return answer;
}

/* The whole answer is `expected`. */
static bool answers(const char *request, const char *expected)
{
	struct answer *answer = ask(request);
	size_t size, length = strlen(expected);
	const char *data = answer_data(answer, &size);
	bool right = data && size == length && memcmp(data, expected, size) == 0;

	if (!right)
		fprintf(stderr, "%s: %.*s\n", request, data ? (int)size : 4, data ? data : "none");
	answer_taken(answer, size);
	right = right && !answer_data(answer, &size) && size == 0;
	answer_close(answer);
	return right;
}

static void answers_in_lines(void)
{
	begins = ends = 0;
	CHECK(answers("{\"command\":\"count\",\"to\":2}",
	              "{\"kind\":\"number\",\"n\":0}\n{\"kind\":\"number\",\"n\":1}\n{\"ok\":true}\n"));
	CHECK(answers("{\"command\":\"count\",\"to\":0}", "{\"ok\":true}\n"));
	CHECK(answers("{\"command\":\"count\",\"to\":1,\"fail\":true}",
	              "{\"kind\":\"number\",\"n\":0}\n{\"error\":\"no more than 1\"}\n"));
	CHECK(begins == 3 && ends == 3);
}

static void refuses_what_is_no_request(void)
{
	static const char expected[] = "{\"error\":\"expected a JSON object with a \\\"command\\\"\"}\n";
	char deep[4096];

	memset(deep, '[', sizeof deep - 1);
	deep[sizeof deep - 1] = 0;
	CHECK(answers("", expected));
	CHECK(answers("status", expected));
	CHECK(answers("[]", expected));
	CHECK(answers("{\"command\":1}", expected));
	CHECK(answers("{\"command\":\"a\",\"command\":\"b\"}", expected));
	CHECK(answers("{\"command\":\"\xff\"}", expected));
	CHECK(answers(deep, expected));
	CHECK(answers("GET / HTTP/1.1\r", expected));
	CHECK(answers("{\"command\":\"fly\"}", "{\"error\":\"unknown command \\\"fly\\\"\"}\n"));
}

static void refuses_wrong_arguments(void)
{
	begins = ends = 0;
	CHECK(answers("{\"command\":\"count\"}", "{\"error\":\"Object item not found: to\"}\n"));
	CHECK(answers("{\"command\":\"count\",\"to\":1,\"by\":2}", "{\"error\":\"1 object item(s) left unpacked: by\"}\n"));
	CHECK(begins == 2 && ends == 2);
	CHECK(answers("{\"command\":\"broken\",\"to\":1}", "{\"error\":\"this command takes no arguments\"}\n"));
}

static void makes_long_answers_in_pieces(void)
{
	struct answer *answer = ask("{\"command\":\"count\",\"to\":100000}");
	size_t size, total = 0, largest = 0;
	const char *data;

	made = 0;
	CHECK(answer_data(answer, &size) != NULL);
	CHECK(made > 100 && made < 2000);
	while ((data = answer_data(answer, &size)) != NULL) {
		int before = made;

		largest = size > largest ? size : largest;
		size = size > 1000 ? 1000 : size;
		total += size;
		answer_taken(answer, size); /* the rest goes before more is made */
		CHECK(made == before);
	}
	CHECK(made == 100000 && largest < 20000 && total > 2000000);
	answer_close(answer);
}

static void can_be_closed_at_any_time(void)
{
	struct answer *answer = ask("{\"command\":\"count\",\"to\":100000}");
	size_t size;

	ends = 0;
	CHECK(answer_data(answer, &size) != NULL);
	answer_close(answer);
	answer_close(ask("{\"command\":\"count\",\"to\":1}"));
	CHECK(ends == 2);
	answer_close(NULL);
}

static void makes_text_of_anything(void)
{
	json_t *plain = answer_text("21.5 \xc2\xb0""C", 8), *binary = answer_text("a\0\xff\xc3", 4), *empty = answer_text(NULL, 0);

	CHECK(strcmp(json_string_value(plain), "21.5 \xc2\xb0""C") == 0);
	CHECK(json_string_length(binary) == 4 && memcmp(json_string_value(binary), "a\0??", 4) == 0);
	CHECK(json_string_length(empty) == 0);
	json_decref(plain);
	json_decref(binary);
	json_decref(empty);
}

/* A turn at a time, and whoever asked is not told that all has left. */
static void works_before_it_says_anything(void)
{
	struct answer *answer = ask("{\"command\":\"work\"}");
	size_t size;
	const char *data;

	made = 0;
	for (int i = 1; i <= 3; i++) {
		data = answer_data(answer, &size);
		CHECK(data && size == 0 && made == i);
	}
	data = answer_data(answer, &size);
	CHECK(data && size > 0 && strncmp(data, "{\"kind\":\"done\"}\n{\"ok\":true}\n", size) == 0);
	answer_taken(answer, size);
	CHECK(!answer_data(answer, &size));
	answer_close(answer);
}

int main(void)
{
	RUN(answers_in_lines);
	RUN(refuses_what_is_no_request);
	RUN(refuses_wrong_arguments);
	RUN(makes_long_answers_in_pieces);
	RUN(can_be_closed_at_any_time);
	RUN(works_before_it_says_anything);
	RUN(makes_text_of_anything);
	return test_end();
}
