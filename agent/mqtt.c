/* A transport over libmosquitto's own-loop calls, on an unmodified library.
 *
 * In "threaded" mode nothing reaches the socket until mqtt_write() calls mosquitto_loop_write(): so acknowledgements,
 * which the library queues before it calls back, wait for the commit between read and write. */
#include "mqtt.h"

#include <errno.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "mqtt_halves.h"
#include "mqtt_internal.h"

#define READ_BYTES (48 * 1024) /* of payloads: a turn that takes long leaves the uplink idle */
#define COMES_AGAIN "a QoS 2 message comes again"
#define EXPIRY_BYTES 5 /* of the property Message Expiry Interval */
#define PACKET_ANY_BROKER_TAKES 1024 /* whatever Maximum Packet Size it may come to name */

struct mqtt {
	const struct link_config *config; /* first: see give_key_password() */
	struct mosquitto *handle; /* NULL: the next connection gets a new one */
	const struct transport_events *events;
	void *arg;
	bool connected;           /* between a successful connect() and the end of it */
	bool greeted;             /* the CONNACK was good */
	bool birth_due;
	int birth;                /* packet id of the birth message, 0 none */
	bool resumes;             /* the handle knows what an earlier connection left in flight, */
	const struct url *peer;   /* at this broker, */
	size_t largest;           /* in packets of at most so many bytes, */
	bool exactly_once;        /* with QoS 2 among them, */
	bool start_over;          /* which do not fit this connection */
	bool expects_qos2;        /* messages at QoS 2 may come: the handle has half of them between PUBREC and PUBREL */
	struct mqtt_halves halves;
	int max_qos;              /* what the broker takes */
	uint32_t max_packet;      /* bytes; 0: no limit */
	uint8_t retains;          /* it keeps retained messages; if not, the library sends none */
	bool warned_qos2;
	size_t received, received_bytes; /* messages in this read */
	bool heard;               /* a packet that calls back */
	const struct url *url;    /* of this connection or attempt */
	bool listening;           /* to the library's log */
	bool watch_dup;           /* redelivered messages may still be coming */
	bool dup;                 /* the message being delivered */
	struct buffer properties; /* of the message being delivered */
	struct mqtt_buffer buffer; /* of this connection */
	bool closed;              /* the broker closed the connection, */
	bool excused;             /* for a reason that has nothing to do with a message, */
	bool arrived;             /* and its side has all that was sent, as of the last read */
	bool leaving;             /* we have said goodbye */
	char problem[256];        /* why the connection is ending, as far as the library told */
	char log[256];            /* its last error line while connecting: all it says about TLS */
};

/* ---- reasons ---- */

static void explain(struct mqtt *mqtt, int rc, char *err, size_t err_size)
{
	if (mqtt->problem[0])
		snprintf(err, err_size, "%s", mqtt->problem);
	else if (mqtt->log[0])
		snprintf(err, err_size, "%s", mqtt->log);
	else if (mqtt->greeted || !mqtt->url->tls || !mqtt_tls_explain_end(mqtt->handle, rc, err, err_size))
		mqtt_explain(rc, err, err_size);
}

/* The connection is to end, and the next one to begin with a new handle. */
static void start_over(struct mqtt *mqtt, const char *why)
{
	mqtt->start_over = true;
	snprintf(mqtt->problem, sizeof mqtt->problem, "%s", why);
}

/* The library's log is all it says about TLS failures, and the only place where it tells the DUP flag and a PUBLISH
 * at QoS 2. It formats a line for every packet, so it is switched off as soon as none of them can come any more. */
static void on_log(struct mosquitto *handle, void *arg, int level, const char *text)
{
	struct mqtt *mqtt = arg;
	int dup, qos, id;

	if (!mqtt->greeted && (level == MOSQ_LOG_ERR || level == MOSQ_LOG_WARNING))
		mqtt_tls_explain(handle, text, mqtt->log, sizeof mqtt->log);
	if (!mqtt_log_tells_publish(text, mqtt->config->client_id, &dup, &qos, &id))
		return;
	mqtt->dup = dup == 1;
	if (qos == 2 && !mqtt_halves_begin(&mqtt->halves, (uint16_t)id, mqtt->dup))
		start_over(mqtt, COMES_AGAIN);
}

static void listen_to_log(struct mqtt *mqtt)
{
	mosquitto_log_callback_set(mqtt->handle, on_log);
	mqtt->listening = true;
}

