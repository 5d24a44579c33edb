/* The keys of a link, from agent.lua and from a script. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "certificate.h"
#include "config_file.h"

static void default_link(void)
{
	struct config *config = good("return {" STORE "links = { a = { url = 'mqtt://h', subscribe = {'x'} } } }");
	CHECK(config->links[0].is_default);
	config_free(config);
	config = good("return {" STORE "links = { a = { url = 'mqtt://h', subscribe = {'x'} },"
	              "b = { url = 'mqtt://h' } } }");
	CHECK(!config->links[0].is_default && config->links[1].is_default);
	config_free(config);
	config = good("return {" STORE "links = { a = { url = 'mqtt://h' }, b = { url = 'mqtt://h' } } }");
	CHECK(!config->links[0].is_default && !config->links[1].is_default);
	config_free(config);
	CHECK(gives("return {" STORE "links = { a = { url = 'mqtt://h', default = true },\n"
	            "b = { url = 'mqtt://i', default = true } } }",
	            "agent.lua:2: links.b.default: expected one default link, got links.a as well"));
}

static void session_expiry(void)
{
	struct config *config = good("return {" STORE "links = { a = { url = 'mqtt://h', version = '5' },"
	                             "b = { url = 'mqtt://h', version = '5', clean_session = true },"
	                             "c = { url = 'mqtt://h', version = '5', session_expiry = 'never' } } }");
	CHECK(config->links[0].session_expiry_ms == -1);
	CHECK(config->links[1].session_expiry_ms == 0);
	CHECK(config->links[2].session_expiry_ms == -1);
	config_free(config);
	CHECK(link_gives("url = 'mqtt://h', version = '5', clean_session = true, session_expiry = '1h'",
	                 ".session_expiry: cannot be used with `clean_session`: there is no session to keep"));
	config_free(good("return {" STORE "links = { a = { url = 'mqtt://:b@h', version = '5' } } }"));
	CHECK(link_gives("url = 'mqtt://h', session_expiry = '1h'", ".session_expiry: needs version = \"5\""));
}

static void numbers(void)
{
	CHECK(link_gives("url = 'mqtt://h', window = 0", ".window: expected a whole number from 1 to 65535, got 0"));
	CHECK(link_gives("url = 'mqtt://h', window = 65536",
	                 ".window: expected a whole number from 1 to 65535, got 65536"));
	CHECK(link_gives("url = 'mqtt://h', window = 1.5",
	                 ".window: expected a whole number from 1 to 65535, got 1.5"));
	CHECK(link_gives("url = 'mqtt://h', window = '5'",
	                 ".window: expected a whole number from 1 to 65535, got \"5\""));
	CHECK(link_gives("url = 'mqtt://h', queue = { max_messages = 0 }",
	                 ".queue.max_messages: expected a whole number from 1 up, got 0"));
	CHECK(link_gives("url = 'mqtt://h', queue = { rate = -1 }",
	                 ".queue.rate: expected a number above 0 (messages per second), got -1"));
	CHECK(link_gives("url = 'mqtt://h', queue = { rate = 0/0 }",
	                 ".queue.rate: expected a number above 0 (messages per second), got no number (nan)"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { { 'a', qos = 3 } }",
	                 ".subscribe[1].qos: expected a whole number from 0 to 2, got 3"));
}

static void durations_and_sizes(void)
{
	static const char wants[] =
		"expected seconds or a duration such as \"250ms\", \"5s\", \"10m\", \"2h\" or \"7d\"";
	static const char *const wrong[] = {"'5'",    "'5 s'",  "'s'",   "'-5s'", "'5S'",
	                                    "'1e3s'", "'0x5s'", "'.5s'", "'5.s'", "''"};
	char keys[128], expected[256], got[32];

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(keys, sizeof keys, "url = 'mqtt://h', ack_timeout = %s", wrong[i]);
		snprintf(got, sizeof got, "%.*s", (int)strlen(wrong[i]) - 2, wrong[i] + 1);
		snprintf(expected, sizeof expected, ".ack_timeout: %s, got \"%s\"", wants, got);
		CHECK(link_gives(keys, expected));
	}
	CHECK(link_gives("url = 'mqtt://h', keepalive = -1", ".keepalive: expected 0 to 65535s, got -1"));
	CHECK(link_gives("url = 'mqtt://h', keepalive = '1d'", ".keepalive: expected 0 to 65535s, got \"1d\""));
	CHECK(link_gives("url = 'mqtt://h', keepalive = 2", ".keepalive: expected 0 (no pings) or at least 5s"));
	CHECK(link_gives("url = 'mqtt://h', ack_timeout = true",
	                 ".ack_timeout: expected seconds or a duration such as \"250ms\", \"5s\", \"10m\", \"2h\" "
	                 "or \"7d\", got a boolean"));
	CHECK(link_gives("url = 'mqtt://h', reconnect = { min = '2m' }",
	                 ".reconnect: expected `min` to be at most `max`"));
	CHECK(gives("return {" STORE "links = {}, limits = { memory = '8mb', call = 0 } }",
	            "agent.lua:1: limits.memory: expected bytes or a size such as \"64KB\", \"8MB\" or \"1GB\", "
	            "got \"8mb\"",
	            "agent.lua:1: limits.call: expected 1ms to 1h, got 0"));
	CHECK(gives("return {" STORE "links = {}, limits = { memory = '2GB' } }",
	            "agent.lua:1: limits.memory: expected 64KB to 1GB, got \"2GB\""));
	struct config *config = good("return {" STORE "links = {}, limits = { memory = '1.5MB', call = 0.0001 } }");
	CHECK(config->memory_bytes == 1572864 && config->call_ms == 1);
	config_free(config);
}

static void choices(void)
{
	CHECK(link_gives("url = 'mqtt://h', version = '4'",
	                 ".version: expected \"5\", \"3.1.1\" or \"3.1\", got \"4\""));
	CHECK(link_gives("url = 'mqtt://h', version = 5",
	                 ".version: expected \"5\", \"3.1.1\" or \"3.1\", got a number"));
	CHECK(link_gives("url = 'mqtt://h', queue = { overflow = 'drop' }",
	                 ".queue.overflow: expected \"drop-oldest\", \"drop-newest\" or \"hold\", got \"drop\""));
	CHECK(gives("return {" STORE "links = {}, log = { level = 'loud' } }",
	            "agent.lua:1: log.level: expected \"error\", \"warn\", \"info\" or \"debug\", got \"loud\""));
}

static void urls(void)
{
	CHECK(link_gives("", ": expected `url` or `urls`"));
	CHECK(link_gives("url = 'mqtt://h', urls = { 'mqtt://h' }", ": expected `url` or `urls`, got both"));
	CHECK(link_gives("urls = {}", ".urls: expected one to 100 URLs"));
	CHECK(link_gives("urls = { 'mqtt://h', 'mqtts://h' }",
	                 ".urls[2]: expected every url of a link to be mqtt:// or every one mqtts://"));
	CHECK(link_gives("url = 'broker:1883'",
	                 ".url: expected a URL such as mqtt://host:1883, mqtts://host or kdb://host:5010, got \"broker:1883\""));
	CHECK(link_gives("url = 'u:hush@broker'", ".url: expected a URL such as mqtt://host:1883, mqtts://host or kdb://host:5010"));
	CHECK(link_gives("url = 'http://h'",
	                 ".url: expected a URL such as mqtt://host:1883, mqtts://host or kdb://host:5010, got \"http://h\""));
	CHECK(link_gives("url = 'mqtt://'", ".url: expected a host name or address"));
	CHECK(link_gives("url = 'mqtt://h:0'", ".url: expected a port from 1 to 65535"));
	CHECK(link_gives("url = 'mqtt://h:65536'", ".url: expected a port from 1 to 65535"));
	CHECK(link_gives("url = 'mqtt://h:'", ".url: expected a port from 1 to 65535"));
	CHECK(link_gives("url = 'mqtt://h:99999999999999999999'", ".url: expected a port from 1 to 65535"));
	CHECK(link_gives("url = 'mqtt://::1'", ".url: expected an IPv6 address to stand in brackets: [::1]:1883"));
	CHECK(link_gives("url = 'mqtt://[::1'", ".url: expected a `]` after the IPv6 address"));
	CHECK(link_gives("url = 'mqtt://[::g]'", ".url: expected an IPv6 address in the brackets"));
	CHECK(link_gives("url = 'mqtt://u%zz@h'", ".url: expected %XX with two hexadecimal digits in the user name"));
	CHECK(link_gives("url = 'mqtt://u%\\x14\\x11@h'", ".url: expected %XX with two hexadecimal digits in the user name"));
	CHECK(link_gives("url = 'mqtt://u:%00@h'", ".url: expected %XX with two hexadecimal digits in the password"));
	CHECK(link_gives("url = 'mqtt://u:%4@h'", ".url: expected %XX with two hexadecimal digits in the password"));
	CHECK(link_gives("url = 'mqtt://h/path'",
	                 ".url: expected host:port and nothing else (%XX for special characters)"));
	CHECK(link_gives("url = 'mqtt://u:hu/sh:9@h:x'", ".url: expected a port from 1 to 65535"));
	CHECK(link_gives("url = 'wss://h'", ".url: WebSocket links are not supported, use mqtt:// or mqtts://"));
	CHECK(link_gives("urls = { 'mqtt://a:hush@h', 'mqtt://b:hush@i' }",
	                 ".urls: expected the same user and password in every URL, or `username` and `password` of the "
	                 "link, for all of them"));
	CHECK(link_gives("urls = { 'mqtt://a@h', 'mqtt://a@i', 'mqtt://i' }",
	                 ".urls: expected the same user and password in every URL, or `username` and `password` of the "
	                 "link, for all of them"));
	config_free(good("return {" STORE "links = { a = { urls = { 'mqtt://a:b@h', 'mqtt://a:b@i' } },\n"
	                 "b = { urls = { 'mqtt://h', 'mqtt://i' }, username = 'me' } } }"));
	CHECK(link_gives("url = 'mqtt://h', bind = 'nonsense'",
	                 ".bind: expected an IP address of this machine, got \"nonsense\""));
	config_free(good("return {" STORE "links = { a = { url = 'mqtt://h', bind = '127.0.0.1' },\n"
	                 "b = { url = 'mqtt://h', bind = '::1' } } }"));
	CHECK(link_gives("url = 'mqtt://:hush@h'", ".password: needs a `username` before version = \"5\""));

	struct config *config = good("return {" STORE "links = { a = { url = 'SSL://us%65r@[fe80::1%25eth0]:9/' } } }");
	const struct url *url = config->links[0].urls;
	CHECK(url->tls && is(url->host, "fe80::1%eth0") && url->port == 9);
	CHECK(is(url->username, "user") && !url->password);
	CHECK(is(config->links[0].tls.version, "tlsv1.2"));
	config_free(config);
}

static void topics(void)
{
	CHECK(link_gives("url = 'mqtt://h', subscribe = { 'a/#/b' }",
	                 ".subscribe[1]: topic filter \"a/#/b\" has a wildcard in the wrong place"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { 'a', { '$share//b' } }",
	                 ".subscribe[2][1]: topic filter \"$share//b\" has an empty group after $share/"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { { qos = 1 } }",
	                 ".subscribe[1]: expected a topic filter as its first value"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { 'a', { 'a', qos = 2 } }",
	                 ".subscribe[2]: topic filter \"a\" is listed twice"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { { 'a', no_local = true } }",
	                 ".subscribe[1].no_local: needs version = \"5\""));
	CHECK(link_gives("url = 'mqtt://h', version = '5', subscribe = { { '$share/g/a', no_local = true } }",
	                 ".subscribe[1].no_local: cannot be used with a $share filter"));
	CHECK(link_gives("url = 'mqtt://h', will = { topic = 'a/+' }", ".will.topic: topic contains a wildcard"));
	CHECK(link_gives("url = 'mqtt://h', will = { payload = 'x' }", ".will: expected a `topic`"));
	CHECK(link_gives("url = 'mqtt://h', will = {}", ".will: expected a `topic`"));
	CHECK(link_gives("url = 'mqtt://h', birth = {}", ".birth: expected a `topic`"));
	CHECK(link_gives("url = 'mqtt://h', birth = { topic = 'a', payload = 5 }",
	                 ".birth.payload: expected a string, got a number"));
	CHECK(link_gives("url = 'mqtt://h', client_id = '\\xff'", ".client_id: is not valid UTF-8"));
	CHECK(link_gives("url = 'mqtt://h', client_id = ''", ".client_id: is empty"));
	CHECK(link_gives("url = 'mqtt://h', username = 'a\\nb'", ".username: contains a control character"));
}

static void tls(void)
{
	write_file("there.pem", "x");
	CHECK(link_gives("url = 'mqtt://h', tls = {}", ".tls: needs an mqtts:// url"));
	CHECK(link_gives("url = 'mqtts://h', tls = { ca = 'none.pem' }",
	                 ".tls.ca: cannot read none.pem: No such file or directory"));
	CHECK(link_gives("url = 'mqtts://h', tls = { capath = 'there.pem' }",
	                 ".tls.capath: there.pem is no directory"));
	CHECK(link_gives("url = 'mqtts://h', tls = { ca = '/tmp' }", ".tls.ca: /tmp is a directory"));
	CHECK(link_gives("url = 'mqtts://h', tls = { cert = 'there.pem' }", ".tls.cert: needs `key`"));
	CHECK(link_gives("url = 'mqtts://h', tls = { key = 'there.pem' }", ".tls.key: needs `cert`"));
	CHECK(link_gives("url = 'mqtts://h', tls = { key_password = 'hush' }", ".tls.key_password: needs `key`"));
	CHECK(link_gives("url = 'mqtts://h', tls = { psk = 'abc', identity = 'me' }",
	                 ".tls.psk: expected an even number of hexadecimal digits"));
	CHECK(link_gives("url = 'mqtts://h', tls = { psk = 'hush', identity = 'me' }",
	                 ".tls.psk: expected an even number of hexadecimal digits"));
	CHECK(link_gives("url = 'mqtts://h', tls = { psk = 'abcd' }", ".tls.psk: needs `identity`"));
	CHECK(link_gives("url = 'mqtts://h', tls = { identity = 'me' }", ".tls.identity: needs `psk`"));
	CHECK(link_gives("url = 'mqtts://h', tls = { psk = 'abcd', identity = 'me', ca = 'there.pem' }",
	                 ".tls.psk: cannot be used together with `ca`, `capath`, `cert` or `key`"));
	CHECK(link_gives("url = 'mqtts://h', tls = { ca = 'there.pem' }",
	                 ".tls.ca: holds no certificates in PEM: no certificate or crl found"));
	CHECK(link_gives("url = 'mqtts://h', tls = { cert = 'there.pem', key = 'there.pem' }",
	                 ".tls.cert: is no certificate in PEM: no start line"));
	static char cert[512], key[512];
	strcpy(cert, in_directory("cert.pem"));
	strcpy(key, in_directory("key.pem"));
	write_certificate(cert, key, "sesame");
	config_free(good("return {" STORE "links = { a = { url = 'mqtts://h', tls = { ca = 'cert.pem', cert = 'cert.pem',\n"
	                 "key = 'key.pem', key_password = 'sesame', ciphers = 'ECDHE+AESGCM', alpn = 'mqtt' } } } }"));
	CHECK(!load("return {" STORE "links = { a = { url = 'mqtts://h', tls = { cert = 'cert.pem', key = 'key.pem' } } } }"));
	CHECK(problems.n == 1 && strstr(problems.lines[0], ".tls.key: is no private key in PEM for `cert`, or locked"));
	write_certificate(in_directory("other.pem"), key, NULL);
	CHECK(link_gives("url = 'mqtts://h', tls = { cert = 'cert.pem', key = 'key.pem' }",
	                 ".tls.key: is no private key in PEM for `cert`, or locked by another `key_password`: "
	                 "key values mismatch"));
	CHECK(link_gives("url = 'mqtts://h', tls = { ciphers = 'NOPE' }",
	                 ".tls.ciphers: names no cipher that OpenSSL has: no cipher match"));
	CHECK(link_gives("url = 'mqtts://h', tls = { alpn = ('x'):rep(256) }", ".tls.alpn: is longer than 255 bytes"));
	CHECK(link_gives("url = 'mqtts://h', tls = { psk = ('a'):rep(514), identity = 'me' }",
	                 ".tls.psk: is longer than 512 digits"));
	CHECK(link_gives("url = 'mqtts://h', tls = { psk = 'ab', identity = ('x'):rep(129) }",
	                 ".tls.identity: is longer than 128 bytes"));
	CHECK(link_gives("url = 'mqtts://h', tls = { version = 'tlsv1.0' }",
	                 ".tls.version: expected \"tlsv1.1\", \"tlsv1.2\" or \"tlsv1.3\", got \"tlsv1.0\""));
	CHECK(link_gives("url = 'mqtt://h', socks5 = 'proxy:x'",
	                 ".socks5: expected a port from 1 to 65535, as in \"socks5://proxy:1080\""));
}

/* What is warned of with a certificate that is valid from and until so many seconds from now; "" for nothing. */
static bool dates_give(long from, long until, const char *expected)
{
	static char cert[512], key[512];
	struct config *config;
	bool same;

	strcpy(cert, in_directory("cert.pem"));
	strcpy(key, in_directory("key.pem"));
	write_certificate_for(cert, key, NULL, from, until);
	config = good("return {" STORE "links = { a = { url = 'mqtts://h', tls = { cert = 'cert.pem', key = 'key.pem' } } } }");
	same = *expected ? config->warnings.n == 1 && strstr(config->warnings.lines[0], expected) : config->warnings.n == 0;
	for (size_t i = 0; !same && i < config->warnings.n; i++)
		fprintf(stderr, "got: %s\n", config->warnings.lines[i]);
	config_free(config);
	return same;
}

