/* The table `kdb` as scripts see it: typed values, kdb.encode and kdb.decode. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "kdb_ipc.h"
#include "kdb_print.h"
#include "script_fixture.h"
#include "test.h"

/* What kdb+'s own libraries made; beside the checkout, and not part of it. */
#define VECTORS     "../shared/kdb/vectors.json"
#define BAD_VECTORS "../shared/kdb/bad-vectors.json"

/* The value's encoding in hexadecimal digits, without the head. */
static bool encodes(const char *value, const char *expected)
{
	char expression[2000];

	(void)snprintf(expression, sizeof expression,
	               "(function() local hex = kdb.encode(%s):sub(9):gsub('.', function(c) return ('%%02x'):format(c:byte()) end)"
	               " if hex ~= '%s' then log.error('%%s', hex) end return hex == '%s' end)()", value, expected, expected);
	return holds(expression);
}

static void atoms(void)
{
	CHECK(holds("kdb.encode(kdb.int(1)) == '\\1\\0\\0\\0\\x0d\\0\\0\\0\\xfa\\1\\0\\0\\0'"));
	CHECK(encodes("true", "ff01") && encodes("5", "f90500000000000000") && encodes("0.5", "f7000000000000e03f"));
	CHECK(encodes("'a'", "0a000100000061") && encodes("kdb.char('a')", "f661") && encodes("kdb.symbol('ab')", "f5616200"));
	CHECK(encodes("nil", "6500") && encodes("json.null", "6500") && encodes("kdb.null.generic", "6500"));
	CHECK(encodes("kdb.byte(42)", "fc2a") && encodes("kdb.short(-234)", "fb16ff") && encodes("kdb.real(5.5)", "f80000b040"));
	CHECK(encodes("kdb.guid('8c680a01-5a49-5aab-5a65-d4bfddb6a661')", "fe8c680a015a495aab5a65d4bfddb6a661"));
	CHECK(encodes("kdb.timestamp(1704164645, 678901234)", "f4f2673506e81b830a"));
	CHECK(encodes("kdb.date(0)", "f233d5ffff") && encodes("kdb.month(1704164645)", "f320010000"));
	CHECK(encodes("kdb.raw('month', 289)", "f321010000") && encodes("kdb.raw('datetime', 0.5)", "f1000000000000e03f"));
	CHECK(encodes("kdb.time(-0.001)", "edffffffff") && encodes("kdb.minute(60)", "ef01000000"));
	CHECK(encodes("kdb.null.long", "f90000000000000080") && encodes("kdb.inf.long", "f9ffffffffffffff7f"));
	CHECK(encodes("kdb.ninf.time", "ed01000080") && encodes("kdb.null.float", "f7000000000000f87f"));
	CHECK(encodes("0/0", "f7000000000000f87f") && encodes("kdb.null.real", "f80000c07f") && encodes("kdb.ninf.float", "f7000000000000f0ff"));
}

static void vectors_and_lists(void)
{
	CHECK(encodes("kdb.int{1, 2}", "0600020000000100000002000000") && encodes("kdb.long{}", "070000000000"));
	CHECK(encodes("kdb.boolean{false, true}", "0100020000000001") && encodes("kdb.symbol{'a', '', 'b'}", "0b0003000000" "610000" "6200"));
	CHECK(encodes("kdb.char{'a', 'b'}", "0a00020000006162") && encodes("kdb.float{1, 0.5}", "090002000000000000000000f03f000000000000e03f"));
	CHECK(encodes("kdb.string{'a'}", "0000010000000a000100000061") && encodes("{}", "000000000000"));
	CHECK(encodes("{ 1, kdb.symbol('x') }", "000002000000f90100000000000000f57800"));
	CHECK(encodes("kdb.dictionary(kdb.symbol{'a'}, { 'x' })", "630b00010000006100" "0000010000000a000100000078"));
	CHECK(encodes("kdb.table({ 'a', 'b' }, { kdb.int{2}, kdb.int{3} })",
	              "6200630b00020000006100620000000200000006000100000002000000060001000000" "03000000"));
	CHECK(encodes("kdb.dictionary(kdb.table({ 'a' }, { kdb.int{2} }), kdb.table({ 'b' }, { kdb.int{3} }))",
	              "636200630b0001000000610000000100000006000100000002000000"
	              "6200630b0001000000620000000100000006000100000003000000"));
	CHECK(holds("#kdb.encode(kdb.long(kdb.decode(kdb.encode(5)))) == 17"));
	CHECK(holds("(function() state.list = { 1, 2 } return kdb.encode(state.list) == kdb.encode({ 1, 2 }) end)()"));
}

