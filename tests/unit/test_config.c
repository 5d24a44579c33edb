/* agent.lua as a whole: its keys, its Lua, its scripts, and the lines that
 * problems are reported on.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "certificate.h"
#include "config_file.h"

static void defaults(void)
{
	struct config *config = good("return {" STORE "links = { core = { url = 'mqtt://broker' } } }");
	const struct link_config *link = &config->links[0];
	char host[256] = "";

	gethostname(host, sizeof host - 1);
	CHECK(is(config->name, host));
	CHECK(is(config->directory, directory));
	CHECK(config->durability == STORE_FULL && config->linger_ms == 250);
	CHECK(config->memory_bytes == 8 << 20 && config->call_ms == 250);
	CHECK(config->log_level == LOG_LEVEL_INFO && config->log_target == LOG_TARGET_STDERR);
	CHECK(!config->http && !config->control && config->n_scripts == 0);
	CHECK(is(config->store_path, in_directory("queue.db")));

	CHECK(config->n_links == 1 && is(link->name, "core") && link->is_default);
	CHECK(link->n_urls == 1 && is(link->urls[0].host, "broker"));
	CHECK(link->urls[0].port == 1883 && !link->urls[0].tls);
	CHECK(link->window == 100 && link->reconnect_min_ms == 1000 && link->reconnect_max_ms == 60000);
	CHECK(link->ack_timeout_ms == 30000 && link->keepalive_ms == 60000 && link->version == 4);
	CHECK(!link->clean_session && link->session_expiry_ms == 0 && link->receive_maximum == 0 && link->max_qos == 2);
	CHECK(strncmp(link->client_id, host, strlen(host)) == 0 && is(link->client_id + strlen(host), "-core"));
	CHECK(!link->username && !link->password && !link->will.topic && !link->birth.topic);
	CHECK(link->n_subscriptions == 0 && link->queue.max_bytes == 256 << 20 && !link->queue.max_messages && !link->tls.version && !link->socks5.host);
	config_free(config);
}

static void everything(void)
{
	write_certificate(in_directory("ca.pem"), "/dev/null", NULL);
	write_file("secret", "  hush\n\n");
	setenv("TIDEGATE_TEST", "from the environment", 1);
	struct config *config = good(
		"local store = 'queue.db'\n"
		"return {\n"
		"  name = 'gw-' .. string.format('%02d', 1),\n"
		"  links = {\n"
		"    field = { urls = { 'mqtt://127.0.0.1', 'tcp://[::1]:1884' }, version = '5', window = 20,\n"
		"      subscribe = { 'sensors/#', { '$share/g/a/+', qos = 2, no_local = false,\n"
		"                    retain_as_published = true, retain_handling = 2 } },\n"
		"      session_expiry = '7d', receive_maximum = 500, keepalive = 0 },\n"
		"    core = { url = 'mqtts://gw:p%40ss%3a@broker.example.com', password = file('secret'),\n"
		"      client_id = 'me', reconnect = { min = 0.25, max = '2m' }, ack_timeout = '1.5s',\n"
		"      queue = { max_bytes = '256MB', max_messages = 1000, ttl = '7d', overflow = 'hold',\n"
		"                order = 'live-first', rate = 0.5 },\n"
		"      will = { topic = 'gw/state', payload = 'a\\0b', qos = 1, retain = true },\n"
		"      birth = { topic = 'gw/state' },\n"
		"      tls = { ca = 'ca.pem', alpn = 'mqtt', insecure = true, version = 'tlsv1.3' },\n"
		"      socks5 = 'socks5://u:p@proxy:9050', bind = '127.0.0.1', clean_session = true,\n"
		"      default = true },\n"
		"  },\n"
		"  store = { path = store, durability = 'normal', linger = 0 },\n"
		"  limits = { memory = '1MB', call = '2s' }, http = '127.0.0.1:9464', control = 'c.sock',\n"
		"  log = { level = 'debug', target = 'syslog' },\n"
		"}\n");
	const struct link_config *core = &config->links[0], *field = &config->links[1];

	CHECK(is(config->name, "gw-01") && config->n_links == 2);
	CHECK(config->durability == STORE_NORMAL && config->linger_ms == 0);
	CHECK(config->memory_bytes == 1 << 20 && config->call_ms == 2000);
	CHECK(is(config->http, "127.0.0.1:9464") && is(config->control, in_directory("c.sock")));
	CHECK(config->log_level == LOG_LEVEL_DEBUG && config->log_target == LOG_TARGET_SYSLOG);

	CHECK(is(field->name, "field") && !field->is_default && field->version == 5 && field->window == 20);
	CHECK(field->n_urls == 2 && is(field->urls[1].host, "::1") && field->urls[1].port == 1884);
	CHECK(field->n_subscriptions == 2 && field->subscriptions[0].qos == 1);
	CHECK(is(field->subscriptions[1].filter, "$share/g/a/+") && field->subscriptions[1].qos == 2);
	CHECK(field->subscriptions[1].retain_as_published && field->subscriptions[1].retain_handling == 2);
	CHECK(field->session_expiry_ms == INT64_C(604800000) && field->receive_maximum == 500);
	CHECK(field->keepalive_ms == 0 && is(field->client_id, "gw-01-field"));

	CHECK(core->is_default && core->urls[0].tls && core->urls[0].port == 8883 && is(core->client_id, "me"));
	CHECK(is(core->username, "gw") && is(core->password, "hush") && is(core->urls[0].password, "p@ss:"));
	CHECK(core->reconnect_min_ms == 250 && core->reconnect_max_ms == 120000 && core->ack_timeout_ms == 1500);
	CHECK(core->queue.max_bytes == 256 << 20 && core->queue.max_messages == 1000);
	CHECK(core->queue.ttl_ms == INT64_C(604800000) && core->queue.overflow == QUEUE_HOLD);
	CHECK(core->queue.live_first && core->queue.rate == 0.5);
	CHECK(core->will.payload_size == 3 && memcmp(core->will.payload, "a\0b", 3) == 0 && core->will.retain);
	CHECK(is(core->birth.topic, "gw/state") && core->birth.payload_size == 0);
	CHECK(is(core->tls.ca, in_directory("ca.pem")) && is(core->tls.version, "tlsv1.3") && core->tls.insecure);
	CHECK(is(core->socks5.host, "proxy") && core->socks5.port == 9050 && is(core->socks5.password, "p"));
	config_free(config);
}

static void unknown_keys(void)
{
	CHECK(link_gives("ulr = 'mqtt://h', url = 'mqtt://h'", ".ulr: unknown key, did you mean `url`?"));
	CHECK(link_gives("url = 'mqtt://h', reconnect = { minimum = 1 }",
	                 ".reconnect.minimum: unknown key, expected one of min, max"));
	CHECK(link_gives("url = 'mqtt://h', reconnect = { lag = 1 }", ".reconnect.lag: unknown key, expected one of min, max"));
	CHECK(link_gives("tsl = {}, url = 'mqtt://h'", ".tsl: unknown key, did you mean `tls`?"));
	CHECK(link_gives("url = 'mqtt://h', keepalives = 5", ".keepalives: unknown key, did you mean `keepalive`?"));
	CHECK(gives("return {" STORE "\n  links = {},\n  skripts = {},\n  [\"sto re\"] = 1 }",
	            "agent.lua:3: skripts: unknown key, did you mean `scripts`?",
	            "agent.lua:4: sto re: unknown key, did you mean `store`?"));
	CHECK(gives("return {" STORE "links = {}, 5 }",
	            "agent.lua:1: [1]: expected `key = value`, got a value without a name"));
	CHECK(link_gives("url = 'mqtt://h', exactly_once = true", ".exactly_once: is for kdb+ links only"));
	CHECK(link_gives("url = 'mqtt://h', ack_topic = 'x/+'", ".ack_topic: topic contains a wildcard"));
	CHECK(link_gives("url = 'mqtt://h', max_qos = 0", ".max_qos: expected a whole number from 1 to 2, got 0"));
	CHECK(link_gives("url = 'mqtt://h', max_qos = 1, will = { topic = 't', qos = 2 }", ".will: is at QoS 2, above `max_qos`"));
	CHECK(link_gives("url = 'mqtt://h', max_qos = 1, birth = { topic = 't', qos = 2 }", ".birth: is at QoS 2, above `max_qos`"));
	CHECK(link_gives("url = 'mqtt://h', loss_topic = 'x/+'", ".loss_topic: topic contains a wildcard"));
	CHECK(link_gives("url = 'kdb://h:5010', tables = { t = { 'a:long' } }, loss_topic = 'x'", ".loss_topic: is for MQTT links only"));
	CHECK(link_gives("url = 'mqtt://h', ack_window = 5", ".ack_window: needs `ack_topic`"));
	CHECK(link_gives("url = 'mqtt://h', ack_topic = 'x', ack_window = 1", ".ack_window: expected a whole number from 2 to 30000, got 1"));
	CHECK(link_gives("url = 'mqtt://h', ack_topic = 'x', queue = { order = 'live-first' }",
	                 ".ack_topic: cannot be used with queue.order = \"live-first\": the collector acknowledges in the "
	                 "order of the messages"));
	CHECK(link_gives("url = 'kdb://h:5010', tables = { t = { 'a:long' } }, ack_topic = 'x'", ".ack_topic: is for MQTT links only"));
}

static void wrong_types(void)
{
	CHECK(gives("return 5", "agent.lua: expected the file to return a table, got a number"));
	CHECK(gives("", "agent.lua: expected the file to return a table, got nothing"));
	CHECK(gives("return {" STORE "}", "agent.lua: expected `links` or `scripts`"));
	CHECK(gives("return {" STORE "links = 5,\nscripts = 'a.lua',\nlog = true,\nname = 7 }",
	            "agent.lua:1: links: expected a table of links, got a number",
	            "agent.lua:2: scripts: expected a list of scripts, { \"scripts/*.lua\" }, got a string",
	            "agent.lua:3: log: expected a table, got a boolean",
	            "agent.lua:4: name: expected a string, got a number"));
	CHECK(link_gives("url = 5", ".url: expected a URL in a string, got a number"));
	CHECK(link_gives("url = 'mqtt://h', default = 1", ".default: expected true or false, got 1"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = 'x'",
	                 ".subscribe: expected a list of topic filters, got a string"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { 5 }",
	                 ".subscribe[1]: expected a topic filter or { filter, qos = 1 }, got a number"));
	CHECK(link_gives("url = 'mqtt://h', subscribe = { 'a', [3] = 'b' }",
	                 ".subscribe: expected a list of topic filters without holes or keys"));
	CHECK(link_gives("url = 'mqtt://h', client_id = 'a\\0b'", ".client_id: contains a NUL byte"));
	CHECK(gives("return {" STORE "links = { 'mqtt://h' } }",
	            "agent.lua:1: links: expected `name = { url = ... }`, got a link without a name"));
	CHECK(gives("return {" STORE "links = { ['a b'] = { url = 'mqtt://h' } } }",
	            "agent.lua:1: links.a b: expected a link name of 1 to 64 letters, digits, `-`, `_` and `.`"));
}

static void scripts(void)
{
	mkdir(in_directory("scripts"), 0777);
	mkdir(in_directory("scripts/lib.lua"), 0777);
	mkdir(in_directory("[x]"), 0777);
	write_file("scripts/b.lua", "");
	write_file("scripts/a.lua", "");
	write_file("scripts/c.txt", "");
	struct config *config = good("return {" STORE "scripts = { 'scripts/b.lua', 'scripts/*.lua' } }");
	CHECK(config->n_scripts == 2 && is(config->scripts[0], in_directory("scripts/b.lua")));
	CHECK(config->n_scripts == 2 && is(config->scripts[1], in_directory("scripts/a.lua")));
	config_free(config);
	mkfifo(in_directory("pipe.lua"), 0600);
	CHECK(gives("return {" STORE "scripts = { 'pipe.lua' } }",
	            "agent.lua:1: scripts[1]: pipe.lua is no regular file"));
	CHECK(gives("return {" STORE "links = {}, name = ('x'):rep(256) }", "agent.lua:1: name: is longer than 255 bytes"));
	CHECK(gives("return {" STORE "scripts = { 'scripts/*.moon',\n"
	            "'none.lua',\n'scripts/lib.lua',\n5,\n'gone/*.lua' } }",
	            "agent.lua:1: scripts[1]: expected script files, got no match for scripts/*.moon",
	            "agent.lua:2: scripts[2]: expected a script, got no such file: none.lua",
	            "agent.lua:3: scripts[3]: expected script files, got no match for scripts/lib.lua",
	            "agent.lua:4: scripts[4]: expected a string, got a number",
	            "agent.lua:5: scripts[5]: cannot read the directory of gone/*.lua"));

	problems_release(&problems);
	write_file("[x]/agent.lua", "return { store = { path = 'q.db' }, scripts = { '*.lua' } }");
	config = config_load(in_directory("[x]/agent.lua"), NULL, &problems);
	CHECK(config && config->n_scripts == 1);
	config_free(config);
}

static void says_its_name(const struct config *config, const char *script, struct problems *into)
{
	if (strstr(script, "a.lua"))
		problems_add(into, "a.lua:7: wrong, says %s", config->name);
}

static void scripts_are_asked_about(void)
{
	problems_release(&problems);
	write_file("agent.lua", "return {" STORE "name = 'gw', scripts = { 'scripts/*.lua' },\nhttp = 1 }");
	CHECK(!config_load(in_directory("agent.lua"), says_its_name, &problems));
	CHECK(problems.n == 2 && strstr(problems.lines[0], "agent.lua:2: http"));
	CHECK(problems.n == 2 && is(problems.lines[1], "a.lua:7: wrong, says gw"));
	problems_release(&problems);
	write_file("agent.lua", "return {" STORE "name = 'gw', scripts = { 'scripts/*.lua' } }");
	CHECK(!config_load(in_directory("agent.lua"), says_its_name, &problems) && problems.n == 1);
}

static void store_directory(void)
{
	CHECK(gives("return { links = {}, store = {\npath = 'none/queue.db' } }",
	            "agent.lua:2: store.path: directory none: No such file or directory"));
	CHECK(gives("return { links = {}, store = { path = 'sub/.' } }",
	            "agent.lua:1: store.path: directory sub: No such file or directory"));
	mkdir(in_directory("sub"), 0777);
	CHECK(gives("return { links = {},\n store = { path = 'sub/.' } }",
	            "agent.lua:2: store.path: sub/. is a directory, expected a file"));
	CHECK(gives("return { links = {}, store = { path = 'agent.lua/queue.db' } }",
	            "agent.lua:1: store.path: agent.lua is no directory"));
	CHECK(gives("return { links = {}, store = { path = '' } }",
	            "agent.lua:1: store.path: is empty"));
}

/* In a moment, and not all of them: 20,000 lines help nobody. */
static void problems_without_end(void)
{
	static char source[400000] = "return { " STORE "links = {},\n";
	size_t size = strlen(source);

	for (int i = 0; i < 20000; i++)
		size += (size_t)snprintf(source + size, sizeof source - size, "zz%d = 1,\n", i);
	snprintf(source + size, sizeof source - size, "}");
	CHECK(!load(source));
	CHECK(problems.n == PROBLEMS_MAX + 1 && is(problems.lines[PROBLEMS_MAX], "and more, which are not listed"));
}

