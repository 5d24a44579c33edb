/* reload: tells the running agent to read its configuration and scripts anew. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cli_client.h"
#include "cli_table.h"
#include "config.h"

struct report {
	bool json;
	size_t lines;
};

/* What follows the first line, a traceback, is indented as in the log. */
static void print_reason(const char *text)
{
	for (const char *indent = ""; *text; indent = "    ") {
		size_t size = strcspn(text, "\n");

		printf("%s", indent);
		text_print(stdout, text, size, "");
		printf("\n");
		text += size;
		text += strspn(text, "\n\t");
	}
}

static void print_line(void *arg, const char *line_text, size_t size, json_t *line)
{
	struct report *report = arg;
	const char *reason = line_string(line, "reason");

	report->lines++;
	if (report->json) {
		fwrite(line_text, 1, size, stdout);
		fputc('\n', stdout);
	} else if (*line_string(line, "text")) {
		text_printf("%s\n", line_string(line, "text"));
	} else {
		text_printf("%s %s: %s%s", line_string(line, "kind"), line_string(line, "name"), line_string(line, "result"),
		            *reason ? ": " : "\n");
		print_reason(reason);
	}
}

static int ask(const char *path, struct report *report, char *err, size_t err_size)
{
	json_t *request = json_pack("{s:s}", "command", "reload");
	bool absent;
	int fd = client_connect(path, &absent, err, err_size);

	if (fd >= 0)
		return client_ask(fd, request, print_line, report, err, err_size);
	json_decref(request);
	return -1;
}

int cli_reload(const struct options *options)
{
	struct report report = {.json = options->json};
	struct config *config = cli_glance(options);
	int result = -1;
	char err[512];

	if (!config)
		return CLI_CONFIG;
	if (config->control)
		result = ask(config->control, &report, err, sizeof err);
	else
		snprintf(err, sizeof err, "no `control` socket in the configuration; " CLI_CONTROL_HINT);
	config_free(config);
	if (result < 0)
		fprintf(stderr, "tidegate reload: %s\n", err);
	else if (report.lines == 0 && !report.json)
		printf("nothing has changed\n");
	return cli_flush() == 0 && result == 0 ? 0 : CLI_FAILED;
}