static void wrong_values(void)
{
	CHECK(raises("kdb.int('5')", "kdb.int: int (-2147483646 to 2147483646) expected, got \"5\""));
	CHECK(raises("kdb.int{1, 'x'}", "kdb.int: [2]: int (-2147483646 to 2147483646) expected, got \"x\""));
	CHECK(raises("kdb.int(nil)", "kdb.int: int (-2147483646 to 2147483646) expected, got nil"));
	CHECK(raises("kdb.int()", "value expected"));
	CHECK(raises("kdb.symbol('a\\0')", "kdb.symbol: symbol (a string without NUL) expected"));
	CHECK(raises("kdb.symbol('a\\0b')", "expected, got \"a\\0b\""));
	CHECK(raises("kdb.int{ a = 1 }", "kdb.int: a table with names cannot be encoded, see kdb.dictionary"));
	CHECK(raises("kdb.int{ 1, 2, [9] = 3 }", "kdb.int: a list with holes cannot be encoded"));
	CHECK(raises("kdb.table({ a = kdb.int{1} }, {})", "kdb.table: names: a table with names cannot be encoded"));
	CHECK(raises("kdb.table({ 'a', 'b', 'a' }, { {}, {}, {} })", "kdb.table: there are two columns a"));
	CHECK(raises("kdb.raw('short', 40000)", "number: short as it is encoded expected, got 40000"));
	CHECK(raises("kdb.raw('date', 1.5)", "number: date as it is encoded expected, got 1.5"));
	CHECK(raises("kdb.raw('date')", "number: date as it is encoded expected, got no value"));
	CHECK(raises("mqtt.pub('a', 'b', { ctx = kdb.int(1) })", "a kdb int cannot be stored; see kdb.plain"));
	CHECK(raises("mqtt.pub('a', kdb.int(1))", "payload: string or number expected, got kdb int"));
	CHECK(raises("kdb.raw('shorts', 4)", "type: one that is a number expected"));
	CHECK(raises("kdb.raw('symbol', 4)", "type: one that is a number expected"));
	CHECK(raises("kdb.encode({ 1, { print } })", "kdb.encode: [2][1]: a function cannot be encoded"));
	CHECK(raises("kdb.encode({ a = 1 })", "kdb.encode: a table with names cannot be encoded, see kdb.dictionary"));
	CHECK(raises("kdb.encode({ 1, nil, 3 })", "kdb.encode: a list with holes cannot be encoded"));
	CHECK(raises("local t = {} t[1] = t kdb.encode(t)", "kdb.encode: "));
	CHECK(raises("kdb.encode(1, { zip = true })", "opts.zip: unknown key"));
	CHECK(raises("kdb.dictionary(kdb.int{1, 2}, { 1 })", "kdb.dictionary: a dictionary has 2 keys and 1 values"));
	CHECK(raises("kdb.dictionary(1, 2)", "kdb.dictionary: a dictionary's keys are no list"));
	CHECK(raises("kdb.table({ 'a', 'b' }, { kdb.int{1} })", "kdb.table: a table has 2 column names and 1 columns"));
	CHECK(raises("kdb.table({ 'a', 'b' }, { kdb.int{1}, kdb.int{1, 2} })", "kdb.table: column 2 of a table has 2 rows, the first has 1"));
	CHECK(raises("kdb.table({ 'a' }, { 5 })", "kdb.table: column 1 of a table is no list"));
	CHECK(raises("kdb.table('a', {})", "names: list of strings expected, got string"));
	CHECK(raises("local d = kdb.dictionary({}, {}) for i = 1, 200 do d = kdb.dictionary({ 1 }, { d }) end", "kdb.dictionary: more than 100"));
	CHECK(raises("json.encode(kdb.int(5))", "json.encode: a kdb int cannot be encoded; see kdb.plain"));
	CHECK(raises("state.x = kdb.int(5)", "state.x: a kdb int cannot be stored; see kdb.plain"));
	CHECK(raises("kdb.timestamp(1, 1e9)", "nanoseconds: 0 to 999999999 expected"));
}

