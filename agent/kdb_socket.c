/* Connecting waits with poll() on a socket that never blocks, on the attempt's own thread; a
 * signal there (attempt_nudge()) ends what hangs. */
#include "kdb_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

#define CONNECT_MS 10000 /* to one address; and for the TLS handshake */
#define KEEPALIVE_S 60   /* a peer that is gone is noticed, though nothing is sent */

static int fail(char *err, size_t err_size, const char *what, const char *why)
{
	snprintf(err, err_size, "%s%s%s", what, why ? ": " : "", why ? why : "");
	return -1;
}

/* 0: ready; -1: time is up, or a signal came (errno EINTR). */
static int wait_for(int fd, short events, int64_t until_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	int64_t left_ms = until_ms - clock_monotonic_ms();
	int n = left_ms > 0 ? poll(&poll_fd, 1, (int)left_ms) : 0;

	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0 ? 0 : -1;
}

/* ---- TCP and unix ---- */

/* A connected socket, or -1 with errno. */
static int connect_to(const struct sockaddr *address, socklen_t size)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
	socklen_t error_size = sizeof error;

	if (fd < 0)
		return -1;
	if (connect(fd, address, size) == 0)
		return fd;
	if (errno == EINPROGRESS && wait_for(fd, POLLOUT, clock_monotonic_ms() + CONNECT_MS) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) == 0 && error == 0)
		return fd;
	error = error ? error : errno;
	close(fd);
	errno = error;
	return -1;
}

static bool is_local(int fd)
{
	struct sockaddr_storage ours = {0}, theirs = {0};
	socklen_t our_size = sizeof ours, their_size = sizeof theirs;

	if (getsockname(fd, (struct sockaddr *)&ours, &our_size) < 0 ||
	    getpeername(fd, (struct sockaddr *)&theirs, &their_size) < 0)
		return false;
	if (ours.ss_family == AF_INET)
		return ((struct sockaddr_in *)&ours)->sin_addr.s_addr == ((struct sockaddr_in *)&theirs)->sin_addr.s_addr;
	return memcmp(&((struct sockaddr_in6 *)&ours)->sin6_addr, &((struct sockaddr_in6 *)&theirs)->sin6_addr,
	              sizeof(struct in6_addr)) == 0;
}

/* What the system refuses of these costs speed only, or the news of a dead peer. */
static void set_options(int fd)
{
	const int on = 1, idle = KEEPALIVE_S, interval = KEEPALIVE_S / 4;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
}

static int connect_tcp(struct kdb_socket *socket, const struct url *url, char *err, size_t err_size)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all, *one;
	char port[16];
	int rc;

	snprintf(port, sizeof port, "%d", url->port);
	rc = getaddrinfo(url->host, port, &hints, &all);
	if (rc != 0)
		return fail(err, err_size, url->host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	for (one = all; one && socket->fd < 0; one = one->ai_next)
		socket->fd = connect_to(one->ai_addr, one->ai_addrlen);
	rc = errno;
	freeaddrinfo(all);
	if (socket->fd < 0)
		return fail(err, err_size, rc == EINTR ? "no answer" : strerror(rc), NULL);
	set_options(socket->fd);
	socket->local = is_local(socket->fd);
	return 0;
}

/* q on Linux has an abstract name, some with the zeros behind it; others have a file. */
static int connect_unix(struct kdb_socket *socket, const struct url *url, char *err, size_t err_size)
{
	const char *directory = getenv("QUDSPATH");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const socklen_t head = offsetof(struct sockaddr_un, sun_path);
	char path[sizeof address.sun_path];
	int length = snprintf(path, sizeof path, "%s/kx.%d", directory ? directory : "/tmp", url->port);

	if (directory && !*directory)
		return fail(err, err_size, "unix sockets are disabled: QUDSPATH is empty", NULL);
	if (length < 0 || (size_t)length + 1 >= sizeof path)
		return fail(err, err_size, "the path in QUDSPATH is too long", NULL);
	memcpy(address.sun_path + 1, path, (size_t)length);
	socket->fd = connect_to((struct sockaddr *)&address, head + 1 + (socklen_t)length);
	if (socket->fd < 0)
		socket->fd = connect_to((struct sockaddr *)&address, sizeof address);
	if (socket->fd < 0) {
		memcpy(address.sun_path, path, (size_t)length + 1);
		socket->fd = connect_to((struct sockaddr *)&address, sizeof address);
	}
	if (socket->fd < 0)
		return fail(err, err_size, path, strerror(errno));
	socket->local = true;
	return 0;
}

