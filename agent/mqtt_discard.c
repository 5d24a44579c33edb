/* Making a broker forget a session: MQTT 3.1.1 knows no other way than to
 * connect with a clean session and leave again. Blocking, on a handle of its own;
 * runs on the helper thread of a connection attempt. */
#include <stdlib.h>

#include "loop.h"
#include "mqtt_internal.h"

#define WAIT_MS 15000

struct visit {
	const struct link_config *config; /* first: as in struct mqtt, for the key's password */
	bool greeted;
};

static void on_connect(struct mosquitto *handle, void *arg, int reason_code)
{
	struct visit *visit = arg;

	visit->greeted = reason_code == 0;
	mosquitto_disconnect(handle);
}

int mqtt_discard_session(const struct link_config *config, const struct url *url)
{
	struct visit visit = {.config = config};
	struct mosquitto *handle = mosquitto_new(config->client_id, true, &visit);
	int64_t until = clock_monotonic_ms() + WAIT_MS;
	char err[256];
	int rc = MOSQ_ERR_NOMEM;

	if (!handle)
		return -1;
	mosquitto_connect_callback_set(handle, on_connect);
	if (mqtt_options_set(handle, config, err, sizeof err) == 0)
		rc = mosquitto_connect_bind(handle, url->host, url->port, (int)(config->keepalive_ms / 1000), config->bind);
	while (rc == MOSQ_ERR_SUCCESS && mosquitto_socket(handle) >= 0 && clock_monotonic_ms() < until)
		rc = mosquitto_loop(handle, 500, 1);
	mosquitto_destroy(handle);
	return visit.greeted ? 0 : -1;
}
