/* libmicrohttpd without threads: its epoll descriptor is one of the loop's watches, and it works when that is
 * ready. Its own timeouts begin anew with every byte, so a client that sends one now and then would
 * stay for ever: each connection has a timer of the loop's that ends it. */
#include "http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_library.h"
#include "log.h"
#include "loop.h"

#define CLIENT_BYTES 16384 /* of a request with its headers, and of what waits to leave */
#define BACKLOG 32

struct http {
	struct http_library library;
	struct loop *loop;
	const struct http_page *pages;
	void *arg;
	struct MHD_Daemon *daemon;
	struct loop_watch watch;
	struct loop_timer rest; /* it has more to do */
	bool freed;             /* a connection has ended since it last ran */
};

struct client {
	struct http *http;
	int fd;
	struct loop_timer deadline;
};

/* ---- answering ---- */

static enum MHD_Result reply(const struct http *http, struct MHD_Connection *connection, int status, const char *type,
                             const char *policy, struct buffer *body)
{
	const struct http_library *library = &http->library;
	struct MHD_Response *response =
	        library->create_response_from_buffer(body->size, body->data, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result = MHD_NO;

	if (!response) {
		buffer_release(body);
		return MHD_NO;
	}
	if (library->add_response_header(response, "Content-Type", type) == MHD_YES &&
	    library->add_response_header(response, "Content-Security-Policy", policy ? policy : "default-src 'none'") == MHD_YES &&
	    library->add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES &&
	    library->add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin") == MHD_YES &&
	    library->add_response_header(response, "Referrer-Policy", "no-referrer") == MHD_YES &&
	    library->add_response_header(response, "Cache-Control", "no-store") == MHD_YES &&
	    library->add_response_header(response, "Allow", "GET, HEAD") == MHD_YES &&
	    library->add_response_header(response, "Connection", "close") == MHD_YES)
		result = library->queue_response(connection, (unsigned)status, response);
	library->destroy_response(response);
	return result;
}

static enum MHD_Result refuse(const struct http *http, struct MHD_Connection *connection, int status, const char *text)
{
	struct buffer body = {0};

	if (buffer_append(&body, text, strlen(text)) < 0)
		return MHD_NO;
	return reply(http, connection, status, "text/plain; charset=utf-8", NULL, &body);
}

static enum MHD_Result serve(const struct http *http, struct MHD_Connection *connection, const struct http_page *page)
{
	struct buffer body = {0};
	int status = page->make(http->arg, &body);

	if (status >= 0)
		return reply(http, connection, status, page->type, page->policy, &body);
	buffer_release(&body);
	return refuse(http, connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "not enough memory\n");
}

/* Called first when the headers are there: an answer then means that nothing more is read. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *data, size_t *data_size, void **request)
{
	const struct http *http = arg;
	const struct http_page *page = http->pages;

	(void)version, (void)data, (void)data_size, (void)request;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return refuse(http, connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	while (page->path && strcmp(page->path, path) != 0)
		page++;
	if (!page->path)
		return refuse(http, connection, MHD_HTTP_NOT_FOUND, "there is nothing here\n");
	return serve(http, connection, page);
}

/* ---- connections ---- */

static void on_deadline(void *arg)
{
	const struct client *client = arg;

	shutdown(client->fd, SHUT_RDWR); /* libmicrohttpd closes it, as if the client had */
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
	struct http *http = arg;
	struct client *client = *context;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		client = calloc(1, sizeof *client);
		*context = client;
		if (!client)
			return;
		client->http = http;
		client->fd = http->library.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		client->deadline = (struct loop_timer){.fire = on_deadline, .arg = client};
		if (loop_timer_set(http->loop, &client->deadline, loop_now_ms(http->loop) + HTTP_CLIENT_MS) < 0)
			shutdown(client->fd, SHUT_RDWR);
	} else if (client) {
		loop_timer_cancel(http->loop, &client->deadline);
		free(client);
	}
	http->freed = http->freed || what == MHD_CONNECTION_NOTIFY_CLOSED;
}