static void certificate_dates(void)
{
	const long day = 24 * 3600, slack = 600;

	CHECK(dates_give(0, 30 * day + slack, ""));
	CHECK(dates_give(0, 30 * day - slack, ".tls.cert: expires in 29 days, on "));
	CHECK(dates_give(0, day + slack, ".tls.cert: expires in 1 day, on "));
	CHECK(dates_give(0, slack, ".tls.cert: expires within a day, on "));
	CHECK(dates_give(-2 * day, -slack, ".tls.cert: expired on "));
	CHECK(dates_give(slack, 90 * day, ".tls.cert: is not valid before "));
}

static void same_client_id(void)
{
	CHECK(gives("return {" STORE "links = {\n"
	            "a = { urls = { 'mqtt://x', 'mqtt://h' }, client_id = 'me' },\n"
	            "b = { url = 'mqtt://H:1883', client_id = 'me' },\n"
	            "c = { url = 'mqtt://h:1884', client_id = 'me' } } }",
	            "agent.lua:3: links.b.client_id: is the same as links.a.client_id, on the same broker: "
	            "each would throw the other out"));
}

static void same_ack_topic(void)
{
	CHECK(gives("return {" STORE "links = {\n"
	            "a = { url = 'mqtt://h', ack_topic = 'x' },\n"
	            "b = { url = 'mqtt://h', ack_topic = 'x' },\n"
	            "c = { url = 'mqtt://i', ack_topic = 'x' },\n"
	            "d = { url = 'mqtt://h', ack_topic = 'y' } } }",
	            "agent.lua:3: links.b.ack_topic: is the same as links.a.ack_topic, on the same broker: "
	            "each would be told what the other sent"));
}

