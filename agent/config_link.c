/* One link: its fields, and the rules that tie them together. The url comes
 * first: if it names a kind of link that this version does not have, its other
 * keys mean nothing and are not complained about one by one.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "clock.h"
#include "config_read.h"
#include "topic.h"

#define CENTURY_MS        INT64_C(3155760000000)
#define QUEUE_BYTES       (INT64_C(256) << 20)
#define LINK_NAME_MAX     64
#define URLS_MAX          100
#define SUBSCRIPTIONS_MAX 1000
#define ACK_WINDOW        1000 /* mosquitto queues as many for one client */
#define ACK_WINDOW_MAX    30000

/* Keys that read_link() looks at itself. */
static void read_elsewhere(struct reader *reader, const struct field *field, void *target)
{
	(void)reader;
	(void)field;
	(void)target;
}

static void read_order(struct reader *reader, const struct field *field, void *target)
{
	int live_first = 0;

	read_choice(reader, field, &live_first);
	*(bool *)target = live_first != 0;
}

static void read_tls_version(struct reader *reader, const struct field *field, void *target)
{
	int known = 0;

	read_choice(reader, field, &known);
	if (known)
		reader_copy(reader, target);
}

/* A duration or "never". */
static void read_expiry(struct reader *reader, const struct field *field, void *target)
{
	if (lua_type(reader->L, -1) == LUA_TSTRING && strcmp(lua_tostring(reader->L, -1), "never") == 0)
		*(int64_t *)target = -1;
	else
		read_duration(reader, field, target);
}

static void read_keepalive(struct reader *reader, const struct field *field, void *target)
{
	int64_t *ms = target;

	read_duration(reader, field, ms);
	if (*ms > 0 && *ms < 5000)
		reader_problem(reader, "expected 0 (no pings) or at least 5s");
}

/* Any bytes; the target is the announcement. */
static void read_payload(struct reader *reader, const struct field *field, void *target)
{
	struct announcement *announcement = target;
	size_t size;

	(void)field;
	if (lua_type(reader->L, -1) != LUA_TSTRING) {
		reader_expected(reader, "a string");
		return;
	}
	const char *text = lua_tolstring(reader->L, -1, &size);
	if (size > MQTT_TEXT_MAX) {
		reader_problem(reader, "is longer than %d bytes", MQTT_TEXT_MAX);
		return;
	}
	if (!reader_take(reader, size))
		return;
	announcement->payload = malloc(size + 1);
	if (!announcement->payload) {
		reader_out_of_memory(reader);
		return;
	}
	memcpy(announcement->payload, text, size + 1);
	announcement->payload_size = size;
}

static void read_topic(struct reader *reader, const struct field *field, void *target)
{
	const char *topic = reader_copy(reader, target);
	const char *problem = topic ? topic_problem(topic, strlen(topic)) : NULL;

	(void)field;
	if (problem)
		reader_problem(reader, "topic %s", problem);
}

/* A look-up would block, and say "name" of what is ours. */
static void read_address(struct reader *reader, const struct field *field, void *target)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found;
	const char *text = reader_copy(reader, target);

	(void)field;
	if (!text)
		return;
	if (getaddrinfo(text, NULL, &hints, &found) != 0)
		reader_problem(reader, "expected an IP address of this machine, got \"%.60s\"", text);
	else
		freeaddrinfo(found);
}

static void read_filter(struct reader *reader, const struct field *field, void *target)
{
	const char *filter = reader_copy(reader, target);
	const char *problem = filter ? topic_filter_problem(filter, strlen(filter)) : NULL;

	(void)field;
	if (problem)
		reader_problem(reader, "topic filter \"%.60s\" %s", filter, problem);
}

static const struct choice overflows[] = {
	{"drop-oldest", QUEUE_DROP_OLDEST},
	{"drop-newest", QUEUE_DROP_NEWEST},
	{"hold", QUEUE_HOLD},
	{NULL, 0},
};
static const struct choice orders[] = {{"fifo", 0}, {"live-first", 1}, {NULL, 0}};
static const struct choice tls_versions[] = {{"tlsv1.1", 1}, {"tlsv1.2", 1}, {"tlsv1.3", 1}, {NULL, 0}};
static const struct choice mqtt_versions[] = {{"5", MQTT_5}, {"3.1.1", MQTT_311}, {"3.1", MQTT_31}, {NULL, 0}};

