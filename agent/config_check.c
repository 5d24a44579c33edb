/* What one key of the configuration means for another: keys that need each
 * other, exclude each other, or belong to a version of MQTT.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <lua.h>

#include "config_read.h"

enum { PSK_DIGITS_MAX = 512, IDENTITY_MAX = 128 }; /* OpenSSL's */

void key_problem(struct reader *reader, const char *key, const char *problem)
{
	size_t mark = reader_enter(reader, key);
	reader_problem(reader, "%s", problem);
	reader_leave(reader, mark);
}

static void needs_v5(struct reader *reader, const struct link_config *link, const char *const *keys)
{
	if (link->version == MQTT_5)
		return;
	for (; *keys; keys++)
		if (reader_has(reader, *keys))
			key_problem(reader, *keys, "needs version = \"5\"");
}

/* What is the other kind's says nothing here. */
static void only_for(struct reader *reader, const char *problem, const char *const *keys)
{
	for (; *keys; keys++)
		if (reader_has(reader, *keys))
			key_problem(reader, *keys, problem);
}

static void check_kind(struct reader *reader, const struct link_config *link)
{
	static const char *const only_mqtt[] = {"client_id", "version", "clean_session", "session_expiry", "keepalive",
	                                        "receive_maximum", "max_qos", "subscribe", "will", "birth", "socks5", "bind",
	                                        "ack_topic", "ack_window", "loss_topic", NULL};
	static const char *const only_kdb[] = {"tables", "call", "call_as", "time_column", "exactly_once", "batch", "timeout",
	                                       "retry_errors", "late_after", "late_call", "check_meta", "compress", NULL};

	if (link->n_urls == 0) /* none that could be read: it may be either */
		return;
	if (link->kind == LINK_KDB)
		only_for(reader, "is for MQTT links only", only_mqtt);
	else
		only_for(reader, "is for kdb+ links only", only_kdb);
}

void check_subscription(struct reader *reader, const struct link_config *link, size_t index)
{
	static const char *const only_v5[] = {"no_local", "retain_as_published", "retain_handling", NULL};
	const struct subscription *subscription = &link->subscriptions[index];

	if (lua_istable(reader->L, -1))
		needs_v5(reader, link, only_v5);
	if (!subscription->filter)
		return;
	if (subscription->no_local && strncmp(subscription->filter, "$share/", 7) == 0)
		key_problem(reader, "no_local", "cannot be used with a $share filter");
	for (size_t i = 0; i < index; i++) {
		const char *other = link->subscriptions[i].filter;
		if (other && strcmp(other, subscription->filter) == 0)
			reader_problem(reader, "topic filter \"%.60s\" is listed twice", other);
	}
}