static void looking_into_them(void)
{
	CHECK(holds("math.type(kdb.decode(kdb.encode(5))) == 'integer' and math.type(kdb.decode(kdb.encode(5.0))) == 'float'"));
	CHECK(holds("kdb.int(5).value == 5 and kdb.int(5).type == 'int' and kdb.int(5).atom and not kdb.int{5}.atom"));
	CHECK(holds("kdb.symbol('a').value == 'a' and kdb.char('c').value == 'c' and kdb.real(0.5).value == 0.5"));
	CHECK(holds("kdb.guid('8c680a01-5a49-5aab-5a65-d4bfddb6a661').value == '8c680a01-5a49-5aab-5a65-d4bfddb6a661'"));
	CHECK(holds("kdb.timestamp(1704164645, 678901234).value == 757479845678901234 and kdb.timestamp(0.5).seconds == 0.5"));
	CHECK(holds("kdb.date(1704164645).seconds == 1704153600 and kdb.month(1704164645).seconds == 1704067200"));
	CHECK(holds("kdb.time(1.5).seconds == 1.5 and kdb.minute(90).seconds == 60 and kdb.timespan(-0.5).seconds == -0.5"));
	CHECK(holds("kdb.null.date.seconds == nil and kdb.inf.timestamp.seconds == math.huge and kdb.ninf.month.seconds == -math.huge"));
	CHECK(holds("kdb.null.int.null and not kdb.int(0).null and kdb.null.symbol.null and kdb.null.generic.null and kdb.null.guid.null"));
	CHECK(holds("kdb.null.long == math.mininteger and kdb.null.float ~= kdb.null.float and kdb.null.string == ''"));
	CHECK(holds("kdb.int(5) == kdb.int(5) and kdb.int(5) ~= kdb.short(5) and kdb.int{1} == kdb.int{1} and kdb.null.real == kdb.null.real"));
	CHECK(holds("kdb.int(4) < kdb.int(5) and kdb.null.int < kdb.ninf.int and kdb.null.real < kdb.ninf.real and kdb.symbol('a') <= kdb.symbol('b')"));
	CHECK(raises("return kdb.int(4) < kdb.short(5)", "attempt to compare kdb int with kdb short"));
	CHECK(raises("return kdb.int(4) < 5", "attempt to compare kdb int with number"));
	CHECK(holds("tostring(kdb.int(5)) == '5i' and tostring(kdb.symbol{'a', 'b'}) == '`a`b' and #tostring(kdb.int{1, 2, 3}) > 3"));
	CHECK(holds("#kdb.int{7, 8} == 2 and kdb.int{7, 8}[2] == kdb.int(8) and kdb.int{7}[2] == nil and kdb.int{7}[0] == nil"));
	CHECK(holds("kdb.symbol{'a', 'bc', 'd'}[2].value == 'bc' and kdb.long{7, 8}[2] == 8 and kdb.boolean{true}[1] == true"));
	CHECK(holds("(function() local n = 0 for i, v in ipairs(kdb.long{1, 2, 3}) do n = n + i * v end return n == 14 end)()"));
	CHECK(raises("return #kdb.int(5)", "a kdb int has no length"));
	CHECK(holds("kdb.int(5).nonsense == nil and getmetatable(kdb.int(5)) == 'kdb value' and not pcall(function() kdb.int(5).value = 6 end)"));
}

static void containers(void)
{
	static const char with[] = "local d = kdb.dictionary(kdb.symbol{'limit', 'name'}, { 5, 'x' })\n"
	                           "local t = kdb.table({ 'sym', 'val', 'text' }, { kdb.symbol{'a', 'b'}, kdb.float{1, 0/0}, { 'x', 'yz' } })\n"
	                           "local k = kdb.dictionary(kdb.table({ 'id' }, { kdb.long{7, 8} }), t)\n"
	                           "local n = kdb.dictionary(kdb.long{3, 4}, 'ab')\n"
	                           "assert(d.type == 'dictionary' and #d == 2 and d:get('limit') == 5 and d:get(kdb.symbol('name')) == 'x')\n"
	                           "assert(d:get('none') == nil and d.keys == kdb.symbol{'limit', 'name'} and d.values[2] == 'x')\n"
	                           "assert(n:get(4) == 'b' and n:get(5) == nil)\n"
	                           "assert(t.type == 'table' and #t == 2 and t.names[2] == 'val' and #t.columns == 3)\n"
	                           "assert(t:column('sym')[2].value == 'b' and t:column('text')[2] == 'yz' and t:column('none') == nil)\n"
	                           "assert(t[1].sym.value == 'a' and t[1].val == 1.0 and t[2].text == 'yz' and t[3] == nil)\n"
	                           "assert(k:get('x') == nil and #k == 2 and k.keys.type == 'table')\n"
	                           "log.info('%s', json.encode({ kdb.plain(d), kdb.plain(t), t:plain(), k:plain() })) assert(n:plain()[4] == 'b')";

	run(with);
	CHECK(saw("[{\"limit\":5,\"name\":\"x\"},"
	          "[{\"sym\":\"a\",\"text\":\"x\",\"val\":1.0},{\"sym\":\"b\",\"text\":\"yz\",\"val\":null}],"
	          "[{\"sym\":\"a\",\"text\":\"x\",\"val\":1.0},{\"sym\":\"b\",\"text\":\"yz\",\"val\":null}],"
	          "[[{\"id\":7},{\"sym\":\"a\",\"text\":\"x\",\"val\":1.0}],[{\"id\":8},{\"sym\":\"b\",\"text\":\"yz\",\"val\":null}]]]"));
	CHECK(holds("kdb.plain(5) == 5 and kdb.plain('a') == 'a' and kdb.plain(kdb.int(5)) == 5 and kdb.plain(kdb.null.int) == json.null"));
	CHECK(holds("kdb.plain(kdb.inf.int) == math.huge and kdb.plain(kdb.symbol('')) == '' and kdb.plain(0/0) == json.null"));
	CHECK(holds("kdb.plain({ a = { kdb.int(1) } }).a[1] == 1 and kdb.plain(kdb.timestamp(5)) == 5.0"));
	CHECK(raises("local t = {} t.t = t kdb.plain(t)", "kdb.plain: nested too deep"));
}

