/* status: what is wrong first, then a table for each kind of line. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cli_ask.h"
#include "cli_table.h"
#include "config.h"

/* ---- lines ---- */

/* The next line of a kind, from *at on; NULL: there is none. */
static const json_t *next_of(const json_t *lines, const char *kind, size_t *at)
{
	while (*at < json_array_size(lines)) {
		const json_t *line = json_array_get(lines, (*at)++);

		if (strcmp(line_string(line, "kind"), kind) == 0)
			return line;
	}
	return NULL;
}

static const json_t *first_of(const json_t *lines, const char *kind)
{
	size_t at = 0;

	return next_of(lines, kind, &at);
}

/* ---- the parts ---- */

static void print_agent(const json_t *lines)
{
	const json_t *line = first_of(lines, "agent");

	if (!line)
		return;
	text_printf("%s: tidegate %s", line_string(line, "name"), line_string(line, "version"));
	if (line_truth(line, "running"))
		text_printf(", up %s%s", text_duration(line_number(line, "uptime_seconds")).string,
		            line_truth(line, "stopping") ? ", stopping" : "");
	text_printf("\ninstance %s\n\n", line_string(line, "instance"));
}

static void print_problems(const json_t *lines)
{
	const json_t *line;
	size_t at = 0;

	if (!first_of(lines, "problem"))
		return;
	while ((line = next_of(lines, "problem", &at)) != NULL) {
		const char *name = line_string(line, "name");
		const json_t *since = json_object_get(line, "since_seconds");

		text_printf("! %s%s%s: %s", line_string(line, "part"), *name ? " " : "", name, line_string(line, "text"));
		if (since)
			text_printf(" (for %s)", text_duration(json_number_value(since)).string);
		text_printf("\n");
	}
	text_printf("\n");
}

static void print_links(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"link", "state", ">for", "url", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "link", &at)) != NULL) {
		table_cell(table, "%s", line_string(line, "link"));
		table_cell(table, "%s%s", line_string(line, "state"), line_truth(line, "held") ? ", held" : "");
		table_cell(table, "%s", text_duration(line_number(line, "since_seconds")).string);
		table_cell(table, "%s", line_string(line, "url"));
	}
	table_print(table, stdout);
}

static void print_traffic(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"link", ">received", ">sent", ">acknowledged", ">reconnects", ">stalls", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "link", &at)) != NULL) {
		table_cell(table, "%s", line_string(line, "link"));
		for (size_t i = 1; heads[i]; i++)
			table_cell(table, "%lld", line_integer(line, heads[i] + 1));
	}
	table_print(table, stdout);
}

/* "12 overflow, 3 expired" */
static void dropped_cell(struct table *table, const json_t *line)
{
	json_t *dropped = json_object_get(line, "dropped");
	char text[256] = "";
	size_t size = 0;

	for (void *at = json_object_iter(dropped); at && size < sizeof text; at = json_object_iter_next(dropped, at)) {
		long long count = json_integer_value(json_object_iter_value(at));

		if (count > 0)
			size += (size_t)snprintf(text + size, sizeof text - size, "%s%lld %s", size > 0 ? ", " : "", count,
			                         json_object_iter_key(at));
	}
	table_cell(table, "%s", size > 0 ? text : "0");
}

static void print_queues(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"queue", ">messages", ">bytes", ">in flight", ">awaiting", ">unsafe", "dropped", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "queue", &at)) != NULL) {
		table_cell(table, "%s", line_string(line, "link"));
		table_cell(table, "%lld", line_integer(line, "messages"));
		table_cell(table, "%s", text_bytes(line_number(line, "bytes")).string);
		table_cell(table, "%lld", line_integer(line, "in_flight"));
		table_cell(table, "%lld", line_integer(line, "awaiting"));
		table_cell(table, "%lld", line_integer(line, "unsafe"));
		dropped_cell(table, line);
	}
	table_print(table, stdout);
}

