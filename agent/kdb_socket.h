/* A kdb+ link's connection: TCP, TLS over it, or a unix socket of this machine; bytes in and
 * out, and nothing of what they mean.
 */
#ifndef TIDEGATE_KDB_SOCKET_H
#define TIDEGATE_KDB_SOCKET_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "config.h"

/* fd -1: not open. */
struct kdb_socket {
	int fd;
	SSL *ssl;   /* NULL: plain */
	bool local; /* the peer is on this machine */
	bool stuck; /* what waits to be written needs to read first */
};

/* Connects, with the TLS handshake if the URL wants it; blocks for some seconds at most. 0, or -1
 * with the reason in `err`. */
int kdb_socket_open(struct kdb_socket *socket, const struct link_config *config, const struct url *url, char *err,
                    size_t err_size);
void kdb_socket_close(struct kdb_socket *socket);

/* How many bytes were read or written, 0: none now, or -1: the connection has ended, and `*closed` whether
 * it was the peer who closed it. */
ssize_t kdb_socket_read(struct kdb_socket *socket, void *data, size_t size, bool *closed, char *err, size_t err_size);
ssize_t kdb_socket_write(struct kdb_socket *socket, const void *data, size_t size, bool *closed, char *err,
                         size_t err_size);

/* There is more to read of which poll() does not know. */
bool kdb_socket_pending(const struct kdb_socket *socket);

/* The peer's kernel has all that was written. */
bool kdb_socket_arrived(const struct kdb_socket *socket);
/* Bytes that were written and that it has not yet, as they are on the wire. */
size_t kdb_socket_unsent(const struct kdb_socket *socket);

#endif
