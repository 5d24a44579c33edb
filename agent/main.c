/* The command line: finds the command, reads its options, calls its function.
 * Data goes to stdout, complaints to stderr; the exit status follows sysexits.
 */
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define CONFIG_OPTION "  -c FILE  the configuration; default: " CLI_HERE " here, else " CLI_ELSEWHERE "\n"
#define JSON_OPTION   "  --json   one JSON object a line, for programs\n"

struct command {
	const char *name;
	const char *letters; /* of its options, for getopt(3) */
	const char *words;   /* of its options, parted by blanks: "json input" */
	int least, most;     /* operands */
	const char *operand; /* what the first one is */
	const char *synopsis, *summary, *details;
	int (*run)(const struct options *options);
};

static int run_help(const struct options *options);

static const struct command commands[] = {
	{
		.name = "run",
		.letters = "c:v",
		.words = "record",
		.synopsis = "run [-c FILE] [-v] [--record FILE]",
		.summary = "run in the foreground, until SIGTERM or SIGINT",
		.details = "\n"
			   "  -c FILE        the configuration; default: " CLI_HERE " here, else " CLI_ELSEWHERE "\n"
			   "  -v             log at debug level\n"
			   "  --record FILE  add to it what arrives and how links come and go, for test and replay\n\n"
			   "Exit status: 0 stopped, 1 it failed, 78 the configuration or a script is wrong.\n",
		.run = cli_run,
	},
	{
		.name = "check",
		.letters = "c:",
		.synopsis = "check [-c FILE]",
		.summary = "check configuration and scripts, name every problem",
		.details = "\n" CONFIG_OPTION "\n"
			   "Exit status: 0 all well, 78 problems; each is one line on stderr, file:line: message.\n",
		.run = cli_check,
	},
	{
		.name = "status",
		.letters = "c:",
		.words = "json",
		.synopsis = "status [-c FILE] [--json]",
		.summary = "links, queues, scripts, losses of the running agent",
		.details = "\n" CONFIG_OPTION JSON_OPTION "\n"
			   "Asks the agent through the socket that is `control` in the configuration; of one that\n"
			   "does not run it shows what the database says.\n"
			   "Exit status: 0 it answered, 1 no agent answers, 78 the configuration cannot be read.\n",
		.run = cli_status,
	},
	{
		.name = "reload",
		.letters = "c:",
		.words = "json",
		.synopsis = "reload [-c FILE] [--json]",
		.summary = "have the running agent read its configuration and scripts anew",
		.details = "\n" CONFIG_OPTION JSON_OPTION "\n"
			   "Asks the agent through the socket that is `control` in the configuration, and tells\n"
			   "what has changed. A wrong configuration changes nothing; a script that does not load\n"
			   "leaves the one that runs in its place.\n"
			   "Exit status: 0 done, 1 something did not load, or no agent answers.\n",
		.run = cli_reload,
	},
	{
		.name = "queue",
		.letters = "c:",
		.words = "json link limit all",
		.least = 1,
		.most = 2,
		.operand = "list, show, purge or export",
		.synopsis = "queue list|show SEQ|purge [SEQ]|export [--link L] [--limit N] [--all] [-c FILE] [--json]",
		.summary = "messages that wait for their links: look at them, throw them away, export them",
		.details = "\n  list       what waits: of each link the oldest 100 or --limit N, and how much it is\n"
			   "  show       one, with its payload\n"
			   "  purge      throw away one, or all of --link L, or --all; they are counted as lost\n"
			   "  export     all, with their payloads, as JSON lines that test and replay read\n\n"
			   "  --link L   of that link only\n"
			   "  --limit N  list so many of each link\n" CONFIG_OPTION JSON_OPTION "\n"
			   "Asks the running agent, or looks into the database of one that does not run.\n"
			   "Exit status: 0 done, 1 it failed, 64 bad usage.\n",
		.run = cli_queue,
	},
	{
		.name = "dead",
		.letters = "c:",
		.words = "json",
		.least = 1,
		.most = 2,
		.operand = "list, show, retry or purge",
		.synopsis = "dead list|show ID|retry [ID]|purge [ID] [-c FILE] [--json]",
		.summary = "dead letters: what no rule could handle, or a kdb+ collector refused",
		.details = "\n  list     all, the oldest first\n"
			   "  show     one, with its payload\n"
			   "  retry    give one, or all, to the script that failed once more; a row, to its link\n"
			   "  purge    forget one, or all\n\n" CONFIG_OPTION JSON_OPTION "\n"
			   "Asks the running agent, or looks into the queue of one that does not run; then\n"
			   "retry is done when it starts.\n"
			   "Exit status: 0 done, 1 it failed, or a letter that was retried failed again.\n",
		.run = cli_dead,
	},
	{
		.name = "test",
		.letters = "c:v",
		.words = "json input until start",
		.most = INT_MAX,
		.synopsis = "test SCRIPT... [--input FILE] [-c FILE] [--json] [--until TIME] [--start DATE] [-v]",
		.summary = "run rules on messages in a file, in simulated time, without a broker",
		.details = "\n"
			   "  --input FILE  what happens, as JSON lines; default, or \"-\": standard input\n"
			   "                {\"at\":10,\"topic\":\"sensors/a\",\"payload\":\"21.5\"}\n"
			   "                {\"at\":60,\"link\":\"core\",\"event\":\"down\"}, or \"up\"; {\"at\":3600}: time passes\n"
			   "  -c FILE       links, limits and, if no script is named, scripts of a configuration;\n"
			   "                default: every link that is named exists, \"core\" is the default link\n"
			   "  --until TIME  go on until then: seconds as in \"at\", or 10m, 2h; default: the last line\n"
			   "  --start DATE  what the clock says at 0, in UTC; default: 2026-01-01T00:00:00\n"
			   "  -v            log at debug level\n"
			   "  --json        one JSON object a line, for programs\n\n"
			   "Prints what the rules do, in order; the same input gives the same output.\n"
			   "Exit status: 0 well, 1 a handler raised an error, 64 bad usage, 78 a script does not load.\n",
		.run = cli_test,
	},
	{
		.name = "replay",
		.letters = "c:",
		.words = "json until start for rtt down",
		.least = 1,
		.most = 1,
		.operand = "a recording",
		.synopsis = "replay RECORDING [-c FILE] [--down LINK=FROM..TO]... [--for TIME] [--rtt TIME]\n"
			    "                       [--until TIME] [--start DATE] [--json]",
		.summary = "run a recording through the real queue: what is delivered when, what is lost?",
		.details = "\n"
			   "  -c FILE       the configuration; default: " CLI_HERE " here, else " CLI_ELSEWHERE "\n"
			   "  --down LINK=FROM..TO\n"
			   "                the link is down: core=10h..7d, core=..1h, core=2d..; may repeat\n"
			   "  --for TIME    repeat the recording for so long: 7d\n"
			   "  --rtt TIME    how long an acknowledgement takes; default: 100ms\n"
			   "  --until TIME  let timers run until then, at least; default: until all is delivered that can be\n"
			   "  --start DATE  what the clock says at 0, in UTC; default: 2026-01-01T00:00:00, or what the\n"
			   "                recording says\n"
			   "  --json        one JSON object a line, for programs\n\n"
			   "RECORDING is what run --record wrote, or what test takes; \"-\" is standard input. Time is\n"
			   "simulated: a week takes as long as its messages need.\n"
			   "Exit status: 0 done, 1 it failed, 64 bad usage, 78 the configuration or a script is wrong.\n",
		.run = cli_replay,
	},
	{
		.name = "kdb",
		.letters = "",
		.words = "json user password error error-every",
		.least = 1,
		.most = 2,
		.operand = "decode or listen",
		.synopsis = "kdb decode [FILE] [--json]\n"
			    "       tidegate kdb listen [ADDRESS:]PORT [--user NAME] [--password TEXT] [--error TEXT [--error-every N]]\n"
			    "                      [--json]",
		.summary = "show kdb+ messages: captured ones, or what a collector would receive",
		.details = "\n"
			   "  decode  print the messages in FILE, or on standard input, one behind the other: bytes as\n"
			   "          they were on the wire, or as hexadecimal text; a handshake may be at the beginning\n"
			   "  listen  take connections as a kdb+ collector does, show every call with its rows, answer it\n"
			   "          with ::, evaluate and keep nothing; on 127.0.0.1 if no ADDRESS is given\n\n"
			   "  --user NAME, --password TEXT\n"
			   "                 let nobody else in\n"
			   "  --error TEXT   answer calls with this error instead: type, stop, ...\n"
			   "  --error-every N\n"
			   "                 only every Nth one\n"
			   "  --json         one JSON object a line, with all rows; else the first 20 of a call are shown\n\n"
			   "listen ends at SIGTERM or SIGINT.\n"
			   "Exit status: 0 done, 1 it failed, or a message is damaged, 64 bad usage.\n",
		.run = cli_kdb,
	},
	{
		.name = "version",
		.letters = "",
		.synopsis = "version",
		.summary = "print the versions of tidegate and of its libraries",
		.details = "",
		.run = cli_version,
	},
	{
		.name = "help",
		.letters = "",
		.most = 1,
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
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fprintf(out, "\ntidegate help COMMAND tells more.\n");
}

static void print_command(FILE *out, const struct command *command)
{
	fprintf(out, "usage: tidegate %s\n\n  %s\n%s", command->synopsis, command->summary, command->details);
}

static int unknown_command(const char *name)
{
	fprintf(stderr, "tidegate: unknown command \"%s\"\n", name);
	print_usage(stderr);
	return CLI_USAGE;
}

static int run_help(const struct options *options)
{
	if (options->n_operands == 0) {
		printf("tidegate %s keeps sensor readings until the collector has them\n\n", VERSION);
		print_usage(stdout);
		return cli_flush();
	}
	const struct command *command = find_command(options->operands[0]);
	if (!command)
		return unknown_command(options->operands[0]);
	print_command(stdout, command);
	return cli_flush();
}

static int bad_usage(const struct command *command, const char *what, const char *text)
{
	fprintf(stderr, "tidegate %s: %s %s\n", command->name, what, text);
	fprintf(stderr, "usage: tidegate %s\ntidegate help %s tells more.\n", command->synopsis, command->name);
	return CLI_USAGE;
}

static const struct option long_options[] = {
	{"json", no_argument, NULL, 0},
	{"input", required_argument, NULL, 0},
	{"until", required_argument, NULL, 0},
	{"start", required_argument, NULL, 0},
	{"for", required_argument, NULL, 0},
	{"rtt", required_argument, NULL, 0},
	{"down", required_argument, NULL, 0},
	{"record", required_argument, NULL, 0},
	{"link", required_argument, NULL, 0},
	{"limit", required_argument, NULL, 0},
	{"all", no_argument, NULL, 0},
	{"user", required_argument, NULL, 0},
	{"password", required_argument, NULL, 0},
	{"error", required_argument, NULL, 0},
	{"error-every", required_argument, NULL, 0},
	{NULL, 0, NULL, 0},
};

/* False if the command does not take it. */
static bool set_long_option(const struct command *command, const char *name, struct options *options)
{
	const struct {
		const char *name, **value;
	} values[] = {
		{"input", &options->input}, {"until", &options->until}, {"start", &options->start}, {"for", &options->lasts},
		{"rtt", &options->rtt}, {"link", &options->link}, {"limit", &options->limit}, {"record", &options->record},
		{"user", &options->user}, {"password", &options->password}, {"error", &options->error},
		{"error-every", &options->error_every},
	};
	const char *words = command->words ? command->words : "";
	size_t size = strlen(name);

	while (*words && (strncmp(words, name, size) != 0 || (words[size] && words[size] != ' '))) {
		words += strcspn(words, " ");
		words += *words == ' ';
	}
	if (!*words)
		return false;
	if (strcmp(name, "json") == 0)
		options->json = true;
	if (strcmp(name, "all") == 0)
		options->all = true;
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
		if (strcmp(name, values[i].name) == 0)
			*values[i].value = optarg;
	if (strcmp(name, "down") == 0 && options->n_down < OPTIONS_DOWN_MAX)
		options->down[options->n_down++] = optarg;
	return true;
}

/* Reads what follows the command's name. 0, or an exit status after a complaint. */
static int read_options(const struct command *command, int argc, char **argv, struct options *options)
{
	char letters[16], option[] = "-?";
	int letter, index = 0;

	snprintf(letters, sizeof letters, ":%s", command->letters);
	opterr = 0;
	while ((letter = getopt_long(argc, argv, letters, long_options, &index)) != -1) {
		if (letter == 'c')
			options->config = optarg;
		else if (letter == 'v')
			options->verbose = true;
		else if (letter != 0 || !set_long_option(command, long_options[index].name, options))
			break;
	}
	option[1] = (char)optopt;
	if (letter != -1)
		return bad_usage(command, letter == ':' ? "expected a value after" : "unknown option",
		                 optopt > 0 ? option : argv[optind - 1]);
	options->operands = argv + optind;
	options->n_operands = argc - optind;
	if (options->n_operands > command->most)
		return bad_usage(command, "unexpected", options->operands[command->most]);
	if (options->n_operands < command->least)
		return bad_usage(command, "expected", command->operand);
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
		return CLI_USAGE;
	}
	const struct command *command = find_command(command_name(argv[1]));
	if (!command)
		return unknown_command(argv[1]);
	if (argc > 2 && asks_for_help(argv[2])) {
		print_command(stdout, command);
		return cli_flush();
	}
	int status = read_options(command, argc - 1, argv + 1, &options);
	return status ? status : command->run(&options);
}
