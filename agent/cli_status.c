/* status: what is wrong first, then a table for each kind of line. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_client.h"
#include "cli_table.h"
#include "config.h"

/* ---- lines and their fields ---- */

static const char *string(const json_t *line, const char *key)
{
	const char *value = json_string_value(json_object_get(line, key));

	return value ? value : "";
}

static double number(const json_t *line, const char *key)
{
	return json_number_value(json_object_get(line, key));
}

static long long integer(const json_t *line, const char *key)
{
	return json_integer_value(json_object_get(line, key));
}

/* The next line of a kind, from *at on; NULL: there is none. */
static const json_t *next_of(const json_t *lines, const char *kind, size_t *at)
{
	while (*at < json_array_size(lines)) {
		const json_t *line = json_array_get(lines, (*at)++);

		if (strcmp(string(line, "kind"), kind) == 0)
			return line;
	}
	return NULL;
}

static const json_t *first_of(const json_t *lines, const char *kind)
{
	size_t at = 0;

	return next_of(lines, kind, &at);
}

/* printf() of what may hold anything. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list arguments;
	char *text = NULL;
	int size;

	va_start(arguments, format);
	size = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (size < 0)
		return;
	text_print(stdout, text, (size_t)size, "\n");
	free(text);
}

/* ---- the parts ---- */

static void print_agent(const json_t *lines)
{
	const json_t *line = first_of(lines, "agent");

	if (line)
		say("%s: tidegate %s, up %s%s\ninstance %s\n\n", string(line, "name"), string(line, "version"),
		    text_duration(number(line, "uptime_seconds")).string,
		    json_is_true(json_object_get(line, "stopping")) ? ", stopping" : "", string(line, "instance"));
}

static void print_problems(const json_t *lines)
{
	const json_t *line;
	size_t at = 0;

	if (!first_of(lines, "problem"))
		return;
	while ((line = next_of(lines, "problem", &at)) != NULL) {
		const char *name = string(line, "name");
		const json_t *since = json_object_get(line, "since_seconds");
	
		say("! %s%s%s: %s", string(line, "part"), *name ? " " : "", name, string(line, "text"));
		if (since)
			say(" (for %s)", text_duration(json_number_value(since)).string);
		say("\n");
	}
	say("\n");
}

static void print_links(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"link", "state", ">for", "url", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "link", &at)) != NULL) {
		table_cell(table, "%s", string(line, "link"));
		table_cell(table, "%s%s", string(line, "state"), json_is_true(json_object_get(line, "held")) ? ", held" : "");
		table_cell(table, "%s", text_duration(number(line, "since_seconds")).string);
		table_cell(table, "%s", string(line, "url"));
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
		table_cell(table, "%s", string(line, "link"));
		for (size_t i = 1; heads[i]; i++)
			table_cell(table, "%lld", integer(line, heads[i] + 1));
	}
	table_print(table, stdout);
}

/* "12 overflow, 3 expired" */
static void dropped_cell(struct table *table, const json_t *line)
{
	const char *reason;
	json_t *count, *dropped = json_object_get(line, "dropped");
	char text[256] = "";
	size_t size = 0;

	json_object_foreach (dropped, reason, count)
		if (json_integer_value(count) > 0 && size < sizeof text)
			size += (size_t)snprintf(text + size, sizeof text - size, "%s%lld %s", size > 0 ? ", " : "",
			                         (long long)json_integer_value(count), reason);
	table_cell(table, "%s", size > 0 ? text : "0");
}

static void print_queues(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"queue", ">messages", ">bytes", ">in flight", ">unsafe", "dropped", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "queue", &at)) != NULL) {
		table_cell(table, "%s", string(line, "link"));
		table_cell(table, "%lld", integer(line, "messages"));
		table_cell(table, "%s", text_bytes(number(line, "bytes")).string);
		table_cell(table, "%lld", integer(line, "in_flight"));
		table_cell(table, "%lld", integer(line, "unsafe"));
		dropped_cell(table, line);
	}
	table_print(table, stdout);
}

static void print_scripts(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"script", ">calls", ">errors", ">memory", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "script", &at)) != NULL) {
		table_cell(table, "%s", string(line, "script"));
		table_cell(table, "%lld", integer(line, "calls"));
		table_cell(table, "%lld", integer(line, "errors"));
		table_cell(table, "%s", text_bytes(number(line, "memory_bytes")).string);
	}
	table_print(table, stdout);
}

static void print_losses(const json_t *lines, size_t width)
{
	static const char *const heads[] = {"lost", ">messages", ">bytes", "first", "last", "reason", "topic", NULL};
	struct table *table = table_open(heads, width);
	const json_t *line;
	size_t at = 0;

	while ((line = next_of(lines, "loss", &at)) != NULL) {
		table_cell(table, "%s", string(line, "link"));
		table_cell(table, "%lld", integer(line, "count"));
		table_cell(table, "%s", text_bytes(number(line, "bytes")).string);
		table_cell(table, "%s", text_time(number(line, "first_time")).string);
		table_cell(table, "%s", text_time(number(line, "last_time")).string);
		table_cell(table, "%s", string(line, "reason"));
		table_cell(table, "%s", string(line, "topic"));
	}
	table_print(table, stdout);
}

static void print_store(const json_t *lines)
{
	const json_t *line = first_of(lines, "store"), *dead = first_of(lines, "dead_letters");

	if (dead)
		say("dead letters: %lld\n", integer(dead, "count"));
	if (!line)
		return;
	say("store: %s, %s, and %s of write-ahead log\n", string(line, "path"), text_bytes(number(line, "bytes")).string,
	    text_bytes(number(line, "wal_bytes")).string);
	say("       %lld commits, %lld failed", integer(line, "commits"), integer(line, "commit_failures"));
	if (integer(line, "salvages") > 0)
		say(", %lld salvaged", integer(line, "salvages"));
	if (json_object_get(line, "bytes_written"))
		say(", %s written to disk", text_bytes(number(line, "bytes_written")).string);
	say("\n");
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

static int ask(const char *path, bool json, char *err, size_t err_size)
{
	bool absent;
	int fd = client_connect(path, &absent, err, err_size), result;
	json_t *request = json_pack("{s:s}", "command", "status"), *lines = json_array();

	if (fd < 0) {
		result = -1;
		json_decref(request);
	} else if (json) {
		result = client_ask(fd, request, print_line, stdout, err, err_size);
	} else {
		result = client_ask(fd, request, keep, lines, err, err_size);
		print_status(lines);
	}
	json_decref(lines);
	return result;
}

int cli_status(const struct options *options)
{
	const char *path = cli_config_path(options);
	struct problems problems = {0};
	struct config *config = config_glance(path, &problems);
	int status = CLI_FAILED;
	char err[512];

	if (!config || (!config->control && problems.n > 0)) {
		cli_print_problems(&problems);
		status = CLI_CONFIG;
	} else if (!config->control) {
		fprintf(stderr, "tidegate status: %s names no `control` socket to ask at; add for example\n"
		                "    control = \"/run/tidegate/control.sock\",\nand restart the agent\n", path);
	} else if (ask(config->control, options->json, err, sizeof err) < 0) {
		fprintf(stderr, "tidegate status: %s\n", err);
	} else {
		status = 0;
	}
	if (cli_flush() != 0)
		status = CLI_FAILED;
	problems_release(&problems);
	config_free(config);
	return status;
}
