/* A link's configuration, told to a libmosquitto handle. */
#include <mqtt_protocol.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "mqtt_internal.h"

/* On version 5 the broker may keep this many unacknowledged messages on their
 * way to us: one commit covers them all. */
#define RECEIVE_MAXIMUM 500

/* OpenSSL asks for the private key's password. */
static int give_key_password(char *buffer, int size, int for_writing, void *handle)
{
	const struct link_config *config = NULL;
	void **owner = mosquitto_userdata(handle);
	int length;

	(void)for_writing;
	config = *owner; /* the transport's first member */
	if (!config->tls.key_password)
		return 0;
	length = snprintf(buffer, (size_t)size, "%s", config->tls.key_password);
	return length < size ? length : 0;
}

static int set_tls(struct mosquitto *handle, const struct tls_config *tls)
{
	const char *capath = tls->capath;
	int rc;

	if (tls->psk) {
		rc = mosquitto_tls_psk_set(handle, tls->psk, tls->identity, tls->ciphers);
	} else {
		if (!tls->ca && !tls->capath) { /* the system's trust store: its file, and its directory */
			mosquitto_int_option(handle, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
			capath = X509_get_default_cert_dir();
		}
		rc = mosquitto_tls_set(handle, tls->ca, capath, tls->cert, tls->key, give_key_password);
	}
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_tls_opts_set(handle, 1, tls->version, tls->ciphers);
	if (rc == MOSQ_ERR_SUCCESS && tls->alpn)
		rc = mosquitto_string_option(handle, MOSQ_OPT_TLS_ALPN, tls->alpn);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_tls_insecure_set(handle, tls->insecure);
	return rc;
}

static int refuse(const struct link_config *config, const char *what, int rc, char *err, size_t err_size)
{
	snprintf(err, err_size, "link %s: %s: %s", config->name, what, mosquitto_strerror(rc));
	return -1;
}

int mqtt_options_set(struct mosquitto *handle, const struct link_config *config, char *err, size_t err_size)
{
	static const int versions[] = {[3] = MQTT_PROTOCOL_V31, [4] = MQTT_PROTOCOL_V311, [5] = MQTT_PROTOCOL_V5};
	const struct announcement *will = &config->will;
	int receive_maximum = config->receive_maximum ? config->receive_maximum : RECEIVE_MAXIMUM;
	int rc = mosquitto_int_option(handle, MOSQ_OPT_PROTOCOL_VERSION, versions[config->version]);

	if (rc == MOSQ_ERR_SUCCESS && config->version == 5)
		rc = mosquitto_int_option(handle, MOSQ_OPT_RECEIVE_MAXIMUM, receive_maximum);
	if (rc != MOSQ_ERR_SUCCESS)
		return refuse(config, "version", rc, err, err_size);
	mosquitto_int_option(handle, MOSQ_OPT_TCP_NODELAY, 1);
	if (config->username || config->password) /* only version 5 allows a password alone */
		rc = mosquitto_username_pw_set(handle, config->username, config->password);
	if (rc != MOSQ_ERR_SUCCESS)
		return refuse(config, "username", rc, err, err_size);
	if (will->topic && (rc = mosquitto_will_set(handle, will->topic, (int)will->payload_size, will->payload, will->qos,
	                                            will->retain)) != MOSQ_ERR_SUCCESS)
		return refuse(config, "will", rc, err, err_size);
	if (config->urls[0].tls && (rc = set_tls(handle, &config->tls)) != MOSQ_ERR_SUCCESS)
		return refuse(config, "tls", rc, err, err_size);
	if (config->socks5.host && (rc = mosquitto_socks5_set(handle, config->socks5.host, config->socks5.port,
	                                                      config->socks5.username, config->socks5.password)) !=
	                                   MOSQ_ERR_SUCCESS)
		return refuse(config, "socks5", rc, err, err_size);
	return 0;
}

mosquitto_property *mqtt_connect_properties(const struct link_config *config)
{
	mosquitto_property *list = NULL;
	uint32_t expiry = UINT32_MAX; /* never */

	if (config->version != 5 || config->clean_session)
		return NULL;
	if (config->session_expiry_ms >= 0 && config->session_expiry_ms / 1000 < (int64_t)UINT32_MAX)
		expiry = (uint32_t)(config->session_expiry_ms / 1000);
	if (mosquitto_property_add_int32(&list, MQTT_PROP_SESSION_EXPIRY_INTERVAL, expiry) != MOSQ_ERR_SUCCESS)
		return NULL;
	return list;
}
