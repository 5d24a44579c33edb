/* The protocol in which a service tells its supervisor how it does: sd_notify(3). A
 * message is one datagram of NAME=VALUE lines to the unix socket that the environment
 * names. Nobody answers, and nobody is waited for.
 *
 * Without such a socket everything here does nothing. */
#ifndef TIDEGATE_NOTIFY_H
#define TIDEGATE_NOTIFY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd; /* -1: there is nobody to tell */
	struct sockaddr_un address;
	socklen_t address_size;
	int64_t watchdog_us; /* say NOTIFY_ALIVE at least so often, or be killed; 0: need not */
};

/* Reads $NOTIFY_SOCKET (a path, or @NAME for an abstract name), $WATCHDOG_USEC and
 * $WATCHDOG_PID. -1 with the reason in `err` if there is a supervisor that cannot be told;
 * release it in any case. */
int notify_init(struct notify *notify, char *err, size_t err_size);
void notify_release(struct notify *notify);

#define NOTIFY_ALIVE "WATCHDOG=1"

/* Sends one message, 1 KB at most; a line feed parts its lines, so values must have none.
 * One that the supervisor has no room for now is lost. 0, or -1 with errno. */
int notify_send(const struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
