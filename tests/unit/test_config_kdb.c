/* The keys of kdb+ links. */
#include "config_file.h"
#include "kdb_ipc.h"
#include "pattern.h"

#define TABLES "tables = { sensor = { 'sym:symbol', 'val:float' } }"

static struct config *link_with(const char *keys)
{
	char source[2048];

	snprintf(source, sizeof source, "return {" STORE " name = 'gw', links = { hist = { %s } } }", keys);
	return good(source);
}

static void everything(void)
{
	struct config *config = link_with(
		"url = 'kdb://gw:hu:sh@10.0.0.5:5010', call = 'upd', call_as = 'string', time_column = 'timespan',\n"
		"tables = { ['.a.trade'] = { 'sym:symbol', 'text:string', 'c:char' }, sensor = { 'ts:timestamp', 'id:guid' } },\n"
		"batch = { rows = 7, bytes = '1KB', delay = 0 }, timeout = '5s', retry_errors = { '^no', 'busy' },\n"
		"late_after = '1h', late_call = '.late.upd', check_meta = true, compress = true, window = 3");
	const struct link_config *link = &config->links[0];
	const struct kdb_config *kdb = &link->kdb;
	const struct kdb_table *trade = kdb_table_named(kdb, ".a.trade"), *sensor = kdb_table_named(kdb, "sensor");

	CHECK(link->kind == LINK_KDB && link->is_default && link->window == 3 && link->ack_timeout_ms == 5000);
	CHECK(link->urls[0].kind == LINK_KDB && !link->urls[0].unix_socket && link->urls[0].port == 5010);
	CHECK(is(link->username, "gw") && is(link->password, "hu:sh"));
	CHECK(is(kdb->call, "upd") && kdb->call_as_string && kdb->time_column == KDB_TIME_COLUMN_TIMESPAN);
	CHECK(kdb->batch_rows == 7 && kdb->batch_bytes == 1024 && kdb->batch_delay_ms == 0 && kdb->timeout_ms == 5000);
	CHECK(kdb->n_retry_errors == 2 && is(kdb->retry_errors[1], "busy"));
	CHECK(kdb->late_after_ms == 3600000 && is(kdb->late_call, ".late.upd") && kdb->check_meta && kdb->compress);
	CHECK(kdb->n_tables == 2 && trade && sensor && !kdb_table_named(kdb, "sensors"));
	CHECK(trade && trade->n_columns == 3 && is(trade->columns[1].name, "text"));
	CHECK(trade && trade->columns[1].string && trade->columns[1].type == KDB_CHAR && !trade->columns[2].string);
	CHECK(trade && is(kdb_column_type(&trade->columns[1]), "string") && is(kdb_column_type(&trade->columns[2]), "char"));
	CHECK(sensor && sensor->columns[0].type == KDB_TIMESTAMP && sensor->columns[1].type == KDB_GUID);
	config_free(config);
}

static void defaults(void)
{
	struct config *config = link_with("url = 'kdb+unix:5010', " TABLES);
	const struct link_config *link = &config->links[0];
	const struct kdb_config *kdb = &link->kdb;

	CHECK(link->urls[0].unix_socket && link->urls[0].port == 5010 && !link->urls[0].tls && link->window == 1);
	CHECK(is(kdb->call, ".u.upd") && !kdb->call_as_string && kdb->time_column == KDB_TIME_COLUMN_NONE);
	CHECK(kdb->batch_rows == 500 && kdb->batch_bytes == 65536 && kdb->batch_delay_ms == 1000);
	CHECK(kdb->timeout_ms == 30000 && link->ack_timeout_ms == 30000 && kdb->late_after_ms == 0 && !kdb->late_call);
	CHECK(!kdb->exactly_once && !kdb->check_meta && !kdb->compress && link->tls.verify_host);
	config_free(config);

	config = link_with("url = 'kdbs://h:1', exactly_once = true, tls = { verify_host = false }, " TABLES);
	CHECK(config->links[0].urls[0].tls && is(config->links[0].kdb.call, ".tidegate.upd"));
	CHECK(config->linger_ms == 0); /* what was sent has its number on disk */
	CHECK(is(config->links[0].tls.version, "tlsv1.2") && !config->links[0].tls.verify_host);
	config_free(config);
	config = link_with("url = 'kdb+unix:u:p@5010', exactly_once = true, call = '.my.upd', " TABLES);
	CHECK(is(config->links[0].username, "u") && is(config->links[0].kdb.call, ".my.upd"));
	config_free(config);
}

