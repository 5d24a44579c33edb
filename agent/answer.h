/* A request and its answer: what the control socket serves, and what the command
 * line works out by itself where no agent runs.
 *
 * A request is one line, a JSON object that names a command and gives its
 * arguments. An answer is JSON objects, one a line, each with its "kind"; the last
 * line is {"ok":true} or {"error":"..."}. It is made a piece at a time, whenever
 * the last piece has left, so that a long one takes neither memory nor a long turn.
 */
#ifndef TIDEGATE_ANSWER_H
#define TIDEGATE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

struct answer;

/* A command. `arg` is what answer_open() was given; `state` is zeroed memory of
 * `state_size` for this one answer. */
struct answer_command {
	const char *name;
	bool changes; /* something that is kept: worth a line in the log */
	size_t state_size;
	/* Reads the arguments. 0, or -1 with what is wrong with them in `err`. NULL: it takes none. */
	int (*begin)(void *arg, void *state, json_t *request, char *err, size_t err_size);
	/* Adds the next line or few; false: that was all. */
	bool (*next)(void *arg, void *state, struct answer *answer);
	void (*end)(void *state); /* after begin(), whether that failed or not; may be NULL */
};

/* Begins the answer to `request`, if only with the error that it is none we know.
 * `commands` ends with NULL. NULL: memory is exhausted. */
struct answer *answer_open(const struct answer_command *const *commands, void *arg, const char *request, size_t size);
struct answer *answer_error(const char *text); /* one that only says so */
void answer_close(struct answer *answer);

/* The command that is answered, or NULL: there is none of that name. */
const struct answer_command *answer_command(const struct answer *answer);

/* What waits to leave, whole lines; the next piece is made if nothing does. Nothing, if the
 * command wants another turn first. NULL: all has left. Valid until the next call. */
const char *answer_data(struct answer *answer, size_t *size);
void answer_taken(struct answer *answer, size_t size); /* the first `size` bytes have left */

/* ---- for commands ---- */

/* Adds a line; takes `object`. NULL, for lack of memory, ends the answer with an error. */
void answer_line(struct answer *answer, json_t *object);

/* What follows, if only the first line, can wait for another turn. */
void answer_pause(struct answer *answer);

/* Ends the answer with an error instead of {"ok":true}. */
void answer_fail(struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes as a JSON string; if they are no UTF-8, what is not ASCII becomes "?". */
json_t *answer_text(const void *data, size_t size);

#endif
