/* A listener and a few clients on the loop. A client is read until its line is
 * whole, then written to as fast as it takes the answer; the next piece of that is
 * made only when the last one has left. */
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "log_limit.h"
#include "loop.h"
#include "peer.h"
#include "privileges.h"

#define BACKLOG 64        /* connected, and waiting for a place */
#define REFUSED_MS 1000   /* out of descriptors or memory: accepted again after */

struct client {
	struct control *control;
	struct loop_watch socket;
	struct loop_timer deadline;
	struct ucred who;
	bool refused; /* it may not ask */
	char request[CONTROL_REQUEST_MAX];
	size_t size;
	struct answer *answer; /* NULL: the request is not whole yet */
	struct client *next;
};

struct control {
	struct loop *loop;
	char *path;
	const struct answer_command *const *commands;
	void *arg;
	struct loop_watch listener;
	bool accepting; /* the listener is watched */
	struct loop_timer accept_again;
	struct client *clients;
	size_t n_clients;
	dev_t device; /* of the socket's file: it may be another's by the time we look again */
	ino_t inode;
	gid_t group;
	struct log_limit refusals;
};

/* ---- a client ---- */

static void accept_more(struct control *control);

static void hang_up(struct client *client)
{
	struct control *control = client->control;

	for (struct client **at = &control->clients; *at; at = &(*at)->next)
		if (*at == client) {
			*at = client->next;
			break;
		}
	control->n_clients--;
	loop_unwatch(control->loop, &client->socket);
	loop_timer_cancel(control->loop, &client->deadline);
	close(client->socket.fd);
	answer_close(client->answer);
	free(client);
	accept_more(control);
}

static void on_deadline(void *arg)
{
	hang_up(arg);
}

/* False: it has gone, or cannot be given more time. */
static bool more_time(struct client *client, int64_t ms)
{
	return loop_timer_set(client->control->loop, &client->deadline, loop_now_ms(client->control->loop) + ms) == 0;
}

/* Writes what there is, one piece a turn. */
static void reply(struct client *client)
{
	size_t size;
	const char *data = answer_data(client->answer, &size);
	bool works = data && size == 0; /* it has nothing to say yet */
	ssize_t n = data && !works ? send(client->socket.fd, data, size, MSG_NOSIGNAL) : 0;

	if (n > 0)
		answer_taken(client->answer, (size_t)n);
	if (!data || (n < 0 && errno != EAGAIN && errno != EINTR) || ((n > 0 || works) && !more_time(client, CONTROL_IDLE_MS)))
		hang_up(client);
}

static void note_refusal(const struct client *client)
{
	struct control *control = client->control;
	uint64_t earlier = 0;

	if (!log_limit_allows(&control->refusals, loop_now_ms(control->loop), &earlier))
		return;
	log_warn("control", "refused: neither root, nor the agent's user, nor in the socket's group uid=%ld gid=%ld pid=%ld",
	         (long)client->who.uid, (long)client->who.gid, (long)client->who.pid);
	if (earlier > 0)
		log_warn("control", "%llu more were refused meanwhile", (unsigned long long)earlier);
}

static void note(const struct client *client)
{
	const struct answer_command *command = answer_command(client->answer);

	if (client->refused)
		note_refusal(client);
	else if (command && command->changes)
		log_info("control", "%.*s uid=%ld pid=%ld", (int)client->size, client->request, (long)client->who.uid,
		         (long)client->who.pid);
	else
		log_debug("control", "%s uid=%ld pid=%ld", command ? command->name : "no known request",
		          (long)client->who.uid, (long)client->who.pid);
}

static void begin_answer(struct client *client, struct answer *answer)
{
	client->answer = answer;
	if (!client->answer || !more_time(client, CONTROL_IDLE_MS)) {
		hang_up(client);
		return;
	}
	note(client);
	client->socket.events = POLLOUT;
	reply(client);
}

/* The request is read all the same: who is hung up on while writing never sees the answer. */
static struct answer *answer_to(const struct client *client)
{
	const struct control *control = client->control;
	char text[160];

