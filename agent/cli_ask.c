/* The agent's socket first; if nobody is there, an agent that has nothing but its database,
 * in this process. */
#include "cli_ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "agent.h"
#include "cli.h"
#include "commands.h"
#include "dead.h"
#include "ledger.h"

static bool changes(const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "command"));

	for (const struct answer_command *const *command = agent_commands; name && *command; command++)
		if (strcmp((*command)->name, name) == 0)
			return (*command)->changes;
	return false;
}

/* Opening it has replaced a damaged database. */
static void tell_salvage(const char *name, const struct store *store)
{
	const struct store_salvage *salvage = store_salvaged(store);

	if (salvage)
		fprintf(stderr, "tidegate %s: the database was damaged (%s) and is %s now; %" PRIu64 " queued messages are saved\n",
		        name, salvage->why, salvage->moved_to, salvage->messages);
}

/* NULL: there is none, or it cannot be opened. */
static struct store *open_store(const char *name, const struct config *config, bool writes, char *err, size_t err_size)
{
	struct store *store = NULL;

	if (access(config->store_path, F_OK) < 0)
		snprintf(err, err_size, "%s: %s", config->store_path, strerror(errno));
	else if (writes)
		store = store_open(config->store_path, config->durability, err, err_size);
	else
		store = store_open_to_read(config->store_path, err, err_size);
	if (store && writes)
		tell_salvage(name, store);
	return store;
}

static int ask_store(struct config *config, struct store *store, bool writes, json_t *request, client_line *line,
                     void *arg, char *err, size_t err_size)
{
	struct agent agent = {.store = store, .config = config};
	struct store_unsafe unsafe;
	int done = -1;

	agent.dead = dead_open(store, err, err_size);
	agent.ledger = agent.dead ? ledger_open(store, err, err_size) : NULL;
	if (agent.ledger)
		done = client_ask_here(agent_commands, &agent, request, line, arg, err, err_size);
	else
		json_decref(request);
	if (done == 0 && writes && store_pending(store, &unsafe) != STORE_CLEAN &&
	    store_commit(store, err, err_size) != STORE_OK)
		done = -1;
	ledger_close(agent.ledger);
	dead_close(agent.dead);
	return done;
}

static int ask_file(const char *name, struct config *config, json_t *request, client_line *line, void *arg, char *err,
                    size_t err_size)
{
	bool writes = changes(request);
	struct store *store = open_store(name, config, writes, err, err_size);
	int done = -1;

	if (store)
		done = ask_store(config, store, writes, request, line, arg, err, err_size);
	else
		json_decref(request);
	if (!store && !config->control)
		fprintf(stderr, "tidegate %s: " CLI_CONTROL_HINT "\n", name);
	store_close(store);
	return done;
}

int cli_ask(const char *name, struct config *config, json_t *request, client_line *line, void *arg, char *nobody,
            char *err, size_t err_size)
{
	bool absent = true;
	int fd = -1;

	snprintf(err, err_size, "%s names no `control` socket", config->path);
	if (config->control)
		fd = client_connect(config->control, &absent, err, err_size);
	if (nobody)
		snprintf(nobody, CLI_NOBODY, "%s", fd < 0 && absent ? err : "");
	if (fd >= 0)
		return client_ask(fd, request, line, arg, err, err_size);
	if (absent)
		return ask_file(name, config, request, line, arg, err, err_size);
	json_decref(request);
	return -1;
}

int cli_take_payload(struct buffer *payload, const json_t *line)
{
	const json_t *code = json_object_get(line, "base64");
	const unsigned char *text = (const unsigned char *)json_string_value(code);
	size_t length = json_string_length(code);
	unsigned char *bytes = malloc(length + 1);
	int size = bytes && text ? EVP_DecodeBlock(bytes, text, (int)length) : -1;

	/* EVP_DecodeBlock counts what stands for the padding. */
	for (size_t i = 1; size > 0 && i <= 2 && text[length - i] == '='; i++)
		size--;
	if (size > 0 && buffer_append(payload, bytes, (size_t)size) < 0)
		size = -1;
	free(bytes);
	return size < 0 ? -1 : 0;
}

json_int_t cli_read_number(const char *text)
{
	long long number;
	char *end;

	errno = 0;
	number = strtoll(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 ? number : 0;
}