static void expect_qos2(struct mqtt *mqtt)
{
	if (!mqtt->expects_qos2)
		listen_to_log(mqtt);
	mqtt->expects_qos2 = true;
}

static void log_no_more(struct mqtt *mqtt)
{
	mosquitto_log_callback_set(mqtt->handle, NULL);
	mqtt->listening = mqtt->dup = false;
	mqtt->log[0] = '\0';
}

/* ---- callbacks of the library; it holds a mutex meanwhile ---- */

static void read_limits(struct mqtt *mqtt, const mosquitto_property *list, struct greeting *greeting)
{
	uint16_t receive_maximum = UINT16_MAX;
	uint16_t keepalive = (uint16_t)(mqtt->config->keepalive_ms / 1000);
	uint32_t max_packet = 0;
	uint8_t max_qos = 2, retains = 1;

	mosquitto_property_read_int16(list, MQTT_PROP_SERVER_KEEP_ALIVE, &keepalive, false);
	mosquitto_property_read_int16(list, MQTT_PROP_RECEIVE_MAXIMUM, &receive_maximum, false);
	mosquitto_property_read_byte(list, MQTT_PROP_MAXIMUM_QOS, &max_qos, false);
	mosquitto_property_read_int32(list, MQTT_PROP_MAXIMUM_PACKET_SIZE, &max_packet, false);
	mosquitto_property_read_byte(list, MQTT_PROP_RETAIN_AVAILABLE, &retains, false);
	if (max_qos > mqtt->config->max_qos)
		max_qos = (uint8_t)mqtt->config->max_qos;
	/* The library never takes back a limit that a connection brought. */
	if (mqtt->resumes && (max_packet != mqtt->max_packet || max_qos != mqtt->max_qos || retains != mqtt->retains))
		mqtt->start_over = true;
	mqtt->retains = retains;
	mqtt->max_packet = max_packet;
	mqtt->max_qos = max_qos;
	greeting->receive_maximum = receive_maximum;
	greeting->keepalive_ms = (int64_t)keepalive * 1000;
}

static void on_connect(struct mosquitto *handle, void *arg, int reason_code, int flags, const mosquitto_property *list)
{
	struct mqtt *mqtt = arg;
	struct greeting greeting = {.session_present = (flags & 1) != 0};

	(void)handle;
	mqtt->heard = true;
	if (mqtt->greeted) { /* the library takes it for a new connection, and sends again what is in flight */
		snprintf(mqtt->problem, sizeof mqtt->problem, "the broker greets twice");
		return;
	}
	if (reason_code != 0) {
		snprintf(mqtt->problem, sizeof mqtt->problem, "refused: %s",
		         mqtt->config->version == 5 ? mosquitto_reason_string(reason_code)
		                                    : mosquitto_connack_string(reason_code));
		return;
	}
	mqtt->watch_dup = greeting.session_present;
	read_limits(mqtt, list, &greeting);
	if (mqtt->start_over || (mqtt->exactly_once && (!greeting.session_present || mqtt->peer != mqtt->url))) {
		start_over(mqtt, "what is in flight does not fit this session or its limits: it is sent anew");
		return;
	}
	mqtt->peer = mqtt->url;
	mqtt->greeted = true;
	mqtt->birth_due = mqtt->config->birth.topic != NULL;
	mqtt->events->greeted(mqtt->arg, &greeting);
}

static void on_disconnect(struct mosquitto *handle, void *arg, int reason_code, const mosquitto_property *list)
{
	struct mqtt *mqtt = arg;

	(void)handle;
	(void)list;
	/* Numbers from 0x80 are the broker's own words (MQTT 5); the rest are the library's and come as return codes too. */
	if (reason_code < 0x80)
		return;
	mqtt->excused = !mqtt_is_about_a_packet(reason_code);
	snprintf(mqtt->problem, sizeof mqtt->problem, "the broker disconnects: %s", mosquitto_reason_string(reason_code));
}