static void secrets_are_not_shown(void)
{
	static const char *const sources[] = {
		"url = 'mqtt://gw:hush@h:x'", "url = 'gw:hush@h'",
		"url = 'mqtt://gw:hu/hush@h'", "url = 'mqtt://gw:%hush@h'",
		"url = 'mqtts://h', tls = { psk = 'hush', key_password = 'hush' }",
		"url = 'mqtt://h', password = 'hush'",
		"url = 'mqtt://h', socks5 = 'u:hush@p:x'", "url = 'mqtt://h', password = { 'hush' }",
		"url = 'kdb://gw:hush@h'", "url = 'mqtt://h', username = 'u', password = 'hush\\0'",
		"url = 'mqtt://gw:12345/hush@h:1883'", "urls = { 'mqtt://a', 'mqtts://gw:hush@h' }",
	};
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		char source[512];
		snprintf(source, sizeof source, "return {" STORE "links = { core = { %s, window = 0 } } }", sources[i]);
		struct config *config = load(source);
		CHECK(!config && problems.n > 0);
		for (size_t j = 0; j < problems.n; j++)
			CHECK(!strstr(problems.lines[j], "hush") && !strstr(problems.lines[j], "12345"));
		config_free(config);
	}
}

/* What mqtt.conn does. */
static void link_from_a_script(void)
{
	lua_State *L = luaL_newstate();
	luaL_openlibs(L);
	problems_release(&problems);
	if (luaL_dostring(L, "return { window = 5, subscribe = { 'a' }, tls = { insecure = true } }") != LUA_OK)
		abort();
	struct link_config *link = config_link_read(L, -1, "gw", "up", "ssl://h", 1 << 20, &problems);
	CHECK(link && problems.n == 0 && lua_gettop(L) == 1);
	CHECK(link && link->window == 5 && link->urls[0].port == 8883 && is(link->client_id, "gw-up"));
	CHECK(link && link->n_subscriptions == 1 && link->bytes > sizeof *link && link->bytes < 2 * sizeof *link);
	config_link_free(link);
	link = config_link_read(L, 2, "gw", "up", "tcp://h:99", 1 << 20, &problems);
	CHECK(link && link->urls[0].port == 99 && lua_gettop(L) == 1);
	config_link_free(link);

	lua_settop(L, 0);
	if (luaL_dostring(L, "return setmetatable({ url = 'mqtt://h', windw = 1, keepalive = 1 },"
	                     "{ __index = error })") != LUA_OK)
		abort();
	link = config_link_read(L, 1, "gw", "up", "mqtt://h", 1 << 20, &problems);
	CHECK(!link && lua_gettop(L) == 1 && problems.n == 3);
	CHECK(problems.n == 3 && is(problems.lines[0], "expected no `url` or `urls` beside the URL given already"));
	CHECK(problems.n == 3 && is(problems.lines[1], "keepalive: expected 0 (no pings) or at least 5s"));
	CHECK(problems.n == 3 && is(problems.lines[2], "windw: unknown key, did you mean `window`?"));
	problems_release(&problems);
	lua_pushinteger(L, 5);
	CHECK(!config_link_read(L, -1, "gw", "up", "mqtt://h", 1 << 20, &problems) && problems.n == 1 &&
	      is(problems.lines[0], "expected a table, got a number"));
	problems_release(&problems);
	CHECK(!config_link_read(L, 9, "gw", "up", "mqtt://u:hush@h:x", 1 << 20, &problems) && problems.n == 1 &&
	      is(problems.lines[0], "url: expected a port from 1 to 65535"));
	problems_release(&problems);
	/* Texts that are shared in Lua are copied each time. */
	lua_settop(L, 0);
	if (luaL_dostring(L, "local s = ('x'):rep(60000) return { username = s, password = s, bind = s }") != LUA_OK)
		abort();
	CHECK(!config_link_read(L, -1, "gw", "up", "mqtt://h", 100000, &problems));
	CHECK(problems.n == 2 && is(problems.lines[0], "password: is one text too many: there is no more room for them"));
	problems_release(&problems);
	lua_settop(L, 0);
	if (luaL_dostring(L, "local s = {} for i = 1, 1001 do s[i] = 'a' end return { subscribe = s }") != LUA_OK)
		abort();
	CHECK(!config_link_read(L, -1, "gw", "up", "mqtt://h", 1 << 20, &problems));
	CHECK(problems.n == 1 && is(problems.lines[0], "subscribe: expected at most 1000 topic filters"));
	lua_close(L);
}

