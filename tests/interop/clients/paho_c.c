/* Paho's C client as a sensor or collector of the interoperability tests: it does what it is told
 * in lines of JSON and tells what happens in others; tests/interop/driver.lua has the calls and
 * events. It connects again by itself, and buffers meanwhile, as the library does it.
 */
#include <MQTTAsync.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the library may keep while it is not connected. */
#define BUFFERED 100000

struct property {
	const char *name;
	enum MQTTPropertyCodes code;
};

static const struct property properties_known[] = {
	{"payload_format", MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR},
	{"message_expiry", MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL},
	{"content_type", MQTTPROPERTY_CODE_CONTENT_TYPE},
	{"response_topic", MQTTPROPERTY_CODE_RESPONSE_TOPIC},
	{"correlation", MQTTPROPERTY_CODE_CORRELATION_DATA},
	{"session_expiry", MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL},
	{"receive_maximum", MQTTPROPERTY_CODE_RECEIVE_MAXIMUM},
};

struct client {
	MQTTAsync handle;
	bool version_5;
};

/* A line of JSON; callbacks come from several threads. */
static void tell(json_t *event)
{
	flockfile(stdout);
	json_dumpf(event, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	funlockfile(stdout);
	json_decref(event);
}

static void fail(const char *what, int code)
{
	tell(json_pack("{s:s, s:s, s:i}", "event", "failed", "reason", what, "code", code));
}

static const char *text_of(const json_t *call, const char *name)
{
	return json_string_value(json_object_get(call, name));
}

static int number_of(const json_t *call, const char *name)
{
	return (int)json_integer_value(json_object_get(call, name));
}

static bool is_true(const json_t *call, const char *name)
{
	return json_is_true(json_object_get(call, name));
}

/* ---- bytes, as hexadecimal digits ---- */

static json_t *hex(const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;
	char *text = malloc(2 * size + 1);
	json_t *value;

	if (!text)
		abort();
	for (size_t i = 0; i < size; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	value = json_stringn(text, 2 * size);
	free(text);
	return value;
}

/* What hex() made, to be freed. */
static char *unhex(const char *text, size_t *size)
{
	char *bytes;

	*size = strlen(text) / 2;
	bytes = malloc(*size + 1);
	if (!bytes)
		abort();
	for (size_t i = 0; i < *size; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		bytes[i] = (char)strtol(pair, NULL, 16);
	}
	return bytes;
}

/* ---- properties of MQTT 5 ---- */

static MQTTLenString string_of(const json_t *value)
{
	/* The library copies it. */
	return (MQTTLenString){(int)json_string_length(value), (char *)(uintptr_t)json_string_value(value)};
}

static void add_known(MQTTProperties *properties, const struct property *known, const json_t *value)
{
	MQTTProperty property = {.identifier = known->code};
	char *bytes = NULL;
	size_t size;

	switch (MQTTProperty_getType(known->code)) {
	case MQTTPROPERTY_TYPE_BYTE:
		property.value.byte = (unsigned char)json_integer_value(value);
		break;
	case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
		property.value.integer2 = (unsigned short)json_integer_value(value);
		break;
	case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER:
		property.value.integer4 = (unsigned)json_integer_value(value);
		break;
	case MQTTPROPERTY_TYPE_BINARY_DATA:
		bytes = unhex(json_string_value(value), &size);
		property.value.data = (MQTTLenString){(int)size, bytes};
		break;
	default:
		property.value.data = string_of(value);
	}
	if (MQTTProperties_add(properties, &property) != 0)
		fail(known->name, 0);
	free(bytes);
}

static MQTTProperties read_properties(const json_t *values)
{
	MQTTProperties properties = MQTTProperties_initializer;
	const json_t *pair;
	size_t i;

	for (i = 0; i < sizeof properties_known / sizeof *properties_known; i++) {
		const json_t *value = json_object_get(values, properties_known[i].name);

		if (value)
			add_known(&properties, &properties_known[i], value);
	}
	json_array_foreach (json_object_get(values, "user_property"), i, pair) {
		MQTTProperty property = {.identifier = MQTTPROPERTY_CODE_USER_PROPERTY};

		property.value.data = string_of(json_array_get(pair, 0));
		property.value.value = string_of(json_array_get(pair, 1));
		if (MQTTProperties_add(&properties, &property) != 0)
			fail("user_property", 0);
	}
	return properties;
}

static json_t *known_value(const MQTTProperty *property)
{
	switch (MQTTProperty_getType(property->identifier)) {
	case MQTTPROPERTY_TYPE_BYTE:
		return json_integer(property->value.byte);
	case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
		return json_integer(property->value.integer2);
	case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER:
		return json_integer(property->value.integer4);
	case MQTTPROPERTY_TYPE_BINARY_DATA:
		return hex(property->value.data.data, (size_t)property->value.data.len);
	default:
		return json_stringn(property->value.data.data, (size_t)property->value.data.len);
	}
}

static json_t *write_properties(const MQTTProperties *properties)
{
	json_t *values = json_object(), *user = json_array();

	for (int i = 0; i < properties->count; i++) {
		const MQTTProperty *property = &properties->array[i];

		for (size_t k = 0; k < sizeof properties_known / sizeof *properties_known; k++) {
			if (properties_known[k].code == property->identifier)
				json_object_set_new(values, properties_known[k].name, known_value(property));
		}
		if (property->identifier == MQTTPROPERTY_CODE_USER_PROPERTY)
			json_array_append_new(user, json_pack("[s%, s%]", property->value.data.data,
				(size_t)property->value.data.len, property->value.value.data,
				(size_t)property->value.value.len));
	}
	json_object_set_new(values, "user_property", user);
	return values;
}

/* ---- what happens ---- */

static void on_connected(void *context, char *cause)
{
	(void)context;
	(void)cause;
	tell(json_pack("{s:s}", "event", "connected"));
}

static void on_lost(void *context, char *cause)
{
	(void)context;
	(void)cause;
	tell(json_pack("{s:s}", "event", "lost"));
}

static void on_refused(void *context, MQTTAsync_failureData *data)
{
	(void)context;
	fail(data->message ? data->message : "cannot connect", data->code);
}

static void on_refused_5(void *context, MQTTAsync_failureData5 *data)
{
	(void)context;
	fail(data->message ? data->message : MQTTReasonCode_toString(data->reasonCode), data->reasonCode);
}

static int on_message(void *context, char *topic, int topic_size, MQTTAsync_message *message)
{
	(void)context;
	(void)topic_size;
	tell(json_pack("{s:s, s:s, s:o, s:i, s:b, s:o}", "event", "message", "topic", topic, "payload",
		hex(message->payload, (size_t)message->payloadlen), "qos", message->qos, "retain", message->retained,
		"properties", write_properties(&message->properties)));
	MQTTAsync_freeMessage(&message);
	MQTTAsync_free(topic);
	return 1;
}

/* The context of a request is its id. */
static void done(void *context, int code)
{
	tell(json_pack("{s:s, s:i, s:i}", "event", "done", "id", (int)(intptr_t)context, "code", code));
}

static void on_success(void *context, MQTTAsync_successData *data)
{
	(void)data;
	done(context, 0);
}

static void on_failure(void *context, MQTTAsync_failureData *data)
{
	done(context, data && data->code > 0 ? data->code : 128);
}

static void on_success_5(void *context, MQTTAsync_successData5 *data)
{
	done(context, data->reasonCode);
}

static void on_failure_5(void *context, MQTTAsync_failureData5 *data)
{
	done(context, data && data->reasonCode > 0 ? (int)data->reasonCode : 128);
}

/* ---- what it is told ---- */

static MQTTAsync_responseOptions answers(const struct client *client, int id)
{
	MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;

	options.context = (void *)(intptr_t)id;
	if (client->version_5) {
		options.onSuccess5 = on_success_5;
		options.onFailure5 = on_failure_5;
	} else {
		options.onSuccess = on_success;
		options.onFailure = on_failure;
	}
	return options;
}

static void create(struct client *client, const json_t *call)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
	char url[64];
	int rc;

	snprintf(url, sizeof url, "%s://%s:%d", text_of(call, "ca") ? "ssl" : "tcp", text_of(call, "host"),
		number_of(call, "port"));
	options.sendWhileDisconnected = 1;
	options.maxBufferedMessages = BUFFERED;
	options.MQTTVersion = number_of(call, "version");
	rc = MQTTAsync_createWithOptions(&client->handle, url, text_of(call, "client_id"), MQTTCLIENT_PERSISTENCE_NONE,
		NULL, &options);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setCallbacks(client->handle, client, on_lost, on_message, NULL);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setConnected(client->handle, client, on_connected);
	if (rc != MQTTASYNC_SUCCESS)
		fail("create", rc);
}

static void connect_it(struct client *client, const json_t *call)
{
	MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
	MQTTAsync_connectOptions options_5 = MQTTAsync_connectOptions_initializer5;
	MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
	MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
	MQTTProperties properties = read_properties(json_object_get(call, "properties"));
	const json_t *last_will = json_object_get(call, "will");
	int rc;

	client->version_5 = number_of(call, "version") == MQTTVERSION_5;
	create(client, call);
	if (client->version_5) {
		options = options_5;
		options.cleanstart = is_true(call, "clean");
		options.connectProperties = &properties;
		options.onFailure5 = on_refused_5;
	} else {
		options.MQTTVersion = number_of(call, "version");
		options.cleansession = is_true(call, "clean");
		options.onFailure = on_refused;
	}
	options.automaticReconnect = 1;
	options.minRetryInterval = options.maxRetryInterval = 1;
	options.username = text_of(call, "username");
	options.password = text_of(call, "password");
	if (last_will) {
		will.topicName = text_of(last_will, "topic");
		will.message = text_of(last_will, "payload");
		will.qos = number_of(last_will, "qos");
		options.will = &will;
	}
	if (text_of(call, "ca")) {
		tls.trustStore = text_of(call, "ca");
		tls.verify = 1;
		options.ssl = &tls;
	}
	rc = MQTTAsync_connect(client->handle, &options);
	if (rc != MQTTASYNC_SUCCESS)
		fail("connect", rc);
	MQTTProperties_free(&properties);
}

static void subscribe(struct client *client, const json_t *call)
{
	int id = number_of(call, "id");
	MQTTAsync_responseOptions options = answers(client, id);

	if (MQTTAsync_subscribe(client->handle, text_of(call, "filter"), number_of(call, "qos"), &options) !=
		MQTTASYNC_SUCCESS)
		done((void *)(intptr_t)id, 128);
}

static void publish(struct client *client, const json_t *call)
{
	int id = number_of(call, "id");
	MQTTAsync_responseOptions options = answers(client, id);
	MQTTAsync_message message = MQTTAsync_message_initializer;
	size_t size;
	char *payload = unhex(text_of(call, "payload"), &size);

	message.payload = payload;
	message.payloadlen = (int)size;
	message.qos = number_of(call, "qos");
	message.retained = is_true(call, "retain");
	message.properties = read_properties(json_object_get(call, "properties"));
	if (MQTTAsync_sendMessage(client->handle, text_of(call, "topic"), &message, &options) != MQTTASYNC_SUCCESS)
		done((void *)(intptr_t)id, 128);
	MQTTProperties_free(&message.properties);
	free(payload);
}

static void disconnect(struct client *client)
{
	MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer;
	MQTTAsync_disconnectOptions options_5 = MQTTAsync_disconnectOptions_initializer5;

	options.timeout = options_5.timeout = 1000;
	MQTTAsync_disconnect(client->handle, client->version_5 ? &options_5 : &options);
	MQTTAsync_destroy(&client->handle);
}

int main(void)
{
	struct client client = {0};
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0) {
		json_t *call = json_loads(line, 0, NULL);
		const char *name = text_of(call, "call");

		if (!strcmp(name, "connect"))
			connect_it(&client, call);
		else if (!strcmp(name, "subscribe"))
			subscribe(&client, call);
		else if (!strcmp(name, "publish"))
			publish(&client, call);
		json_decref(call);
	}
	free(line);
	if (client.handle)
		disconnect(&client);
	return 0;
}
