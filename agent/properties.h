/* The MQTT 5 properties of one PUBLISH, as a run of bytes in the wire's own form
 * (MQTT 5, section 2.2.2): identifier, then value. That form is what the queue
 * stores; scripts see a table, libmosquitto its own list.
 *
 * Only those that travel end to end: payload format indicator (1), message
 * expiry (2), content type (3), response topic (8), correlation data (9) and
 * user properties (38).
 */
#ifndef TIDEGATE_PROPERTIES_H
#define TIDEGATE_PROPERTIES_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "queue.h"

enum property_id {
	PROPERTY_PAYLOAD_FORMAT = 1, /* number 0 or 1 (1: UTF-8 text) */
	PROPERTY_MESSAGE_EXPIRY = 2, /* number, seconds */
	PROPERTY_CONTENT_TYPE = 3,   /* text */
	PROPERTY_RESPONSE_TOPIC = 8, /* text */
	PROPERTY_CORRELATION = 9,    /* bytes */
	PROPERTY_USER = 38,          /* name and text; may repeat, order kept */
};

struct property {
	enum property_id id;
	uint32_t number;
	struct bytes text, name; /* point into the run they were read from */
};

/* Appends one property. 0, or -1 if memory is exhausted or a text is longer
 * than 65,535 bytes. */
int properties_append(struct buffer *run, const struct property *property);

/* Reads the property at the front of `run` and moves `run` behind it. False at
 * the end, or at bytes that are no known property. */
bool properties_next(struct bytes *run, struct property *property);

#endif
