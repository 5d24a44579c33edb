/* Lines are gathered in a buffer, and the buffer is written as a whole: so what is in the
 * file ends with a whole line, unless the power fails. */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "buffer.h"
#include "clock.h"
#include "jsonl.h"
#include "link.h"
#include "log.h"
#include "observer.h"

#define FLUSH_BYTES 65536 /* at once, or */
#define FLUSH_MS 1000     /* when this is over */

struct recorder {
	struct agent *agent;
	char *path;
	int fd; /* -1: it is over */
	off_t size;
	struct buffer lines;
	struct loop_timer flush;
	struct observer observer;
	int64_t wall_ms, monotonic_ms; /* when it began: time does not jump in a recording */
};

/* ---- the file ---- */

/* Where the last whole line ends. A power cut may have left half a line. */
static off_t whole_lines(int fd, off_t size)
{
	char piece[4096];

	while (size > 0) {
		off_t from = size > (off_t)sizeof piece ? size - (off_t)sizeof piece : 0;
		ssize_t n = pread(fd, piece, (size_t)(size - from), from);

		if (n != (ssize_t)(size - from))
			return -1;
		for (; n > 0; n--)
			if (piece[n - 1] == '\n')
				return from + n;
		size = from;
	}
	return 0;
}

/* Never blocks, whatever the path names. */
static int open_file(struct recorder *recorder)
{
	struct stat st;
	off_t size;

	recorder->fd = open(recorder->path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0640);
	if (recorder->fd < 0 || fstat(recorder->fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return -1;
	}
	size = whole_lines(recorder->fd, st.st_size);
	if (size < 0 || (size < st.st_size && ftruncate(recorder->fd, size) < 0))
		return -1;
	recorder->size = size;
	return 0;
}

static void give_up(struct recorder *recorder, const char *why)
{
	log_error("agent", "the recording ends: %s: %s", recorder->path, why);
	loop_timer_cancel(recorder->agent->loop, &recorder->flush);
	recorder->agent->observer = NULL;
	close(recorder->fd);
	recorder->fd = -1;
}

/* After the last line that had room. */
static off_t written_lines(const struct recorder *recorder, ssize_t written)
{
	while (written > 0 && recorder->lines.data[written - 1] != '\n')
		written--;
	return recorder->size + (written > 0 ? written : 0);
}

static void flush(void *arg)
{
	struct recorder *recorder = arg;
	size_t size = recorder->lines.size;
	ssize_t written;
	const char *why;

	loop_timer_cancel(recorder->agent->loop, &recorder->flush);
	if (recorder->fd < 0 || size == 0)
		return;
	errno = ENOSPC; /* also if only some of it has room */
	written = write(recorder->fd, recorder->lines.data, size);
	why = strerror(errno);
	if (written == (ssize_t)size) {
		recorder->size += written;
		buffer_reset(&recorder->lines);
		return;
	}
	if (ftruncate(recorder->fd, written_lines(recorder, written)) < 0)
		log_warn("agent", "%s: its last line is not whole: %s", recorder->path, strerror(errno));
	give_up(recorder, why);
}

/* ---- lines ---- */

static json_t *line_at_present(const struct recorder *recorder)
{
	json_t *line = json_object();

	jsonl_put_seconds(line, "at", recorder->wall_ms + clock_monotonic_ms() - recorder->monotonic_ms);
	return line;
}

/* Takes `line`. */
static void add(struct recorder *recorder, json_t *line)
{
	char *text = json_dumps(line, JSONL_DUMP);
	size_t before = recorder->lines.size;
	bool ok = text && buffer_append(&recorder->lines, text, strlen(text)) == 0 &&
	          buffer_append(&recorder->lines, "\n", 1) == 0;

	free(text);
	json_decref(line);
	if (!ok) {
		recorder->lines.size = before;
		flush(recorder);
		if (recorder->fd >= 0)
			give_up(recorder, "out of memory");
	} else if (recorder->lines.size >= FLUSH_BYTES) {
		flush(recorder);
	} else if (!recorder->flush.armed) {
		loop_timer_set(recorder->agent->loop, &recorder->flush, loop_now_ms(recorder->agent->loop) + FLUSH_MS);
	}
}

static void put_flag(json_t *line, const char *key, bool flag)
{
	if (flag)
		json_object_set_new(line, key, json_true());
}

static void on_message(void *arg, const struct link *link, const struct inbound *message)
{
	struct recorder *recorder = arg;
	json_t *line = line_at_present(recorder);

	jsonl_put_text(line, "link", link_name(link));
	jsonl_put_text(line, "topic", message->topic);
	jsonl_put_bytes(line, "payload", message->payload);
	if (message->qos != 1)
		json_object_set_new(line, "qos", json_integer(message->qos));
	put_flag(line, "retain", message->retain);
	put_flag(line, "dup", message->dup);
	jsonl_put_properties(line, message->properties);
	add(recorder, line);
}

static void add_event(struct recorder *recorder, const struct link *link, const char *event, const char *reason)
{
	json_t *line = line_at_present(recorder);

	if (link)
		jsonl_put_text(line, "link", link_name(link));
	jsonl_put_text(line, "event", event);
	jsonl_put_text(line, "reason", reason);
	add(recorder, line);
}

static void on_up(void *arg, const struct link *link)
{
	add_event(arg, link, "up", NULL);
}

/* That links go down when the agent stops says nothing about the network. */
static void on_down(void *arg, const struct link *link, const char *reason)
{
	struct recorder *recorder = arg;

	if (recorder->agent->phase == RUNNING)
		add_event(recorder, link, "down", reason);
}

/* ---- opening ---- */

/* Whoever plays it takes links to be up: they are not yet. */
static void begin(struct recorder *recorder)
{
	add_event(recorder, NULL, "start", NULL);
	for (const struct route *route = recorder->agent->routes; route; route = route->next)
		add_event(recorder, route->link, "down", "not connected yet");
}

struct recorder *recorder_open(struct agent *agent, const char *path, char *err, size_t err_size)
{
	struct recorder *recorder = calloc(1, sizeof *recorder);

	if (!recorder || !(recorder->path = strdup(path))) {
		snprintf(err, err_size, "out of memory");
		free(recorder);
		return NULL;
	}
	recorder->agent = agent;
	recorder->fd = -1;
	recorder->wall_ms = clock_wall_ms();
	recorder->monotonic_ms = clock_monotonic_ms();
	recorder->flush = (struct loop_timer){.fire = flush, .arg = recorder};
	recorder->observer = (struct observer){.arg = recorder, .message = on_message, .up = on_up, .down = on_down};
	if (open_file(recorder) < 0) {
		snprintf(err, err_size, "cannot record to %s: %s", path,
		         errno == EINVAL ? "it is no regular file" : strerror(errno));
		recorder_close(recorder);
		return NULL;
	}
	agent->observer = &recorder->observer;
	begin(recorder);
	log_info("agent", "recording to %s", path);
	return recorder;
}

void recorder_close(struct recorder *recorder)
{
	if (!recorder)
		return;
	flush(recorder);
	if (recorder->fd >= 0 && close(recorder->fd) < 0)
		log_warn("agent", "%s: %s", recorder->path, strerror(errno));
	buffer_release(&recorder->lines);
	free(recorder->path);
	free(recorder);
}
