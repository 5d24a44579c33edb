/* queue: asks the agent that runs, or looks into the database of one that does not, and prints what
 * comes as it comes: a backlog is long. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "cli.h"
#include "cli_ask.h"
#include "cli_table.h"
#include "clock.h"
#include "config.h"
#include "jsonl.h"
#include "queue_commands.h"
#include "row_text.h"

#define ROW_MAX    4000 /* bytes of a row, for people */
#define TABLE_ROWS 1000 /* are laid out together */

struct output {
	const struct verb *verb;
	bool json, failed;
	json_t *message;       /* whose payload is not whole yet, perhaps */
	struct buffer payload; /* the pieces of it */
	struct table *table;
	size_t rows;
	double at;             /* of the line before, in an export */
	long long purged, limit;
};

/* ---- list ---- */

static void end_table(struct output *output)
{
	if (output->table)
		table_print(output->table, stdout);
	output->table = NULL;
	output->rows = 0;
}

static const char *state_of(const json_t *message)
{
	if (line_truth(message, "in_flight"))
		return "in flight";
	return line_truth(message, "saved") ? "waiting" : "in memory";
}

static void list_message(struct output *output, const json_t *message)
{
	static const char *const heads[] = {">seq",      "received", ">bytes",  ">qos",
	                                    ">priority", "state",    "expires", "topic", NULL};

	if (!output->table)
		output->table = table_open(heads, text_width());
	table_cell(output->table, "%lld", line_integer(message, "seq"));
	table_cell(output->table, "%s", text_time(line_number(message, "time")).string);
	table_cell(output->table, "%lld", line_integer(message, "bytes"));
	table_cell(output->table, "%lld", line_integer(message, "qos"));
	table_cell(output->table, "%lld", line_integer(message, "priority"));
	table_cell(output->table, "%s", state_of(message));
	table_cell(output->table, "%s",
	           json_object_get(message, "expires") ? text_time(line_number(message, "expires")).string : "");
	table_cell(output->table, "%s", line_string(message, "topic"));
	if (++output->rows == TABLE_ROWS)
		end_table(output);
}

static void print_queue(struct output *output, const json_t *line)
{
	long long messages = line_integer(line, "messages");

	end_table(output);
	if (!json_object_get(line, "messages")) {
		text_printf("%s: not configured, and not counted while the agent runs\n", line_string(line, "link"));
		return;
	}
	text_printf("%s: %lld message%s, %s", line_string(line, "link"), messages, messages == 1 ? "" : "s",
	            text_bytes(line_number(line, "bytes")).string);
	if (messages > output->limit)
		text_printf("; the oldest %lld:", output->limit);
	text_printf("\n");
}

/* ---- show ---- */

static void show_row(struct bytes payload)
{
	struct buffer row = {0};

	if (row_print(payload, &row, ROW_MAX) == 0) {
		printf("values    ");
		text_print(stdout, row.data, row.size, "\n\t");
		printf("\n");
	}
	buffer_release(&row);
}

static void show_message(struct output *output, const json_t *message)
{
	struct buffer payload = {0};
	bool row = json_object_get(message, "table");
	long long bytes = line_integer(message, "bytes");
	char err[128];

	text_printf("message   %lld for link %s, %s\n", line_integer(message, "seq"), line_string(message, "link"),
	            state_of(message));
	text_printf("received  %s, QoS %lld%s, priority %lld\n", text_time(line_number(message, "time")).string,
	            line_integer(message, "qos"), line_truth(message, "retain") ? ", retained" : "",
	            line_integer(message, "priority"));
	if (json_object_get(message, "expires"))
		text_printf("expires   %s\n", text_time(line_number(message, "expires")).string);
	text_printf("%s     %s\n", row ? "table" : "topic", line_string(message, "topic"));
	if (jsonl_get_bytes(message, "payload", &payload, err, sizeof err) < 0)
		output->failed = true;
	if (row) {
		show_row((struct bytes){payload.data, payload.size});
	} else {
		text_printf("payload   %lld byte%s\n", bytes, bytes == 1 ? "" : "s");
		text_print(stdout, payload.data, payload.size, "\n\t");
		printf("\n");
	}
	buffer_release(&payload);
}

/* ---- export ---- */

/* A recording is in order of time, all of it since 1970: what the clock said while it was not set, or before it was
 * set back, does not go back. */
static double time_for(struct output *output, const json_t *message)
{
	double time = line_number(message, "time"), least = output->at;

	if (least < (double)CLOCK_PLAUSIBLE_MS / 1000)
		least = (double)CLOCK_PLAUSIBLE_MS / 1000;
	output->at = time > least ? time : least;
	return output->at;
}

static void copy(json_t *line, const json_t *message, const char *key, const char *as)
{
	if (json_object_get(message, key))
		json_object_set(line, as, json_object_get(message, key));
}

/* As agent/recording.h has it; a row goes as JSON. */
static json_t *exported(struct output *output, const json_t *message)
{
	json_t *line = json_object();

	json_object_set_new(line, "at", json_real(time_for(output, message)));
	copy(line, message, "link", "link");
	copy(line, message, "seq", "seq");
	copy(line, message, "table", "table");
	copy(line, message, "topic", "topic");
	if (json_object_get(message, "row")) {
		copy(line, message, "row", "payload");
	} else {
		copy(line, message, "payload", "payload");
		copy(line, message, "payload_base64", "payload_base64");
	}
	copy(line, message, "qos", "qos");
	if (line_truth(message, "retain"))
		copy(line, message, "retain", "retain");
	if (line_integer(message, "priority") > 0)
		copy(line, message, "priority", "priority");
	copy(line, message, "expires", "expires");
	copy(line, message, "properties", "properties");
	return line;
}