static void compression(void)
{
	CHECK(holds("(function() local l = {} for i = 1, 1000 do l[i] = i end local v = kdb.long(l) local z = kdb.encode(v, { compress = true })"
	            " return #z < 4000 and z:byte(3) == 1 and kdb.decode(z) == v and #kdb.encode(v) == 8014 end)()"));
	CHECK(holds("kdb.encode('short', { compress = true }) == kdb.encode('short')"));
}

static void what_is_no_message(void)
{
	CHECK(holds("select('#', kdb.decode('')) == 2 and kdb.decode('nonsense nonsense') == nil"));
	CHECK(holds("select(2, kdb.decode('\\1\\0\\0\\0\\x0d\\0\\0\\0\\xfa\\1\\0\\0')):find('byte 4', 1, true)"));
	CHECK(raises("kdb.decode(5)", "bytes: string expected, got number"));
	CHECK(holds("(function() local e = kdb.decode('\\1\\2\\0\\0\\x0e\\0\\0\\0\\x80type\\0')"
	            " return e.type == 'error' and e.value == 'type' and kdb.encode(e):byte(9) == 128 end)()"));
	CHECK(raises("kdb.encode({ kdb.decode('\\1\\2\\0\\0\\x0e\\0\\0\\0\\x80type\\0') })", "an error is not expected here"));
}

/* What a small message or loop can make does not get beyond the script's memory. */
static void limits(void)
{
	struct script *script = open_or_abort("function on_message(topic, payload) local v, e = kdb.decode(payload) log.info('%s', e or #v) end\n"
	                                      "function on_start()\n"
	                                      "local s, t = ('x'):rep(100000), {}\n"
	                                      "for i = 1, 1000 do t[i] = s end\n"
	                                      "log.info('%s', select(2, pcall(kdb.encode, t)))\n"
	                                      "log.info('%s', select(2, pcall(kdb.symbol, t))) end", 1 << 20, 60000);
	static char nulls[8 + 6 + 2 * 300000];
	uint32_t n = 300000, size = sizeof nulls;

	script_start(script);
	CHECK(saw("not enough memory"));
	memcpy(nulls, "\1\0\0\0", 4);
	for (int i = 0; i < 4; i++) { /* little-endian, on whatever machine */
		nulls[4 + i] = (char)(size >> 8 * i);
		nulls[10 + i] = (char)(n >> 8 * i);
	}
	for (size_t i = 0; i < n; i++)
		memcpy(nulls + 14 + 2 * i, "\xfc\x07", 2);
	logged.size = 0;
	message_sized(script, "a", nulls, sizeof nulls);
	CHECK(saw("not enough memory"));
	message_sized(script, "a", "\1\0\0\0\x0f\0\0\0\x0a\0\1\0\0\0x", 15);
	CHECK(saw("info script rules.lua: 1\n"));
	script_close(script);
	script = open_or_abort("function on_start() local t = { 1 } for i = 1, 20 do t = { t, t } end"
	                       " log.info('%s', kdb.encode(t)) end", 64 << 20, 50);
	script_start(script);
	CHECK(saw("error"));
	script_close(script);
}

/* ---- others' bytes ---- */

static const char round_trip[] =
	"function on_message(topic, payload)\n"
	"	local value, problem = kdb.decode(payload)\n"
	"	if problem then mqtt.pub('bad', problem) return end\n"
	"	local text, plain = tostring(value), kdb.plain(value)\n"
	"	pcall(function() return #value, value[1], value.keys, value.columns, value.seconds end)\n"
	"	mqtt.pub('good', kdb.encode(value, { compress = topic == 'zip' }))\n"
	"end\n";

