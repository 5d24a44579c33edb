/* test: rules run on a recording, or on one written by hand, without a broker. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "clock.h"
#include "config.h"
#include "play.h"
#include "transcript.h"

static int bad_value(const char *option, const char *expected, const char *text)
{
	fprintf(stderr, "tidegate: %s: expected %s, got %s\n", option, expected, text);
	return CLI_USAGE;
}

int cli_read_time(const char *option, const char *text, int64_t *ms)
{
	char *end;
	double seconds;

	if (!text)
		return 0;
	errno = 0;
	seconds = strtod(text, &end);
	if (end != text && *end == '\0' && errno == 0 && seconds >= 0 && seconds < 1e11) {
		*ms = (int64_t)(seconds * 1000 + 0.5);
		return 0;
	}
	return duration_parse(text, ms) ? 0 : bad_value(option, "seconds or a duration such as \"10m\"", text);
}

int cli_read_date(const char *option, const char *text, int64_t *ms)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};

	if (!text)
		return 0;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct tm date = {.tm_mday = 1};
		const char *end = strptime(text, forms[i], &date);

		if (end && *end == '\0') {
			*ms = (int64_t)timegm(&date) * 1000;
			return *ms >= CLOCK_PLAUSIBLE_MS ? 0 : bad_value(option, "a time from 2024 on", text);
		}
	}
	return bad_value(option, "a time in UTC, 2026-01-31T12:00:00", text);
}

int cli_read_recording(struct recording *recording, const char *path)
{
	bool piped = !path || strcmp(path, "-") == 0;
	FILE *in = piped ? stdin : fopen(path, "re");
	char err[1024];
	int result = -1;

	if (in)
		result = recording_read(recording, in, piped ? "stdin" : path, PLAY_FIELD, err, sizeof err);
	else
		snprintf(err, sizeof err, "%s: %s", path, strerror(errno));
	if (result < 0)
		fprintf(stderr, "tidegate: %s\n", err);
	if (in && !piped)
		fclose(in);
	return result < 0 ? CLI_FAILED : 0;
}

/* ---- what it runs on ---- */

static struct link_config *add_link(struct config *config, const char *name)
{
	struct link_config *links = realloc(config->links, (config->n_links + 1) * sizeof *links), *link;

	if (!links)
		return NULL;
	config->links = links;
	link = config_link_plain(config->name, name);
	if (!link) {
		fprintf(stderr, "tidegate: expected the name of a link, got \"%s\"\n", name);
		return NULL;
	}
	links[config->n_links] = *link;
	free(link);
	return &links[config->n_links++];
}

/* The links that the recording names, and the two that need no name. */
static struct config *make_config(const struct recording *recording)
{
	struct config *config = config_plain();
	struct link_config *core;
	bool ok;

	if (!config)
		return NULL;
	free(config->name);
	config->name = strdup("gateway");
	core = config->name ? add_link(config, PLAY_CORE) : NULL;
	if (core)
		core->is_default = true;
	ok = core && add_link(config, PLAY_FIELD);
	for (const struct names *link = recording->links; ok && link; link = link->next)
		ok = strcmp(link->name, PLAY_CORE) == 0 || strcmp(link->name, PLAY_FIELD) == 0 || add_link(config, link->name);
	if (ok)
		return config;
	config_free(config);
	return NULL;
}

struct config *cli_read_config(const char *path)
{
	struct problems problems = {0};
	struct config *config = config_load(path, NULL, &problems);

	cli_print_problems(&problems);
	problems_release(&problems);
	return config;
}

/* Those of the command line instead of those of the configuration. */
static int set_scripts(struct config *config, const struct options *options)
{
	if (options->n_operands == 0)
		return 0;
	for (size_t i = 0; i < config->n_scripts; i++)
		free(config->scripts[i]);
	free(config->scripts);
	config->n_scripts = 0;
	config->scripts = calloc((size_t)options->n_operands, sizeof *config->scripts);
	for (int i = 0; config->scripts && i < options->n_operands; i++)
		if ((config->scripts[i] = strdup(options->operands[i])))
			config->n_scripts++;
	return config->n_scripts == (size_t)options->n_operands ? 0 : -1;
}

static int run(const struct options *options, struct play *play)
{
	struct transcript transcript = {.out = stdout, .json = options->json};
	int status = CLI_CONFIG;

	play->any_link = !options->config;
	play->config = options->config ? cli_read_config(options->config) : make_config(play->recording);
	if (play->config && set_scripts(play->config, options) == 0) {
		transcript_attach(&transcript, play);
		status = play_run(play);
	}
	config_free(play->config);
	transcript_release(&transcript);
	if (status == 0 && transcript.failures > 0)
		status = CLI_FAILED;
	return cli_flush() == 0 ? status : CLI_FAILED;
}

int cli_test(const struct options *options)
{
	struct recording recording = {0};
	struct play play = {.recording = &recording, .start_ms = PLAY_START_MS, .verbose = options->verbose};
	int status;

	if (options->n_operands == 0 && !options->config) {
		fprintf(stderr, "tidegate test: expected a script\n");
		return CLI_USAGE;
	}
	if (cli_read_time("--until", options->until, &play.until_ms) != 0 ||
	    cli_read_date("--start", options->start, &play.start_ms) != 0)
		return CLI_USAGE;
	status = cli_read_recording(&recording, options->input);
	if (status == 0) {
		clock_simulate(play_start_ms(&play));
		status = run(options, &play);
	}
	recording_release(&recording);
	return status;
}
