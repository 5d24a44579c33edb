/* kdb.upd(): rows of scripts, strictly by the declared types, as they wait in the queue. */
#include <stdio.h>
#include <string.h>

#include "kdb_ipc.h"
#include "kdb_print.h"
#include "script_fixture.h"
#include "test.h"

#define N(array) (sizeof(array) / sizeof *(array))

/* Names are not const in a configuration, and strings are here. */
#define COLUMN(name, type, string) { (char[]){ name }, type, string }

static struct kdb_column all_columns[] = {
	COLUMN("b", KDB_BOOLEAN, false), COLUMN("g", KDB_GUID, false),      COLUMN("x", KDB_BYTE, false),  COLUMN("h", KDB_SHORT, false),
	COLUMN("i", KDB_INT, false),     COLUMN("j", KDB_LONG, false),      COLUMN("e", KDB_REAL, false),  COLUMN("f", KDB_FLOAT, false),
	COLUMN("c", KDB_CHAR, false),    COLUMN("s", KDB_SYMBOL, false),    COLUMN("t", KDB_CHAR, true),   COLUMN("p", KDB_TIMESTAMP, false),
	COLUMN("m", KDB_MONTH, false),   COLUMN("d", KDB_DATE, false),      COLUMN("n", KDB_TIMESPAN, false), COLUMN("u", KDB_MINUTE, false),
	COLUMN("v", KDB_SECOND, false),  COLUMN("w", KDB_TIME, false),
};
static struct kdb_column sensor_columns[] = {
	COLUMN("sym", KDB_SYMBOL, false), COLUMN("val", KDB_FLOAT, false), COLUMN("text", KDB_CHAR, true),
};
static struct kdb_table tables[] = {
	{(char[]){ "every" }, all_columns, N(all_columns)}, {(char[]){ "sensor" }, sensor_columns, N(sensor_columns)}};

/* What was queued last, as q would write it. */
static bool queued(const char *expected)
{
	struct buffer text = {0};
	struct kdb_input input;
	char err[200] = "";
	bool same = false;

	if (kdb_open_object(&input, (struct bytes){world.payload.data, world.payload.size}, err, sizeof err) == 0 &&
	    kdb_print(&text, &input, 4000) == 0)
		same = text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
	if (!same)
		fprintf(stderr, "expected: %s\ngot:      %.*s %s\n", expected, (int)text.size, text.data ? text.data : "", err);
	buffer_release(&text);
	world.payload.size = 0;
	return same;
}

/* A value for one column of the table of all types; `b` and `x` have no null. */
static bool takes(const char *column, const char *value, const char *expected)
{
	char statement[300], text[300];
	struct buffer whole = {0};
	struct kdb_input input;
	char err[200];
	bool same = false;

	(void)snprintf(statement, sizeof statement, "local r = { b = true, x = 0 } r.%s = %s kdb.upd('every', r)", column, value);
	run(statement);
	if (kdb_open_object(&input, (struct bytes){world.payload.data, world.payload.size}, err, sizeof err) == 0) {
		struct kdb_object object;

		(void)kdb_next(&input, &object);
		for (const struct kdb_column *at = all_columns; strcmp(at->name, column) != 0; at++) {
			(void)kdb_next(&input, &object);
			kdb_skip(&input, &object);
		}
		same = kdb_print(&whole, &input, 200) == 0 && whole.size == strlen(expected) &&
		       memcmp(whole.data, expected, whole.size) == 0;
	}
	(void)snprintf(text, sizeof text, "%.*s", (int)whole.size, whole.data ? whole.data : "");
	if (!same)
		fprintf(stderr, "%s = %s: expected %s, got %s\n%s", column, value, expected, text, log_read());
	buffer_release(&whole);
	world.payload.size = world.effects.size = 0;
	return same && silent();
}

static bool refuses_value(const char *column, const char *value, const char *expected)
{
	char statement[300], error[400];

	(void)snprintf(statement, sizeof statement, "local r = { b = true, x = 0 } r.%s = %s kdb.upd('every', r)", column, value);
	(void)snprintf(error, sizeof error, "kdb.upd: table every, column %s: %s", column, expected);
	return raises(statement, error);
}