static void on_message(struct mosquitto *handle, void *arg, const struct mosquitto_message *message,
                       const mosquitto_property *list)
{
	struct mqtt *mqtt = arg;
	struct inbound inbound = {
	        .topic = message->topic,
	        .payload = {message->payload, (size_t)message->payloadlen},
	        .qos = message->qos,
	        .id = message->qos == 1 ? message->mid : 0,
	        .retain = message->retain,
	        .dup = mqtt->dup && message->qos == 1, /* QoS 2 is told of when its PUBREL comes, once */
	        .time_ms = clock_wall_ms(),
	};

	(void)handle;
	if (message->qos == 2) /* in a session that an earlier process began */
		expect_qos2(mqtt);
	mqtt->heard = true;
	mqtt->received++;
	mqtt->received_bytes += inbound.payload.size;
	mqtt->properties.size = 0;
	if (list && mqtt_properties_read(list, &mqtt->properties) < 0)
		log_warn("mqtt", "properties of a message to %s lost: out of memory or too long", message->topic);
	inbound.properties = (struct bytes){mqtt->properties.data, mqtt->properties.size};
	mqtt->events->message(mqtt->arg, &inbound);
	if (message->qos == 2 && !mqtt_halves_end(&mqtt->halves, (uint16_t)message->mid))
		start_over(mqtt, COMES_AGAIN);
	/* What is redelivered comes first; the rest is new. */
	if (message->qos == 1 && !inbound.dup)
		mqtt->watch_dup = false;
}

static void on_publish(struct mosquitto *handle, void *arg, int mid, int reason_code, const mosquitto_property *list)
{
	struct mqtt *mqtt = arg;

	(void)handle;
	(void)list;
	mqtt->heard = true;
	mqtt->watch_dup = false; /* the broker had read our packet when it sent this: what it sends again came before */
	if (mid == mqtt->birth) {
		mqtt->birth = 0;
		return;
	}
	/* "Packet identifier not found" answers a PUBREL that was sent again: the message is through (MQTT 5, 4.3.3). */
	if (reason_code < 0x80 || reason_code == MQTT_RC_PACKET_ID_NOT_FOUND)
		mqtt->events->acknowledged(mqtt->arg, mid);
	else
		mqtt->events->refused(mqtt->arg, mid, mqtt_kind_of_refusal(reason_code), mosquitto_reason_string(reason_code));
}

static void on_subscribe(struct mosquitto *handle, void *arg, int mid, int count, const int *granted,
                         const mosquitto_property *list)
{
	struct mqtt *mqtt = arg;

	(void)handle;
	(void)list;
	mqtt->heard = true;
	mqtt->events->subscribed(mqtt->arg, mid, count > 0 && granted[0] < 0x80 ? granted[0] : -1);
}

static void on_unsubscribe(struct mosquitto *handle, void *arg, int mid, const mosquitto_property *list)
{
	struct mqtt *mqtt = arg;

	(void)handle;
	(void)list;
	mqtt->heard = true;
	mqtt->events->unsubscribed(mqtt->arg, mid);
}

/* ---- the transport ---- */

static void destroy_handle(struct mqtt *mqtt)
{
	if (mqtt->halves.waiting > 0)
		log_warn("mqtt", "link %s: messages of QoS 2 that were half way may be lost: %zu", mqtt->config->name,
		         mqtt->halves.waiting);
	mqtt_halves_release(&mqtt->halves);
	if (mqtt->handle)
		mosquitto_destroy(mqtt->handle);
	mqtt->handle = NULL;
}

static void mqtt_close(void *transport)
{
	struct mqtt *mqtt = transport;

	destroy_handle(mqtt);
	buffer_release(&mqtt->properties);
	free(mqtt);
}

static int make_handle(struct mqtt *mqtt, char *err, size_t err_size)
{
	const struct link_config *config = mqtt->config;

	errno = 0;
	mqtt->handle = mosquitto_new(config->client_id, config->clean_session, mqtt);
	if (!mqtt->handle) {
		snprintf(err, err_size, "link %s: %s", config->name, errno ? strerror(errno) : "out of memory");
		return -1;
	}
	mosquitto_threaded_set(mqtt->handle, true);
	mosquitto_connect_v5_callback_set(mqtt->handle, on_connect);
	mosquitto_disconnect_v5_callback_set(mqtt->handle, on_disconnect);
	mosquitto_message_v5_callback_set(mqtt->handle, on_message);
	mosquitto_publish_v5_callback_set(mqtt->handle, on_publish);
	mosquitto_subscribe_v5_callback_set(mqtt->handle, on_subscribe);
	mosquitto_unsubscribe_v5_callback_set(mqtt->handle, on_unsubscribe);
	mqtt->resumes = mqtt->exactly_once = false;
	mqtt->largest = 0;
	return mqtt_options_set(mqtt->handle, config, err, err_size);
}

