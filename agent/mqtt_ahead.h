/* Reads ahead of libmosquitto, which asks the kernel three times and more for each packet: on a
 * small machine that is most of what a message costs. A library calls the program's read() where
 * there is one, before libc's; ours takes from the socket what there is, and hands it out piece
 * by piece. For plain connections: what TLS has not decoded yet must stay in the kernel, as
 * OpenSSL reads at other times, too.
 */
#ifndef TIDEGATE_MQTT_AHEAD_H
#define TIDEGATE_MQTT_AHEAD_H

#include <stddef.h>

#define MQTT_AHEAD_BYTES 8192

/* Zero-initialise; at = end for each connection. */
struct mqtt_ahead {
	int fd;
	size_t at, end; /* of data: what was read and not handed out yet */
	unsigned char data[MQTT_AHEAD_BYTES];
};

/* Between these, read(fd) of this thread is answered from `ahead`. Other descriptors, and other
 * threads, always meet the kernel. */
void mqtt_ahead_begin(struct mqtt_ahead *ahead, int fd);
void mqtt_ahead_end(void);

#endif
