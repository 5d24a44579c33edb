/* Topic names and topic filters, as MQTT 3.1.1 and 5 define them (section 4.7). */
#ifndef TIDEGATE_TOPIC_H
#define TIDEGATE_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

/* NULL if a message can be published to it, else what is wrong: "is empty",
 * "contains a wildcard", "is not valid UTF-8", "contains a control character",
 * "contains a NUL byte", "is longer than 65535 bytes". The text is static. */
const char *topic_problem(const char *topic, size_t size);

/* The same for any text that MQTT wants as UTF-8: client ids, user names. */
const char *topic_text_problem(const char *text, size_t size);

/* The same for a topic filter to subscribe to, `$share/group/` included; also
 * "has a wildcard in the wrong place" and what is wrong with the group. */
const char *topic_filter_problem(const char *filter, size_t size);

/* True if `topic` is one the filter selects. A `$share/group/` prefix of the
 * filter is ignored; topics that begin with `$` match no filter that begins
 * with a wildcard. Both must be valid and NUL-terminated. */
bool topic_matches(const char *filter, const char *topic);

#endif
