/* The commands of the command line. main.c finds one, reads its options and calls
 * its function, which returns the exit status; data goes to stdout, complaints to
 * stderr. */
#ifndef TIDEGATE_CLI_H
#define TIDEGATE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_FAILED 1
#define CLI_USAGE  64 /* sysexits(3) */
#define CLI_CONFIG 78

#define CLI_HERE      "agent.lua" /* the configuration, if it is there, */
#define CLI_ELSEWHERE "/etc/tidegate/agent.lua"

/* For who wants to ask and has none. */
#define CLI_CONTROL_HINT \
	"to ask a running agent, add for example\n    control = \"/run/tidegate/control.sock\",\nand restart it"

struct config;
struct problems;

struct recording;

#define OPTIONS_DOWN_MAX 64

struct options {
	const char *config; /* NULL: not given */
	bool verbose, json, all;
	const char *record;                                  /* NULL: not given, as the next ones */
	const char *input, *until, *start, *lasts, *rtt; /* of rehearsals */
	const char *link, *limit;                            /* of queue */
	const char *user, *password, *error, *error_every;   /* of kdb listen */
	const char *down[OPTIONS_DOWN_MAX];
	size_t n_down;
	char **operands;
	int n_operands; /* as many as the command takes */
};

int cli_run(const struct options *options);
int cli_check(const struct options *options);
int cli_status(const struct options *options);
int cli_dead(const struct options *options);
int cli_queue(const struct options *options);
int cli_reload(const struct options *options);
int cli_kdb(const struct options *options);
int cli_kdb_decode(const struct options *options);
int cli_kdb_listen(const struct options *options);
int cli_replay(const struct options *options);
int cli_test(const struct options *options);
int cli_version(const struct options *options);

/* ---- for the commands ---- */

/* The file named with -c, or the one that is there. */
const char *cli_config_path(const struct options *options);

/* A full disk or a closed pipe is an error and not silence: 0, or 1 after a complaint. */
int cli_flush(void);

/* What the configuration says as far as it can be read, or NULL after complaints. */
struct config *cli_glance(const struct options *options);

void cli_print_problems(const struct problems *problems);

/* Of rehearsals: an option's value, if it is given; 0, or an exit status after a complaint. */
int cli_read_time(const char *option, const char *text, int64_t *ms); /* seconds, or a duration */
int cli_read_date(const char *option, const char *text, int64_t *ms);
/* From the file, or from stdin if that is NULL or "-". */
int cli_read_recording(struct recording *recording, const char *path);
/* NULL after complaints. */
struct config *cli_read_config(const char *path);

#endif