#define AT(member) .offset = offsetof(struct queue_config, member)
static const struct field queue_fields[] = {
	{.key = "max_bytes", .read = read_size, AT(max_bytes), .min = 1024, .max = INT64_C(1) << 50},
	{.key = "max_messages", .read = read_count, AT(max_messages), .min = 1, .max = INT64_MAX},
	{.key = "ttl", .read = read_duration, AT(ttl_ms), .min = 1, .max = CENTURY_MS},
	{.key = "overflow", .read = read_choice, AT(overflow), .choices = overflows},
	{.key = "order", .read = read_order, AT(live_first), .choices = orders},
	{.key = "rate", .read = read_rate, AT(rate)},
	{.key = NULL},
};
#undef AT

#define AT(member) .offset = offsetof(struct tls_config, member)
static const struct field tls_fields[] = {
	{.key = "ca", .read = read_file, AT(ca)},
	{.key = "capath", .read = read_file, AT(capath), .min = FILE_IS_DIRECTORY},
	{.key = "cert", .read = read_file, AT(cert)},
	{.key = "key", .read = read_key_file, AT(key)},
	{.key = "key_password", .read = read_secret, AT(key_password)},
	{.key = "ciphers", .read = read_string, AT(ciphers)},
	{.key = "version", .read = read_tls_version, AT(version), .choices = tls_versions},
	{.key = "alpn", .read = read_string, AT(alpn)},
	{.key = "psk", .read = read_secret, AT(psk)},
	{.key = "identity", .read = read_string, AT(identity)},
	{.key = "insecure", .read = read_bool, AT(insecure)},
	{.key = "verify_host", .read = read_bool, AT(verify_host)},
	{.key = NULL},
};
#undef AT

#define AT(member) .offset = offsetof(struct announcement, member)
static const struct field announcement_fields[] = {
	{.key = "topic", .read = read_topic, AT(topic)},
	{.key = "payload", .read = read_payload, .offset = 0},
	{.key = "qos", .read = read_int, AT(qos), .min = 0, .max = 2},
	{.key = "retain", .read = read_bool, AT(retain)},
	{.key = NULL},
};
#undef AT

#define AT(member) .offset = offsetof(struct subscription, member)
static const struct field subscription_fields[] = {
	{.key = KEY_FIRST, .read = read_filter, AT(filter)},
	{.key = "qos", .read = read_int, AT(qos), .min = 0, .max = 2},
	{.key = "no_local", .read = read_bool, AT(no_local)},
	{.key = "retain_as_published", .read = read_bool, AT(retain_as_published)},
	{.key = "retain_handling", .read = read_int, AT(retain_handling), .min = 0, .max = 2},
	{.key = NULL},
};
#undef AT

#define AT(member) .offset = offsetof(struct link_config, member)
static const struct field reconnect_fields[] = {
	{.key = "min", .read = read_duration, AT(reconnect_min_ms), .min = 10, .max = CENTURY_MS},
	{.key = "max", .read = read_duration, AT(reconnect_max_ms), .min = 10, .max = CENTURY_MS},
	{.key = NULL},
};

static const struct field link_fields[] = {
	{.key = "url", .read = read_elsewhere},
	{.key = "urls", .read = read_elsewhere},
	{.key = "default", .read = read_bool, AT(is_default)},
	{.key = "window", .read = read_int, AT(window), .min = 1, .max = 65535},
	{.key = "reconnect", .read = read_table, .offset = 0, .fields = reconnect_fields},
	{.key = "ack_timeout", .read = read_duration, AT(ack_timeout_ms), .min = 100, .max = CENTURY_MS},
	{.key = "queue", .read = read_table, AT(queue), .fields = queue_fields},
	{.key = "client_id", .read = read_text, AT(client_id)},
	{.key = "username", .read = read_text, AT(username)},
	{.key = "password", .read = read_secret, AT(password)},
	{.key = "version", .read = read_choice, AT(version), .choices = mqtt_versions},
	{.key = "clean_session", .read = read_bool, AT(clean_session)},
	{.key = "session_expiry", .read = read_expiry, AT(session_expiry_ms), .max = INT64_C(4294967294000)},
	{.key = "keepalive", .read = read_keepalive, AT(keepalive_ms), .max = 65535000},
	{.key = "receive_maximum", .read = read_int, AT(receive_maximum), .min = 1, .max = 65535},
	{.key = "max_qos", .read = read_int, AT(max_qos), .min = 1, .max = 2},
	{.key = "subscribe", .read = read_elsewhere},
	{.key = "will", .read = read_table, AT(will), .fields = announcement_fields},
	{.key = "birth", .read = read_table, AT(birth), .fields = announcement_fields},
	{.key = "tls", .read = read_table, AT(tls), .fields = tls_fields},
	{.key = "socks5", .read = read_elsewhere},
	{.key = "bind", .read = read_address, AT(bind)},
	{.key = "ack_topic", .read = read_topic, AT(ack_topic)},
	{.key = "ack_window", .read = read_int, AT(ack_window), .min = 2, .max = ACK_WINDOW_MAX},
	{.key = "loss_topic", .read = read_topic, AT(loss_topic)},
	{.key = "tables", .read = read_kdb_tables, AT(kdb)},
	{.key = "call", .read = read_kdb_call, AT(kdb.call)},
	{.key = "call_as", .read = read_kdb_call_as, AT(kdb.call_as_string), .choices = kdb_call_forms},
	{.key = "time_column", .read = read_choice, AT(kdb.time_column), .choices = kdb_time_columns},
	{.key = "exactly_once", .read = read_bool, AT(kdb.exactly_once)},
	{.key = "batch", .read = read_table, AT(kdb), .fields = kdb_batch_fields},
	{.key = "timeout", .read = read_duration, AT(kdb.timeout_ms), .min = 100, .max = CENTURY_MS},
	{.key = "retry_errors", .read = read_kdb_patterns, AT(kdb)},
	{.key = "late_after", .read = read_duration, AT(kdb.late_after_ms), .min = 1, .max = CENTURY_MS},
	{.key = "late_call", .read = read_kdb_call, AT(kdb.late_call)},
	{.key = "check_meta", .read = read_bool, AT(kdb.check_meta)},
	{.key = "compress", .read = read_bool, AT(kdb.compress)},
	{.key = NULL},
};
#undef AT

