/* A small HTTP server on the loop, for monitoring: a few pages, made when they are asked for.
 *
 * GET and HEAD only; one request a connection, which has HTTP_CLIENT_MS for all of it; HTTP_CLIENTS_MAX
 * at a time, who comes later waits for one to end. Whoever asks gets an answer: there are no passwords.
 */
#ifndef TIDEGATE_HTTP_H
#define TIDEGATE_HTTP_H

#include <stddef.h>

#include "buffer.h"

struct http;
struct loop;

enum { HTTP_CLIENTS_MAX = 16, HTTP_CLIENT_MS = 10000 };

struct http_page {
	const char *path; /* "/metrics" */
	const char *type; /* of what it gives: "text/plain; charset=utf-8" */
	const char *policy; /* Content-Security-Policy; NULL: nothing may be loaded or run */
	/* Appends to `body`, which is empty; gives the status, 200 as a rule, or -1: memory is exhausted. */
	int (*make)(void *arg, struct buffer *body);
};

/* Serves `pages`, the last of which has no path, on `address`, "127.0.0.1:9464" or "[::1]:9464". NULL with the
 * reason in `err`. `pages` and `arg` must outlive it. */
struct http *http_open(struct loop *loop, const char *address, const struct http_page *pages, void *arg, char *err,
                       size_t err_size);
void http_close(struct http *http);

#endif