static void default_links(void)
{
	struct config *config = good("return {" STORE "links = { a = { url = 'mqtt://h', subscribe = { 'x' } },\n"
	                             "b = { url = 'kdb://h:1', " TABLES " } } }");
	CHECK(config->links[0].is_default && config->links[1].is_default);
	config_free(config);
	config = good("return {" STORE "links = { a = { url = 'kdb://h:1', " TABLES " }, b = { url = 'kdb://h:2', " TABLES "},\n"
	              "c = { url = 'mqtt://h', default = true } } }");
	CHECK(!config->links[0].is_default && !config->links[1].is_default && config->links[2].is_default);
	config_free(config);
	CHECK(gives("return {" STORE "links = { a = { url = 'kdb://h:1', default = true, " TABLES " },\n"
	            "b = { url = 'kdb://i:1', default = true, " TABLES " } } }",
	            "agent.lua:2: links.b.default: expected one default link for kdb+, got links.a as well"));
}

static void urls(void)
{
	CHECK(link_gives("url = 'kdb://h', " TABLES, ".url: expected a port from 1 to 65535"));
	CHECK(link_gives("url = 'kdb+unix:0', " TABLES, ".url: expected a port from 1 to 65535, as in kdb+unix:5010"));
	CHECK(link_gives("url = 'kdb+unix:123456', " TABLES, ".url: expected a port from 1 to 65535, as in kdb+unix:5010"));
	CHECK(link_gives("url = 'kdb+unix:gw:hush@x', " TABLES, ".url: expected a port from 1 to 65535, as in kdb+unix:5010"));
	CHECK(link_gives("urls = { 'kdb://h:1', 'kdbs://h:1' }, " TABLES,
	                 ".urls[2]: expected every url of a link to be kdb:// or every one kdbs://"));
	CHECK(link_gives("urls = { 'kdb://h:1', 'mqtt://h' }, " TABLES,
	                 ".urls[2]: expected every url of a link to be an MQTT broker's or every one a kdb+ process's"));
	CHECK(link_gives("url = 'kdb://a%3ab:hush@h:1', " TABLES,
	                 ".url: expected a user name without a colon: it ends the name in kdb+'s handshake"));
	CHECK(link_gives("url = 'kdb://h:1', username = 'a:b', " TABLES,
	                 ".username: expected a user name without a colon: it ends the name in kdb+'s handshake"));
	CHECK(link_gives("url = 'kdb://h:1', password = 'hush', " TABLES, ".password: needs a user name"));
	CHECK(link_gives("url = 'kdb://h:1', tls = {}, " TABLES, ".tls: needs a kdbs:// url"));
}