/* The first handle is made here, so that what the library does not take is known at once. */
static void *mqtt_open(const struct transport_ops *ops, const struct link_config *config,
                       const struct transport_events *events, void *arg, char *err, size_t err_size)
{
	struct mqtt *mqtt = calloc(1, sizeof *mqtt);

	(void)ops;
	if (!mqtt) {
		snprintf(err, err_size, "link %s: out of memory", config->name);
		return NULL;
	}
	mqtt->config = config;
	mqtt->events = events;
	mqtt->arg = arg;
	for (size_t i = 0; i < config->n_subscriptions; i++)
		mqtt->expects_qos2 = mqtt->expects_qos2 || config->subscriptions[i].qos == 2;
	if (make_handle(mqtt, err, err_size) < 0) {
		mqtt_close(mqtt);
		return NULL;
	}
	if (config->urls[0].tls)
		mqtt_library_tls();
	return mqtt;
}

static int mqtt_connect(void *transport, const struct url *url, bool discard_session, char *err, size_t err_size)
{
	struct mqtt *mqtt = transport;
	const struct link_config *config = mqtt->config;
	mosquitto_property *list;
	int rc;

	if (discard_session && !config->clean_session && mqtt_discard_session(config, url, err, err_size) < 0)
		return -1;
	if (!mqtt->handle && make_handle(mqtt, err, err_size) < 0)
		return -1;
	list = mqtt_connect_properties(config);
	mqtt->connected = mqtt->greeted = mqtt->birth_due = false;
	mqtt->birth = 0;
	mqtt->closed = mqtt->excused = mqtt->arrived = mqtt->leaving = false;
	mqtt_buffer_clear(&mqtt->buffer);
	mqtt->problem[0] = mqtt->log[0] = '\0';
	listen_to_log(mqtt);
	mqtt->watch_dup = mqtt->dup = mqtt->start_over = false;
	mqtt_halves_reconnect(&mqtt->halves);
	mqtt->url = url;
	/* A broker's Receive Maximum replaces it; the next broker may not say any. */
	mosquitto_int_option(mqtt->handle, MOSQ_OPT_SEND_MAXIMUM, config->window);
	rc = mosquitto_connect_bind_v5(mqtt->handle, url->host, url->port, (int)(config->keepalive_ms / 1000), config->bind,
	                               list);
	if (rc != MOSQ_ERR_SUCCESS)
		explain(mqtt, rc, err, err_size);
	mosquitto_property_free_all(&list);
	mqtt->connected = rc == MOSQ_ERR_SUCCESS;
	return mqtt->connected ? 0 : -1;
}

static int mqtt_fd(void *transport)
{
	struct mqtt *mqtt = transport;

	return mqtt->connected ? mosquitto_socket(mqtt->handle) : -1;
}

static bool mqtt_wants_write(void *transport)
{
	struct mqtt *mqtt = transport;

	return mosquitto_want_write(mqtt->handle) || mqtt_buffer_unsent(&mqtt->buffer);
}

/* After every call that may have ended the connection. */
static int judge(struct mqtt *mqtt, int rc, char *err, size_t err_size)
{
	if (rc == MOSQ_ERR_SUCCESS && mosquitto_socket(mqtt->handle) >= 0 && !mqtt->problem[0])
		return 0;
	explain(mqtt, rc == MOSQ_ERR_SUCCESS ? MOSQ_ERR_CONN_LOST : rc, err, err_size);
	return -1;
}

/* Of a read or a write. */
static int judge_io(struct mqtt *mqtt, int rc, char *err, size_t err_size)
{
	/* Or the broker said what it may not: before MQTT 5 some say DISCONNECT when they hang up. */
	mqtt->closed = rc == MOSQ_ERR_SUCCESS ? mosquitto_socket(mqtt->handle) < 0
	                                      : mqtt_was_closed(rc) || rc == MOSQ_ERR_PROTOCOL;
	mqtt->start_over = mqtt->start_over || rc == MQTT_ASSERTED;
	return judge(mqtt, rc, err, err_size);
}

/* During a TLS handshake the library takes the end of the stream for "try again". */
static bool ended_before_greeting(struct mqtt *mqtt)
{
	return !mqtt->greeted && mqtt_socket_ended(mosquitto_socket(mqtt->handle));
}