/* One URL; false if it is of a kind that this version does not have. */
static bool add_url(struct reader *reader, const char *text, struct link_config *link)
{
	char err[256];
	struct url url;
	const char *problem = NULL;

	if (!reader_take(reader, strlen(text)))
		return true;
	if (link->n_urls == 0)
		link->kind = url_kind(text);
	if (url_unsupported(text)) {
		reader_problem(reader, "%s", url_unsupported(text));
		return false;
	}
	if (url_parse(text, &url, err, sizeof err) != 0) {
		reader_problem(reader, "%s", err);
		return true;
	}
	if (url.username && (problem = topic_text_problem(url.username, strlen(url.username))))
		reader_problem(reader, "user name %s", problem);
	if (url.kind != link->kind)
		reader_problem(reader, "expected every url of a link to be an MQTT broker's or every one a kdb+ process's");
	else if (link->n_urls > 0 && url.tls != link->urls[0].tls)
		reader_problem(reader, "expected every url of a link to be %s or every one %s",
		               url.kind == LINK_KDB ? "kdb://" : "mqtt://", url.kind == LINK_KDB ? "kdbs://" : "mqtts://");
	link->urls[link->n_urls++] = url;
	return true;
}

/* The text on top of the stack. */
static bool read_url(struct reader *reader, struct link_config *link)
{
	if (lua_type(reader->L, -1) != LUA_TSTRING) {
		reader_expected(reader, "a URL in a string");
		return true;
	}
	const char *text = lua_tostring(reader->L, -1);
	if (strlen(text) != lua_rawlen(reader->L, -1)) {
		reader_problem(reader, "contains a NUL byte");
		return true;
	}
	secrets_check_address(reader);
	return add_url(reader, text, link);
}

static bool make_room(struct reader *reader, struct link_config *link, size_t n_urls)
{
	link->urls = calloc(n_urls, sizeof *link->urls);
	if (!link->urls)
		reader_out_of_memory(reader);
	return link->urls;
}

static bool read_url_list(struct reader *reader, struct link_config *link)
{
	size_t count;
	bool supported = true;

	if (!reader_list(reader, "a list of URLs", &count))
		return true;
	if (count == 0 || count > URLS_MAX)
		reader_problem(reader, "expected one to %d URLs", URLS_MAX);
	else if (make_room(reader, link, count))
		for (size_t i = 1; i <= count && supported; i++) {
			size_t mark = reader_item(reader, i);
			supported = read_url(reader, link);
			reader_item_end(reader, mark);
		}
	return supported;
}

/* `url` or `urls`, or the URL given apart. False if the link's other keys
 * should not be looked at. */
static bool read_urls(struct reader *reader, const char *given, struct link_config *link)
{
	bool one = reader_has(reader, "url"), many = reader_has(reader, "urls"), supported = true;

	if (one + many + (given != NULL) != 1) {
		reader_problem(reader, given       ? "expected no `url` or `urls` beside the URL given already"
		                       : one && many ? "expected `url` or `urls`, got both"
						     : "expected `url` or `urls`");
		return true;
	}
	const char *key = many ? "urls" : "url";
	size_t mark = reader_enter(reader, key);
	lua_pushstring(reader->L, key);
	lua_rawget(reader->L, -2);
	if (many)
		supported = read_url_list(reader, link);
	else if (make_room(reader, link, 1))
		supported = given ? add_url(reader, given, link) : read_url(reader, link);
	lua_pop(reader->L, 1);
	reader_leave(reader, mark);
	return supported;
}