static void of_the_other_kind(void)
{
	static const char *const mqtt_keys[] = {"client_id = 'x'", "version = '5'", "clean_session = true",
	                                        "keepalive = 60", "subscribe = {}", "will = { topic = 'a' }",
	                                        "birth = { topic = 'a' }", "socks5 = 'p:1'", "bind = '127.0.0.1'"};
	static const char *const kdb_keys[] = {TABLES, "call = 'upd'", "call_as = 'string'", "time_column = 'none'",
	                                       "exactly_once = true", "batch = {}", "timeout = 5", "retry_errors = {}",
	                                       "late_after = 5", "late_call = 'x'", "check_meta = true", "compress = true"};
	char keys[256], expected[128];

	for (size_t i = 0; i < sizeof mqtt_keys / sizeof *mqtt_keys; i++) {
		snprintf(keys, sizeof keys, "url = 'kdb://h:1', %s, " TABLES, mqtt_keys[i]);
		snprintf(expected, sizeof expected, ".%.*s: is for MQTT links only", (int)strcspn(mqtt_keys[i], " "), mqtt_keys[i]);
		CHECK(link_gives(keys, expected));
	}
	for (size_t i = 0; i < sizeof kdb_keys / sizeof *kdb_keys; i++) {
		snprintf(keys, sizeof keys, "url = 'mqtt://h', %s", kdb_keys[i]);
		snprintf(expected, sizeof expected, ".%.*s: is for kdb+ links only", (int)strcspn(kdb_keys[i], " "), kdb_keys[i]);
		CHECK(link_gives(keys, expected));
	}
	CHECK(link_gives("url = 'mqtts://h', tls = { verify_host = true }", ".tls.verify_host: is for kdb+ links only"));
	CHECK(link_gives("url = 'kdbs://h:1', tls = { alpn = 'x' }, " TABLES, ".tls.alpn: is for MQTT links only"));
}

static void tables(void)
{
	CHECK(link_gives("url = 'kdb://h:1'", ": expected `tables`: kdb.upd needs the types of their columns"));
	CHECK(link_gives("url = 'kdb://h:1', tables = {}", ".tables: expected one to 1000 tables"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { { 'a:int' } }",
	                 ".tables: expected `name = { columns }`, got a table without a name"));
	CHECK(link_gives("url = 'kdb://h:1', tables = 'x'",
	                 ".tables: expected a table of tables, { sensor = { \"sym:symbol\", \"val:float\" } }, got a string"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = {} }", ".tables.t: expected one to 1000 columns"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { a = 'int' } }",
	                 ".tables.t: expected a list of columns, { \"sym:symbol\", \"val:float\" } without holes or keys"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a' } }", ".tables.t[1]: expected \"name:type\", got \"a\""));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a:flaot' } }",
	                 ".tables.t[1]: unknown type \"flaot\", did you mean `float`?"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a:x' } }",
	                 ".tables.t[1]: unknown type \"x\", expected one of q's, such as symbol, timestamp, float or string"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a:datetime' } }",
	                 ".tables.t[1]: type datetime is not sent any more: expected timestamp"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a:int', 'b:int', 'a:long' } }",
	                 ".tables.t[3]: there is a column a already"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a b:int' } }",
	                 ".tables.t[1]: is no name in q: expected letters, digits and `_` after a letter"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { '1a:int' } }",
	                 ".tables.t[1]: is no name in q: expected letters, digits and `_` after a letter"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { ['t;exit 0'] = { 'a:int' } }",
	                 ".tables.t;exit 0: is no name in q: expected letters, digits and `_` after a letter, as in sensor "
	                 "or .u.upd"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { ['a\\0'] = { 'a:int' } }",
	                 ".tables: expected `name = { columns }`, got a table without a name"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { 'a\\0:int' } }", ".tables.t[1]: contains a NUL byte"));
	CHECK(link_gives("url = 'kdb://h:1', tables = { t = { ('a'):rep(129) .. ':int' } }",
	                 ".tables.t[1]: is longer than 128 bytes"));
}