static size_t unhex(const char *hex, unsigned char *out, size_t max)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n && i < max; i++) {
		unsigned byte;
		(void)sscanf(hex + 2 * i, "%2x", &byte);
		out[i] = (unsigned char)byte;
	}
	return n < max ? n : 0;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool prints_the_same(struct bytes a, struct bytes b)
{
	struct buffer one = {0}, other = {0};
	bool same = kdb_print_message(&one, a, 1 << 20, 100000) == 0 && kdb_print_message(&other, b, 1 << 20, 100000) == 0 &&
	            one.size == other.size && memcmp(one.data, other.data, one.size) == 0;

	buffer_release(&one);
	buffer_release(&other);
	return same;
}

/* `ours` are the same bytes, but for what is lost by intention: the kind of message, attributes, the sign of a NaN. */
static bool same_bytes(const char *name, const unsigned char *theirs, size_t size, struct bytes ours)
{
	const unsigned char *bytes = ours.data;
	bool attribute = begins(name, "attr.") || strstr(name, ".sorted"), nan = strstr(name, ".x86");
	size_t lost = 0;

	if (ours.size != size || theirs[0] != 1)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == theirs[i] || i == 1)
			continue;
		bool allowed = (attribute && (bytes[i] == 0 || theirs[i] == 127)) || (nan && i == size - 1);
		if (!allowed || ++lost > 2)
			return false;
	}
	return true;
}

static bool comes_back(struct script *script, const char *name, unsigned char *bytes, size_t size, bool compressed)
{
	struct bytes ours, theirs = {bytes, size};

	world.effects.size = 0;
	message_sized(script, compressed ? "zip" : "plain", (const char *)bytes, size);
	if (world.last.topic.size != 4 || strncmp(world.effects.data, "pub core good", 13) != 0)
		return false;
	ours = (struct bytes){world.payload.data, world.payload.size};
	if (bytes[0] == 0 || begins(name, "wide."))
		return prints_the_same(theirs, ours);
	return same_bytes(name, bytes, size, ours);
}

static void every_vector(void)
{
	static unsigned char bytes[200000];
	json_t *list = json_load_file(VECTORS, 0, NULL), *vector;
	struct script *script = open_script(round_trip);
	size_t i, n = 0;

	if (!list)
		printf("skipped: there is no %s\n", VECTORS);
	json_array_foreach (list, i, vector) {
		const char *name = json_string_value(json_object_get(vector, "name"));
		size_t size = unhex(json_string_value(json_object_get(vector, "hex")), bytes, sizeof bytes);
		bool right = size > 0 && comes_back(script, name, bytes, size, json_is_true(json_object_get(vector, "compressed")));

		CHECK(right);
		if (!right)
			fprintf(stderr, "%s does not come back\n", name);
		n += right;
	}
	if (list)
		printf("%zu vectors came back\n", n);
	json_decref(list);
	script_close(script);
}

static unsigned next_random(void)
{
	static uint32_t seed = 1;

	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

/* Anything is either a value or refused. */
static void any_bytes(void)
{
	static unsigned char bytes[4000], changed[4000];
	const char *const files[] = {VECTORS, BAD_VECTORS};
	struct script *script = open_script(round_trip);

	for (size_t f = 0; f < 2; f++) {
		json_t *list = json_load_file(files[f], 0, NULL), *vector;
		size_t i;

		json_array_foreach (list, i, vector) {
			const char *hex = json_string_value(json_object_get(vector, "hex"));
			size_t size = hex && strlen(hex) < 2 * sizeof bytes ? unhex(hex, bytes, sizeof bytes) : 0;

			for (int round = 0; size > 0 && round < 30; round++) {
				memcpy(changed, bytes, size);
				for (int k = 0; k < round % 4; k++)
					changed[next_random() % size] = (unsigned char)next_random();
				world.effects.size = 0;
				message_sized(script, round % 2 ? "zip" : "plain", (const char *)changed, size);
				CHECK(world.effects.size > 0);
			}
		}
		json_decref(list);
	}
	CHECK(silent());
	script_close(script);
}

int main(void)
{
	if (!open_directory())
		return 1;
	RUN(atoms);
	RUN(vectors_and_lists);
	RUN(wrong_values);
	RUN(looking_into_them);
	RUN(containers);
	RUN(compression);
	RUN(what_is_no_message);
	RUN(limits);
	RUN(every_vector);
	RUN(any_bytes);
	return test_end();
}