/* A filter, or `{ filter, qos = 1, ... }`. */
static void read_subscription(struct reader *reader, struct subscription *subscription)
{
	subscription->qos = 1;
	if (lua_type(reader->L, -1) == LUA_TSTRING) {
		read_filter(reader, NULL, &subscription->filter);
	} else if (!lua_istable(reader->L, -1)) {
		reader_expected(reader, "a topic filter or { filter, qos = 1 }");
	} else {
		read_fields(reader, subscription_fields, subscription);
		if (!reader_has_first(reader))
			reader_problem(reader, "expected a topic filter as its first value");
	}
}

/* The list on top of the stack, if the link has one. */
static void read_subscriptions(struct reader *reader, struct link_config *link)
{
	size_t count;

	if (lua_isnil(reader->L, -1) || !reader_list(reader, "a list of topic filters", &count) || count == 0)
		return;
	if (count > SUBSCRIPTIONS_MAX) {
		reader_problem(reader, "expected at most %d topic filters", SUBSCRIPTIONS_MAX);
		return;
	}
	link->subscriptions = calloc(count, sizeof *link->subscriptions);
	if (!link->subscriptions) {
		reader_out_of_memory(reader);
		return;
	}
	link->n_subscriptions = count;
	for (size_t i = 0; i < count; i++) {
		size_t mark = reader_item(reader, i + 1);
		read_subscription(reader, &link->subscriptions[i]);
		check_subscription(reader, link, i);
		reader_item_end(reader, mark);
	}
}

/* `socks5://user:password@host:port`, or without the scheme; if there is one. */
static void read_socks5(struct reader *reader, struct link_config *link)
{
	static const char scheme[] = "socks5://";
	char *text = NULL, err[256];
	struct url url;

	if (lua_isnil(reader->L, -1) || !reader_copy(reader, &text))
		return;
	const char *address = strncmp(text, scheme, strlen(scheme)) == 0 ? text + strlen(scheme) : text;
	if (address_parse(address, 1080, &url, err, sizeof err) == 0)
		link->socks5 = (struct socks5_config){url.host, url.username, url.password, url.port};
	free(text);
	if (!link->socks5.host)
		reader_problem(reader, "%s, as in \"socks5://proxy:1080\"", err);
	else if (link->socks5.password)
		secrets_check_address(reader);
}

/* Calls `read` with the value of `key`, nil included, on top of the stack. */
static void read_at(struct reader *reader, const char *key, struct link_config *link,
                    void (*read)(struct reader *reader, struct link_config *link))
{
	size_t mark = reader_enter(reader, key);

	lua_pushstring(reader->L, key);
	lua_rawget(reader->L, -2);
	read(reader, link);
	lua_pop(reader->L, 1);
	reader_leave(reader, mark);
}

/* Names stand in client ids, file names, log lines and metrics. */
static bool good_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t size = strlen(name);

	return size > 0 && size <= LINK_NAME_MAX && strspn(name, letters) == size;
}

static void set_defaults(struct link_config *link)
{
	link->window = 100;
	link->reconnect_min_ms = 1000;
	link->reconnect_max_ms = 60000;
	link->ack_timeout_ms = 30000;
	link->ack_window = ACK_WINDOW;
	link->keepalive_ms = 60000;
	link->version = MQTT_311;
	link->max_qos = 2;
	link->queue.max_bytes = QUEUE_BYTES;
	link->tls.verify_host = true;
}

/* What depends on other keys when it is not given. */
static bool complete(struct reader *reader, const char *gateway, struct link_config *link)
{
	const struct url *url = NULL;

	for (size_t i = 0; i < link->n_urls && !url; i++)
		if (link->urls[i].username || link->urls[i].password)
			url = &link->urls[i];
	if (url) {
		if (!link->password && !link->username && url->password && !(link->password = strdup(url->password)))
			return false;
		if (!link->username && url->username && !(link->username = strdup(url->username)))
			return false;
	}
	if (!link->client_id && asprintf(&link->client_id, "%s-%s", gateway, link->name) < 0) {
		link->client_id = NULL;
		return false;
	}
	if (link->n_urls > 0 && link->urls[0].tls && !link->tls.version && !(link->tls.version = strdup("tlsv1.2")))
		return false;
	if (link->version == MQTT_5 && !reader_has(reader, "session_expiry"))
		link->session_expiry_ms = link->clean_session ? 0 : -1;
	return link->kind != LINK_KDB || kdb_complete(reader, link) == 0;
}