static void rows(void)
{
	run("log.info('%d', kdb.upd('sensor', { 'temp', 20, 'ok' }))");
	CHECK(saw("info script rules.lua: 1\n"));
	CHECK(world.last.topic.size == 6 && world.last.qos == 1 && !world.last.retain && world.last.origin == 42);
	CHECK(world.effects.size > 0 && strncmp(world.effects.data, "pub hist sensor=", 16) == 0);
	CHECK(queued("(`temp;20f;\"ok\")"));
	world.effects.size = 0;
	run("kdb.upd('sensor', { val = 20.5, sym = 'temp' })");
	CHECK(queued("(`temp;20.5;\"\")"));
	run("kdb.upd('sensor', { 'temp', nil, 'x' })");
	CHECK(queued("(`temp;0n;enlist \"x\")"));
	run("kdb.upd('sensor', { 'temp' })");
	CHECK(queued("(`temp;0n;\"\")"));
	run("kdb.upd('sensor', { json.null, json.null, json.null })");
	CHECK(queued("(`;0n;\"\")"));
	run("state.row = { sym = 'kept', val = 1 } kdb.upd('sensor', state.row)");
	CHECK(queued("(`kept;1f;\"\")"));
	run("mqtt.link('hist'):upd('sensor', { 'm', 1 })");
	CHECK(queued("(`m;1f;\"\")"));
	run("kdb.upd('sensor', { 'm', 1 }, { link = 'hist', ttl = '5s', ctx = { 1 } })");
	CHECK(queued("(`m;1f;\"\")") && world.last.expires_ms == 5000 && world.context.size > 0);
	world.effects.size = 0;
}

static void wrong_rows(void)
{
	CHECK(raises("kdb.upd('sensor')", "bad argument #2 to 'upd' (row: table expected, got no value)"));
	CHECK(raises("kdb.upd('sensors', {})", "kdb.upd: link hist has no table sensors in agent.lua; did you mean sensor"));
	CHECK(raises("kdb.upd('trade', {})", "kdb.upd: link hist has no table trade in agent.lua\n"));
	CHECK(raises("kdb.upd('sensor', { 'a', 1, 'x', 2 })", "kdb.upd: table sensor: value 4 for 3 columns"));
	CHECK(raises("kdb.upd('sensor', { [0] = 'a' })", "kdb.upd: table sensor: value 0 for 3 columns"));
	CHECK(raises("kdb.upd('sensor', { vale = 1 })", "kdb.upd: table sensor: there is no column vale; did you mean val?"));
	CHECK(raises("kdb.upd('sensor', { sym = 'a', 5 })", "kdb.upd: table sensor: a row has either names or a list's order"));
	CHECK(raises("kdb.upd('sensor', { [1.5] = 1 })", "kdb.upd: table sensor: a row's keys are names or numbers"));
	CHECK(raises("kdb.upd('sensor', { val = 'x' })",
	             "kdb.upd: table sensor, column val: float (a number, exactly) expected, got \"x\""));
	CHECK(raises("kdb.upd('sensor', { sym = 5 })",
	             "kdb.upd: table sensor, column sym: symbol (a string without NUL) expected, got 5"));
	CHECK(raises("kdb.upd('sensor', {}, { qos = 1 })", "opts.qos: unknown key"));
	CHECK(raises("kdb.upd('sensor', {}, { link = 'core' })", "upd: link core is for MQTT"));
	CHECK(raises("mqtt.link('core'):upd('sensor', {})", "upd: link core is for MQTT"));
	CHECK(raises("mqtt.link('hist'):pub('a', 'b')", "pub: link hist is for kdb+; it has upd"));
	CHECK(raises("mqtt.pub('a', 'b', { link = 'hist' })", "pub: link hist is for kdb+; it has upd"));
	CHECK(raises("mqtt.link('hist'):sub('a')", "sub: link hist is for kdb+; it has upd"));
	CHECK(raises("mqtt.conn('kdb://h:1', 'x')", "url: kdb+ links are declared in agent.lua"));
	CHECK(holds("mqtt.link('hist'):depth() == 3 and mqtt.link('hist'):connected() and mqtt.link('hist'):name() == 'hist'"));
}