/* Bytes of the PUBLISH packet, headers included: the library's own check is two bytes short. */
static size_t packet_bytes(const struct message *message, int qos, bool with_properties)
{
	size_t properties = with_properties ? message->properties.size + (message->expires_ms ? EXPIRY_BYTES : 0) : 0;
	size_t length = 2 + message->topic.size + (qos > 0 ? 2 : 0) + message->payload.size + properties;

	length += with_properties ? (properties < 128 ? 1 : properties < 16384 ? 2 : 3) : 0;
	return 1 + (length < 128 ? 1 : length < 16384 ? 2 : length < 2097152 ? 3 : 4) + length;
}

static bool fits(const struct mqtt *mqtt, size_t bytes)
{
	return mqtt->max_packet == 0 || bytes <= mqtt->max_packet;
}

static void publish_birth(struct mqtt *mqtt)
{
	const struct announcement *birth = &mqtt->config->birth;
	struct message message = {.topic.size = strlen(birth->topic), .payload.size = birth->payload_size};
	int rc = MOSQ_ERR_OVERSIZE_PACKET;

	mqtt->birth_due = false;
	if (fits(mqtt, packet_bytes(&message, birth->qos, mqtt->config->version == 5)))
		rc = mosquitto_publish_v5(mqtt->handle, &mqtt->birth, birth->topic, (int)birth->payload_size, birth->payload,
		                          birth->qos, birth->retain, NULL);
	if (rc != MOSQ_ERR_SUCCESS)
		log_warn("mqtt", "link %s: birth message: %s", mqtt->config->name, mosquitto_strerror(rc));
}

/* To be asked before the library closes the socket. */
static bool all_arrived(struct mqtt *mqtt)
{
	return !mqtt_wants_write(mqtt) && mqtt_socket_arrived(mosquitto_socket(mqtt->handle));
}

static int mqtt_read(void *transport, size_t max_messages, int64_t max_ms, char *err, size_t err_size)
{
	struct mqtt *mqtt = transport;
	int64_t until = clock_monotonic_ms() + max_ms;
	bool budget = true;

	mqtt->received = mqtt->received_bytes = 0;
	mqtt->arrived = all_arrived(mqtt);
	if (ended_before_greeting(mqtt))
		return judge(mqtt, MOSQ_ERR_CONN_LOST, err, err_size);
	/* The library does not tell whether there was anything to read, its callbacks do. */
	do {
		mqtt->heard = false;
		if (judge_io(mqtt, mqtt_socket_loop_read(mqtt->handle, &mqtt->buffer), err, err_size) < 0)
			return -1;
		budget = mqtt->received < max_messages && mqtt->received_bytes < READ_BYTES && clock_monotonic_ms() < until;
	} while (mqtt->heard && budget);
	if (mqtt->greeted && !mqtt->watch_dup && !mqtt->expects_qos2 && mqtt->listening)
		log_no_more(mqtt);
	if (mqtt->birth_due) /* not inside the callback: what is sent again comes first */
		publish_birth(mqtt);
	return !budget || mqtt_socket_unread(mqtt->handle, &mqtt->buffer) ? 1 : 0;
}

static int mqtt_write(void *transport, char *err, size_t err_size)
{
	struct mqtt *mqtt = transport;

	return judge_io(mqtt, mqtt_socket_loop_write(mqtt->handle, &mqtt->buffer, mqtt->leaving), err, err_size);
}

static int mqtt_tick(void *transport, char *err, size_t err_size)
{
	struct mqtt *mqtt = transport;

	return judge(mqtt, mosquitto_loop_misc(mqtt->handle), err, err_size);
}

static enum send_result mqtt_send(void *transport, const struct message *message, int *handle, char *reason,
                                  size_t reason_size)
{
	struct mqtt *mqtt = transport;
	bool version5 = mqtt->config->version == 5;
	int qos = message->qos < mqtt->max_qos ? message->qos : mqtt->max_qos;
	size_t bytes = packet_bytes(message, qos, version5);
	mosquitto_property *list = NULL;
	int rc;

	if (!fits(mqtt, bytes)) {
		snprintf(reason, reason_size, "too large: %zu bytes, the broker takes %lu", bytes,
		         (unsigned long)mqtt->max_packet);
		return SEND_NEVER;
	}
	if (version5 && mqtt_properties_build(message->properties, message->expires_ms, &list) < 0)
		return SEND_LATER;
	rc = mosquitto_publish_v5(mqtt->handle, handle, message->topic.data, (int)message->payload.size,
	                          message->payload.data, qos, message->retain, list);
	mosquitto_property_free_all(&list);
	mqtt->largest = bytes > mqtt->largest ? bytes : mqtt->largest;
	switch (rc) {
	case MOSQ_ERR_SUCCESS:
		return SEND_OK;
	case MOSQ_ERR_NO_CONN: /* kept by the library and sent later, unless QoS 0 */
		return qos > 0 ? SEND_OK : SEND_LATER;
	case MOSQ_ERR_NOMEM:
		return SEND_LATER;
	default:
		snprintf(reason, reason_size, "%s", mosquitto_strerror(rc));
		return SEND_NEVER;
	}
}