static void lua_errors(void)
{
	CHECK(gives("return {\n  links = { a = 1\n",
	            "agent.lua:3: '}' expected (to close '{' at line 2) near <eof>"));
	CHECK(gives("\nlocal x = nil .. 'a'", "agent.lua:2: attempt to concatenate a nil value"));
	CHECK(gives("return { password = \"hush\n}", "agent.lua:1: unfinished string"));
	CHECK(gives("return { password = 5 \"hush\" }", "agent.lua:1: '}' expected"));
	CHECK(gives("return { password = 'hu\\gsh' }", "agent.lua:1: invalid escape sequence"));
	CHECK(gives("return { password = [[hush", "agent.lua:1: unfinished long string (starting at line 1) near <eof>"));
	CHECK(gives("return { password = 12hush }", "agent.lua:1: malformed number"));
	CHECK(gives("local a = 1 return { password = 'hush' & a }",
	            "agent.lua:1: attempt to perform bitwise operation on a string value"));
	CHECK(gives("return { links = { } name = 1 }", "agent.lua:1: '}' expected near 'name'"));
	CHECK(gives("error('oh\\nno')", "agent.lua:1: oh?no"));
	CHECK(gives("error({})", "agent.lua: the error is no text"));
	CHECK(gives("for i = 1, math.huge do end", "agent.lua:1: does not come to an end (an endless loop?)"));
	CHECK(gives("local s = ('x'):rep(200)\nwhile true do s:find('.-.-y') end",
	            "agent.lua:2: does not come to an end (an endless loop?)"));
	CHECK(gives("return { name = (''):rep(1 << 62) .. 5, links = {}," STORE " nmae = 1 }",
	            "agent.lua:1: nmae: unknown key, did you mean `name`?"));
	CHECK(gives("table.move({}, 1, 1 << 62, 2)",
	            "agent.lua:1: bad argument #3 to 'move' (too many elements to move)"));
	CHECK(gives("return { name = ('x'):rep(1e9) }", "agent.lua: not enough memory"));
	CHECK(gives("local t = {}\nfor i = 1, 1e9 do t[i] = ('x'):rep(1000 + i) end", "agent.lua: not enough memory"));
	CHECK(gives("return {" STORE "links = {}, log = { level = degub } }",
	            "agent.lua:1: unknown name `degub`"));
	CHECK(gives("os.exit(0)", "agent.lua:1: unknown name `os`",
	            "agent.lua:1: attempt to index a nil value (global 'os')"));
	CHECK(gives("return { name = env() }",
	            "agent.lua:1: bad argument #1 to 'env' (string expected, got no value)"));
	static const char *const harmful[] = {
		"io", "debug", "load", "loadfile", "dofile", "require", "print", "setmetatable", "getmetatable",
		"collectgarbage", "pcall", "xpcall", "rawset", "coroutine", "package",
	};
	for (size_t i = 0; i < sizeof harmful / sizeof *harmful; i++) {
		char source[128], expected[128];
		snprintf(source, sizeof source, "if %s then end return {" STORE "links = {} }", harmful[i]);
		snprintf(expected, sizeof expected, "agent.lua:1: unknown name `%s`", harmful[i]);
		CHECK(gives(source, expected));
	}
	write_bytes("binary.lua", "\x1bLua", 4);
	problems_release(&problems);
	CHECK(!config_load(in_directory("binary.lua"), NULL, &problems) && problems.n == 1 &&
	      strstr(problems.lines[0], "attempt to load a binary chunk"));
	problems_release(&problems);
	CHECK(!config_load(in_directory("absent.lua"), NULL, &problems) && problems.n == 1 &&
	      strstr(problems.lines[0], "absent.lua: cannot be read: No such file or directory"));
	problems_release(&problems);
	CHECK(!config_load(directory, NULL, &problems) && problems.n == 1 &&
	      strstr(problems.lines[0], "Is a directory"));
}