/* ---- TLS ---- */

static int give_password(char *buffer, int size, int for_writing, void *tls)
{
	const char *password = ((const struct tls_config *)tls)->key_password;
	int length = password ? snprintf(buffer, (size_t)size, "%s", password) : 0;

	(void)for_writing;
	return length < size ? length : 0;
}

static int tls_fail(char *err, size_t err_size, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return fail(err, err_size, what, reason);
}

static int version_of(const char *name)
{
	return !name || strcmp(name, "tlsv1.2") == 0 ? TLS1_2_VERSION
	       : strcmp(name, "tlsv1.3") == 0        ? TLS1_3_VERSION
	       : strcmp(name, "tlsv1.1") == 0        ? TLS1_1_VERSION
	                                             : TLS1_VERSION;
}

static int set_up(SSL_CTX *ctx, struct tls_config *tls, char *err, size_t err_size)
{
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_default_passwd_cb(ctx, give_password);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, tls);
	if (SSL_CTX_set_min_proto_version(ctx, version_of(tls->version)) != 1)
		return tls_fail(err, err_size, "tls.version");
	if (tls->ciphers && SSL_CTX_set_cipher_list(ctx, tls->ciphers) != 1)
		return tls_fail(err, err_size, "tls.ciphers");
	if (tls->ca || tls->capath ? SSL_CTX_load_verify_locations(ctx, tls->ca, tls->capath) != 1
	                           : SSL_CTX_set_default_verify_paths(ctx) != 1)
		return tls_fail(err, err_size, "tls.ca");
	if (tls->cert && SSL_CTX_use_certificate_chain_file(ctx, tls->cert) != 1)
		return tls_fail(err, err_size, "tls.cert");
	if (tls->key && SSL_CTX_use_PrivateKey_file(ctx, tls->key, SSL_FILETYPE_PEM) != 1)
		return tls_fail(err, err_size, "tls.key");
	return 0;
}

