/* One request out, lines in until the last one, which says how it went. */
#include "cli_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "buffer.h"

#define PATIENCE_S 40 /* with an agent that does not answer: it may keep us waiting for a place */

/* A call with a timeout does not go on by itself where it was stopped and continued: with a job of a shell that is, and
 * with a machine that slept. */

static int connect_to(int fd, const struct sockaddr_un *address)
{
	int result;

	do
		result = connect(fd, (const struct sockaddr *)address, sizeof *address);
	while (result < 0 && errno == EINTR);
	return result;
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

static ssize_t receive(int fd, char *data, size_t size)
{
	ssize_t n;

	do
		n = recv(fd, data, size, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

int client_connect(const char *path, bool *absent, char *err, size_t err_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd;

	*absent = false;
	if (strlen(path) >= sizeof address.sun_path) {
		snprintf(err, err_size, "%.120s: too long for a socket", path);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
	    connect_to(fd, &address) == 0)
		return fd;
	*absent = fd >= 0 && (errno == ENOENT || errno == ECONNREFUSED);
	snprintf(err, err_size, "no agent answers at %s: %s", path, errno == EAGAIN ? "it is too busy" : strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

enum last { NOT_LAST, LAST_OK, LAST_ERROR };

/* Looks at a line, and tells it if it is not the last. */
static enum last take_line(const char *text, size_t size, client_line *line, void *arg, char *err, size_t err_size)
{
	json_error_t wrong;
	json_t *object = json_loadb(text, size, JSON_ALLOW_NUL, &wrong);
	const char *error = json_string_value(json_object_get(object, "error"));
	enum last last = LAST_ERROR;

	if (!object)
		snprintf(err, err_size, "the answer cannot be read: %s", wrong.text);
	else if (error)
		snprintf(err, err_size, "%s", error);
	else
		last = json_is_true(json_object_get(object, "ok")) ? LAST_OK : NOT_LAST;
	if (last == NOT_LAST)
		line(arg, text, size, object);
	json_decref(object);
	return last;
}

/* Tells the lines of one piece. */
static enum last take_piece(const char *data, size_t size, client_line *line, void *arg, char *err, size_t err_size)
{
	const char *end = data + size;
	enum last last = NOT_LAST;

	while (last == NOT_LAST && data < end) {
		size_t length = (size_t)((const char *)memchr(data, '\n', (size_t)(end - data)) - data);

		last = take_line(data, length, line, arg, err, err_size);
		data += length + 1;
	}
	return last;
}

static int read_answer(int fd, client_line *line, void *arg, char *err, size_t err_size)
{
	struct buffer begun = {0}; /* what was received of a line */
	enum last last = NOT_LAST;
	char piece[16384];
	ssize_t n = 0;

	while (last == NOT_LAST && (n = receive(fd, piece, sizeof piece)) > 0) {
		const char *end = memrchr(piece, '\n', (size_t)n);
		size_t whole = end ? (size_t)(end - piece) + 1 : 0;

		if (buffer_append(&begun, piece, whole) < 0)
			break;
		if (whole > 0) {
			last = take_piece(begun.data, begun.size, line, arg, err, err_size);
			buffer_reset(&begun);
		}
		if (buffer_append(&begun, piece + whole, (size_t)n - whole) < 0)
			break;
	}
	if (last == NOT_LAST && n > 0)
		snprintf(err, err_size, "out of memory");
	else if (last == NOT_LAST)
		snprintf(err, err_size, "the agent %s", n < 0 && errno == EAGAIN ? "does not answer" : "hung up");
	buffer_release(&begun);
	return last == LAST_OK ? 0 : -1;
}

int client_ask(int fd, json_t *request, client_line *line, void *arg, char *err, size_t err_size)
{
	char *text = json_dumps(request, JSON_COMPACT);
	int result = -1;

	if (!text)
		snprintf(err, err_size, "out of memory");
	else if (send_all(fd, text, strlen(text)) < 0 || send_all(fd, "\n", 1) < 0)
		snprintf(err, err_size, "the agent does not take the request: %s", strerror(errno));
	else
		result = read_answer(fd, line, arg, err, err_size);
	free(text);
	close(fd);
	json_decref(request);
	return result;
}

int client_ask_here(const struct answer_command *const *commands, void *agent, json_t *request, client_line *line,
                    void *arg, char *err, size_t err_size)
{
	char *text = json_dumps(request, JSON_COMPACT);
	struct answer *answer = text ? answer_open(commands, agent, text, strlen(text)) : NULL;
	enum last last = NOT_LAST;
	const char *data;
	size_t size;

	snprintf(err, err_size, "out of memory");
	while (answer && last == NOT_LAST && (data = answer_data(answer, &size)) != NULL) {
		last = take_piece(data, size, line, arg, err, err_size);
		answer_taken(answer, size);
	}
	answer_close(answer);
	free(text);
	json_decref(request);
	return last == LAST_OK ? 0 : -1;
}

/* ---- fields ---- */

const char *line_string(const json_t *line, const char *key)
{
	const char *value = json_string_value(json_object_get(line, key));

	return value ? value : "";
}

double line_number(const json_t *line, const char *key)
{
	return json_number_value(json_object_get(line, key));
}

long long line_integer(const json_t *line, const char *key)
{
	return json_integer_value(json_object_get(line, key));
}

bool line_truth(const json_t *line, const char *key)
{
	return json_is_true(json_object_get(line, key));
}
