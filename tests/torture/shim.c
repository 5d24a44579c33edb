/* Preloaded into an agent (LD_PRELOAD), makes system calls fail:
 *
 *	SHIM_FAIL=CALL:HOW:FIRST[:EVERY]
 *
 * CALL is read, write or connect (of a TCP socket), fdatasync, pwrite or ftruncate. HOW is
 * the name of an error, or SHORT: half of it is written, or read. The FIRST one fails, and
 * with EVERY each so many after it. Says so on stderr, which is the agent's log.
 *
 * Raw system calls, so that it works below a sanitizer's own wrappers. */
#include <asm/socket.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	int number;
} errors[] = {
        {"ECONNRESET", ECONNRESET}, {"EPIPE", EPIPE},   {"EINTR", EINTR}, {"EAGAIN", EAGAIN}, {"ETIMEDOUT", ETIMEDOUT},
        {"ECONNREFUSED", ECONNREFUSED}, {"ENETUNREACH", ENETUNREACH}, {"EIO", EIO}, {"ENOSPC", ENOSPC},
};

enum { WELL = 0, SHORT = -1 };
enum { IPV4 = 2, IPV6 = 10 };

/* <sys/socket.h> has it with a union of pointers that only the C library may define. */
int connect(int fd, const void *address, unsigned length);

/* What happens to this call: an error's number, WELL or SHORT. */
static int fate(const char *call)
{
	static atomic_long calls;
	const char *plan = getenv("SHIM_FAIL");
	size_t length = strlen(call);
	char how[16], text[64];
	long first, every = 0, n;
	int size;

	if (!plan || strncmp(plan, call, length) != 0 || plan[length] != ':' ||
	    sscanf(plan + length + 1, "%15[A-Z]:%ld:%ld", how, &first, &every) < 2)
		return WELL;
	n = atomic_fetch_add(&calls, 1) + 1;
	if (n != first && (every <= 0 || n < first || (n - first) % every != 0))
		return WELL;
	size = snprintf(text, sizeof text, "shim: %s number %ld: %s\n", call, n, how);
	if (syscall(SYS_write, STDERR_FILENO, text, size) < 0)
		abort();
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		if (strcmp(errors[i].name, how) == 0)
			return errors[i].number;
	return SHORT;
}

static bool is_tcp(int fd)
{
	int family;
	unsigned size = sizeof family;

	return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && (family == IPV4 || family == IPV6);
}

/* True: the call failed. Halves *size of one that falls short. */
static bool fails(const char *call, size_t *size)
{
	int what = fate(call);

	if (what > WELL) {
		errno = what;
		return true;
	}
	if (what == SHORT && *size > 1)
		*size /= 2;
	return false;
}

static bool socket_fails(const char *call, int fd, size_t *size)
{
	int before = errno;
	bool tcp = is_tcp(fd);

	errno = before;
	return tcp && fails(call, size);
}

ssize_t read(int fd, void *data, size_t size)
{
	return socket_fails("read", fd, &size) ? -1 : syscall(SYS_read, fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
	return socket_fails("write", fd, &size) ? -1 : syscall(SYS_write, fd, data, size);
}

int connect(int fd, const void *address, unsigned length)
{
	size_t none = 0;

	return socket_fails("connect", fd, &none) ? -1 : (int)syscall(SYS_connect, fd, address, length);
}

int fdatasync(int fd)
{
	size_t none = 0;

	return fails("fdatasync", &none) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	return fails("pwrite", &size) ? -1 : syscall(SYS_pwrite64, fd, data, size, at);
}

int ftruncate64(int fd, off64_t length)
{
	size_t none = 0;

	return fails("ftruncate", &none) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}