void read_link(struct reader *reader, const char *gateway, const char *url, struct link_config *link)
{
	set_defaults(link);
	if (!good_name(link->name))
		reader_problem(reader, "expected a link name of 1 to %d letters, digits, `-`, `_` and `.`",
		               LINK_NAME_MAX);
	if (!lua_istable(reader->L, -1)) {
		reader_expected(reader, "a table");
		return;
	}
	if (!read_urls(reader, url, link))
		return;
	if (link->kind == LINK_KDB)
		kdb_set_defaults(link);
	read_fields(reader, link_fields, link);
	read_at(reader, "subscribe", link, read_subscriptions);
	read_at(reader, "socks5", link, read_socks5);
	if (!complete(reader, gateway, link))
		reader_out_of_memory(reader);
	check_link(reader, link);
	if (!reader->failed && !reader->elsewhere)
		note_tls_files(&link->tls);
}

struct link_config *config_link_plain(const char *gateway, const char *name)
{
	struct link_config *link = good_name(name) ? calloc(1, sizeof *link) : NULL;

	if (!link)
		return NULL;
	set_defaults(link);
	link->version = MQTT_5;
	link->session_expiry_ms = -1;
	link->name = strdup(name);
	link->urls = calloc(1, sizeof *link->urls);
	link->n_urls = link->urls != NULL;
	if (link->urls)
		link->urls->host = strdup("simulated");
	if (asprintf(&link->client_id, "%s-%s", gateway, name) >= 0 && link->name && link->urls && link->urls->host)
		return link;
	config_link_free(link);
	return NULL;
}

void link_config_release(struct link_config *link)
{
	void *const owned[] = {
		link->name, link->urls, link->client_id, link->username, link->password, link->subscriptions,
		link->will.topic, link->will.payload, link->birth.topic, link->birth.payload,
		link->tls.ca, link->tls.capath, link->tls.cert, link->tls.key, link->tls.key_password,
		link->tls.ciphers, link->tls.version, link->tls.alpn, link->tls.psk, link->tls.identity,
		link->socks5.host, link->socks5.username, link->socks5.password, link->bind, link->ack_topic,
		link->loss_topic,
	};

	for (size_t i = 0; i < link->n_urls; i++)
		url_release(&link->urls[i]);
	for (size_t i = 0; i < link->n_subscriptions; i++)
		free(link->subscriptions[i].filter);
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
		free(owned[i]);
	kdb_config_release(&link->kdb);
	*link = (struct link_config){0};
}

void config_link_free(struct link_config *link)
{
	if (!link)
		return;
	link_config_release(link);
	free(link);
}

struct request {
	struct reader reader;
	const char *gateway, *url;
	struct link_config *link;
};

static int l_read_link(lua_State *L)
{
	struct request *request = lua_touserdata(L, 1);

	lua_settop(L, 2);
	luaL_checkstack(L, 40, NULL);
	if (lua_isnil(L, 2)) {
		lua_newtable(L);
		lua_replace(L, 2);
	}
	if (url_kind(request->url) == LINK_KDB)
		reader_problem(&request->reader, "url: kdb+ links are declared in agent.lua");
	else
		read_link(&request->reader, request->gateway, request->url, request->link);
	return 0;
}

struct link_config *config_link_read(struct lua_State *L, int index, const char *gateway, const char *name,
                                     const char *url, size_t room, struct problems *problems)
{
	struct request request = {
		.reader = {.L = L, .problems = problems, .elsewhere = clock_simulated(), .room = room},
		.gateway = gateway,
		.url = url,
		.link = calloc(1, sizeof *request.link),
	};

	if (!request.link || !(request.link->name = strdup(name)) || !lua_checkstack(L, 4)) {
		config_link_free(request.link);
		problems_add(problems, "out of memory");
		return NULL;
	}
	bool given = !lua_isnoneornil(L, index);
	index = lua_absindex(L, index);
	lua_pushcfunction(L, l_read_link);
	lua_pushlightuserdata(L, &request);
	if (given)
		lua_pushvalue(L, index);
	else
		lua_pushnil(L);
	if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
		reader_problem(&request.reader, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "failed");
		lua_pop(L, 1);
	}
	if (!request.reader.failed) {
		request.link->bytes = sizeof *request.link + room - request.reader.room +
		                      request.link->n_subscriptions * sizeof *request.link->subscriptions;
		return request.link;
	}
	config_link_free(request.link);
	return NULL;
}
