/* Making a broker forget a session: MQTT 3.1.1 knows no other way than to
 * connect with a clean session and leave again. Blocking, on a handle of its own;
 * runs on the helper thread of a connection attempt. */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "mqtt_internal.h"

#define WAIT_MS 15000

struct visit {
	const struct link_config *config; /* first: as in struct mqtt, for the key's password */
	bool greeted;
	int refused; /* the CONNACK's code */
};

static void on_connect(struct mosquitto *handle, void *arg, int reason_code)
{
	struct visit *visit = arg;

	visit->greeted = reason_code == 0;
	visit->refused = reason_code;
	mosquitto_disconnect(handle);
}

static int not_discarded(const struct visit *visit, int rc, char *err, size_t err_size)
{
	char why[200];

	if (visit->refused)
		snprintf(why, sizeof why, "refused: %s", mosquitto_connack_string(visit->refused));
	else if (rc == MOSQ_ERR_SUCCESS)
		snprintf(why, sizeof why, "no answer");
	else
		mqtt_explain(rc, why, sizeof why);
	snprintf(err, err_size, "%s (connecting to discard the old session)", why);
	return -1;
}

static int loop_once(struct mosquitto *handle)
{
	return mosquitto_loop(handle, 500, 1);
}

int mqtt_discard_session(const struct link_config *config, const struct url *url, char *err, size_t err_size)
{
	struct visit visit = {.config = config};
	struct mosquitto *handle = mosquitto_new(config->client_id, true, &visit);
	int64_t until = clock_monotonic_ms() + WAIT_MS;
	int rc;

	if (!handle)
		return not_discarded(&visit, MOSQ_ERR_NOMEM, err, err_size);
	if (mqtt_options_set(handle, config, err, err_size) < 0) {
		mosquitto_destroy(handle);
		return -1;
	}
	mosquitto_connect_callback_set(handle, on_connect);
	rc = mosquitto_connect_bind(handle, url->host, url->port, (int)(config->keepalive_ms / 1000), config->bind);
	while (rc == MOSQ_ERR_SUCCESS && mosquitto_socket(handle) >= 0 && clock_monotonic_ms() < until)
		rc = mqtt_guard(loop_once, handle);
	if (!visit.greeted)
		not_discarded(&visit, rc, err, err_size);
	mosquitto_destroy(handle);
	return visit.greeted ? 0 : -1;
}