static void print_scripts(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"script", ">calls", ">errors", ">memory", ">state", ">rollbacks", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "script", &at)) != NULL) {
		table_cell(table, "%s", line_string(line, "script"));
		table_cell(table, "%lld", line_integer(line, "calls"));
		table_cell(table, "%lld", line_integer(line, "errors"));
		table_cell(table, "%s", text_bytes(line_number(line, "memory_bytes")).string);
		table_cell(table, "%s", text_bytes(line_number(line, "state_bytes")).string);
		table_cell(table, "%lld", line_integer(line, "rollbacks"));
	}
	table_print(table, stdout);
}

/* There may be a thousand. */
static void print_metrics(const json_t *lines)
{
	size_t at = 0, n = 0;

	while (next_of(lines, "metric", &at))
		n++;
	if (n > 0)
		text_printf("metrics of scripts: %zu (--json shows them)\n\n", n);
}

static void print_losses(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"lost", ">messages", ">bytes", "first", "last", "reason", "topic", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "loss", &at)) != NULL) {
		table_cell(table, "%s", line_string(line, "link"));
		table_cell(table, "%lld", line_integer(line, "count"));
		table_cell(table, "%s", text_bytes(line_number(line, "bytes")).string);
		table_cell(table, "%s", text_time(line_number(line, "first_time")).string);
		table_cell(table, "%s", text_time(line_number(line, "last_time")).string);
		table_cell(table, "%s", line_string(line, "reason"));
		table_cell(table, "%s", line_string(line, "topic"));
	}
	table_print(table, stdout);
}

static void print_store(const json_t *lines)
{
	const json_t *line = first_of(lines, "store"), *dead = first_of(lines, "dead_letters");

	if (dead)
		text_printf("dead letters: %lld\n", line_integer(dead, "count"));
	if (!line)
		return;
	text_printf("store: %s, %s, and %s of write-ahead log\n", line_string(line, "path"),
	            text_bytes(line_number(line, "bytes")).string, text_bytes(line_number(line, "wal_bytes")).string);
	if (!line_truth(first_of(lines, "agent"), "running"))
		return;
	text_printf("       %lld commits, %lld failed", line_integer(line, "commits"), line_integer(line, "commit_failures"));
	if (line_integer(line, "salvages") > 0)
		text_printf(", %lld salvaged after damage", line_integer(line, "salvages"));
	if (json_object_get(line, "bytes_written"))
		text_printf(", %s written to disk", text_bytes(line_number(line, "bytes_written")).string);
	text_printf("\n");
}

static void print_status(const json_t *lines)
{
	size_t width = text_width();

	print_agent(lines);
	print_problems(lines);
	print_links(lines, width);
	print_traffic(lines, width);
	print_queues(lines, width);
	print_scripts(lines, width);
	print_metrics(lines);
	print_losses(lines, width);
	print_store(lines);
}

/* ---- the command ---- */

static void keep(void *arg, const char *text, size_t size, json_t *line)
{
	(void)text;
	(void)size;
	json_array_append(arg, line);
}

static void print_line(void *arg, const char *text, size_t size, json_t *line)
{
	(void)line;
	fwrite(text, 1, size, arg);
	fputc('\n', arg);
}

/* 0, or -1; `nobody` as cli_ask() has it. */
static int ask(struct config *config, bool json, char *nobody, char *err, size_t err_size)
{
	json_t *request = json_pack("{s:s}", "command", "status"), *lines = json_array();
	int result;

	if (json) {
		result = cli_ask("status", config, request, print_line, stdout, nobody, err, err_size);
	} else {
		result = cli_ask("status", config, request, keep, lines, nobody, err, err_size);
		print_status(lines);
	}
	json_decref(lines);
	return result;
}

/* Who asks whether all is well with the agent is told that none runs, whatever there is to see. */
int cli_status(const struct options *options)
{
	struct config *config = cli_glance(options);
	char nobody[CLI_NOBODY] = "", err[512];
	int done;

	if (!config)
		return CLI_CONFIG;
	done = ask(config, options->json, nobody, err, sizeof err);
	if (*nobody)
		fprintf(stderr, "tidegate status: %s\n", nobody);
	if (done < 0)
		fprintf(stderr, "tidegate status: %s\n", err);
	config_free(config);
	return cli_flush() == 0 && done == 0 && !*nobody ? 0 : CLI_FAILED;
}