static void env_and_file(void)
{
	unsetenv("TIDEGATE_UNSET");
	setenv("TIDEGATE_TEST", "abc", 1);
	struct config *config = good("assert(env('TIDEGATE_UNSET') == nil) assert(env('TIDEGATE_UNSET', 'd') == 'd')\n"
	                             "return {" STORE "name = env('TIDEGATE_TEST', 'x'), links = {} }");
	CHECK(is(config->name, "abc"));
	config_free(config);
	CHECK(gives("return {" STORE "links = { a = { url = 'mqtt://h', username = 'u',\n"
	            "password = file 'none',\nwindow = 0 } } }",
	            "agent.lua:2: file: cannot read none: No such file or directory",
	            "agent.lua:3: links.a.window: expected a whole number from 1 to 65535, got 0"));
	CHECK(gives("return {" STORE "links = {}, name = file('/dev/null/x') .. 'a' }",
	            "agent.lua:1: file: cannot read /dev/null/x: Not a directory"));
	CHECK(gives("return {" STORE "links = {}, name = 'a' .. file('/tmp') }",
	            "agent.lua:1: file: cannot read /tmp: Is a directory"));
}

static void lines_of_keys(void)
{
	CHECK(gives("-- return { links = 1 }\n"
	            "--[==[ return {\n"
	            "]] ]==]\n"
	            "local port = function(a, b) local t = { links = 1 }; if a then return t, b end end\n"
	            "local text = [[\nreturn {}\n]] .. \"a\\\"}\\\n}\"\n"
	            "return {\n" /* 9 */
	            "  links = {\n"
	            "    a = {\n"
	            "      url = 'mqtt://h', -- window = {\n"
	            "      [ 'window' ] =\n" /* 13 */
	            "        0; [ [[keepalive]] ] = -1,\n" /* 14 */
	            "      client_id = (function(x, y) for i = 1, 2 do local a, b = i, { 1, 2 } end "
	            "return '' end)(1, 2),\n"
	            "      subscribe = {\n"
	            "        'a', 'b/#/c',\n" /* 17 */
	            "        { 'c', qos = 9 },\n"
	            "        { \"d\", qos == 1 and 1 or 2 },\n"
	            "      },\n"
	            "    },\n"
	            "    b = port(1, 2),\n" /* 22 */
	            "  },\n" STORE
	            "}",
	            "agent.lua:13: links.a.window: expected a whole number from 1 to 65535, got 0",
	            "agent.lua:14: links.a.keepalive: expected 0 to 65535s, got -1",
	            "agent.lua:15: links.a.client_id: is empty",
	            "agent.lua:17: links.a.subscribe[2]: topic filter \"b/#/c\" has a wildcard in the wrong place",
	            "agent.lua:18: links.a.subscribe[3].qos: expected a whole number from 0 to 2, got 9",
	            "agent.lua:19: unknown name `qos`",
	            "agent.lua:19: links.a.subscribe[4][2]: expected `key = value`, got a value without a name",
	            "agent.lua:22: links.b: expected `url` or `urls`",
	            "agent.lua:22: links.b.links: unknown key, expected one of url, urls, default, window, reconnect, "
	            "ack_timeout, queue, client_id, username, password, version, clean_session, session_expiry, "
	            "keepalive, receive_maximum, max_qos, subscribe, will, birth, tls, socks5, bind, ack_topic, ack_window, loss_topic, tables, call, call_as, "
	            "time_column, exactly_once, batch, timeout, retry_errors, late_after, late_call, check_meta, compress"));
	CHECK(gives("local config = {\n" STORE "\n  links = {},\n  http = 'x' }\nreturn config",
	            "agent.lua:4: http: expected a port from 1 to 65535, as in \"127.0.0.1:9464\""));
	CHECK(gives("local c = { }\nc.http = ':1'\nc.links = {}\nc.store = {path='queue.db'}\nreturn c",
	            "agent.lua: http: expected a host name or address, as in \"127.0.0.1:9464\""));
	CHECK(gives("\xef\xbb\xbfreturn {" STORE "links = {},\n\n  http = 'u@h:1' }",
	            "agent.lua:3: http: expected host:port, as in \"127.0.0.1:9464\""));
}