/* ---- as it comes ---- */

static void print_json(struct output *output, const json_t *object, size_t flags)
{
	if (!object || json_dumpf(object, stdout, flags) < 0)
		output->failed = true;
	printf("\n");
}

static void export_message(struct output *output, const json_t *message)
{
	json_t *line = exported(output, message);

	print_json(output, line, JSONL_DUMP);
	json_decref(line);
}

static void finish_message(struct output *output);

static void print_purged(struct output *output, const json_t *line)
{
	long long count = line_integer(line, "count"), left = line_integer(line, "in_flight");

	output->purged += count;
	if (count == 0 && left == 0)
		return;
	text_printf("%s: %lld message%s purged", line_string(line, "link"), count, count == 1 ? "" : "s");
	if (left > 0)
		text_printf("; %lld in flight, delivered if acknowledged, given up if %s back", left,
		            left == 1 ? "it comes" : "they come");
	text_printf("\n");
}

static void take(void *arg, const char *text, size_t size, json_t *line)
{
	struct output *output = arg;
	const char *kind = line_string(line, "kind");

	(void)text;
	(void)size;
	if (strcmp(kind, "payload") == 0) {
		output->failed = cli_take_payload(&output->payload, line) < 0 || output->failed;
		return;
	}
	finish_message(output);
	if (strcmp(kind, "message") == 0)
		output->message = json_incref(line);
	else if (strcmp(kind, "purging") == 0)
		return;
	else if (output->json)
		print_json(output, line, JSON_COMPACT | JSON_REAL_PRECISION(15));
	else if (strcmp(kind, "queue") == 0)
		print_queue(output, line);
	else if (strcmp(kind, "purged") == 0)
		print_purged(output, line);
}

/* ---- the command ---- */

static const struct verb {
	const char *name, *command;
	bool link, limit; /* takes them */
	void (*print)(struct output *output, const json_t *message);
	bool always; /* it prints JSON for people, too */
} verbs[] = {
	{"list", "queue list", true, true, list_message, false},
	{"show", "queue show", false, false, show_message, false},
	{"purge", "queue purge", true, false, NULL, false},
	{"export", "queue export", true, false, export_message, true},
};

/* Its payload is whole. */
static void finish_message(struct output *output)
{
	if (!output->message)
		return;
	if (output->payload.size > 0)
		jsonl_put_bytes(output->message, "payload", (struct bytes){output->payload.data, output->payload.size});
	if (output->json && !output->verb->always)
		print_json(output, output->message, JSON_COMPACT | JSON_REAL_PRECISION(15));
	else
		output->verb->print(output, output->message);
	json_decref(output->message);
	output->message = NULL;
	buffer_reset(&output->payload);
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

/* What is wrong with how it is used, or NULL. */
static const char *problem(const struct options *options, const struct verb *verb)
{
	bool seq = options->n_operands > 1, shows = verb && strcmp(verb->name, "show") == 0;
	bool purges = verb && strcmp(verb->name, "purge") == 0;

	if (!verb)
		return "expected list, show, purge or export";
	if (seq && !shows && !purges)
		return "unexpected operand after list or export";
	if ((seq && cli_read_number(options->operands[1]) == 0) || (shows && !seq))
		return "expected the number of a message";
	if ((options->link && !verb->link) || (options->limit && !verb->limit) || (options->all && !purges))
		return "this option is not one of that command";
	if (options->limit && cli_read_number(options->limit) == 0)
		return "--limit: expected a number from 1";
	if (purges && seq + (options->link != NULL) + options->all != 1)
		return "purge: expected the number of a message, --link L or --all";
	return NULL;
}

static json_t *make_request(const struct options *options, const struct verb *verb)
{
	json_t *request = json_pack("{s:s}", "command", verb->command);

	if (options->n_operands > 1)
		json_object_set_new(request, "seq", json_integer(cli_read_number(options->operands[1])));
	if (options->link)
		json_object_set_new(request, "link", json_string(options->link));
	if (options->limit)
		json_object_set_new(request, "limit", json_integer(cli_read_number(options->limit)));
	if (options->all)
		json_object_set_new(request, "all", json_true());
	return request;
}

static int ask_and_print(const struct options *options, struct config *config, const struct verb *verb)
{
	struct output output = {.verb = verb, .json = options->json, .limit = QUEUE_LIST_LIMIT};
	char err[512];
	int done;

	if (options->limit)
		output.limit = cli_read_number(options->limit);
	done = cli_ask("queue", config, make_request(options, verb), take, &output, NULL, err, sizeof err);
	finish_message(&output);
	end_table(&output);
	if (done == 0 && !verb->print && output.purged == 0 && !options->json)
		printf("0 messages purged\n");
	if (done < 0)
		fprintf(stderr, "tidegate queue: %s\n", err);
	else if (output.failed)
		fprintf(stderr, "tidegate queue: out of memory, or the output cannot be written\n");
	buffer_release(&output.payload);
	return done < 0 || output.failed ? -1 : 0;
}

int cli_queue(const struct options *options)
{
	const struct verb *verb = find_verb(options->operands[0]);
	const char *wrong = problem(options, verb);
	struct config *config;
	int done;

	if (wrong) {
		fprintf(stderr, "tidegate queue: %s\n", wrong);
		return CLI_USAGE;
	}
	config = cli_glance(options);
	if (!config)
		return CLI_CONFIG;
	done = ask_and_print(options, config, verb);
	config_free(config);
	return cli_flush() == 0 && done == 0 ? 0 : CLI_FAILED;
}
