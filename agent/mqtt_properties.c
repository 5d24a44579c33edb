/* MQTT 5 properties between libmosquitto's list and agent/properties.h's run. */
#include <mqtt_protocol.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt_internal.h"
#include "properties.h"

static int append_text(struct buffer *run, enum property_id id, const char *text, const char *name)
{
	struct property property = {.id = id, .text = {text, strlen(text)}};

	if (name)
		property.name = (struct bytes){name, strlen(name)};
	return properties_append(run, &property);
}

static int read_number(const mosquitto_property *list, struct buffer *run, enum property_id id)
{
	struct property property = {.id = id};
	uint8_t byte = 0;
	uint32_t number = 0;

	if (id == PROPERTY_PAYLOAD_FORMAT) {
		mosquitto_property_read_byte(list, id, &byte, false);
		property.number = byte;
	} else {
		mosquitto_property_read_int32(list, id, &number, false);
		property.number = number;
	}
	return properties_append(run, &property);
}

static int read_text(const mosquitto_property *list, struct buffer *run, enum property_id id)
{
	char *text = NULL, *name = NULL;
	int result = -1;

	if (id == PROPERTY_USER)
		mosquitto_property_read_string_pair(list, id, &name, &text, false);
	else
		mosquitto_property_read_string(list, id, &text, false);
	if (id != PROPERTY_USER && (!text || !*text))
		result = 0; /* says nothing; and the library crashes when it is to publish an empty one */
	else if (text && (id != PROPERTY_USER || name))
		result = append_text(run, id, text, name);
	free(text);
	free(name);
	return result;
}

static int read_binary(const mosquitto_property *list, struct buffer *run)
{
	struct property property = {.id = PROPERTY_CORRELATION};
	void *data = NULL;
	uint16_t size = 0;
	int result;

	mosquitto_property_read_binary(list, MQTT_PROP_CORRELATION_DATA, &data, &size, false);
	property.text = (struct bytes){data, size};
	result = properties_append(run, &property);
	free(data);
	return result;
}

int mqtt_properties_read(const mosquitto_property *list, struct buffer *run)
{
	int result = 0;

	/* Each read_*() call below starts at `list` and so finds that very property. */
	for (; list && result == 0; list = mosquitto_property_next(list)) {
		int id = mosquitto_property_identifier(list);

		switch (id) {
		case PROPERTY_PAYLOAD_FORMAT:
		case PROPERTY_MESSAGE_EXPIRY:
			result = read_number(list, run, (enum property_id)id);
			break;
		case PROPERTY_CONTENT_TYPE:
		case PROPERTY_RESPONSE_TOPIC:
		case PROPERTY_USER:
			result = read_text(list, run, (enum property_id)id);
			break;
		case PROPERTY_CORRELATION:
			result = read_binary(list, run);
			break;
		default: /* topic alias, subscription identifier: of this hop only */
			break;
		}
	}
	return result;
}

static char *terminated(struct bytes bytes)
{
	return strndup(bytes.size ? bytes.data : "", bytes.size);
}

static int add_text(mosquitto_property **list, const struct property *property)
{
	char *text = terminated(property->text), *name = terminated(property->name);
	int rc = MOSQ_ERR_NOMEM;

	if (text && name)
		rc = property->id == PROPERTY_USER
		             ? mosquitto_property_add_string_pair(list, MQTT_PROP_USER_PROPERTY, name, text)
		             : mosquitto_property_add_string(list, (int)property->id, text);
	free(text);
	free(name);
	return rc;
}

/* In whole seconds, the last one begun included: what has time left is not sent as expired. */
static int add_expiry(mosquitto_property **list, int64_t expires_ms)
{
	int64_t seconds = (expires_ms + 999) / 1000;

	return mosquitto_property_add_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
	                                    seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX);
}

int mqtt_properties_build(struct bytes run, int64_t expires_ms, mosquitto_property **list)
{
	struct property property;
	int rc = MOSQ_ERR_SUCCESS;

	*list = NULL;
	if (expires_ms)
		rc = add_expiry(list, expires_ms);
	while (rc == MOSQ_ERR_SUCCESS && properties_next(&run, &property))
		switch (property.id) {
		case PROPERTY_PAYLOAD_FORMAT:
			rc = mosquitto_property_add_byte(list, (int)property.id, (uint8_t)property.number);
			break;
		case PROPERTY_MESSAGE_EXPIRY: /* the host has made a time of it */
			break;
		case PROPERTY_CORRELATION:
			rc = mosquitto_property_add_binary(list, (int)property.id, property.text.data,
			                                   (uint16_t)property.text.size);
			break;
		case PROPERTY_CONTENT_TYPE:
		case PROPERTY_RESPONSE_TOPIC:
			if (property.text.size > 0) /* a row of an earlier version: see read_text() */
				rc = add_text(list, &property);
			break;
		case PROPERTY_USER:
			rc = add_text(list, &property);
			break;
		}
	if (rc == MOSQ_ERR_SUCCESS)
		return 0;
	mosquitto_property_free_all(list);
	return -1;
}
