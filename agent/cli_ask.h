/* Asking whoever can answer: the agent that runs, or, where none does, the same commands on
 * its database. */
#ifndef TIDEGATE_CLI_ASK_H
#define TIDEGATE_CLI_ASK_H

#include "buffer.h"
#include "cli_client.h"

#define CLI_NOBODY 256

struct config;

/* Has `request` answered, which is taken. The database of an agent that does not run is changed by commands
 * that change something only; others read it, and need no permission to write. `nobody`, if it is not NULL, is
 * CLI_NOBODY bytes for why no agent was asked, or "": one was. Complaints are `name`'s. 0, or -1 with `err`. */
int cli_ask(const char *name, struct config *config, json_t *request, client_line *line, void *arg, char *nobody,
            char *err, size_t err_size);

/* Appends the bytes of a line of `kind` "payload". 0, or -1: no memory, or it is none. */
int cli_take_payload(struct buffer *payload, const json_t *line);

/* An operand that is a number from 1, or 0: it is none. */
json_int_t cli_read_number(const char *text);

#endif
