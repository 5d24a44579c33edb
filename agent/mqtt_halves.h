/* Which messages of QoS 2 a libmosquitto handle has between PUBREC and PUBREL. A broker may send such a message again, on a
 * new connection, and some do on the same one before MQTT 5, when it was not acknowledged for long. The library then
 * keeps it twice, and the copy would come in place of the next message with that packet id. */
#ifndef TIDEGATE_MQTT_HALVES_H
#define TIDEGATE_MQTT_HALVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise. */
struct mqtt_halves {
	struct half_sets *sets; /* made when the first one comes */
	size_t waiting;         /* for their PUBREL */
	size_t spoilt;          /* ids that the handle has a copy too many of */
};

void mqtt_halves_release(struct mqtt_halves *halves);

/* A new connection begins, with the same handle. */
void mqtt_halves_reconnect(struct mqtt_halves *halves);

/* A PUBLISH with that id came, `again` with the DUP flag. Without it, one more with an id that waits is another message
 * if the connection is the same: its PUBREL comes after that of the first, and the library keeps that order. False if the
 * handle would get its message wrong, because of a copy, or of a message with that id that waits since an earlier
 * connection and that the broker must have forgotten, or if there is no memory to know: it is to be replaced at once,
 * before the PUBLISH is acknowledged. What else waits is lost with it. */
bool mqtt_halves_begin(struct mqtt_halves *halves, uint16_t id, bool again);

/* Its PUBREL came. False if now is the time to replace the handle: it has copies, and nothing else. */
bool mqtt_halves_end(struct mqtt_halves *halves, uint16_t id);

#endif
