/* config_same.c: each key of a link is compared, and those that a connection is made of are told
 * from the others.
 */
#include "config_file.h"

#include "certificate.h"

static struct config *link_with(const char *keys)
{
	char source[2048];

	snprintf(source, sizeof source, "return {" STORE " name = 'gw', links = { core = { url = 'mqtts://host:8883', %s } } }",
	         keys);
	return good(source);
}

struct pair {
	const char *one, *other;
};

static bool compare(const struct pair *pair, bool same, bool same_connection)
{
	struct config *a = link_with(pair->one), *b = link_with(pair->other), *c = link_with(pair->one);
	bool right = config_link_same(&a->links[0], &c->links[0]) && config_link_same_connection(&a->links[0], &c->links[0]) &&
	             config_link_same(&a->links[0], &b->links[0]) == same &&
	             config_link_same_connection(&a->links[0], &b->links[0]) == same_connection &&
	             config_link_same_connection(&b->links[0], &a->links[0]) == same_connection;

	if (!right)
		fprintf(stderr, "not seen: %s / %s\n", pair->one, pair->other);
	config_free(a);
	config_free(b);
	config_free(c);
	return right;
}

static void what_a_connection_is_made_of(void)
{
	static const struct pair pairs[] = {
	        {"", "url = 'mqtts://other:8883'"},
	        {"", "url = 'mqtts://host:8884'"},
	        {"", "url = 'mqtt://host:8883'"},
	        {"", "url = 'mqtts://u:p@host:8883'"},
	        {"url = 'mqtts://u:p@host:8883'", "url = 'mqtts://u:q@host:8883'"},
	        {"url = nil, urls = { 'mqtt://a' }", "url = nil, urls = { 'mqtt://a', 'mqtt://b' }"},
	        {"", "client_id = 'other'"},
	        {"", "username = 'u'"},
	        {"username = 'u', password = 'p'", "username = 'u', password = 'q'"},
	        {"", "version = '5'"},
	        {"", "clean_session = true"},
	        {"version = '5', session_expiry = '1h'", "version = '5', session_expiry = '2h'"},
	        {"", "keepalive = '30s'"},
	        {"version = '5', receive_maximum = 10", "version = '5', receive_maximum = 20"},
	        {"", "window = 50"},
	        {"", "max_qos = 1"},
	        {"", "will = { topic = 't', payload = 'p' }"},
	        {"will = { topic = 't', payload = 'p' }", "will = { topic = 'u', payload = 'p' }"},
	        {"will = { topic = 't', payload = 'p' }", "will = { topic = 't', payload = 'q' }"},
	        {"will = { topic = 't', payload = 'p' }", "will = { topic = 't', payload = '' }"},
	        {"will = { topic = 't', payload = 'p' }", "will = { topic = 't', payload = 'p', qos = 1 }"},
	        {"will = { topic = 't', payload = 'p' }", "will = { topic = 't', payload = 'p', retain = true }"},
	        {"birth = { topic = 't', payload = 'p' }", "birth = { topic = 't', payload = 'q' }"},
	        {"", "tls = { insecure = true }"},
	        {"", "tls = { ca = 'cert.pem' }"},
	        {"", "tls = { capath = '.' }"},
	        {"tls = { cert = 'cert.pem', key = 'key.pem' }", "tls = { cert = 'cert.pem', key = './key.pem' }"},
	        {"tls = { cert = 'cert.pem', key = 'key.pem' }", "tls = { cert = './cert.pem', key = 'key.pem' }"},
	        {"", "tls = { ciphers = 'AES128-SHA' }"},
	        {"", "tls = { version = 'tlsv1.3' }"},
	        {"", "tls = { alpn = 'mqtt' }"},
	        {"tls = { psk = 'ab', identity = 'a' }", "tls = { psk = 'ac', identity = 'a' }"},
	        {"tls = { psk = 'ab', identity = 'a' }", "tls = { psk = 'ab', identity = 'b' }"},
	        {"", "socks5 = 'socks5://p:1080'"},
	        {"", "bind = '127.0.0.1'"},
	};

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		CHECK(compare(&pairs[i], false, false));
}

static void what_can_change_under_it(void)
{
	static const struct pair pairs[] = {
	        {"", "reconnect = { min = '2s' }"},
	        {"", "reconnect = { max = '2m' }"},
	        {"", "ack_timeout = '10s'"},
	        {"", "queue = { max_bytes = '1MB' }"},
	        {"", "queue = { max_messages = 5 }"},
	        {"", "queue = { ttl = '1h' }"},
	        {"", "queue = { overflow = 'hold' }"},
	        {"", "queue = { order = 'live-first' }"},
	        {"", "queue = { rate = 10 }"},
	        {"", "ack_topic = 'a'"},
	        {"ack_topic = 'a'", "ack_topic = 'b'"},
	        {"ack_topic = 'a'", "ack_topic = 'a', ack_window = 5"},
	        {"", "loss_topic = 'a'"},
	        {"loss_topic = 'a'", "loss_topic = 'b'"},
	        {"", "subscribe = { 'a' }"},
	        {"subscribe = { 'a' }", "subscribe = { 'b' }"},
	        {"subscribe = { 'a' }", "subscribe = { 'a', 'b' }"},
	        {"subscribe = { 'a' }", "subscribe = { { 'a', qos = 0 } }"},
	        {"version = '5', subscribe = { 'a' }", "version = '5', subscribe = { { 'a', no_local = true } }"},
	        {"version = '5', subscribe = { 'a' }", "version = '5', subscribe = { { 'a', retain_as_published = true } }"},
	        {"version = '5', subscribe = { 'a' }", "version = '5', subscribe = { { 'a', retain_handling = 1 } }"},
	};

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		CHECK(compare(&pairs[i], false, true));
	CHECK(compare(&(struct pair){"", "window = 100, keepalive = '60s'"}, true, true));
}

static void merges(void)
{
	struct config *a = link_with("subscribe = { 'a' }, ack_topic = 'x', loss_topic = 'l'"),
	              *b = link_with("subscribe = { 'b', 'c' }, ack_timeout = '10s', ack_topic = 'y', loss_topic = 'm'"),
	              *c = link_with("subscribe = { 'b', 'c' }, ack_timeout = '10s', ack_topic = 'y', loss_topic = 'm'");
	struct link_config *from = malloc(sizeof *from);

	if (!from)
		abort();
	*from = b->links[0];
	memset(&b->links[0], 0, sizeof b->links[0]);
	config_link_merge(&a->links[0], from);
	CHECK(config_link_same(&a->links[0], &c->links[0]));
	config_free(a);
	config_free(b);
	config_free(c);
}

static void loads_under_another_name(void)
{
	struct config *config;

	write_file("agent.lua", "return {" STORE " name = 'file', links = { core = { url = 'mqtt://h' } } }");
	problems_release(&problems);
	config = config_load_as(in_directory("agent.lua"), "running", &problems);
	REQUIRE(config);
	CHECK(is(config->name, "file") && is(config->links[0].client_id, "running-core"));
	config_free(config);
}

static void make_certificate(void)
{
	char certificate[512];

	(void)snprintf(certificate, sizeof certificate, "%s", in_directory("cert.pem"));
	write_certificate(certificate, in_directory("key.pem"), NULL);
}

int main(void)
{
	config_test_begin();
	make_certificate();
	RUN(what_a_connection_is_made_of);
	RUN(what_can_change_under_it);
	RUN(merges);
	RUN(loads_under_another_name);
	config_test_end();
	return test_end();
}
