/* The command line: finds the command, reads its options, calls its function.
 * Data goes to stdout, complaints to stderr; the exit status follows sysexits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "log.h"
#include "mqtt.h"
#include "run.h"
#include "script.h"
#include "store.h"

#define EXIT_USAGE  64
#define EXIT_CONFIG 78

#define HERE      "agent.lua"
#define ELSEWHERE "/etc/tidegate/agent.lua"

#define CONFIG_OPTION "  -c FILE  the configuration; default: " HERE " here, else " ELSEWHERE "\n"

struct options {
	const char *config; /* NULL: not given */
	bool verbose;
	const char *operand; /* NULL: none */
};

struct command {
	const char *name;
	const char *letters; /* of its options, for getopt(3) */
	bool operand;        /* takes one, if given */
	const char *synopsis, *summary, *details;
	int (*run)(const struct options *options);
};

/* A full disk or a closed pipe is an error and not silence. */
static int flush_stdout(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	perror("tidegate: stdout");
	return 1;
}

static const char *config_path(const struct options *options)
{
	if (options->config)
		return options->config;
	return access(HERE, F_OK) == 0 || access(ELSEWHERE, F_OK) != 0 ? HERE : ELSEWHERE;
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

static int run_run(const struct options *options)
{
	struct problems problems = {0};
	struct config *config = config_load(config_path(options), check_script, &problems);
	int status = EXIT_CONFIG;

	log_setup(LOG_LEVEL_INFO, LOG_TARGET_STDERR); /* until the configuration says where to */
	for (size_t i = 0; i < problems.n; i++)
		log_error("config", "%s", problems.lines[i]);
	if (config)
		status = run_agent(config, options->verbose);
	problems_release(&problems);
	config_free(config);
	return status;
}

static int run_check(const struct options *options)
{
	const char *path = config_path(options);
	struct problems problems = {0};
	struct config *config = config_load(path, check_script, &problems);
	int status = EXIT_CONFIG;

	for (size_t i = 0; i < problems.n; i++)
		fprintf(stderr, "%s\n", problems.lines[i]);
	if (config) {
		printf("%s: ok (%zu link%s, %zu script%s)\n", path, config->n_links, config->n_links == 1 ? "" : "s",
		       config->n_scripts, config->n_scripts == 1 ? "" : "s");
		status = flush_stdout();
	}
	problems_release(&problems);
	config_free(config);
	return status;
}

static int run_version(const struct options *options)
{
	(void)options;
	printf("tidegate %s\n%s, libmosquitto %s, SQLite %s\n", VERSION, config_lua_version(), mqtt_library_version(),
	       store_library_version());
	return flush_stdout();
}

static int run_help(const struct options *options);

static const struct command commands[] = {
	{
		.name = "run",
		.letters = "c:v",
		.synopsis = "run [-c FILE] [-v]",
		.summary = "run in the foreground, until SIGTERM or SIGINT",
		.details = "\n" CONFIG_OPTION
			   "  -v       log at debug level\n\n"
			   "Exit status: 0 stopped, 1 it failed, 78 the configuration or a script is wrong.\n",
		.run = run_run,
	},
	{
		.name = "check",
		.letters = "c:",
		.synopsis = "check [-c FILE]",
		.summary = "check configuration and scripts, name every problem",
		.details = "\n" CONFIG_OPTION "\n"
			   "Exit status: 0 all well, 78 problems; each is one line on stderr, file:line: message.\n",
		.run = run_check,
	},
	{
		.name = "version",
		.letters = "",
		.synopsis = "version",
		.summary = "print the versions of tidegate and of its libraries",
		.details = "",
		.run = run_version,
	},
	{
		.name = "help",
		.letters = "",
		.operand = true,
		.synopsis = "help [COMMAND]",
		.summary = "print this, or what there is to know about a command",
		.details = "",
		.run = run_help,
	},
};

#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void print_usage(FILE *out)
{
	fprintf(out, "usage: tidegate COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-20s %s\n", commands[i].synopsis, commands[i].summary);
}

static void print_command(FILE *out, const struct command *command)
{
	fprintf(out, "usage: tidegate %s\n\n  %s\n%s", command->synopsis, command->summary, command->details);
}

static int unknown_command(const char *name)
{
	fprintf(stderr, "tidegate: unknown command \"%s\"\n", name);
	print_usage(stderr);
	return EXIT_USAGE;
}

static int run_help(const struct options *options)
{
	if (!options->operand) {
		printf("tidegate %s keeps sensor readings until the collector has them\n\n", VERSION);
		print_usage(stdout);
		return flush_stdout();
	}
	const struct command *command = find_command(options->operand);
	if (!command)
		return unknown_command(options->operand);
	print_command(stdout, command);
	return flush_stdout();
}

static int bad_usage(const struct command *command, const char *what, const char *text)
{
	fprintf(stderr, "tidegate %s: %s %s\n", command->name, what, text);
	print_command(stderr, command);
	return EXIT_USAGE;
}

/* Reads what follows the command's name. 0, or an exit status after a complaint. */
static int read_options(const struct command *command, int argc, char **argv, struct options *options)
{
	char letters[16], option[] = "-?";
	int letter;

	snprintf(letters, sizeof letters, "+:%s", command->letters);
	while ((letter = getopt(argc, argv, letters)) != -1) {
		option[1] = (char)optopt;
		if (letter == 'c')
			options->config = optarg;
		else if (letter == 'v')
			options->verbose = true;
		else if (letter == ':')
			return bad_usage(command, "expected a value after", option);
		else
			return bad_usage(command, "unknown option", optopt == '-' ? argv[optind] : option);
	}
	if (optind < argc && command->operand)
		options->operand = argv[optind++];
	if (optind < argc)
		return bad_usage(command, "unexpected", argv[optind]);
	return 0;
}

static bool asks_for_help(const char *text)
{
	return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0;
}

/* Options that are commands. */
static const char *command_name(const char *text)
{
	if (asks_for_help(text))
		return "help";
	if (strcmp(text, "--version") == 0 || strcmp(text, "-V") == 0)
		return "version";
	return text;
}

int main(int argc, char **argv)
{
	struct options options = {0};

	if (argc < 2) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	const struct command *command = find_command(command_name(argv[1]));
	if (!command)
		return unknown_command(argv[1]);
	if (argc > 2 && asks_for_help(argv[2])) {
		print_command(stdout, command);
		return flush_stdout();
	}
	int status = read_options(command, argc - 1, argv + 1, &options);
	return status ? status : command->run(&options);
}