static void calls(void)
{
	static const char no_name[] = "is no name in q: expected letters, digits and `_` after a letter, as in sensor or .u.upd";
	static const char *const wrong[] = {"{x}", ".", "a.", "a..b", "a b", "_a", "", "upd;", ".u.upd[]", "..a"};
	char keys[256], expected[256];

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(keys, sizeof keys, "url = 'kdb://h:1', call = '%s', " TABLES, wrong[i]);
		snprintf(expected, sizeof expected, ".call: %s", no_name);
		CHECK(link_gives(keys, expected));
	}
	CHECK(link_gives("url = 'kdb://h:1', call_as = 'text', " TABLES,
	                 ".call_as: expected \"symbol\" or \"string\", got \"text\""));
	CHECK(link_gives("url = 'kdb://h:1', time_column = 'time', " TABLES,
	                 ".time_column: expected \"none\", \"timespan\" or \"timestamp\", got \"time\""));
	CHECK(link_gives("url = 'kdb://h:1', late_after = '1h', " TABLES, ".late_after: needs `late_call`"));
	CHECK(link_gives("url = 'kdb://h:1', late_call = 'late', " TABLES, ".late_call: needs `late_after`"));
	CHECK(link_gives("url = 'kdb://h:1', retry_errors = { 'a', '[' }, " TABLES,
	                 ".retry_errors[2]: is no pattern of Lua: malformed pattern (missing ']')"));
	CHECK(link_gives("url = 'kdb://h:1', window = 101, " TABLES, ".window: expected at most 100 batches"));
	CHECK(link_gives("url = 'kdb://h:1', batch = { rows = 0 }, " TABLES,
	                 ".batch.rows: expected a whole number from 1 to 100000, got 0"));
}

static void once(void)
{
	CHECK(link_gives("url = 'kdb://h:1', exactly_once = true, window = 2, " TABLES,
	                 ".window: expected 1 with `exactly_once`: batches that are sent again must be the same"));
	CHECK(link_gives("url = 'kdb://h:1', exactly_once = true, queue = { order = 'live-first' }, " TABLES,
	                 ".queue: expected order = \"fifo\" with `exactly_once`"));
	CHECK(link_gives("url = 'kdb://h:1', exactly_once = true, late_after = 5, late_call = 'late', " TABLES,
	                 ".late_call: cannot be used with `exactly_once`: rows must arrive in their order"));
}

/* The collector's marks are of tables, not of links. */
static void once_on_two_links(void)
{
	static const char *const others[] = {"url = 'kdb://h:2', exactly_once = true, " TABLES,
	                                     "url = 'kdb://h:1', " TABLES,
	                                     "url = 'kdb://h:1', exactly_once = true, tables = { alarm = { 'sym:symbol' } }"};
	char source[1024];

	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		snprintf(source, sizeof source, "return {" STORE " links = { a = { url = 'kdb://h:1', exactly_once = true, " TABLES
		                                " }, b = { %s } } }", others[i]);
		config_free(good(source));
	}
	CHECK(!load("return {" STORE " links = { a = { url = 'kdb://h:1', exactly_once = true, " TABLES
	            " }, b = { urls = { 'kdb://x:1', 'kdb://H:1' }, exactly_once = true, " TABLES " } } }"));
	CHECK(problems.n == 1 && strstr(problems.lines[0], "links.b.tables: sensor is of links.a as well, on the same collector"));
}

/* What the link is, nobody knows: its keys are not said to be another kind's. */
static void no_kind(void)
{
	CHECK(link_gives("url = 'kbd://h:1', " TABLES,
	                 ".url: expected a URL such as mqtt://host:1883, mqtts://host or kdb://host:5010, got \"kbd://h:1\""));
}

struct pair {
	const char *one, *other;
	bool same, same_connection;
};

