/* run, check and version. */
#include <stdio.h>
#include <unistd.h>

#include "cli.h"
#include "clock.h"
#include "config.h"
#include "log.h"
#include "mqtt.h"
#include "privileges.h"
#include "run.h"
#include "script.h"
#include "store.h"

#define AGAIN_AFTER_MS 60000 /* a run that ends with a corrupt database must have lasted so long */

const char *cli_config_path(const struct options *options)
{
	if (options->config)
		return options->config;
	return access(CLI_HERE, F_OK) == 0 || access(CLI_ELSEWHERE, F_OK) != 0 ? CLI_HERE : CLI_ELSEWHERE;
}

int cli_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	perror("tidegate: stdout");
	return CLI_FAILED;
}

void cli_print_problems(const struct problems *problems)
{
	for (size_t i = 0; i < problems->n; i++)
		fprintf(stderr, "%s\n", problems->lines[i]);
}

struct config *cli_glance(const struct options *options)
{
	struct problems problems = {0};
	struct config *config = config_glance(cli_config_path(options), &problems);

	if (!config || (!config->control && problems.n > 0)) { /* it may be what is wrong */
		cli_print_problems(&problems);
		config_free(config);
		config = NULL;
	}
	problems_release(&problems);
	return config;
}

/* It must compile; it is not run. */
static void check_script(const struct config *config, const char *path, struct problems *problems)
{
	struct script_limits limits = {.memory_bytes = config->memory_bytes, .call_ms = config->call_ms};
	char err[1024];
	struct script *script = script_open(path, 0, limits, NULL, err, sizeof err);

	if (script)
		script_close(script);
	else
		problems_add(problems, "%s", err);
}

/* As root: becomes the user that the configuration names. Then it is read anew, as that user, so
 * that `check`, the start and every reload find the same. 0, or -1 with problems added. */
static int become_user(const char *path, bool *became, struct problems *problems)
{
	struct config *config;
	char err[256];
	int result;

	*became = false;
	if (geteuid() != 0)
		return 0;
	config = config_glance(path, problems);
	if (!config)
		return -1;
	if (config->user && !privileges_user_exists(config->user)) { /* that is among the problems */
		config_free(config);
		return -1;
	}
	problems_release(problems); /* they may be others for the user */
	result = privileges_drop(config->user, err, sizeof err);
	*became = result > 0;
	if (result < 0)
		problems_add(problems, "%s: user: %s", path, err);
	config_free(config);
	return result < 0 ? -1 : 0;
}

/* As whom `run` would. */
static struct config *load(const char *path, bool *became, struct problems *problems)
{
	struct config *config;
	char name[PRIVILEGES_NAME];

	if (become_user(path, became, problems) < 0)
		return NULL;
	config = config_load(path, check_script, problems);
	if (config || !*became)
		return config;
	privileges_name(geteuid(), name);
	problems_add(problems, "%s: this is how it is for user %s, which root becomes to run it (`user` in agent.lua "
	                       "says another)", path, name);
	return NULL;
}

static int run_once(const struct options *options)
{
	struct problems problems = {0};
	bool became;
	struct config *config = load(cli_config_path(options), &became, &problems);
	char name[PRIVILEGES_NAME];
	int status = CLI_CONFIG;

	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR); /* until the configuration says where to */
	for (size_t i = 0; i < problems.n; i++)
		log_error("config", "%s", problems.lines[i]);
	if (config)
		log_setup(config->log_level, config->log_target);
	if (became) {
		privileges_name(geteuid(), name);
		log_info("agent", "started as root, goes on as user=%s", name);
	}
	for (size_t i = 0; config && i < config->warnings.n; i++)
		log_warn("config", "%s", config->warnings.lines[i]);
	if (config)
		status = run_agent(config, &(struct run_options){.verbose = options->verbose,
		                                                 .record = options->record});
	problems_release(&problems);
	config_free(config);
	return status;
}

/* Whatever makes a database corrupt again at once would fill the disk with old ones. */
int cli_run(const struct options *options)
{
	int64_t again_ms = -AGAIN_AFTER_MS;
	int status = run_once(options);

	while (status == RUN_AGAIN && clock_monotonic_ms() - again_ms >= AGAIN_AFTER_MS) {
		again_ms = clock_monotonic_ms();
		status = run_once(options);
	}
	if (status != RUN_AGAIN)
		return status;
	log_error("store", "the new database is corrupt, too: is the disk failing?");
	return CLI_FAILED;
}

int cli_check(const struct options *options)
{
	const char *path = cli_config_path(options);
	struct problems problems = {0};
	bool became;
	struct config *config = load(path, &became, &problems);
	int status = CLI_CONFIG;

	cli_print_problems(&problems);
	if (config) {
		cli_print_problems(&config->warnings);
		printf("%s: ok (%zu link%s, %zu script%s)\n", path, config->n_links, config->n_links == 1 ? "" : "s",
		       config->n_scripts, config->n_scripts == 1 ? "" : "s");
		status = cli_flush();
	}
	problems_release(&problems);
	config_free(config);
	return status;
}

int cli_version(const struct options *options)
{
	(void)options;
	printf("tidegate %s\n%s, libmosquitto %s, SQLite %s\n", VERSION, config_lua_version(), mqtt_library_version(),
	       store_library_version());
	return cli_flush();
}