static void check_announcement(struct reader *reader, const char *key, const struct announcement *announcement)
{
	if (reader_has(reader, key) && !announcement->topic)
		key_problem(reader, key, "expected a `topic`");
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A connection is made with the link's user and password, wherever it leads: what
 * is one broker's must not be shown to another. */
static void check_url_credentials(struct reader *reader, const struct link_config *link)
{
	if (reader_has(reader, "username") || reader_has(reader, "password"))
		return;
	for (size_t i = 1; i < link->n_urls; i++)
		if (!same_text(link->urls[0].username, link->urls[i].username) ||
		    !same_text(link->urls[0].password, link->urls[i].password)) {
			key_problem(reader, "urls", "expected the same user and password in every URL, or `username` "
			            "and `password` of the link, for all of them");
			return;
		}
}

static void check_credentials(struct reader *reader, const struct link_config *link)
{
	if (link->password && strlen(link->password) > MQTT_TEXT_MAX)
		key_problem(reader, "password", "is longer than 65535 bytes");
	if (link->password && !link->username && link->version != MQTT_5)
		key_problem(reader, "password", "needs a `username` before version = \"5\"");
	if (link->socks5.username && strlen(link->socks5.username) > 255)
		key_problem(reader, "socks5", "expected a user name of at most 255 bytes");
	if (link->socks5.password && strlen(link->socks5.password) > 255)
		key_problem(reader, "socks5", "expected a password of at most 255 bytes");
	if (link->socks5.password && !link->socks5.username)
		key_problem(reader, "socks5", "expected a user name before the password");
}

/* A pre-shared key takes the place of certificates. */
static void check_psk(struct reader *reader, const struct tls_config *tls)
{
	size_t size = strlen(tls->psk);

	if (size == 0 || size % 2 != 0 || strspn(tls->psk, "0123456789abcdefABCDEF") != size)
		key_problem(reader, "psk", "expected an even number of hexadecimal digits");
	if (!tls->identity)
		key_problem(reader, "psk", "needs `identity`");
	if (size > PSK_DIGITS_MAX)
		key_problem(reader, "psk", "is longer than 512 digits");
	if (tls->identity && strlen(tls->identity) > IDENTITY_MAX)
		key_problem(reader, "identity", "is longer than 128 bytes");
	if (tls->ca || tls->capath || tls->cert || tls->key)
		key_problem(reader, "psk", "cannot be used together with `ca`, `capath`, `cert` or `key`");
}

static void check_tls_kind(struct reader *reader, const struct link_config *link)
{
	static const char *const only_mqtt[] = {"psk", "identity", "alpn", NULL}, *const only_kdb[] = {"verify_host", NULL};

	lua_pushliteral(reader->L, "tls");
	lua_rawget(reader->L, -2);
	if (lua_istable(reader->L, -1) && link->kind == LINK_KDB)
		only_for(reader, "is for MQTT links only", only_mqtt);
	else if (lua_istable(reader->L, -1))
		only_for(reader, "is for kdb+ links only", only_kdb);
	lua_pop(reader->L, 1);
}

static void check_tls(struct reader *reader, const struct link_config *link)
{
	const struct tls_config *tls = &link->tls;
	size_t mark = reader_enter(reader, "tls");

	check_tls_kind(reader, link);
	if (link->n_urls > 0 && !link->urls[0].tls)
		reader_problem(reader, "needs %s url", link->kind == LINK_KDB ? "a kdbs://" : "an mqtts://");
	if (tls->cert && !tls->key)
		key_problem(reader, "cert", "needs `key`");
	if (tls->key && !tls->cert)
		key_problem(reader, "key", "needs `cert`");
	if (tls->key_password && !tls->key)
		key_problem(reader, "key_password", "needs `key`");
	if (tls->identity && !tls->psk)
		key_problem(reader, "identity", "needs `psk`");
	if (tls->alpn && strlen(tls->alpn) > 255)
		key_problem(reader, "alpn", "is longer than 255 bytes");
	if (tls->psk)
		check_psk(reader, tls);
	else if (!reader->failed && !reader->elsewhere)
		check_tls_files(reader, tls);
	reader_leave(reader, mark);
}

/* The collector acknowledges all that was sent before a message: so what is older goes first. */
static void check_ack_topic(struct reader *reader, const struct link_config *link)
{
	if (reader_has(reader, "ack_window") && !reader_has(reader, "ack_topic"))
		key_problem(reader, "ack_window", "needs `ack_topic`");
	if (link->ack_topic && link->queue.live_first)
		key_problem(reader, "ack_topic", "cannot be used with queue.order = \"live-first\": the collector acknowledges "
		                                 "in the order of the messages");
}

static void check_mqtt_link(struct reader *reader, const struct link_config *link)
{
	static const char *const only_v5[] = {"session_expiry", "receive_maximum", NULL};

	needs_v5(reader, link, only_v5);
	if (link->clean_session && link->session_expiry_ms != 0)
		key_problem(reader, "session_expiry", "cannot be used with `clean_session`: there is no session to keep");
	if (link->client_id && strlen(link->client_id) > MQTT_TEXT_MAX)
		key_problem(reader, "client_id", "is longer than 65535 bytes");
	check_credentials(reader, link);
	if (link->will.qos > link->max_qos)
		key_problem(reader, "will", "is at QoS 2, above `max_qos`");
	if (link->birth.qos > link->max_qos)
		key_problem(reader, "birth", "is at QoS 2, above `max_qos`");
	check_announcement(reader, "will", &link->will);
	check_announcement(reader, "birth", &link->birth);
	check_ack_topic(reader, link);
}

void check_link(struct reader *reader, const struct link_config *link)
{
	check_kind(reader, link);
	if (link->kind == LINK_KDB)
		check_kdb_link(reader, link);
	else
		check_mqtt_link(reader, link);
	check_url_credentials(reader, link);
	if (reader_has(reader, "tls"))
		check_tls(reader, link);
	if (link->reconnect_min_ms > link->reconnect_max_ms)
		key_problem(reader, "reconnect", "expected `min` to be at most `max`");
}

static bool share_a_peer(const struct link_config *a, const struct link_config *b)
{
	for (size_t i = 0; i < a->n_urls; i++)
		for (size_t j = 0; j < b->n_urls; j++)
			if (a->urls[i].kind == b->urls[j].kind && a->urls[i].port == b->urls[j].port &&
			    strcasecmp(a->urls[i].host, b->urls[j].host) == 0)
				return true;
	return false;
}

/* The collector keeps one mark for a table of ours: what one link sends, the other would be taken to have sent. */
static void check_marks(struct reader *reader, const struct link_config *link, const struct link_config *other)
{
	for (size_t i = 0; i < link->kdb.n_tables; i++) {
		size_t mark, key_mark;

		if (!kdb_table_named(&other->kdb, link->kdb.tables[i].name))
			continue;
		mark = reader_enter(reader, link->name);
		key_mark = reader_enter(reader, "tables");
		reader_problem(reader, "%s is of links.%s as well, on the same collector and both with `exactly_once`: rows of "
		                       "one would be taken for those of the other, and skipped",
		               link->kdb.tables[i].name, other->name);
		reader_leave(reader, key_mark);
		reader_leave(reader, mark);
	}
}

static void same_problem(struct reader *reader, const char *name, const char *key, const char *other, const char *why)
{
	size_t mark = reader_enter(reader, name), key_mark = reader_enter(reader, key);

	reader_problem(reader, "is the same as links.%s.%s, on the same broker: %s", other, key, why);
	reader_leave(reader, key_mark);
	reader_leave(reader, mark);
}

/* A broker lets only one connection have a client id; and an acknowledgement does not say of which link it is. */
static void check_mates(struct reader *reader, const struct config *config, size_t index)
{
	const struct link_config *link = &config->links[index];

	for (size_t i = 0; i < index; i++) {
		const struct link_config *other = &config->links[i];
		if (!share_a_peer(link, other))
			continue;
		if (link->kind == LINK_KDB) {
			if (link->kdb.exactly_once && other->kdb.exactly_once)
				check_marks(reader, link, other);
			continue;
		}
		if (link->client_id && same_text(link->client_id, other->client_id))
			same_problem(reader, link->name, "client_id", other->name, "each would throw the other out");
		if (link->ack_topic && same_text(link->ack_topic, other->ack_topic))
			same_problem(reader, link->name, "ack_topic", other->name, "each would be told what the other sent");
	}
}

void check_links(struct reader *reader, const struct config *config)
{
	const char *first[2] = {NULL, NULL}; /* of each kind */

	for (size_t i = 0; i < config->n_links; i++) {
		const struct link_config *link = &config->links[i];
		check_mates(reader, config, i);
		if (!link->is_default)
			continue;
		if (first[link->kind]) {
			size_t mark = reader_enter(reader, link->name), key_mark = reader_enter(reader, "default");
			reader_problem(reader, "expected one default link%s, got links.%s as well",
			               link->kind == LINK_KDB ? " for kdb+" : "", first[link->kind]);
			reader_leave(reader, key_mark);
			reader_leave(reader, mark);
		}
		first[link->kind] = link->name;
	}
}