static void states_of_the_world(void)
{
	world.default_kdb = NULL;
	CHECK(holds("select(2, kdb.upd('sensor', {})) == 'no default kdb+ link'"));
	world.default_kdb = &hist;
	CHECK(holds("select(2, kdb.upd('sensor', {}, { link = 'nobody' })) == 'unknown link'"));
	struct script *script = open_script("function on_start() world = { kdb.upd('sensor', {}) } log.info('%s', world[2]) end");
	world.refusal = "queue full";
	script_start(script);
	CHECK(saw("queue full") && did(""));
	world.refusal = NULL;
	script_close(script);
}

/* A handler that fails queues nothing. */
static void all_or_nothing(void)
{
	CHECK(raises("kdb.upd('sensor', { 'a', 1 }) error('no')", "no"));
	run("pcall(kdb.upd, 'sensor', { 'a', 'x' }) kdb.upd('sensor', { 'b', 2 })");
	CHECK(queued("(`b;2f;\"\")"));
	world.effects.size = 0;
}

static void integers(void)
{
	CHECK(takes("b", "true", "1b") && takes("b", "false", "0b"));
	CHECK(refuses_value("b", "1", "boolean (true or false) expected, got 1") && refuses_value("b", "json.null", "boolean (true or false) expected, got json.null"));
	CHECK(takes("x", "255", "0xff") && takes("x", "kdb.byte(7)", "0x07") && takes("x", "2.0", "0x02"));
	CHECK(refuses_value("x", "256", "byte (0 to 255) expected, got 256") && refuses_value("x", "-1", "byte") &&
	      refuses_value("x", "nil", "byte (0 to 255) expected, got nil"));
	CHECK(takes("h", "-32766", "-32766h") && takes("h", "nil", "0Nh") && takes("h", "kdb.inf.short", "0Wh"));
	CHECK(refuses_value("h", "32767", "short (-32766 to 32766) expected, got 32767") && refuses_value("h", "-32768", "short"));
	CHECK(takes("i", "2147483646", "2147483646i") && takes("i", "20.0", "20i") && takes("i", "kdb.null.int", "0Ni"));
	CHECK(refuses_value("i", "2147483647", "int") && refuses_value("i", "20.5", "int") && refuses_value("i", "'5'", "int") &&
	      refuses_value("i", "0/0", "int") && refuses_value("i", "math.huge", "int") &&
	      refuses_value("i", "kdb.short(5)", "int (-2147483646 to 2147483646) expected, got kdb short"));
	CHECK(takes("j", "math.maxinteger", "0W") && takes("j", "math.mininteger", "0N") && takes("j", "-5.0", "-5"));
	CHECK(refuses_value("j", "2^63", "long") && refuses_value("j", "0.1", "long") && refuses_value("j", "true", "long"));
}

static void floats(void)
{
	CHECK(takes("e", "0.5", "0.5e") && takes("e", "3", "3e") && takes("e", "math.huge", "0We") && takes("e", "0/0", "0Ne"));
	CHECK(refuses_value("e", "1e39", "real (a number, at most 3.4e38) expected, got 1e+39") && refuses_value("e", "'1'", "real"));
	CHECK(takes("f", "3", "3f") && takes("f", "0.1", "0.1") && takes("f", "-math.huge", "-0w") && takes("f", "nil", "0n"));
	CHECK(takes("f", "2^53", "9007199254740992f") && takes("f", "1 << 53", "9007199254740992f"));
	CHECK(refuses_value("f", "(1 << 53) + 1", "float (a number, exactly) expected, got 9007199254740993"));
	CHECK(refuses_value("f", "math.maxinteger", "float") && refuses_value("f", "kdb.real(1)", "float"));
}

