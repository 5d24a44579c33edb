/* What has to be known of a connection's socket, and done with it, beside libmosquitto. */
#include <linux/sockios.h>
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

static int read_once(struct mosquitto *handle)
{
	return mosquitto_loop_read(handle, 1);
}

int mqtt_socket_loop_read(struct mosquitto *handle, struct mqtt_buffer *buffer)
{
	int rc;

	if (!mosquitto_ssl_get(handle))
		mqtt_buffer_begin(buffer, mosquitto_socket(handle));
	rc = mqtt_guard(read_once, handle);
	mqtt_buffer_end();
	return rc;
}

/* The library writes everything that is queued anyway; asked for more it would spin in empty passes. */
int mqtt_socket_loop_write(struct mosquitto *handle, struct mqtt_buffer *buffer, bool leaving)
{
	int rc;

	if (mqtt_buffer_flush(buffer) < 0)
		return MOSQ_ERR_ERRNO;
	if (mosquitto_ssl_get(handle) || leaving)
		return mosquitto_loop_write(handle, 1);
	mqtt_buffer_begin(buffer, mosquitto_socket(handle));
	rc = mosquitto_loop_write(handle, 1);
	mqtt_buffer_end();
	if (rc == MOSQ_ERR_SUCCESS && mqtt_buffer_flush(buffer) < 0)
		return MOSQ_ERR_ERRNO;
	return rc;
}

bool mqtt_socket_unread(struct mosquitto *handle, const struct mqtt_buffer *buffer)
{
	SSL *ssl = mosquitto_ssl_get(handle);

	return mqtt_buffer_unread(buffer) || (ssl && SSL_pending(ssl) > 0);
}
