/* Asking: the running agent through its control socket, or the same commands in
 * this process where no agent runs. */
#ifndef TIDEGATE_CLI_CLIENT_H
#define TIDEGATE_CLI_CLIENT_H

#include "answer.h"

/* Takes a line of an answer, its text without the line feed, and the object it is. The
 * last line is not among them. */
typedef void client_line(void *arg, const char *text, size_t size, json_t *object);

/* A connection to the agent that listens at `path`, or -1 with the reason in `err`;
 * *absent tells that nobody listens there. */
int client_connect(const char *path, bool *absent, char *err, size_t err_size);

/* Both take `request` and tell the lines of the answer. 0, or -1 with `err`: the answer
 * is an error, or not whole. */
int client_ask(int fd, json_t *request, client_line *line, void *arg, char *err, size_t err_size);
int client_ask_here(const struct answer_command *const *commands, void *agent, json_t *request, client_line *line,
                    void *arg, char *err, size_t err_size);

/* Fields of a line; "", 0 or false if there is none. */
const char *line_string(const json_t *line, const char *key);
double line_number(const json_t *line, const char *key);
long long line_integer(const json_t *line, const char *key);
bool line_truth(const json_t *line, const char *key);

#endif