static void long_path(void)
{
	char name[256], source[64];
	memset(name, 'd', 200);
	name[200] = 0;
	mkdir(in_directory(name), 0777);
	snprintf(source, sizeof source, "\n\nreturn nil .. 1");
	strcat(name, "/agent.lua");
	write_file(name, source);
	problems_release(&problems);
	CHECK(!config_load(in_directory(name), NULL, &problems) && problems.n == 1 &&
	      strstr(problems.lines[0], "ddd/agent.lua:3: attempt to concatenate"));
}

/* Who only wants to ask the agent need not be able to read its secrets. */
static void glance(void)
{
	struct config *config;

	problems_release(&problems);
	write_file("agent.lua", "return { links = { core = { url = 'mqtt://a', password = file('nowhere'), windw = 3 } },\n"
	                        "scripts = { 'none.lua' }, store = { path = '/nowhere/q.db' }, control = 'c.sock' }");
	config = config_glance(in_directory("agent.lua"), &problems);
	CHECK(config && is(config->control, in_directory("c.sock")) && is(config->store_path, "/nowhere/q.db"));
	CHECK(problems.n >= 4);
	config_free(config);
	for (int i = 0; i < 3; i++) {
		static const char *const hopeless[] = {"return 7", "return {", "error('no')"};

		problems_release(&problems);
		write_file("agent.lua", hopeless[i]);
		CHECK(!config_glance(in_directory("agent.lua"), &problems) && problems.n == 1);
	}
	CHECK(!config_glance(in_directory("missing.lua"), &problems));
}

int main(void)
{
	config_test_begin();
	RUN(defaults);
	RUN(everything);
	RUN(unknown_keys);
	RUN(wrong_types);
	RUN(scripts);
	RUN(scripts_are_asked_about);
	RUN(store_directory);
	RUN(problems_without_end);
	RUN(lua_errors);
	RUN(env_and_file);
	RUN(lines_of_keys);
	RUN(long_path);
	RUN(glance);
	config_test_end();
	return test_end();
}
