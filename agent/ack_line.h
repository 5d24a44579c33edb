/* The line that goes ahead of each message on a link with `ack_topic`, and comes back as
 * the collector's acknowledgement:
 *
 *     {"instance":"5b0c...","seq":17,"after":16}
 *
 * `seq` names the message, with `instance`, for ever. `after` is the one that went out before
 * it, or 0 if all that did is acknowledged: a collector that does not hold that one must not
 * acknowledge this one.
 */
#ifndef TIDEGATE_ACK_LINE_H
#define TIDEGATE_ACK_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "queue.h"

/* Appends the line and its "\n". 0, or -1: no memory. */
int ack_line_append(struct buffer *buffer, const char *instance, uint64_t seq, uint64_t after);

/* Reads an acknowledgement: an object with `instance` and a whole number `seq`, also as a
 * string of digits; whatever else is in it is not looked at. `seq` is never taken from a floating-point
 * number, which may have been rounded up. Fills in `seq` and `instance`, cut off if it is longer than
 * any of ours. 0, or -1 with what is wrong in `err`. */
int ack_line_read(struct bytes text, char *instance, size_t instance_size, uint64_t *seq, char *err, size_t err_size);

#endif
