/* One line after the other into one array; texts are kept in blocks, links' names once
 * each: recordings are long. */
#include "recording.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "jsonl.h"
#include "nearest.h"
#include "topic.h"

#define BLOCK_BYTES 262144
#define AT_MAX_S 1e11 /* some thousand years */

struct block {
	struct block *next;
	size_t used, size;
	char data[];
};

/* Of the line before: what it said, what that meant, and the difference. */
struct times {
	int64_t said_ms, before_ms, shift_ms;
};

/* While one line is read. */
struct line {
	struct recording *recording;
	const json_t *object;
	struct occurrence *occurrence;
	struct buffer scratch;
	char problem[300];
};

static int expected(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int expected(struct line *line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(line->problem, sizeof line->problem, format, args);
	va_end(args);
	return -1;
}

/* ---- what is kept ---- */

/* A copy with a NUL behind it that nobody counts, or NULL. */
static char *keep(struct recording *recording, const void *data, size_t size)
{
	struct block *block = recording->blocks;
	char *copy;

	if (!block || block->size - block->used < size + 1) {
		size_t room = size + 1 > BLOCK_BYTES ? size + 1 : BLOCK_BYTES;

		block = malloc(sizeof *block + room);
		if (!block)
			return NULL;
		*block = (struct block){.next = recording->blocks, .size = room};
		recording->blocks = block;
	}
	copy = block->data + block->used;
	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = '\0';
	block->used += size + 1;
	return copy;
}

static const char *keep_link(struct recording *recording, const char *name)
{
	struct names **at = &recording->links;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	if (*at)
		return (*at)->name;
	*at = calloc(1, sizeof **at);
	if (*at && !((*at)->name = strdup(name))) {
		free(*at);
		*at = NULL;
	}
	return *at ? (*at)->name : NULL;
}

static struct occurrence *add(struct recording *recording)
{
	if (recording->n == recording->size) {
		size_t size = recording->size ? recording->size * 2 : 256;
		struct occurrence *items = realloc(recording->items, size * sizeof *items);

		if (!items)
			return NULL;
		recording->items = items;
		recording->size = size;
	}
	recording->items[recording->n] = (struct occurrence){0};
	return &recording->items[recording->n++];
}

/* ---- one line ---- */

static int check_keys(struct line *line)
{
	static const char *const keys[] = {"at",  "link",  "topic",      "payload", "payload_base64", "qos", "retain",
	                                   "dup", "event", "properties", "reason",
	                                   /* What `queue export` adds says nothing here. */
	                                   "seq", "priority", "expires", "table"};
	const char *key, *meant = NULL;
	size_t best = NEAREST_MAX + 1;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)line->object, key, value) {
		bool found = false;

		for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
			found = found || strcmp(key, keys[i]) == 0;
			if (nearest(key, keys[i], &best))
				meant = keys[i];
		}
		if (!found)
			return expected(line, "unknown key \"%.60s\"%s%s%s", key, meant && best ? ": did you mean \"" : "",
			                meant && best ? meant : "", meant && best ? "\"?" : "");
		best = NEAREST_MAX + 1;
	}
	return 0;
}

static const char *get_text(struct line *line, const char *key)
{
	const json_t *value = json_object_get(line->object, key);
	const char *text = json_string_value(value);

	if (value && (!text || strlen(text) != json_string_length(value))) {
		expected(line, "%s: expected a string without NUL", key);
		return NULL;
	}
	return text;
}

static bool is_wall(int64_t at_ms)
{
	return at_ms >= RECORDING_WALL_MS;
}

static int get_flag(struct line *line, const char *key, bool *flag)
{
	const json_t *value = json_object_get(line->object, key);

	if (value && !json_is_boolean(value))
		return expected(line, "%s: expected true or false", key);
	*flag = json_is_true(value);
	return 0;
}

static int get_qos(struct line *line)
{
	const json_t *value = json_object_get(line->object, "qos");

	line->occurrence->message.qos = value ? (int)json_integer_value(value) : 1;
	if (value && (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 2))
		return expected(line, "qos: expected 0, 1 or 2");
	return 0;
}

static int get_topic(struct line *line)
{
	const char *topic = get_text(line, "topic"), *problem;

	if (!topic)
		return line->problem[0] ? -1 : expected(line, "expected a topic, an event or nothing but a time");
	problem = topic_problem(topic, strlen(topic));
	if (problem)
		return expected(line, "topic %s", problem);
	line->occurrence->message.topic = keep(line->recording, topic, strlen(topic));
	return 0;
}

static struct bytes keep_scratch(struct line *line)
{
	return (struct bytes){keep(line->recording, line->scratch.data, line->scratch.size), line->scratch.size};
}

static int get_message(struct line *line)
{
	struct inbound *message = &line->occurrence->message;

	line->occurrence->kind = OCCURRENCE_MESSAGE;
	if (get_topic(line) < 0 || get_qos(line) < 0 || get_flag(line, "retain", &message->retain) < 0 ||
	    get_flag(line, "dup", &message->dup) < 0)
		return -1;
	line->scratch.size = 0;
	if (jsonl_get_bytes(line->object, "payload", &line->scratch, line->problem, sizeof line->problem) < 0)
		return -1;
	message->payload = keep_scratch(line);
	line->scratch.size = 0;
	if (jsonl_get_properties(line->object, &line->scratch, line->problem, sizeof line->problem) < 0)
		return -1;
	message->properties = keep_scratch(line);
	if (!message->topic || !message->payload.data || !message->properties.data)
		return expected(line, "out of memory");
	return 0;
}

