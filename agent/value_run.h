/* How a kept value (agent/value.h) lies in its run of bytes, for whoever reads one, with
 * Lua or without: one tag byte, then the value, little-endian. A table is its pairs
 * between braces. Reading trusts nothing, as another process has written it.
 */
#ifndef TIDEGATE_VALUE_RUN_H
#define TIDEGATE_VALUE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h"

#define VALUE_DEPTH_MAX 16

enum value_tag {
	VALUE_NIL = 'n',
	VALUE_FALSE = 'f',
	VALUE_TRUE = 't',
	VALUE_INTEGER = 'i', /* 8 bytes, as is VALUE_FLOAT */
	VALUE_FLOAT = 'd',
	VALUE_STRING = 's', /* its size in 4 bytes, and it */
	VALUE_OPEN = '{',
	VALUE_ARRAY = '[', /* opens a table that is marked as one */
	VALUE_CLOSE = '}',
	VALUE_NULL = '0', /* json.null */
};

/* Each takes something from the front of `run`; false if it is not there. */
bool value_take_tag(struct bytes *run, enum value_tag *tag);
bool value_take_integer(struct bytes *run, int64_t *integer);
bool value_take_float(struct bytes *run, double *number);
bool value_take_string(struct bytes *run, struct bytes *text);
bool value_take_close(struct bytes *run); /* nothing is taken if it is not there */

#endif
