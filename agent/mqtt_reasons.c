/* Why things failed: the library's return codes and MQTT 5's reason codes, sorted by what
 * they mean to us. */
#include <errno.h>
#include <mqtt_protocol.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "mqtt_internal.h"

void mqtt_explain(int rc, char *err, size_t err_size)
{
	if (rc == MOSQ_ERR_ERRNO && errno == EINTR) /* attempt_nudge() */
		snprintf(err, err_size, "no answer");
	else if (rc == MOSQ_ERR_ERRNO && errno != 0)
		snprintf(err, err_size, "%s", strerror(errno));
	else if (rc == MOSQ_ERR_EAI)
		snprintf(err, err_size, "name look-up: %s", gai_strerror(errno));
	else if (rc == MOSQ_ERR_CONN_LOST || rc == MOSQ_ERR_ERRNO)
		snprintf(err, err_size, "the broker closed the connection");
	else if (rc == MQTT_ASSERTED)
		snprintf(err, err_size, "the broker sends a property that MQTT does not have");
	else
		snprintf(err, err_size, "%s", mosquitto_strerror(rc));
}

/* Over TLS the library tells any end of the stream as EPROTO. */
bool mqtt_was_closed(int rc)
{
	return rc == MOSQ_ERR_CONN_LOST ||
	       (rc == MOSQ_ERR_ERRNO && (errno == ECONNRESET || errno == EPIPE || errno == EPROTO));
}

/* MQTT 5, 3.4.2.1 and 3.5.2.1: what sending again cannot mend. */
enum refusal mqtt_kind_of_refusal(int reason_code)
{
	switch (reason_code) {
	case MQTT_RC_NOT_AUTHORIZED:
	case MQTT_RC_TOPIC_NAME_INVALID:
	case MQTT_RC_PACKET_TOO_LARGE:
	case MQTT_RC_PAYLOAD_FORMAT_INVALID:
		return REFUSED_FOR_GOOD;
	default:
		return REFUSED_FOR_NOW;
	}
}

/* MQTT 5, 3.14.2.1. */
bool mqtt_is_about_a_packet(int reason_code)
{
	return mqtt_kind_of_refusal(reason_code) == REFUSED_FOR_GOOD || reason_code <= MQTT_RC_IMPLEMENTATION_SPECIFIC ||
	       reason_code == MQTT_RC_RETAIN_NOT_SUPPORTED || reason_code == MQTT_RC_QOS_NOT_SUPPORTED;
}