static int get_event(struct line *line, const char *event)
{
	const char *reason = get_text(line, "reason");

	line->occurrence->kind = strcmp(event, "up") == 0 ? OCCURRENCE_UP : OCCURRENCE_DOWN;
	if (strcmp(event, "up") != 0 && strcmp(event, "down") != 0)
		return expected(line, "event: expected \"up\" or \"down\", got \"%.60s\"", event);
	if (json_object_get(line->object, "topic"))
		return expected(line, "expected a topic or an event, got both");
	if (!json_object_get(line->object, "link"))
		return expected(line, "expected the link that goes %s", event);
	if (line->problem[0])
		return -1;
	line->occurrence->reason = keep(line->recording, reason ? reason : "lost", strlen(reason ? reason : "lost"));
	return line->occurrence->reason ? 0 : expected(line, "out of memory");
}

/* `begins`: a recording goes on after the agent was started again, perhaps with another
 * idea of what time it is. */
static int get_time(struct line *line, bool begins, struct times *times)
{
	const json_t *at = json_object_get(line->object, "at");
	bool first = line->recording->n == 1;
	int64_t at_ms;

	if (at && (!json_is_number(at) || !(json_number_value(at) >= 0 && json_number_value(at) < AT_MAX_S)))
		return expected(line, "at: expected seconds, a number from 0 up");
	at_ms = at ? llround(json_number_value(at) * 1000) : times->said_ms;
	if (begins && !first)
		times->shift_ms = at_ms < times->before_ms || is_wall(at_ms) != is_wall(times->said_ms) ? times->before_ms - at_ms : 0;
	else if (!first && is_wall(at_ms) != is_wall(times->said_ms))
		return expected(line, "at: expected all times since the start, or all since 1970");
	if (at_ms + times->shift_ms < times->before_ms)
		return expected(line, "at: expected lines in order of time, got %.3f after %.3f", (double)at_ms / 1000,
		                (double)times->said_ms / 1000);
	times->said_ms = at_ms;
	line->occurrence->at_ms = times->before_ms = at_ms + times->shift_ms;
	return 0;
}

static int get_occurrence(struct line *line, const char *default_link, struct times *times)
{
	const char *event = get_text(line, "event"), *link = get_text(line, "link");
	bool begins = event && strcmp(event, "start") == 0;

	if (line->problem[0] || check_keys(line) < 0 || get_time(line, begins, times) < 0)
		return -1;
	if (begins || (json_object_size(line->object) == 1 && json_object_get(line->object, "at")))
		return 0;
	line->occurrence->link = keep_link(line->recording, link ? link : default_link);
	if (!line->occurrence->link)
		return expected(line, "out of memory");
	return event ? get_event(line, event) : get_message(line);
}

/* ---- all of them ---- */

static int read_line(struct line *line, const char *text, size_t size, const char *default_link, struct times *times)
{
	json_error_t wrong;
	json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &wrong);
	int result;

	line->problem[0] = '\0';
	line->object = object;
	line->occurrence = json_is_object(object) ? add(line->recording) : NULL;
	if (!object)
		result = expected(line, "expected a JSON object, column %d: %s", wrong.column, wrong.text);
	else if (!json_is_object(object))
		result = expected(line, "expected a JSON object, {\"topic\":...}");
	else if (!line->occurrence)
		result = expected(line, "out of memory");
	else
		result = get_occurrence(line, default_link, times);
	json_decref(object);
	return result;
}

static bool says_nothing(const char *text)
{
	text += strspn(text, " \t\r\n");
	return *text == '\0' || *text == '#';
}

int recording_read(struct recording *recording, FILE *in, const char *name, const char *default_link, char *err,
                   size_t err_size)
{
	struct line line = {.recording = recording};
	struct times times = {0};
	char *text = NULL;
	size_t room = 0;
	unsigned long number = 0;
	ssize_t size;
	int result = 0;

	while (result == 0 && (size = getline(&text, &room, in)) >= 0) {
		number++;
		if (!says_nothing(text))
			result = read_line(&line, text, (size_t)size, default_link, &times);
	}
	if (result < 0) {
		snprintf(err, err_size, "%s:%lu: %s", name, number, line.problem);
	} else if (ferror(in)) {
		snprintf(err, err_size, "%s: cannot be read: %s", name, strerror(errno));
		result = -1;
	}
	buffer_release(&line.scratch);
	free(text);
	return result;
}

void recording_release(struct recording *recording)
{
	while (recording->blocks) {
		struct block *block = recording->blocks;

		recording->blocks = block->next;
		free(block);
	}
	while (recording->links) {
		struct names *link = recording->links;

		recording->links = link->next;
		free(link->name);
		free(link);
	}
	free(recording->items);
	*recording = (struct recording){0};
}
