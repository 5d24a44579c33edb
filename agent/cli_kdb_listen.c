/* kdb listen: shows what a collector would receive, and answers like one, with `::`, or
 * with an error where it is told to. Evaluates nothing and keeps nothing but, in memory,
 * the mark of each gateway that delivers exactly once.
 *
 * What a client sends is only ever shown; one that sends no kdb+ messages is hung up on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"
#include "cli_kdb_show.h"
#include "cli_table.h"
#include "kdb_call.h"
#include "loop.h"

#define CLIENTS_MAX     64
#define MARKS_MAX       1000
#define CREDENTIALS_MAX 1024
#define MESSAGE_MAX     ((size_t)64 << 20)
#define READ_SIZE       65536
#define CAPABILITY      3
#define ADDRESS_MAX     64

struct listener;

struct client {
	struct listener *listener;
	struct loop_watch watch;
	char name[128]; /* the user's name, or where it comes from */
	bool greeted;
	struct buffer received;
	struct buffer answers; /* that the socket has not taken yet */
};

/* Up to where a gateway's rows for a table have come. */
struct mark {
	char *agent, *table;
	unsigned char instance[16];
	int64_t last;
};

struct listener {
	const struct options *options;
	struct loop *loop;
	struct loop_watch watch;
	struct client *clients[CLIENTS_MAX];
	struct mark marks[MARKS_MAX];
	size_t n_marks;
	long error_every;
	unsigned long long calls, rows;
	bool failed;
};

/* ---- what is said ---- */

__attribute__((format(printf, 3, 4)))
static void tell(const struct client *client, const char *event, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (client->listener->options->json) {
		show_event_json(client->name, event, text);
		return;
	}
	show_head(client->name);
	text_printf("%s\n", text);
}

static void close_client(struct client *client)
{
	struct listener *listener = client->listener;

	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (listener->clients[i] == client)
			listener->clients[i] = NULL;
	loop_unwatch(listener->loop, &client->watch);
	close(client->watch.fd);
	buffer_release(&client->received);
	buffer_release(&client->answers);
	free(client);
}

/* ---- answers ---- */

/* As much as the socket takes; the client is not read while there is a rest. -1: it is gone. */
static int flush(struct client *client)
{
	struct buffer *answers = &client->answers;
	ssize_t n = answers->size > 0 ? send(client->watch.fd, answers->data, answers->size, MSG_NOSIGNAL) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -1;
	if (n > 0) {
		memmove(answers->data, answers->data + n, answers->size - (size_t)n);
		answers->size -= (size_t)n;
	}
	client->watch.events = answers->size > 0 ? POLLOUT : POLLIN;
	return 0;
}

/* "::", or an error. */
static int answer(struct client *client, const char *error)
{
	size_t at = kdb_message_begin(&client->answers, KDB_RESPONSE);
	int failed = error ? kdb_put_error(&client->answers, (struct bytes){error, strlen(error)})
	                   : kdb_put_null(&client->answers);

	return failed || kdb_message_end(&client->answers, at) ? -1 : 0;
}

/* ---- exactly once ---- */

