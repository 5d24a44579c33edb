/* What has to be known of a connection's socket, and done with it, beside libmosquitto. */
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "mqtt_internal.h"

bool mqtt_socket_ended(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

bool mqtt_socket_arrived(int fd)
{
	int bytes;

	return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes == 0;
}

bool mqtt_socket_unread(struct mosquitto *handle)
{
	SSL *ssl = mosquitto_ssl_get(handle);

	return ssl && SSL_pending(ssl) > 0;
}

void mqtt_socket_cork(int fd, int on)
{
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}
