/* One datagram socket, not connected: a supervisor that was restarted has a new one at
 * the same address. */
#include "notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 1024

/* Abstract names begin with a NUL and end where the address does. */
static int set_address(struct notify *notify, const char *name)
{
	size_t size = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || size < 2 || size >= sizeof notify->address.sun_path)
		return -1;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, name, size + 1);
	notify->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (name[0] == '/'));
	if (name[0] == '@')
		notify->address.sun_path[0] = '\0';
	return 0;
}

/* The number, or 0 if it is none. */
static int64_t number_of(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long long number;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	number = strtoll(text, &end, 10);
	return *end || errno ? 0 : number;
}

/* $WATCHDOG_PID says whose it is: a wrapper may have left us its environment. */
static int64_t watchdog_us(void)
{
	return getenv("WATCHDOG_PID") && number_of("WATCHDOG_PID") != getpid() ? 0 : number_of("WATCHDOG_USEC");
}

int notify_init(struct notify *notify, char *err, size_t err_size)
{
	const char *name = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){.fd = -1};
	if (!name || !*name)
		return 0;
	if (set_address(notify, name) < 0) {
		snprintf(err, err_size, "NOTIFY_SOCKET: expected a path or @NAME of at most %zu bytes, got %s",
		         sizeof notify->address.sun_path - 1, name);
		return -1;
	}
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (notify->fd < 0) {
		snprintf(err, err_size, "cannot tell the service manager anything: %s", strerror(errno));
		return -1;
	}
	notify->watchdog_us = watchdog_us();
	return 0;
}

void notify_release(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

int notify_send(const struct notify *notify, const char *format, ...)
{
	char message[MESSAGE_MAX];
	va_list arguments;
	int size;

	if (notify->fd < 0)
		return 0;
	va_start(arguments, format);
	size = vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	if (size < 0 || (size_t)size >= sizeof message) {
		errno = EMSGSIZE;
		return -1;
	}
	return sendto(notify->fd, message, (size_t)size, MSG_NOSIGNAL, (const struct sockaddr *)&notify->address,
	              notify->address_size) < 0 ? -1 : 0;
}
