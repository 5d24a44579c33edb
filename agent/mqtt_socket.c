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

int mqtt_socket_loop_read(struct mosquitto *handle, struct mqtt_ahead *ahead)
{
	int rc;

	if (!mosquitto_ssl_get(handle))
		mqtt_ahead_begin(ahead, mosquitto_socket(handle));
	rc = mosquitto_loop_read(handle, 1);
	mqtt_ahead_end();
	return rc;
}

bool mqtt_socket_unread(struct mosquitto *handle, const struct mqtt_ahead *ahead)
{
	SSL *ssl = mosquitto_ssl_get(handle);

	return ahead->at < ahead->end || (ssl && SSL_pending(ssl) > 0);
}

void mqtt_socket_cork(int fd, int on)
{
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}