static void texts(void)
{
	CHECK(takes("c", "'a'", "\"a\"") && takes("c", "nil", "\" \"") && takes("c", "kdb.char('z')", "\"z\""));
	CHECK(refuses_value("c", "'ab'", "char (a string of one byte) expected, got \"ab\"") && refuses_value("c", "''", "char"));
	CHECK(takes("s", "'abc'", "`abc") && takes("s", "kdb.symbol('q')", "`q") && takes("s", "nil", "`"));
	CHECK(refuses_value("s", "'a\\0b'", "symbol (a string without NUL) expected, got \"a\\0b\""));
	CHECK(takes("t", "'a'", "enlist \"a\"") && takes("t", "'two words'", "\"two words\"") && takes("t", "nil", "\"\""));
	CHECK(refuses_value("t", "5", "string expected, got 5") && refuses_value("t", "kdb.symbol('a')", "string expected, got kdb symbol"));
	CHECK(takes("g", "'8C680a01-5a49-5aab-5a65-d4bfddb6a661'", "8c680a01-5a49-5aab-5a65-d4bfddb6a661"));
	CHECK(takes("g", "nil", "0Ng"));
	CHECK(refuses_value("g", "'8c680a015a495aab5a65d4bfddb6a661'", "guid") && refuses_value("g", "kdb.symbol{'a'}", "guid (as \"8c680a01-5a49-5aab-5a65-d4bfddb6a661\") expected, got kdb symbol vector") &&
	      refuses_value("g", "('x'):rep(36)", "guid") &&
	      refuses_value("g", "'8c680a01-5a49-5aab-5a65-d4bfddb6a6\\x11\\x16'", "guid") &&
	      refuses_value("g", "'8c680a01-5a49-5aab-5a65-d4bfddb6a6610'", "guid"));
}

static void times(void)
{
	CHECK(takes("p", "1704164645.678", "2024.01.02D03:04:05.678000000"));
	CHECK(takes("p", "1704164645.000001", "2024.01.02D03:04:05.000001000"));
	CHECK(takes("p", "1704164645", "2024.01.02D03:04:05.000000000") && takes("p", "-1", "1969.12.31D23:59:59.000000000"));
	CHECK(takes("p", "kdb.timestamp(1704164645, 678901234)", "2024.01.02D03:04:05.678901234"));
	CHECK(takes("p", "0.5", "1970.01.01D00:00:00.500000000") && takes("p", "-0.25", "1969.12.31D23:59:59.750000000"));
	CHECK(takes("p", "nil", "0Np") && takes("p", "kdb.inf.timestamp", "0Wp"));
	CHECK(refuses_value("p", "1e11", "timestamp (seconds since 1970, of 1707 to 2292) expected, got 100000000000.0") &&
	      refuses_value("p", "0/0", "timestamp") && refuses_value("p", "math.huge", "timestamp") &&
	      refuses_value("p", "math.mininteger", "timestamp") && refuses_value("p", "'now'", "timestamp"));
	CHECK(takes("d", "1704164645.9", "2024.01.02") && takes("d", "-1", "1969.12.31") && takes("m", "1704164645", "2024.01m"));
	CHECK(takes("n", "1.5", "0D00:00:01.500000000") && takes("n", "-0.000000001", "-0D00:00:00.000000001"));
	CHECK(takes("u", "3661", "01:01") && takes("v", "3661.9", "01:01:01") && takes("w", "3661.25", "01:01:01.250"));
	CHECK(refuses_value("w", "1e10", "time (seconds) expected") && refuses_value("n", "1e11", "timespan"));
}

int main(void)
{
	if (!open_directory())
		return 1;
	hist.config.kdb = (struct kdb_config){.tables = tables, .n_tables = N(tables)};
	world.default_kdb = &hist;
	RUN(rows);
	RUN(wrong_rows);
	RUN(states_of_the_world);
	RUN(all_or_nothing);
	RUN(integers);
	RUN(floats);
	RUN(texts);
	RUN(times);
	return test_end();
}
