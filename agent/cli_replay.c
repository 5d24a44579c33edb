/* replay: a recording through the real queue and the links' policy, and what would have
 * become of it: delivered when, lost why, how much waited. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "cli.h"
#include "clock.h"
#include "config.h"
#include "log.h"
#include "play.h"
#include "report.h"

#define RTT_MS 100

/* "core=10h..7d", "core=..1h", "core=2d..": a link, and from when to when it is down. */
static int read_outage(const char *text, struct outage *outage)
{
	const char *equals = strchr(text, '='), *dots = equals ? strstr(equals, "..") : NULL;
	char *from = dots ? strndup(equals + 1, (size_t)(dots - equals - 1)) : NULL;
	int status = from ? 0 : CLI_USAGE;

	*outage = (struct outage){.to_ms = INT64_MAX};
	if (!from)
		fprintf(stderr, "tidegate: --down: expected LINK=FROM..TO as in core=10h..7d, got %s\n", text);
	if (status == 0 && *from)
		status = cli_read_time("--down", from, &outage->from_ms);
	if (status == 0 && dots[2])
		status = cli_read_time("--down", dots + 2, &outage->to_ms);
	if (status == 0 && outage->to_ms <= outage->from_ms) {
		fprintf(stderr, "tidegate: --down: expected it to end after it began, got %s\n", text);
		status = CLI_USAGE;
	}
	free(from);
	outage->link = status == 0 ? strndup(text, (size_t)(equals - text)) : NULL;
	return status;
}

static int read_outages(const struct options *options, struct outage *outages, size_t *n)
{
	for (*n = 0; *n < options->n_down; (*n)++) {
		int status = read_outage(options->down[*n], &outages[*n]);

		if (status != 0)
			return status;
	}
	return 0;
}

/* An outage of a link that does not exist would say that all is well. */
static int check_links(const struct play *play)
{
	for (size_t i = 0; i < play->n_outages; i++) {
		size_t at = 0;

		while (at < play->config->n_links && strcmp(play->config->links[at].name, play->outages[i].link) != 0)
			at++;
		if (at == play->config->n_links) {
			fprintf(stderr, "tidegate: --down: there is no link %s\n", play->outages[i].link);
			return CLI_USAGE;
		}
	}
	return 0;
}

static int run(const struct options *options, struct play *play)
{
	struct report report = {0};
	int status = CLI_CONFIG;

	play->config = cli_read_config(cli_config_path(options));
	if (play->config) {
		status = check_links(play);
		if (status == 0) {
			report_attach(&report, play);
			status = play_run(play);
		}
		if (status == 0)
			report_print(&report, stdout, options->json);
		report_release(&report);
	}
	config_free(play->config);
	return cli_flush() == 0 ? status : CLI_FAILED;
}

static int read_values(const struct options *options, struct play *play)
{
	int status = cli_read_time("--until", options->until, &play->until_ms);

	if (status == 0)
		status = cli_read_time("--for", options->lasts, &play->lasts_ms);
	if (status == 0)
		status = cli_read_time("--rtt", options->rtt, &play->rtt_ms);
	return status == 0 ? cli_read_date("--start", options->start, &play->start_ms) : status;
}

int cli_replay(const struct options *options)
{
	struct recording recording = {0};
	struct outage outages[OPTIONS_DOWN_MAX];
	struct play play = {
	        .recording = &recording, .start_ms = PLAY_START_MS, .rtt_ms = RTT_MS, .outages = outages, .drains = true};
	int status = read_values(options, &play);

	if (status == 0)
		status = read_outages(options, outages, &play.n_outages);
	if (status == 0)
		status = cli_read_recording(&recording, options->operands[0]);
	if (status == 0) {
		clock_simulate(play_start_ms(&play));
		status = run(options, &play);
	}
	for (size_t i = 0; i < play.n_outages; i++)
		free((char *)(uintptr_t)outages[i].link);
	recording_release(&recording);
	return status;
}
