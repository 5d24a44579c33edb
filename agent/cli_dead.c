/* dead: asks the agent that runs, or works on the database of one that does not. */
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "cli.h"
#include "cli_ask.h"
#include "cli_table.h"
#include "config.h"
#include "jsonl.h"
#include "row_text.h"

#define ROW_MAX 4000 /* bytes of a row, for people */

/* What came, until it is printed. */
struct result {
	json_t *lines;
	struct buffer payload; /* of dead show */
};

/* ---- asking ---- */

static void take(void *arg, const char *text, size_t size, json_t *line)
{
	struct result *result = arg;

	(void)text;
	(void)size;
	if (strcmp(line_string(line, "kind"), "payload") == 0)
		(void)cli_take_payload(&result->payload, line); /* without memory it is not whole, as its size tells */
	else
		json_array_append(result->lines, line);
}

/* ---- printing ---- */

static void print_list(const struct result *result)
{
	static const char *const heads[] = {">id", "received", "script", "topic", "reason", NULL};
	struct table *table = table_open(heads, text_width());
	size_t n = json_array_size(result->lines);

	for (size_t i = 0; i < n; i++) {
		const json_t *line = json_array_get(result->lines, i);
		const char *script = line_string(line, "script"); /* empty: a row that link could not deliver */

		table_cell(table, "%lld", line_integer(line, "id"));
		table_cell(table, "%s", text_time(line_number(line, "time")).string);
		table_cell(table, "%s%s", *script ? "" : "link ", *script ? script : line_string(line, "link"));
		table_cell(table, "%s", line_string(line, "topic"));
		table_cell(table, "%s", line_string(line, "reason"));
	}
	table_print(table, stdout);
	printf("%zu dead letter%s\n", n, n == 1 ? "" : "s");
}

static struct bytes payload_of(const struct result *result)
{
	return (struct bytes){result->payload.data, result->payload.size};
}

/* False if it is none. */
static bool print_row(const struct result *result)
{
	struct buffer text = {0};
	bool row = row_print(payload_of(result), &text, ROW_MAX) == 0;

	if (row) {
		printf("values       ");
		text_print(stdout, text.data, text.size, "\n\t");
		printf("\n");
	}
	buffer_release(&text);
	return row;
}

static void print_letter(const struct result *result)
{
	const json_t *line = json_array_get(result->lines, 0);

	text_printf("dead letter  %lld%s\n", line_integer(line, "id"),
	            line_truth(line, "retry") ? ", retried when the agent starts" : "");
	text_printf("received     %s on link %s, QoS %lld%s\n", text_time(line_number(line, "time")).string,
	            line_string(line, "link"), line_integer(line, "qos"), line_truth(line, "retain") ? ", retained" : "");
	if (*line_string(line, "script"))
		text_printf("script       %s, failed %lld time%s\n", line_string(line, "script"), line_integer(line, "tries"),
		            line_integer(line, "tries") == 1 ? "" : "s");
	else
		text_printf("row          that the collector of link %s did not take\n", line_string(line, "link"));
	text_printf("reason       %s\n", line_string(line, "reason"));
	text_printf("%s        %s\n", *line_string(line, "script") ? "topic" : "table", line_string(line, "topic"));
	if (!*line_string(line, "script") && print_row(result))
		return;
	text_printf("payload      %lld byte%s\n", line_integer(line, "bytes"), line_integer(line, "bytes") == 1 ? "" : "s");
	text_print(stdout, result->payload.data, result->payload.size, "\n\t");
	printf("\n");
}

static void print_retried(const struct result *result)
{
	size_t n = json_array_size(result->lines);

	for (size_t i = 0; i < n; i++) {
		const json_t *line = json_array_get(result->lines, i);

		text_printf("dead letter %lld: %s%s\n", line_integer(line, "id"),
		            line_truth(line, "later")     ? "will be retried when the agent starts"
		            : line_truth(line, "handled") ? "handled"
		                                          : "not handled: ",
		            line_string(line, "reason"));
	}
	if (n == 0)
		printf("0 dead letters\n");
}

static void print_purged(const struct result *result)
{
	long long count = line_integer(json_array_get(result->lines, 0), "count");

	printf("%lld dead letter%s purged\n", count, count == 1 ? "" : "s");
}

/* A payload that is text is given as it is. */
static void add_payload(struct result *result)
{
	json_t *line = json_array_get(result->lines, 0);

	if (!line)
		return;
	if (!*line_string(line, "script"))
		json_object_set_new(line, "row", row_json(payload_of(result), NULL));
	jsonl_put_bytes(line, "payload", payload_of(result));
}

static void print_json(const struct result *result)
{
	for (size_t i = 0; i < json_array_size(result->lines); i++) {
		json_dumpf(json_array_get(result->lines, i), stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
		printf("\n");
	}
}

/* ---- the command ---- */

static const struct verb {
	const char *name, *command;
	int least, most; /* ids */
	void (*print)(const struct result *result);
} verbs[] = {
	{"list", "dead list", 0, 0, print_list},
	{"show", "dead show", 1, 1, print_letter},
	{"retry", "dead retry", 0, 1, print_retried},
	{"purge", "dead purge", 0, 1, print_purged},
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

/* The request, or NULL after a complaint. */
static json_t *make_request(const struct options *options, const struct verb *verb)
{
	int n = options->n_operands - 1;
	json_int_t id = n > 0 ? cli_read_number(options->operands[1]) : 0;

	if (!verb)
		fprintf(stderr, "tidegate dead: expected list, show, retry or purge, got %s\n", options->operands[0]);
	else if (n < verb->least)
		fprintf(stderr, "tidegate dead: expected the number of a dead letter after %s\n", verb->name);
	else if (n > verb->most)
		fprintf(stderr, "tidegate dead: unexpected %s\n", options->operands[1]);
	else if (n > 0 && id == 0)
		fprintf(stderr, "tidegate dead: expected the number of a dead letter, got %s\n", options->operands[1]);
	else
		return n > 0 ? json_pack("{s:s, s:I}", "command", verb->command, "id", id)
		             : json_pack("{s:s}", "command", verb->command);
	return NULL;
}

/* A letter that failed again is a failure to who asked for it. */
static bool all_handled(const struct result *result)
{
	for (size_t i = 0; i < json_array_size(result->lines); i++)
		if (json_is_false(json_object_get(json_array_get(result->lines, i), "handled")))
			return false;
	return true;
}

static int ask_and_print(const struct options *options, struct config *config, const struct verb *verb,
                         json_t *request)
{
	struct result result = {.lines = json_array()};
	char err[512];
	int done = cli_ask("dead", config, request, take, &result, NULL, err, sizeof err);

	if (verb->print == print_letter && done == 0)
		add_payload(&result);
	if (options->json)
		print_json(&result);
	else if (done == 0)
		verb->print(&result);
	if (done < 0)
		fprintf(stderr, "tidegate dead: %s\n", err);
	if (!all_handled(&result))
		done = -1;
	json_decref(result.lines);
	buffer_release(&result.payload);
	return done;
}

int cli_dead(const struct options *options)
{
	const struct verb *verb = find_verb(options->operands[0]);
	json_t *request = make_request(options, verb);
	struct config *config;
	int done;

	if (!request)
		return CLI_USAGE;
	config = cli_glance(options);
	if (!config) {
		json_decref(request);
		return CLI_CONFIG;
	}
	done = ask_and_print(options, config, verb, request);
	config_free(config);
	return cli_flush() == 0 && done == 0 ? 0 : CLI_FAILED;
}
