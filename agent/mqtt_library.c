/* libmosquitto as a whole: its beginning, and that of its TLS; its end; its version. */
#include <arpa/inet.h>
#include <mosquitto.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mqtt.h"
#include "mqtt_internal.h"

void mqtt_setup(void)
{
	mosquitto_lib_init();
}

void mqtt_teardown(void)
{
	mosquitto_lib_cleanup();
}

/* The connection gets as far as the kernel's backlog, where nobody accepts it; it is not waited for, even that far. */
static void connect_to_ourselves(struct mosquitto *handle)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &size) == 0)
		mosquitto_connect_async(handle, "127.0.0.1", ntohs(address.sin_port), 60);
	close(fd);
}

void mqtt_library_tls(void)
{
	static bool begun;
	struct mosquitto *handle = begun ? NULL : mosquitto_new(NULL, true, NULL);

	if (!handle)
		return;
	begun = true;
	if (mosquitto_tls_psk_set(handle, "00", "nobody", NULL) == MOSQ_ERR_SUCCESS) /* which needs no certificates */
		connect_to_ourselves(handle);
	mosquitto_destroy(handle);
}

const char *mqtt_library_version(void)
{
	static char text[24];
	int major, minor, revision;

	mosquitto_lib_version(&major, &minor, &revision);
	snprintf(text, sizeof text, "%d.%d.%d", major, minor, revision);
	return text;
}