	if (!client->refused)
		return answer_open(control->commands, control->arg, client->request, client->size);
	snprintf(text, sizeof text,
	         "user %ld may not ask: only root, the agent's user and members of the socket's group (%ld) may",
	         (long)client->who.uid, (long)control->group);
	return answer_error(text);
}

/* Takes what came; what follows the line is ignored. */
static void listen_to(struct client *client)
{
	ssize_t n = recv(client->socket.fd, client->request + client->size, sizeof client->request - client->size, 0);
	char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(client);
		return;
	}
	end = memchr(client->request + client->size, '\n', (size_t)n);
	client->size += (size_t)n;
	if (end) {
		client->size = (size_t)(end - client->request);
		begin_answer(client, answer_to(client));
	} else if (client->size == sizeof client->request) {
		begin_answer(client, answer_error("the request is too long"));
	}
}

static void on_ready(void *arg, short revents)
{
	struct client *client = arg;

	(void)revents; /* a failure shows when it is read or written */
	if (client->answer)
		reply(client);
	else
		listen_to(client);
}

/* ---- accepting ---- */

/* The owner may have given the file another group since. */
static void look_at_file(struct control *control)
{
	struct stat file;

	if (stat(control->path, &file) == 0 && file.st_dev == control->device && file.st_ino == control->inode)
		control->group = file.st_gid;
}

static int add_client(struct control *control, int fd)
{
	struct client *client = calloc(1, sizeof *client);
	socklen_t size = sizeof client->who;

	if (!client)
		return -1;
	client->control = control;
	client->socket = (struct loop_watch){.fd = fd, .events = POLLIN, .ready = on_ready, .arg = client};
	client->deadline = (struct loop_timer){.fire = on_deadline, .arg = client};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->who, &size) < 0 ||
	    loop_watch(control->loop, &client->socket) < 0) {
		free(client);
		return -1;
	}
	if (!more_time(client, CONTROL_REQUEST_MS)) {
		loop_unwatch(control->loop, &client->socket);
		free(client);
		return -1;
	}
	look_at_file(control);
	client->refused = !peer_may_ask(fd, &client->who, control->group);
	client->next = control->clients;
	control->clients = client;
	control->n_clients++;
	return 0;
}

/* Whoever finds no place waits in the listener's backlog. */
static void accept_more(struct control *control)
{
	bool room = control->n_clients < CONTROL_CLIENTS_MAX && !control->accept_again.armed;

	if (room == control->accepting)
		return;
	if (!room)
		loop_unwatch(control->loop, &control->listener);
	else if (loop_watch(control->loop, &control->listener) < 0)
		return; /* no memory: the next client that goes tries again */
	control->accepting = room;
}

static void on_accept_again(void *arg)
{
	accept_more(arg);
}

static void on_connection(void *arg, short revents)
{
	struct control *control = arg;
	int fd = accept4(control->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	if (fd < 0) { /* the connection waits on, and poll() would say so without end */
		log_warn("control", "cannot accept: %s", strerror(errno));
		loop_timer_set(control->loop, &control->accept_again, loop_now_ms(control->loop) + REFUSED_MS);
	} else if (add_client(control, fd) < 0) {
		close(fd);
	}
	accept_more(control);
}

/* ---- the socket's file ---- */

/* What a client would meet there: 0 or an errno. ECONNREFUSED: nobody listens any more. */
static int try_address(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), problem = 0;

	if (fd < 0)
		return errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0)
		problem = errno;
	close(fd);
	return problem == EAGAIN ? 0 : problem; /* many are waiting: somebody listens */
}

/* Made with its mode from the start: there is no moment at which others could connect. */
static int bind_privately(int fd, const struct sockaddr_un *address)
{
	mode_t before = umask(0117);
	int result = bind(fd, (const struct sockaddr *)address, sizeof *address);
	int problem = errno;

	umask(before);
	errno = problem;
	return result;
}