static size_t budget;

static void *scarce(void *ud, void *block, size_t old_size, size_t new_size)
{
	(void)ud;
	(void)old_size;
	if (new_size == 0) {
		free(block);
		return NULL;
	}
	if (budget == 0)
		return NULL;
	budget--;
	return realloc(block, new_size);
}

/* The script's memory is used up at any point of it: no jump, no leak. */
static void link_from_a_script_without_memory(void)
{
	budget = 10000;
	lua_State *L = lua_newstate(scarce, NULL);
	luaL_openlibs(L);
	if (luaL_dostring(L, "return { window = 5, subscribe = { 'a', 'b' }, will = { topic = 'a' },"
	                     "tls = { insecure = true }, socks5 = 'h:1' }") != LUA_OK)
		abort();
	bool read = false;
	for (size_t allowed = 0; allowed < 200 && !read; allowed++) {
		problems_release(&problems);
		budget = 1000;
		lua_gc(L, LUA_GCCOLLECT);
		lua_gc(L, LUA_GCSTOP);
		budget = allowed;
		struct link_config *link = config_link_read(L, 1, "gw", "up", "ssl://h", 1 << 20, &problems);
		CHECK(lua_gettop(L) == 1 && (link ? problems.n == 0 : problems.n > 0));
		read = link != NULL;
		config_link_free(link);
	}
	CHECK(read);
	lua_close(L);
}

int main(void)
{
	config_test_begin();
	RUN(default_link);
	RUN(session_expiry);
	RUN(numbers);
	RUN(durations_and_sizes);
	RUN(choices);
	RUN(urls);
	RUN(topics);
	RUN(tls);
	RUN(certificate_dates);
	RUN(same_client_id);
	RUN(same_ack_topic);
	RUN(secrets_are_not_shown);
	RUN(link_from_a_script);
	RUN(link_from_a_script_without_memory);
	config_test_end();
	return test_end();
}
