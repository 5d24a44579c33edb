/* Stands between libmosquitto and the kernel as stdio stands between a program and a file. The
 * library asks the kernel for each piece of a packet, three times and more, and hands it each
 * packet by itself: on a small machine that is most of what a message costs. But a library calls
 * the program's read() and write() where there are such, before libc's; ours take and give many
 * packets at a time.
 *
 * For plain connections: what TLS has not decoded yet must stay in the kernel, as OpenSSL reads and
 * writes at other times, too.
 */
#ifndef TIDEGATE_MQTT_BUFFER_H
#define TIDEGATE_MQTT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#define MQTT_BUFFER_BYTES 8192

/* Zero-initialise; mqtt_buffer_clear() for each connection. */
struct mqtt_buffer {
	int fd;
	struct mqtt_pile {
		size_t at, end; /* of data: what waits */
		unsigned char data[MQTT_BUFFER_BYTES];
	} in, out;
};

void mqtt_buffer_clear(struct mqtt_buffer *buffer);

/* Between these, read(fd) and write(fd) of this thread go through `buffer`. Other descriptors,
 * and other threads, always meet the kernel. */
void mqtt_buffer_begin(struct mqtt_buffer *buffer, int fd);
void mqtt_buffer_end(void);

/* Hands the kernel what was written. 0, also if it does not take all of it now; or -1 with errno. */
int mqtt_buffer_flush(struct mqtt_buffer *buffer);

bool mqtt_buffer_unread(const struct mqtt_buffer *buffer);
bool mqtt_buffer_unsent(const struct mqtt_buffer *buffer);

#endif
