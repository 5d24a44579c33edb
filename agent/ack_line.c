/* Written as fixed text, so that a collector without a JSON parser can cut it up; read as
 * any JSON of that form. */
#include "ack_line.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define ACK_BYTES_MAX 1024 /* the line has about a hundred */

int ack_line_append(struct buffer *buffer, const char *instance, uint64_t seq, uint64_t after)
{
	char line[256];
	int size = snprintf(line, sizeof line, "{\"instance\":\"%s\",\"seq\":%" PRIu64 ",\"after\":%" PRIu64 "}\n", instance,
	                    seq, after);

	return size < (int)sizeof line ? buffer_append(buffer, line, (size_t)size) : -1;
}

/* Up to 18 digits, which always fit; 0: it is none. */
static uint64_t digits(const char *text)
{
	size_t size = strspn(text, "0123456789");
	uint64_t value = 0;

	if (text[size] || size > 18)
		return 0;
	for (; *text; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

static uint64_t seq_of(const json_t *value)
{
	if (json_is_string(value))
		return digits(json_string_value(value));
	return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

int ack_line_read(struct bytes text, char *instance, size_t instance_size, uint64_t *seq, char *err, size_t err_size)
{
	const char *problem = NULL, *name;
	json_error_t error;
	json_t *line;

	if (text.size > ACK_BYTES_MAX) {
		snprintf(err, err_size, "it has %zu bytes", text.size);
		return -1;
	}
	line = json_loadb(text.data ? text.data : "", text.size, JSON_REJECT_DUPLICATES, &error);
	name = json_string_value(json_object_get(line, "instance"));
	*seq = seq_of(json_object_get(line, "seq"));
	if (!line)
		problem = error.text;
	else if (!name)
		problem = "it has no text `instance`";
	else if (json_is_real(json_object_get(line, "seq")))
		problem = "`seq` is a floating-point number, which may have been rounded: send it as a string";
	else if (*seq == 0)
		problem = "it has no whole number `seq` above 0";
	else
		snprintf(instance, instance_size, "%s", name);
	if (problem)
		snprintf(err, err_size, "%s", problem);
	json_decref(line);
	return problem ? -1 : 0;
}