static int mqtt_subscribe(void *transport, const struct subscription *subscription, int *handle)
{
	struct mqtt *mqtt = transport;
	int options = 0, rc;

	if (subscription->qos == 2)
		expect_qos2(mqtt);
	if (subscription->qos == 2 && !mqtt->warned_qos2) {
		mqtt->warned_qos2 = true;
		log_warn("mqtt", "link %s: QoS 2 subscriptions are not crash-safe (%s): between its two acknowledgements a "
		                 "message is in memory only; QoS 1 is safe", mqtt->config->name, subscription->filter);
	}
	if (mqtt->config->version == 5) {
		options |= subscription->no_local ? MQTT_SUB_OPT_NO_LOCAL : 0;
		options |= subscription->retain_as_published ? MQTT_SUB_OPT_RETAIN_AS_PUBLISHED : 0;
		options |= subscription->retain_handling << 4;
	}
	rc = mosquitto_subscribe_v5(mqtt->handle, handle, subscription->filter, subscription->qos, options, NULL);
	return rc == MOSQ_ERR_SUCCESS ? 0 : -1;
}

static int mqtt_unsubscribe(void *transport, const char *filter, int *handle)
{
	struct mqtt *mqtt = transport;

	return mosquitto_unsubscribe(mqtt->handle, handle, filter) == MOSQ_ERR_SUCCESS ? 0 : -1;
}

static void mqtt_goodbye(void *transport)
{
	struct mqtt *mqtt = transport;

	mqtt->excused = mqtt->leaving = true;
	mosquitto_disconnect(mqtt->handle);
}

static enum hang_up mqtt_hung_up(void *transport)
{
	const struct mqtt *mqtt = transport;

	if (!mqtt->closed || mqtt->excused || mqtt->start_over)
		return NO_HANG_UP;
	return mqtt->arrived ? HANG_UP : HANG_UP_HALFWAY;
}

/* Whether the next connection may go on with the handle, which then sends again what is in flight, marked as such; not if
 * the broker made QoS 0 of it. On version 5 the library abort()s over a packet in flight that the next connection's
 * Maximum Packet Size forbids. */
static bool may_resume(const struct mqtt *mqtt)
{
	if (!mqtt->handle || mqtt->start_over || mqtt->max_qos == 0)
		return false;
	return mqtt->config->version != 5 || mqtt->largest <= PACKET_ANY_BROKER_TAKES;
}

/* The library has no call for this: the socket is shut, so that nothing that is queued can leave. */
static bool mqtt_abort(void *transport, enum in_flight in_flight)
{
	struct mqtt *mqtt = transport;
	int fd = mqtt->handle ? mosquitto_socket(mqtt->handle) : -1;

	mqtt->connected = mqtt->greeted = false;
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	mqtt->exactly_once = in_flight == QOS2_IN_FLIGHT || mqtt->expects_qos2;
	mqtt->resumes = (in_flight != NOTHING_IN_FLIGHT || mqtt->expects_qos2) && may_resume(mqtt);
	if (!mqtt->resumes)
		destroy_handle(mqtt);
	return mqtt->resumes;
}

const struct transport_ops mqtt_transport = {
        .open = mqtt_open,
        .close = mqtt_close,
        .connect = mqtt_connect,
        .fd = mqtt_fd,
        .wants_write = mqtt_wants_write,
        .read = mqtt_read,
        .write = mqtt_write,
        .tick = mqtt_tick,
        .send = mqtt_send,
        .subscribe = mqtt_subscribe,
        .unsubscribe = mqtt_unsubscribe,
        .goodbye = mqtt_goodbye,
        .abort = mqtt_abort,
        .hung_up = mqtt_hung_up,
};
