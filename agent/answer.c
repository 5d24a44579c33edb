/* A generator of lines over a buffer: the command makes the next few whenever the
 * buffer is empty, until it has no more. */
#include "answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

#define PIECE_BYTES 16384 /* made at a time, about */
#define DUMP (JSON_COMPACT | JSON_REAL_PRECISION(15))

struct answer {
	const struct answer_command *command;
	void *arg, *state;
	struct buffer lines;
	size_t taken; /* of lines */
	bool paused, finished, no_memory;
	char err[512]; /* "": none */
};

/* ---- opening ---- */

static const struct answer_command *find(const struct answer_command *const *commands, const char *name)
{
	while (*commands && strcmp((*commands)->name, name) != 0)
		commands++;
	return *commands;
}

static int no_arguments(json_t *request, char *err, size_t err_size)
{
	if (json_object_size(request) == 1)
		return 0;
	snprintf(err, err_size, "this command takes no arguments");
	return -1;
}

static int begin(struct answer *answer, const struct answer_command *const *commands, json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "command"));

	if (!name) {
		snprintf(answer->err, sizeof answer->err, "expected a JSON object with a \"command\"");
		return -1;
	}
	answer->command = find(commands, name);
	if (!answer->command) {
		snprintf(answer->err, sizeof answer->err, "unknown command \"%s\"", name);
		return -1;
	}
	answer->state = calloc(1, answer->command->state_size + 1);
	if (!answer->state) {
		snprintf(answer->err, sizeof answer->err, "out of memory");
		return -1;
	}
	if (!answer->command->begin)
		return no_arguments(request, answer->err, sizeof answer->err);
	return answer->command->begin(answer->arg, answer->state, request, answer->err, sizeof answer->err);
}

static void finish(struct answer *answer)
{
	json_t *last = answer->err[0] ? json_pack("{s:o}", "error", answer_text(answer->err, strlen(answer->err)))
	                              : json_pack("{s:b}", "ok", 1);

	answer->finished = true;
	answer_line(answer, last);
}

struct answer *answer_open(const struct answer_command *const *commands, void *arg, const char *request, size_t size)
{
	struct answer *answer = calloc(1, sizeof *answer);
	json_error_t wrong;
	json_t *object;

	if (!answer)
		return NULL;
	answer->arg = arg;
	object = json_loadb(request, size, JSON_REJECT_DUPLICATES, &wrong);
	if (begin(answer, commands, object) < 0)
		finish(answer);
	json_decref(object);
	return answer;
}

struct answer *answer_error(const char *text)
{
	struct answer *answer = calloc(1, sizeof *answer);

	if (!answer)
		return NULL;
	answer_fail(answer, "%s", text);
	finish(answer);
	return answer;
}

void answer_close(struct answer *answer)
{
	if (!answer)
		return;
	if (answer->state && answer->command->end)
		answer->command->end(answer->state);
	free(answer->state);
	buffer_release(&answer->lines);
	free(answer);
}

const struct answer_command *answer_command(const struct answer *answer)
{
	return answer->command;
}

/* ---- the lines ---- */

const char *answer_data(struct answer *answer, size_t *size)
{
	bool empty = answer->lines.size == 0;

	answer->paused = false;
	while (empty && !answer->paused && !answer->finished && !answer->no_memory && answer->lines.size < PIECE_BYTES)
		if (!answer->command->next(answer->arg, answer->state, answer) || answer->err[0])
			finish(answer);
	*size = answer->lines.size - answer->taken;
	if (*size > 0)
		return answer->lines.data + answer->taken;
	return answer->paused ? "" : NULL;
}

void answer_taken(struct answer *answer, size_t size)
{
	answer->taken += size;
	if (answer->taken < answer->lines.size)
		return;
	answer->taken = 0;
	buffer_reset(&answer->lines);
}

static int append(const char *text, size_t size, void *arg)
{
	return buffer_append(arg, text, size);
}

/* A line that cannot be made whole is taken back; the connection ends without a last line. */
void answer_line(struct answer *answer, json_t *object)
{
	size_t before = answer->lines.size;

	if (!object || json_dump_callback(object, append, &answer->lines, DUMP) < 0 ||
	    buffer_append(&answer->lines, "\n", 1) < 0) {
		answer->lines.size = before;
		answer->no_memory = true;
	}
	json_decref(object);
}

void answer_pause(struct answer *answer)
{
	answer->paused = true;
}

void answer_fail(struct answer *answer, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(answer->err, sizeof answer->err, format, arguments);
	va_end(arguments);
}

json_t *answer_text(const void *data, size_t size)
{
	json_t *string = json_stringn(size > 0 ? data : "", size);
	char *ascii;

	if (string || !(ascii = malloc(size)))
		return string;
	for (size_t i = 0; i < size; i++)
		ascii[i] = ((const char *)data)[i] & 0x80 ? '?' : ((const char *)data)[i];
	string = json_stringn(ascii, size);
	free(ascii);
	return string;
}