/* A socket that cannot be tried or replaced: most often, an agent that ran as root was killed. */
static void tell_problem(const char *path, int problem, char *err, size_t err_size)
{
	char owns[PRIVILEGES_NAME], runs[PRIVILEGES_NAME];
	struct stat file;

	if ((problem != EACCES && problem != EPERM) || lstat(path, &file) < 0 || file.st_uid == geteuid()) {
		snprintf(err, err_size, "%s: %s", path, strerror(problem));
		return;
	}
	privileges_name(file.st_uid, owns);
	privileges_name(geteuid(), runs);
	snprintf(err, err_size, "%s belongs to %s, and %s may not use it; if no agent runs there: rm %s", path, owns, runs,
	         path);
}

/* 0, or -1 with the reason in `err`. */
static int take_path(struct control *control, const struct sockaddr_un *address, char *err, size_t err_size)
{
	struct stat file;
	int problem;

	if (bind_privately(control->listener.fd, address) == 0)
		return 0;
	problem = errno;
	if (problem == EADDRINUSE && lstat(control->path, &file) == 0 && !S_ISSOCK(file.st_mode)) {
		snprintf(err, err_size, "%s: is there already and is no socket", control->path);
		return -1;
	}
	if (problem == EADDRINUSE && (problem = try_address(address)) == 0) {
		snprintf(err, err_size, "%s: another process serves it (a second agent?)", control->path);
		return -1;
	}
	if (problem == ECONNREFUSED && unlink(control->path) == 0 && bind_privately(control->listener.fd, address) == 0)
		return 0;
	tell_problem(control->path, problem == ECONNREFUSED ? errno : problem, err, err_size);
	return -1;
}

static int listen_at_path(struct control *control, char *err, size_t err_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat file;

	if (strlen(control->path) >= sizeof address.sun_path) {
		snprintf(err, err_size, "%.120s: too long for a socket", control->path);
		return -1;
	}
	memcpy(address.sun_path, control->path, strlen(control->path));
	if (take_path(control, &address, err, err_size) < 0)
		return -1;
	if (stat(control->path, &file) == 0) {
		control->device = file.st_dev;
		control->inode = file.st_ino;
		control->group = file.st_gid;
	}
	if (listen(control->listener.fd, BACKLOG) == 0)
		return 0;
	snprintf(err, err_size, "%s: %s", control->path, strerror(errno));
	return -1;
}

/* ---- opening and closing ---- */

struct control *control_open(struct loop *loop, const char *path, const struct answer_command *const *commands,
                             void *arg, char *err, size_t err_size)
{
	struct control *control = calloc(1, sizeof *control);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (!control || fd < 0) {
		snprintf(err, err_size, "%s: out of memory or file descriptors", path);
		if (fd >= 0)
			close(fd);
		free(control);
		return NULL;
	}
	control->loop = loop;
	control->commands = commands;
	control->arg = arg;
	control->listener = (struct loop_watch){.fd = fd, .events = POLLIN, .ready = on_connection, .arg = control};
	control->accept_again = (struct loop_timer){.fire = on_accept_again, .arg = control};
	control->path = strdup(path);
	if (!control->path) {
		snprintf(err, err_size, "%s: out of memory", path);
	} else if (listen_at_path(control, err, err_size) == 0) {
		accept_more(control);
		if (control->accepting)
			return control;
		snprintf(err, err_size, "%s: out of memory", path);
	}
	control_close(control);
	return NULL;
}

/* Unless another agent has put its own there meanwhile. */
static void remove_file(const struct control *control)
{
	struct stat file;

	if (control->inode != 0 && stat(control->path, &file) == 0 && file.st_dev == control->device &&
	    file.st_ino == control->inode)
		unlink(control->path);
}

void control_close(struct control *control)
{
	if (!control)
		return;
	while (control->clients)
		hang_up(control->clients);
	loop_timer_cancel(control->loop, &control->accept_again);
	loop_unwatch(control->loop, &control->listener);
	remove_file(control);
	close(control->listener.fd);
	free(control->path);
	free(control);
}
