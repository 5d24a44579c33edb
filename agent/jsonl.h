/* Messages as JSON, one a line: how recordings, inputs of tests and what tests print
 * look. Bytes are a string under "KEY" if they are UTF-8, else "KEY_base64"; MQTT 5
 * properties have the names that they have in Lua.
 */
#ifndef TIDEGATE_JSONL_H
#define TIDEGATE_JSONL_H

#include <jansson.h>

#include "buffer.h"
#include "queue.h"

/* Times are written with as many digits as milliseconds since 1970 need. */
#define JSONL_DUMP (JSON_COMPACT | JSON_REAL_PRECISION(13))

/* Sets "key" or "key_base64". */
void jsonl_put_bytes(json_t *object, const char *key, struct bytes bytes);
void jsonl_put_text(json_t *object, const char *key, const char *text); /* likewise; NULL: nothing */
void jsonl_put_properties(json_t *object, struct bytes run); /* "properties", unless there are none */
void jsonl_put_seconds(json_t *object, const char *key, int64_t ms);

/* What agent/value.h keeps, keys in order; null if it is damaged. */
json_t *jsonl_value(struct bytes run);

/* Reads "key" or "key_base64" into `out`: text as it is, what is no string as its JSON.
 * 1; 0: there is neither; -1 with what was expected in `err`. */
int jsonl_get_bytes(const json_t *object, const char *key, struct buffer *out, char *err, size_t err_size);

/* Reads "properties" into `run`. 0, or -1 with what was expected in `err`. */
int jsonl_get_properties(const json_t *object, struct buffer *run, char *err, size_t err_size);

#endif