static void what_needs_a_new_connection(void)
{
	static const struct pair pairs[] = {
	        {"", "", true, true},
	        {"", "url = 'kdb://u:q@h:1'", false, false},
	        {"", "url = 'kdbs://u:p@h:1'", false, false},
	        {"", "url = 'kdb+unix:u:p@1'", false, false},
	        {"url = 'kdbs://h:1'", "url = 'kdbs://h:1', tls = { verify_host = false }", false, false},
	        {"", "call = 'upd'", false, false},
	        {"", "call_as = 'string'", false, false},
	        {"", "time_column = 'timestamp'", false, false},
	        {"", "exactly_once = true", false, false},
	        {"call = 'upd'", "call = 'upd', exactly_once = true", false, false},
	        {"", "batch = { rows = 5 }", false, false},
	        {"", "batch = { bytes = 5000 }", false, false},
	        {"", "batch = { delay = 5 }", false, false},
	        {"ack_timeout = 5", "ack_timeout = 5, timeout = 5", false, false},
	        {"", "retry_errors = { 'x' }", false, false},
	        {"retry_errors = { 'y' }", "retry_errors = { 'x' }", false, false},
	        {"late_after = 5, late_call = 'x'", "late_after = 6, late_call = 'x'", false, false},
	        {"late_after = 5, late_call = 'x'", "late_after = 5, late_call = 'y'", false, false},
	        {"", "check_meta = true", false, false},
	        {"", "compress = true", false, false},
	        {"", "queue = { ttl = 5 }", false, true},
	        {"", "tables = { sensor = { 'sym:symbol' } }", false, true},
	        {"", "tables = { sensor = { 'sym:symbol', 'val:real' } }", false, true},
	        {"", "tables = { sensor = { 'sym:symbol', 'value:float' } }", false, true},
	        {"", "tables = { sensors = { 'sym:symbol', 'val:float' } }", false, true},
	        {"tables = { a = { 'b:char' } }", "tables = { a = { 'b:string' } }", false, true},
	        {"", "tables = { sensor = { 'sym:symbol', 'val:float' }, a = { 'b:int' } }", false, true},
	        {"check_meta = true", "check_meta = true, tables = { sensor = { 'sym:symbol' } }", false, false},
	};
	char keys[512];

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		snprintf(keys, sizeof keys, "url = 'kdb://u:p@h:1', " TABLES ", %s", pairs[i].one);
		struct config *a = link_with(keys);
		snprintf(keys, sizeof keys, "url = 'kdb://u:p@h:1', " TABLES ", %s", pairs[i].other);
		struct config *b = link_with(keys);
		bool right = config_link_same(&a->links[0], &b->links[0]) == pairs[i].same &&
		             config_link_same_connection(&a->links[0], &b->links[0]) == pairs[i].same_connection;

		CHECK(right);
		if (!right)
			fprintf(stderr, "%s / %s\n", pairs[i].one, pairs[i].other);
		config_free(a);
		config_free(b);
	}
}

static void merged(void)
{
	struct config *a = link_with("url = 'kdb://h:1', " TABLES);
	struct config *b = link_with("url = 'kdb://h:1', tables = { other = { 'x:int' } }");
	struct link_config *from = malloc(sizeof *from);

	REQUIRE(from);
	*from = b->links[0];
	b->n_links = 0;
	config_link_merge(&a->links[0], from);
	CHECK(kdb_table_named(&a->links[0].kdb, "other") && !kdb_table_named(&a->links[0].kdb, "sensor"));
	config_free(a);
	config_free(b);
}

static void secrets_are_not_shown(void)
{
	static const char *const sources[] = {"url = 'kdb://gw:hush@h'", "url = 'kdb+unix:gw:hush@h'",
	                                      "url = 'kdbs://gw:hush@[::1'", "url = 'kdb://h:1', password = 'hush'"};
	char source[512];

	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		snprintf(source, sizeof source, "return {" STORE "links = { core = { %s, window = 0 } } }", sources[i]);
		CHECK(!load(source) && problems.n > 0);
		for (size_t j = 0; j < problems.n; j++)
			CHECK(!strstr(problems.lines[j], "hush"));
	}
}

static void patterns(void)
{
	char err[200];

	CHECK(pattern_find("^no%s", "no disk", 7, err, sizeof err) == 1);
	CHECK(pattern_find("^no%s", "nodisk", 6, err, sizeof err) == 0);
	CHECK(pattern_find("b", "a\0b", 3, err, sizeof err) == 1);
	CHECK(pattern_find("(a", "xa", 2, err, sizeof err) == -1 && is(err, "unfinished capture"));
}

int main(void)
{
	config_test_begin();
	RUN(everything);
	RUN(defaults);
	RUN(default_links);
	RUN(urls);
	RUN(of_the_other_kind);
	RUN(tables);
	RUN(calls);
	RUN(once);
	RUN(once_on_two_links);
	RUN(no_kind);
	RUN(what_needs_a_new_connection);
	RUN(merged);
	RUN(secrets_are_not_shown);
	RUN(patterns);
	config_test_end();
	return test_end();
}