static bool is_address(const char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Whose certificate is expected. */
static bool name_peer(SSL *ssl, const struct tls_config *tls, const char *host)
{
	if (!is_address(host) && SSL_set_tlsext_host_name(ssl, host) != 1)
		return false;
	if (!tls->verify_host || tls->insecure)
		return true;
	if (is_address(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1;
}

static int explain(SSL *ssl, char *err, size_t err_size)
{
	long verdict = SSL_get_verify_result(ssl);
	unsigned long error = ERR_peek_last_error();

	if (verdict != X509_V_OK)
		return fail(err, err_size, "the certificate is refused", X509_verify_cert_error_string(verdict));
	if (ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER)
		return fail(err, err_size, "no TLS there: use kdb://, or another port", NULL);
	if (!error || ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		return fail(err, err_size, "closed during the TLS handshake: if the port has no TLS, use kdb://", NULL);
	}
	return tls_fail(err, err_size, "TLS");
}

static int shake_hands(struct kdb_socket *socket, char *err, size_t err_size)
{
	int64_t until_ms = clock_monotonic_ms() + CONNECT_MS;
	int rc;

	ERR_clear_error();
	while ((rc = SSL_connect(socket->ssl)) != 1) {
		int error = SSL_get_error(socket->ssl, rc);

		if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
			return explain(socket->ssl, err, err_size);
		if (wait_for(socket->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until_ms) < 0)
			return fail(err, err_size, "no answer to the TLS handshake", NULL);
	}
	return 0;
}

static int start_tls(struct kdb_socket *socket, const struct link_config *config, const struct url *url, char *err,
                     size_t err_size)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_config tls = config->tls; /* its address is only used here */
	int result = -1;

	if (!ctx)
		return tls_fail(err, err_size, "TLS");
	if (set_up(ctx, &tls, err, err_size) == 0) {
		socket->ssl = SSL_new(ctx);
		if (!socket->ssl || SSL_set_fd(socket->ssl, socket->fd) != 1 || !name_peer(socket->ssl, &tls, url->host))
			tls_fail(err, err_size, "TLS");
		else
			result = shake_hands(socket, err, err_size);
	}
	SSL_CTX_free(ctx);
	return result;
}

/* ---- what others use ---- */

int kdb_socket_open(struct kdb_socket *socket, const struct link_config *config, const struct url *url, char *err,
                    size_t err_size)
{
	*socket = (struct kdb_socket){.fd = -1};
	if ((url->unix_socket ? connect_unix(socket, url, err, err_size) : connect_tcp(socket, url, err, err_size)) < 0)
		return -1;
	if (!url->tls || start_tls(socket, config, url, err, err_size) == 0)
		return 0;
	kdb_socket_close(socket);
	return -1;
}

void kdb_socket_close(struct kdb_socket *socket)
{
	SSL_free(socket->ssl);
	if (socket->fd >= 0)
		close(socket->fd);
	*socket = (struct kdb_socket){.fd = -1};
}

/* How a call on a TLS connection came out. */
static ssize_t judge(struct kdb_socket *socket, int n, bool writing, bool *closed, char *err, size_t err_size)
{
	int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(socket->ssl, n), problem = errno;

	socket->stuck = writing && error == SSL_ERROR_WANT_READ;
	if (n > 0)
		return n;
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return 0;
	*closed = error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_SSL || problem == 0 || problem == ECONNRESET ||
	          problem == EPIPE;
	if (error == SSL_ERROR_ZERO_RETURN || (error == SSL_ERROR_SYSCALL && problem == 0))
		return fail(err, err_size, "closed by the collector", NULL);
	if (error == SSL_ERROR_SYSCALL)
		return fail(err, err_size, strerror(problem), NULL);
	return tls_fail(err, err_size, "TLS");
}

static ssize_t judge_plain(ssize_t n, bool *closed, char *err, size_t err_size)
{
	if (n > 0)
		return n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	*closed = n == 0 || errno == ECONNRESET || errno == EPIPE;
	return fail(err, err_size, *closed ? "closed by the collector" : strerror(errno), NULL);
}

ssize_t kdb_socket_read(struct kdb_socket *socket, void *data, size_t size, bool *closed, char *err, size_t err_size)
{
	int most = size > INT32_MAX ? INT32_MAX : (int)size;

	if (!socket->ssl)
		return judge_plain(recv(socket->fd, data, size, 0), closed, err, err_size);
	ERR_clear_error();
	errno = 0;
	return judge(socket, SSL_read(socket->ssl, data, most), false, closed, err, err_size);
}

ssize_t kdb_socket_write(struct kdb_socket *socket, const void *data, size_t size, bool *closed, char *err,
                         size_t err_size)
{
	int most = size > INT32_MAX ? INT32_MAX : (int)size;

	if (!socket->ssl)
		return judge_plain(send(socket->fd, data, size, MSG_NOSIGNAL), closed, err, err_size);
	ERR_clear_error();
	errno = 0;
	return judge(socket, SSL_write(socket->ssl, data, most), true, closed, err, err_size);
}

bool kdb_socket_pending(const struct kdb_socket *socket)
{
	return socket->ssl && SSL_pending(socket->ssl) > 0;
}

bool kdb_socket_arrived(const struct kdb_socket *socket)
{
	int bytes = 0;

	return socket->fd >= 0 && ioctl(socket->fd, SIOCOUTQ, &bytes) == 0 && bytes == 0;
}

size_t kdb_socket_unsent(const struct kdb_socket *socket)
{
	int bytes = 0;

	return socket->fd >= 0 && ioctl(socket->fd, SIOCOUTQ, &bytes) == 0 ? (size_t)bytes : 0;
}