/* At the limit of connections libmicrohttpd does not watch its listener, and only looks at the beginning of a run
 * whether it may again: after one has ended it must run once more, or who waits would wait for ever. */
static void work(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG wait_ms = 0;

	http->freed = false;
	if (http->library.run(http->daemon) != MHD_YES)
		log_debug("http", "libmicrohttpd failed");
	if (http->freed || http->library.get_timeout(http->daemon, &wait_ms) == MHD_YES)
		loop_timer_set(http->loop, &http->rest, loop_now_ms(http->loop) + (int64_t)wait_ms);
}

static void on_ready(void *arg, short revents)
{
	(void)revents;
	work(arg);
}

static void on_rest(void *arg)
{
	work(arg);
}

/* ---- opening and closing ---- */

/* Splits "[::1]:9464" or "127.0.0.1:9464". False: too long. */
static bool split(const char *address, char *host, size_t size, const char **port)
{
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : strlen(address);

	if (length >= 2 && address[0] == '[' && address[length - 1] == ']') {
		address++;
		length -= 2;
	}
	if (length >= size)
		return false;
	memcpy(host, address, length);
	host[length] = 0;
	*port = colon ? colon + 1 : "";
	return true;
}

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* Also on an address that this machine does not have yet, as at boot. -1 with errno. */
static int listen_at(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
	    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof yes) == 0 &&
	    bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	yes = errno;
	close(fd);
	errno = yes;
	return -1;
}

static int open_listener(const char *address, char *err, size_t err_size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *info = NULL;
	const char *port;
	char host[256];
	int fd, problem;

	if (!split(address, host, sizeof host, &port)) {
		snprintf(err, err_size, "%.100s: too long", address);
		return -1;
	}
	problem = getaddrinfo(host, port, &hints, &info);
	if (problem != 0) {
		snprintf(err, err_size, "%s: %s", address, gai_strerror(problem));
		return -1;
	}
	fd = listen_at(info);
	if (fd < 0)
		snprintf(err, err_size, "cannot listen on %s: %s", address, strerror(errno));
	else if (!is_loopback(info->ai_addr))
		log_info("http", "%s can be reached from other machines, and asks nobody for a password", address);
	freeaddrinfo(info);
	return fd;
}

/* Takes the listener. */
static int start(struct http *http, int listener)
{
	const union MHD_DaemonInfo *info;

	http->daemon = http->library.start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, http,
	                                MHD_OPTION_LISTEN_SOCKET, listener,
	                                MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CLIENTS_MAX,
	                                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CLIENT_BYTES,
	                                MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
	                                MHD_OPTION_END);
	if (!http->daemon) {
		close(listener);
		return -1;
	}
	info = http->library.get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -1;
	http->watch = (struct loop_watch){.fd = info->epoll_fd, .events = POLLIN, .ready = on_ready, .arg = http};
	http->rest = (struct loop_timer){.fire = on_rest, .arg = http};
	return loop_watch(http->loop, &http->watch);
}

struct http *http_open(struct loop *loop, const char *address, const struct http_page *pages, void *arg, char *err,
                       size_t err_size)
{
	struct http *http = calloc(1, sizeof *http);
	int listener;

	if (!http) {
		snprintf(err, err_size, "not enough memory");
		return NULL;
	}
	http->loop = loop;
	http->pages = pages;
	http->arg = arg;
	listener = http_library_load(&http->library, err, err_size) < 0 ? -1 : open_listener(address, err, err_size);
	if (listener >= 0 && start(http, listener) == 0)
		return http;
	if (listener >= 0)
		snprintf(err, err_size, "%s: libmicrohttpd does not start", address);
	http_close(http);
	return NULL;
}

void http_close(struct http *http)
{
	if (!http)
		return;
	if (http->daemon) {
		loop_unwatch(http->loop, &http->watch);
		http->library.stop_daemon(http->daemon); /* and on_connection() for each that is open */
		loop_timer_cancel(http->loop, &http->rest);
	}
	free(http);
}
