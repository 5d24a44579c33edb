/* Whether two configurations of a link make the same connection: then one can take the
 * other's place without a reconnect.
 */
#include <string.h>

#include "config.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_urls(const struct link_config *a, const struct link_config *b)
{
	if (a->n_urls != b->n_urls)
		return false;
	for (size_t i = 0; i < a->n_urls; i++) {
		const struct url *x = &a->urls[i], *y = &b->urls[i];

		if (x->kind != y->kind || x->tls != y->tls || x->unix_socket != y->unix_socket || x->port != y->port || !same_text(x->host, y->host) ||
		    !same_text(x->username, y->username) || !same_text(x->password, y->password))
			return false;
	}
	return true;
}

static bool same_announcement(const struct announcement *a, const struct announcement *b)
{
	if (!same_text(a->topic, b->topic))
		return false;
	if (!a->topic)
		return true;
	return a->qos == b->qos && a->retain == b->retain && a->payload_size == b->payload_size &&
	       (a->payload_size == 0 || memcmp(a->payload, b->payload, a->payload_size) == 0);
}

static bool same_tls(const struct tls_config *a, const struct tls_config *b)
{
	return same_text(a->ca, b->ca) && same_text(a->capath, b->capath) && same_text(a->cert, b->cert) &&
	       same_text(a->key, b->key) && same_text(a->key_password, b->key_password) &&
	       same_text(a->ciphers, b->ciphers) && same_text(a->version, b->version) && same_text(a->alpn, b->alpn) &&
	       same_text(a->psk, b->psk) && same_text(a->identity, b->identity) && a->insecure == b->insecure &&
	       a->verify_host == b->verify_host && a->content == b->content;
}

static bool same_socks5(const struct socks5_config *a, const struct socks5_config *b)
{
	return same_text(a->host, b->host) && same_text(a->username, b->username) && same_text(a->password, b->password) &&
	       a->port == b->port;
}

static bool same_session(const struct link_config *a, const struct link_config *b)
{
	return same_text(a->client_id, b->client_id) && same_text(a->username, b->username) &&
	       same_text(a->password, b->password) && a->version == b->version && a->clean_session == b->clean_session &&
	       a->session_expiry_ms == b->session_expiry_ms && a->keepalive_ms == b->keepalive_ms &&
	       a->receive_maximum == b->receive_maximum && a->max_qos == b->max_qos && a->window == b->window;
}

static bool same_patterns(const struct kdb_config *a, const struct kdb_config *b)
{
	if (a->n_retry_errors != b->n_retry_errors)
		return false;
	for (size_t i = 0; i < a->n_retry_errors; i++)
		if (!same_text(a->retry_errors[i], b->retry_errors[i]))
			return false;
	return true;
}

static bool same_columns(const struct kdb_table *a, const struct kdb_table *b)
{
	if (a->n_columns != b->n_columns)
		return false;
	for (size_t i = 0; i < a->n_columns; i++) {
		const struct kdb_column *x = &a->columns[i], *y = &b->columns[i];

		if (!same_text(x->name, y->name) || x->type != y->type || x->string != y->string)
			return false;
	}
	return true;
}

static bool same_tables(const struct kdb_config *a, const struct kdb_config *b)
{
	if (a->n_tables != b->n_tables)
		return false;
	for (size_t i = 0; i < a->n_tables; i++)
		if (!same_text(a->tables[i].name, b->tables[i].name) || !same_columns(&a->tables[i], &b->tables[i]))
			return false;
	return true;
}

/* All that batches are made by. A row is encoded when it is queued, so tables are compared only where the
 * connection was let through because of them. */
static bool same_calls(const struct kdb_config *a, const struct kdb_config *b)
{
	return same_text(a->call, b->call) && a->call_as_string == b->call_as_string && a->time_column == b->time_column &&
	       a->exactly_once == b->exactly_once && a->batch_rows == b->batch_rows && a->batch_bytes == b->batch_bytes &&
	       a->batch_delay_ms == b->batch_delay_ms && a->timeout_ms == b->timeout_ms && same_patterns(a, b) &&
	       a->late_after_ms == b->late_after_ms && same_text(a->late_call, b->late_call) &&
	       a->check_meta == b->check_meta && a->compress == b->compress && (!a->check_meta || same_tables(a, b));
}

bool config_link_same_connection(const struct link_config *a, const struct link_config *b)
{
	return same_urls(a, b) && same_session(a, b) && same_announcement(&a->will, &b->will) &&
	       same_announcement(&a->birth, &b->birth) && same_tls(&a->tls, &b->tls) && same_socks5(&a->socks5, &b->socks5) &&
	       same_text(a->bind, b->bind) && same_calls(&a->kdb, &b->kdb);
}

static bool same_subscriptions(const struct link_config *a, const struct link_config *b)
{
	if (a->n_subscriptions != b->n_subscriptions)
		return false;
	for (size_t i = 0; i < a->n_subscriptions; i++) {
		const struct subscription *x = &a->subscriptions[i], *y = &b->subscriptions[i];

		if (!same_text(x->filter, y->filter) || x->qos != y->qos || x->no_local != y->no_local ||
		    x->retain_as_published != y->retain_as_published || x->retain_handling != y->retain_handling)
			return false;
	}
	return true;
}

bool config_link_same(const struct link_config *a, const struct link_config *b)
{
	const struct queue_config *x = &a->queue, *y = &b->queue;

	return config_link_same_connection(a, b) && same_subscriptions(a, b) && same_tables(&a->kdb, &b->kdb) &&
	       a->is_default == b->is_default &&
	       a->reconnect_min_ms == b->reconnect_min_ms && a->reconnect_max_ms == b->reconnect_max_ms &&
	       a->ack_timeout_ms == b->ack_timeout_ms && x->max_bytes == y->max_bytes && x->max_messages == y->max_messages &&
	       x->ttl_ms == y->ttl_ms && x->overflow == y->overflow && x->live_first == y->live_first && x->rate == y->rate &&
	       same_text(a->ack_topic, b->ack_topic) && a->ack_window == b->ack_window &&
	       same_text(a->loss_topic, b->loss_topic);
}

void config_link_merge(struct link_config *link, struct link_config *from)
{
	struct subscription *subscriptions = link->subscriptions;
	struct kdb_table *tables = link->kdb.tables;
	size_t n = link->n_subscriptions, n_tables = link->kdb.n_tables;
	char *ack_topic = link->ack_topic, *loss_topic = link->loss_topic;

	link->subscriptions = from->subscriptions;
	link->n_subscriptions = from->n_subscriptions;
	link->is_default = from->is_default;
	link->reconnect_min_ms = from->reconnect_min_ms;
	link->reconnect_max_ms = from->reconnect_max_ms;
	link->ack_timeout_ms = from->ack_timeout_ms;
	link->queue = from->queue;
	link->ack_topic = from->ack_topic;
	link->ack_window = from->ack_window;
	link->loss_topic = from->loss_topic;
	link->bytes = from->bytes;
	from->subscriptions = subscriptions;
	from->n_subscriptions = n;
	from->ack_topic = ack_topic;
	from->loss_topic = loss_topic;
	link->kdb.tables = from->kdb.tables;
	link->kdb.n_tables = from->kdb.n_tables;
	from->kdb.tables = tables;
	from->kdb.n_tables = n_tables;
	config_link_free(from);
}