static bool equal(struct bytes bytes, const char *text)
{
	return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

static struct mark *find_mark(struct listener *listener, const struct kdb_call *call)
{
	for (size_t i = 0; i < listener->n_marks; i++) {
		struct mark *mark = &listener->marks[i];

		if (equal(call->agent, mark->agent) && equal(call->table, mark->table) &&
		    memcmp(mark->instance, call->instance, sizeof mark->instance) == 0)
			return mark;
	}
	return NULL;
}

static struct mark *add_mark(struct listener *listener, const struct kdb_call *call)
{
	struct mark *mark = listener->n_marks < MARKS_MAX ? &listener->marks[listener->n_marks] : NULL;

	if (!mark)
		return NULL;
	mark->agent = strndup(call->agent.data, call->agent.size);
	mark->table = strndup(call->table.data, call->table.size);
	if (!mark->agent || !mark->table) {
		free(mark->agent);
		free(mark->table);
		return NULL;
	}
	memcpy(mark->instance, call->instance, sizeof mark->instance);
	listener->n_marks++;
	return mark;
}

/* What is known already is passed over: *seen. An error's text, or NULL. */
static const char *apply_once(struct listener *listener, const struct kdb_call *call, bool *seen)
{
	struct mark *mark = find_mark(listener, call);

	*seen = mark && call->last <= mark->last;
	if (*seen)
		return NULL;
	if (mark && call->first <= mark->last)
		return "tidegate.overlap";
	if (!mark)
		mark = add_mark(listener, call);
	if (!mark)
		return "limit";
	mark->last = call->last;
	return NULL;
}

/* ---- messages ---- */

/* What --error says, for each N-th call. */
static const char *error_asked_for(const struct listener *listener)
{
	const char *error = listener->options->error;

	return error && listener->calls % (unsigned long long)listener->error_every == 0 ? error : NULL;
}

static const char *take_call(struct listener *listener, const struct kdb_call *call, bool *seen)
{
	listener->calls++;
	*seen = false;
	const char *error = error_asked_for(listener);
	if (!error && call->ragged)
		error = "length";
	if (!error && call->exactly_once)
		error = apply_once(listener, call, seen);
	if (!error && !*seen)
		listener->rows += call->n_rows;
	return error;
}

/* Shows a message and answers it: -1 if there is no memory for that. */
static int take(struct client *client, struct kdb_input input, enum kdb_kind kind)
{
	struct listener *listener = client->listener;
	bool json = listener->options->json, seen = false;
	struct kdb_call call;
	bool is_call = kind != KDB_RESPONSE && kdb_call_read(&call, input);
	const char *error = is_call ? take_call(listener, &call, &seen) : NULL;
	char told[256] = "";

	if (kind == KDB_SYNC)
		snprintf(told, sizeof told, "%s%s%s", error ? "'" : "::", error ? error : "", seen ? ", seen before" : "");
	if (is_call)
		(json ? show_call_json : show_call)(client->name, &call, told);
	else
		(json ? show_object_json : show_object)(client->name, input, told);
	return kind == KDB_SYNC ? answer(client, error) : 0;
}

/* Takes the message that has come first, if it is whole; returns its size. 0: it is not; -1: hang up. */
static ssize_t take_message(struct client *client, const char *data, size_t size)
{
	struct kdb_head head;
	struct kdb_input input;
	struct buffer scratch = {0};
	char err[256];

	if (size < KDB_HEAD_SIZE)
		return 0;
	if (kdb_read_head(data, MESSAGE_MAX, &head, err, sizeof err) < 0) {
		tell(client, "badmsg", "no kdb+ message, hung up: %s", err);
		return -1;
	}
	if (size < head.size)
		return 0;
	int status = kdb_open(&input, (struct bytes){data, head.size}, MESSAGE_MAX, &scratch, err, sizeof err);
	if (status < 0)
		tell(client, "badmsg", "a wrong message, hung up: %s", err);
	else
		status = take(client, input, head.kind);
	buffer_release(&scratch);
	return status < 0 ? -1 : (ssize_t)head.size;
}

static int take_messages(struct client *client)
{
	struct buffer *received = &client->received;
	size_t at = 0;
	ssize_t n;

	while ((n = take_message(client, received->data + at, received->size - at)) > 0)
		at += (size_t)n;
	memmove(received->data, received->data + at, received->size - at);
	received->size -= at;
	return n < 0 ? -1 : flush(client);
}

/* ---- handshake ---- */

static bool accepted(const struct options *options, const char *credentials)
{
	const char *colon = strchr(credentials, ':');
	size_t size = colon ? (size_t)(colon - credentials) : strlen(credentials);

	return (!options->user || equal((struct bytes){credentials, size}, options->user)) &&
	       (!options->password || strcmp(colon ? colon + 1 : "", options->password) == 0);
}

/* "user:password", the capability, NUL. 1 greeted, 0 more must come, -1 hang up. */
static int greet(struct client *client)
{
	struct buffer *received = &client->received;
	char *data = received->data, *nul = memchr(data, '\0', received->size);
	size_t size = nul ? (size_t)(nul - data) + 1 : 0;

	if (!nul && received->size <= CREDENTIALS_MAX)
		return 0;
	if (!nul || size < 2 || size > CREDENTIALS_MAX || (unsigned char)data[size - 2] > 6) {
		tell(client, "badmsg", "no kdb+ handshake, hung up");
		return -1;
	}
	char capability = data[size - 2] < CAPABILITY ? data[size - 2] : CAPABILITY;
	data[size - 2] = '\0';
	if (!accepted(client->listener->options, data)) {
		tell(client, "refused", "refused: wrong user or password");
		return -1;
	}
	if (strcspn(data, ":") > 0)
		snprintf(client->name, sizeof client->name, "%.*s", (int)strcspn(data, ":"), data);
	tell(client, "connected", "connected, capability %d", capability);
	memmove(data, data + size, received->size - size);
	received->size -= size;
	client->greeted = true;
	return buffer_append(&client->answers, &capability, 1) < 0 ? -1 : 1;
}

/* ---- sockets ---- */

static void hear(void *arg, short revents)
{
	struct client *client = arg;
	char bytes[READ_SIZE];

	if (revents & POLLOUT) {
		if (flush(client) < 0)
			close_client(client);
		return;
	}
	ssize_t n = recv(client->watch.fd, bytes, sizeof bytes, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		tell(client, "closed", "closed the connection");
		close_client(client);
		return;
	}
	int status = buffer_append(&client->received, bytes, (size_t)n);
	if (status == 0 && !client->greeted)
		status = greet(client);
	if (status >= 0 && client->greeted)
		status = take_messages(client);
	if (status < 0)
		close_client(client);
}

static void accept_client(void *arg, short revents)
{
	struct listener *listener = arg;
	struct sockaddr_storage address;
	socklen_t size = sizeof address;
	size_t i = 0;
	int fd = accept4(listener->watch.fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;

	(void)revents;
	while (i < CLIENTS_MAX && listener->clients[i])
		i++;
	struct client *client = fd >= 0 && i < CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
	if (!client) {
		if (fd >= 0)
			close(fd);
		return;
	}
	char host[ADDRESS_MAX] = "?", port[8] = "";
	getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(client->name, sizeof client->name, "%s:%s", host, port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* slower without */
	client->listener = listener;
	client->watch = (struct loop_watch){.fd = fd, .events = POLLIN, .ready = hear, .arg = client};
	if (loop_watch(listener->loop, &client->watch) < 0) {
		close(fd);
		free(client);
		return;
	}
	listener->clients[i] = client;
}

/* "5010", "0.0.0.0:5010", "[::1]:5010": the host, "127.0.0.1" if there is none, and the port. */
static int split_address(const char *text, char host[ADDRESS_MAX], const char **port)
{
	const char *colon = strrchr(text, ':');
	size_t size = colon ? (size_t)(colon - text) : 0;
	size_t brackets = size >= 2 && text[0] == '[' && text[size - 1] == ']';

	*port = colon ? colon + 1 : text;
	if (size >= ADDRESS_MAX || **port == '\0' || strspn(*port, "0123456789") != strlen(*port) || atol(*port) > 65535)
		return -1;
	if (size > 0)
		snprintf(host, ADDRESS_MAX, "%.*s", (int)(size - 2 * brackets), text + brackets);
	else
		snprintf(host, ADDRESS_MAX, "127.0.0.1");
	return 0;
}

static int open_socket(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *info;
	int status = getaddrinfo(host, port, &hints, &info), on = 1;

	if (status != 0) {
		fprintf(stderr, "tidegate kdb listen: %s: %s\n", host, gai_strerror(status));
		return -1;
	}
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	    bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, 16) < 0) {
		fprintf(stderr, "tidegate kdb listen: cannot listen on %s port %s: %s\n", host, port, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(info);
	return fd;
}

/* Port 0 is any that is free: tells which. */
static void tell_address(const struct listener *listener, const char *host)
{
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof address;
	char port[8] = "";

	getsockname(listener->watch.fd, (struct sockaddr *)&address, &size);
	getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof port, NI_NUMERICSERV);
	if (listener->options->json)
		printf("{\"event\":\"listening\",\"address\":\"%s\",\"port\":%s}\n", host, port);
	else if (!listener->options->error)
		printf("listening on %s port %s; every call is shown, and answered with ::\n", host, port);
	else if (listener->error_every == 1)
		text_printf("listening on %s port %s; every call is shown, and answered with '%s\n", host, port,
		            listener->options->error);
	else
		text_printf("listening on %s port %s; every call is shown, one in %ld answered with '%s\n", host, port,
		            listener->error_every, listener->options->error);
}

/* ---- the command ---- */

static void end_turn(void *arg)
{
	struct listener *listener = arg;

	if (fflush(stdout) != 0 && !listener->failed) {
		listener->failed = true;
		loop_stop(listener->loop);
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

static void on_signal(void *arg, int number)
{
	struct listener *listener = arg;

	if (number != SIGHUP)
		loop_stop(listener->loop);
}

static void release(struct listener *listener)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (listener->clients[i])
			close_client(listener->clients[i]);
	for (size_t i = 0; i < listener->n_marks; i++) {
		free(listener->marks[i].agent);
		free(listener->marks[i].table);
	}
	if (listener->loop && listener->watch.arg)
		loop_unwatch(listener->loop, &listener->watch);
	loop_close(listener->loop);
	close(listener->watch.fd);
	free(listener);
}

static int serve(struct listener *listener, const char *host)
{
	static const struct loop_steps steps = {.commit = end_turn, .send = nothing, .acknowledge = nothing,
	                                        .signal = on_signal};
	char err[256] = "no memory";

	listener->loop = loop_open(&steps, listener, err, sizeof err);
	listener->watch = (struct loop_watch){.fd = listener->watch.fd, .events = POLLIN, .ready = accept_client,
	                                      .arg = listener};
	if (!listener->loop || loop_watch(listener->loop, &listener->watch) < 0) {
		fprintf(stderr, "tidegate kdb listen: %s\n", err);
		return CLI_FAILED;
	}
	tell_address(listener, host);
	end_turn(listener);
	int status = loop_run(listener->loop) < 0 ? CLI_FAILED : 0;
	printf(listener->options->json ? "{\"event\":\"end\",\"calls\":%llu,\"rows\":%llu}\n"
	                               : "%llu calls, %llu rows\n",
	       listener->calls, listener->rows);
	return cli_flush() == 0 && !listener->failed ? status : CLI_FAILED;
}

int cli_kdb_listen(const struct options *options)
{
	char host[ADDRESS_MAX], *end = NULL;
	const char *port;
	long every = options->error_every ? strtol(options->error_every, &end, 10) : 1;

	if (options->n_operands < 2 || split_address(options->operands[1], host, &port) < 0) {
		fprintf(stderr, "tidegate kdb listen: expected a port, or an address and a port: 5010, 0.0.0.0:5010\n");
		return CLI_USAGE;
	}
	if (every < 1 || (end && *end)) {
		fprintf(stderr, "tidegate kdb listen: --error-every wants a number of calls, not %s\n", options->error_every);
		return CLI_USAGE;
	}
	if (options->error_every && !options->error) {
		fprintf(stderr, "tidegate kdb listen: --error-every needs --error\n");
		return CLI_USAGE;
	}
	int fd = open_socket(host, port);
	if (fd < 0)
		return CLI_FAILED;
	struct listener *listener = calloc(1, sizeof *listener);
	if (!listener) {
		close(fd);
		return CLI_FAILED;
	}
	listener->options = options;
	listener->error_every = every;
	listener->watch.fd = fd;
	int status = serve(listener, host);
	release(listener);
	return status;
}
