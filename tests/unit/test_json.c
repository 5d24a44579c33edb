/* json: what goes in comes out exactly, what is no JSON is refused by line and
 * column, what cannot be JSON by path; whatever the text, memory is bounded and
 * comes back.
 */
#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "json_need.h"
#include "test.h"
#include "value.h"

static lua_State *L;
static struct quota quota;

/* ---- jansson's memory, counted ---- */

static struct {
	size_t used, peak;
	long until_failure; /* allocations that still succeed; below 0: all */
	long n;
} library;

static void *library_malloc(size_t size)
{
	void *block;

	library.n++;
	if (library.until_failure == 0)
		return NULL;
	if (library.until_failure > 0)
		library.until_failure--;
	block = malloc(size);
	if (!block)
		abort();
	library.used += malloc_usable_size(block) + sizeof(size_t);
	if (library.used > library.peak)
		library.peak = library.used;
	return block;
}

static void library_free(void *block)
{
	if (block)
		library.used -= malloc_usable_size(block) + sizeof(size_t);
	free(block);
}

/* ---- Lua ---- */

static const char prelude[] =
	"function same(a, b)\n"
	"	if type(a) ~= 'table' then return a == b and math.type(a) == math.type(b) end\n"
	"	if type(b) ~= 'table' then return false end\n"
	"	for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
	"	for k in pairs(b) do if a[k] == nil then return false end end\n"
	"	return true\n"
	"end\n"
	/* Unlike pcall's, the message without the place. */
	"function problem(f, ...)\n"
	"	local ok, message = pcall(f, ...)\n"
	"	return not ok and tostring(message):gsub('^[^:]+:%d+: ', '')\n"
	"end\n"
	"function refusal(text)\n"
	"	local value, message = json.decode(text)\n"
	"	assert(value == nil, text)\n"
	"	return message\n"
	"end\n";

static int open_all(lua_State *state)
{
	luaL_openlibs(state);
	api_json_open(state);
	if (luaL_dostring(state, prelude))
		lua_error(state);
	return 0;
}

static void open_state(void)
{
	quota_init(&quota, "test", 0, 0);
	L = quota_new_state(&quota);
	REQUIRE(L);
	lua_pushcfunction(L, open_all);
	REQUIRE(lua_pcall(L, 0, 0, 0) == LUA_OK);
}

static bool run(const char *chunk)
{
	bool ok = luaL_dostring(L, chunk) == LUA_OK;

	if (!ok)
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
	lua_settop(L, 0);
	return ok;
}

static bool holds(const char *expression)
{
	char chunk[1000];

	(void)snprintf(chunk, sizeof chunk, "assert(%s, [==[%s]==])", expression, expression);
	return run(chunk);
}

/* Lua says `expression` is the text `expected`. */
static bool gives(const char *expression, const char *expected)
{
	char chunk[1000];
	bool same;

	(void)snprintf(chunk, sizeof chunk, "return (%s)", expression);
	same = luaL_dostring(L, chunk) == LUA_OK && lua_isstring(L, -1) && !strcmp(lua_tostring(L, -1), expected);
	if (!same)
		fprintf(stderr, "%s\n gives    %s\n expected %s\n", expression, luaL_tolstring(L, -1, NULL), expected);
	lua_settop(L, 0);
	return same;
}

/* ---- values ---- */

static void integers_are_exact(void)
{
	CHECK(gives("json.encode(math.maxinteger)", "9223372036854775807"));
	CHECK(gives("json.encode(math.mininteger)", "-9223372036854775808"));
	CHECK(holds("json.decode('9223372036854775807') == math.maxinteger"));
	CHECK(holds("json.decode('-9223372036854775808') == math.mininteger"));
	CHECK(holds("json.decode('9007199254740993') == 9007199254740993"));
	CHECK(holds("math.type(json.decode('1')) == 'integer' and math.type(json.decode('-0')) == 'integer'"));
	CHECK(holds("refusal('9223372036854775808'):find('too big integer', 1, true)"));
	CHECK(holds("refusal('{\"n\":[18446744073709551615]}'):find('^line 1, column %d+: too big integer')"));
}

static void floats_stay_floats(void)
{
	CHECK(gives("json.encode(1.0)", "1.0"));
	CHECK(gives("json.encode(-0.0)", "-0.0"));
	CHECK(gives("json.encode(0.1)", "0.1"));
	CHECK(gives("json.encode(21.7)", "21.7"));
	CHECK(gives("json.encode(1/3)", "0.3333333333333333"));
	CHECK(gives("json.encode(0.1 + 0.2)", "0.30000000000000004"));
	CHECK(gives("json.encode(5e-324)", "4.94065645841247e-324"));
	CHECK(holds("json.decode(json.encode(5e-324)) == 5e-324"));
	CHECK(holds("math.type(json.decode('1.0')) == 'float' and math.type(json.decode('1e3')) == 'float'"));
	CHECK(holds("math.type(json.decode(json.encode(1e300))) == 'float'"));
	CHECK(holds("math.type(json.decode(json.encode(2.0^53))) == 'float'"));
	CHECK(holds("refusal('1e400'):find('real number overflow', 1, true)"));
	CHECK(gives("problem(json.encode, {a = 0/0})", "json.encode: a: NaN cannot be encoded"));
	CHECK(gives("problem(json.encode, {math.huge})", "json.encode: [1]: inf cannot be encoded"));
	CHECK(gives("problem(json.encode, -math.huge)", "json.encode: -inf cannot be encoded"));
	CHECK(holds("json.decode('NaN') == nil and json.decode('Infinity') == nil"));
}

static void strings_keep_every_byte(void)
{
	CHECK(gives("json.encode('a\\0b\\n\\t\"\\\\/\\127')", "\"a\\u0000b\\n\\t\\\"\\\\/\x7f\""));
	CHECK(holds("json.decode('\"a\\\\u0000b\"') == 'a\\0b'"));
	CHECK(holds("json.decode('\"\\\\ud83d\\\\ude00\"') == '\\u{1F600}'"));
	CHECK(holds("json.decode(json.encode('\\u{1F600}\\u{7FF}\\u{FFFF}')) == '\\u{1F600}\\u{7FF}\\u{FFFF}'"));
	CHECK(holds("json.decode(json.encode(('\\1'):rep(100000))) == ('\\1'):rep(100000)"));
	CHECK(holds("json.decode(json.encode(('x'):rep(300000))) == ('x'):rep(300000)"));
	CHECK(holds("json.encode('') == '\"\"' and json.decode('\"\"') == ''"));
}

static void utf8_is_checked(void)
{
	/* Continuation alone, overlong, surrogates, beyond U+10FFFF, cut off. */
	static const char *const wrong[] = { "\\x80", "\\xff", "\\xc0\\xaf", "\\xe0\\x80\\xaf", "\\xed\\xa0\\x80",
		                             "\\xf4\\x90\\x80\\x80", "\\xf0\\x80\\x80\\xaf", "a\\xc3", "\\xe2\\x82",
		                             "\\xf0\\x9f\\x98", "\\xc3(" };
	char expression[300];

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		(void)snprintf(expression, sizeof expression, "problem(json.encode, {v = {'%s'}})", wrong[i]);
		CHECK(gives(expression, "json.encode: v[1]: a string that is not valid UTF-8 cannot be encoded"));
		(void)snprintf(expression, sizeof expression, "refusal('[1,\\n\"%s\"]'):find('^line 2, column %%d+: ')", wrong[i]);
		CHECK(holds(expression));
		(void)snprintf(expression, sizeof expression, "refusal('[1,\\n\"%s'):find('^line 2, column %%d+: ')", wrong[i]);
		CHECK(holds(expression));
	}
	CHECK(holds("problem(json.encode, {['\\xff'] = 1}):find('not valid UTF-8', 1, true)"));
	CHECK(holds("json.decode('\"\\\\ud800\"') == nil and json.decode('\"\\\\udc00\\\\ud800\"') == nil"));
}

static void null_is_a_value(void)
{
	CHECK(holds("json.decode('null') == json.null and json.null == json.null and json.null"));
	CHECK(gives("tostring(json.null)", "json.null"));
	CHECK(gives("json.encode({1, json.null, {a = json.null}})", "[1,null,{\"a\":null}]"));
	CHECK(holds("json.decode('{\"a\":null}').a == json.null and json.decode('{}').a == nil"));
	CHECK(holds("getmetatable(json.null) == 'json.null'"));
	CHECK(gives("problem(json.encode, nil)", "json.encode: nil cannot be encoded; null is json.null"));
}

static void empty_arrays_and_objects_differ(void)
{
	CHECK(gives("json.encode(json.decode('[]'))", "[]"));
	CHECK(gives("json.encode(json.decode('{}'))", "{}"));
	CHECK(gives("json.encode({json.array(), json.array{}, {}, json.array{1}})", "[[],[],{},[1]]"));
	CHECK(gives("json.encode(json.decode('{\"a\":[],\"b\":{},\"c\":[[],{}]}'))", "{\"a\":[],\"b\":{},\"c\":[[],{}]}"));
	CHECK(run("local t = json.decode('[1, 2]') t[2] = nil t[1] = nil assert(json.encode(t) == '[]')"));
	CHECK(run("local t = {5} assert(json.array(t) == t and json.array(t) == t and json.encode(t) == '[5]')"));
	CHECK(run("local t = json.array() t.x = 1 assert(problem(json.encode, t):find('an array with names as keys'))"));
	CHECK(holds("problem(json.array, 5):find('table expected')"));
	CHECK(holds("problem(json.array, setmetatable({}, {})):find('it has a metatable already')"));
}

/* Else a script could give all arrays a __gc, which runs where nothing limits it. */
static void the_mark_is_out_of_reach(void)
{
	CHECK(holds("getmetatable(json.array()) == 'json.array'"));
	CHECK(holds("problem(setmetatable, json.array(), {}):find('protected metatable')"));
}

static void duplicates_and_order(void)
{
	CHECK(gives("json.decode('{\"a\":1,\"b\":2,\"a\":3}').a", "3"));
	CHECK(gives("json.encode({b = 1, a = 2, ab = 3, [''] = 4, Z = 6})",
	            "{\"\":4,\"Z\":6,\"a\":2,\"ab\":3,\"b\":1}"));
	CHECK(run("local t = {} for i = 1, 5000 do t['k' .. i] = i end local s = json.encode(t)\n"
	          "assert(same(json.decode(s), t) and s:find('^{\"k1\":1,\"k10\":10,\"k100\":100,\"k1000\":1000,'))"));
}

static void names_what_is_no_json(void)
{
	CHECK(gives("refusal('')", "line 1, column 0: unexpected token near end of file"));
	CHECK(holds("refusal('{\\n  \"a\": tru\\n}'):find('^line 2, column %d+: invalid token near \\'tru\\'')"));
	CHECK(holds("refusal('[1,]'):find('^line 1, column 4: ')"));
	CHECK(holds("refusal('[1] x'):find('end of file expected near \\'x\\'', 1, true)"));
	CHECK(holds("refusal('{\"a\\\\u0000\": 1}'):find('NUL byte in object key', 1, true)"));
	/* jansson skips a NUL byte after a number. */
	CHECK(gives("refusal('[1,\\n2\\0]')", "line 2, column 2: a NUL byte"));
	CHECK(holds("refusal('\\0') and refusal('1\\0') and refusal('\"a\\0b\"')"));
	CHECK(holds("refusal('nil') and refusal('01') and refusal('+1') and refusal(\"'a'\") and refusal('[1 2]')"));
	CHECK(holds("problem(json.decode):find('text: string expected, got no value', 1, true)"));
	CHECK(holds("problem(json.decode, 12):find('text: string expected, got number', 1, true)"));
}

static void names_what_json_cannot_hold(void)
{
	CHECK(gives("problem(json.encode, {items = {1, 2, {name = print}}})",
	            "json.encode: items[3].name: a function cannot be encoded"));
	CHECK(gives("problem(json.encode, coroutine.create(print))", "json.encode: a thread cannot be encoded"));
	CHECK(gives("problem(json.encode, {io.stdout})", "json.encode: [1]: a userdata cannot be encoded"));
	CHECK(gives("problem(json.encode, {a = {1, 2, x = 3}})",
	            "json.encode: a: a table with both numbers and names as keys cannot be encoded"));
	CHECK(gives("problem(json.encode, {a = {1, nil, 3}})", "json.encode: a: a list with holes cannot be encoded"));
	CHECK(gives("problem(json.encode, {[2] = 1})", "json.encode: a list with holes cannot be encoded"));
	CHECK(gives("problem(json.encode, {[math.maxinteger] = 1})", "json.encode: a list with holes cannot be encoded"));
	CHECK(gives("problem(json.encode, {a = {[0] = 1}})",
	            "json.encode: a[0]: a key must be a name, or a number from 1 on"));
	CHECK(gives("problem(json.encode, {[1.5] = 1})", "json.encode: [1.5]: a key must be a name, or a number from 1 on"));
	CHECK(gives("problem(json.encode, {[true] = 1})", "json.encode: [true]: a key must be a name, or a number from 1 on"));
	CHECK(gives("problem(json.encode, setmetatable({}, {__pairs = print}))",
	            "json.encode: a table with __pairs cannot be encoded"));
	CHECK(gives("problem(json.encode, {a = {['x\\0'] = 1}})",
	            "json.encode: a.x: a key with a NUL byte cannot be encoded"));
	CHECK(gives("json.encode(setmetatable({a = 1}, {__index = {b = 2}}))", "{\"a\":1}"));
}

static void depth_is_bounded(void)
{
	CHECK(run("local s = ('['):rep(100) .. (']'):rep(100) assert(json.encode(json.decode(s)) == s)"));
	CHECK(run("local s = ('{\"a\":'):rep(100) .. '1' .. ('}'):rep(100) assert(json.encode(json.decode(s)) == s)"));
	CHECK(gives("refusal(('['):rep(101) .. (']'):rep(101))", "line 1, column 101: nested too deep"));
	CHECK(gives("refusal('\"[[\\\\\"[\"' .. (',\\n[\\u{E9}'):rep(101))", "line 102, column 1: nested too deep"));
	CHECK(gives("refusal('[\"\\u{E9}\",\\n\"\\u{E9}\",' .. ('['):rep(3000000))", "line 2, column 104: nested too deep"));
	CHECK(holds("refusal(('{\"a\":'):rep(3000000)):find('nested too deep', 1, true)"));
	CHECK(holds("json.decode('[' .. ('[],'):rep(1000) .. '[]]')[1001]"));
	CHECK(holds("json.decode('\"' .. ('['):rep(1000) .. '\"')"));
	CHECK(run("local t = {} t.me = {t} local p = problem(json.encode, t)\n"
	          "assert(p:find('^json.encode: me%[1%].me%[1%].me') and p:find('nested too deep') and #p < 300)"));
}

static void anything_goes_through_ctx(void)
{
	struct buffer bytes = { 0 };
	char err[200];

	lua_settop(L, 0);
	REQUIRE(luaL_dostring(L, "return json.decode('{\"a\":[],\"b\":[1.0,null,{}],\"c\":{}}')") == LUA_OK);
	REQUIRE(value_encode(L, 1, "ctx", &bytes, err, sizeof err) == 0);
	value_decode(L, (struct bytes){ bytes.data, bytes.size });
	lua_setglobal(L, "copy");
	CHECK(gives("json.encode(copy)", "{\"a\":[],\"b\":[1.0,null,{}],\"c\":{}}"));
	CHECK(holds("copy.b[2] == json.null"));
	REQUIRE(luaL_dostring(L, "return {[json.null] = 1}") == LUA_OK);
	CHECK(value_encode(L, -1, "ctx", &bytes, err, sizeof err) == -1);
	CHECK(!strcmp(err, "ctx[a userdata]: json.null cannot be a key"));
	buffer_release(&bytes);
	lua_settop(L, 0);
}

/* ---- at random ---- */

static const char generator[] =
	"function any(depth)\n"
	"	local kind = math.random(depth > 0 and 9 or 7)\n"
	"	if kind == 1 then return math.random(0) >> math.random(0, 63)\n"
	"	elseif kind == 2 then return -(math.random(0) >> math.random(0, 63))\n"
	"	elseif kind == 3 then return (math.random() - 0.5) * 10.0 ^ math.random(-300, 300)\n"
	"	elseif kind == 4 then return math.random(-1000, 1000) / 10\n"
	"	elseif kind == 5 then return math.random(2) == 1\n"
	"	elseif kind == 6 then return json.null\n"
	"	elseif kind == 7 then return text()\n"
	"	end\n"
	"	local t = kind == 8 and json.array() or {}\n"
	"	for i = 1, math.random(0, 6) do t[kind == 8 and i or text():gsub('%z', '')] = any(depth - 1) end\n"
	"	return t\n"
	"end\n"
	"local edges = {0, 9, 31, 34, 92, 127, 128, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF}\n"
	"function text()\n"
	"	local parts = {}\n"
	"	for i = 1, math.random(0, 12) do\n"
	"		parts[i] = utf8.char(math.random(3) == 1 and edges[math.random(#edges)] or math.random(32, 122))\n"
	"	end\n"
	"	return table.concat(parts)\n"
	"end\n";

static unsigned seed(void)
{
	const char *given = getenv("TEST_SEED");

	return given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
}

static void what_is_encoded_decodes(void)
{
	unsigned number = seed();
	char chunk[400];

	printf("TEST_SEED=%u\n", number);
	CHECK(run(generator));
	(void)snprintf(chunk, sizeof chunk, "math.randomseed(%u)\n"
	               "for i = 1, 3000 do\n"
	               "	local value = any(5)\n"
	               "	local text = json.encode(value)\n"
	               "	local copy = json.decode(text)\n"
	               "	assert(same(value, copy) and json.encode(copy) == text, text)\n"
	               "end", number);
	CHECK(run(chunk));
}

/* Texts that are nearly JSON: decoding says so or gives what encodes again, and the
 * memory jansson took was no more than was announced. */
static bool keeps_within_need(const char *text, size_t size)
{
	struct json_need need = json_need(text, size, 100);
	json_t *json;

	library.used = library.peak = 0;
	if (need.problem)
		return true;
	json = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	json_decref(json);
	if (library.peak > need.bytes)
		fprintf(stderr, "%zu bytes, said to need %zu, took %zu: %.*s\n", size, need.bytes, library.peak,
		        size < 200 ? (int)size : 200, text);
	return library.peak <= need.bytes && library.used == 0;
}

static void need_holds_at_random(void)
{
	static const char letters[] = "[]{}\",:0123456789.eE+-\\untrfalse \n\xc3\xa9";
	char text[300];

	srand(seed());
	for (int i = 0; i < 30000; i++) {
		size_t size = 0;

		lua_getglobal(L, "json");
		lua_getfield(L, -1, "encode");
		lua_getglobal(L, "any");
		lua_pushinteger(L, 3);
		lua_call(L, 1, 1);
		lua_call(L, 1, 1);
		const char *whole = lua_tolstring(L, -1, &size);
		if (!keeps_within_need(whole, size))
			CHECK(!"need was too small");
		size = size < sizeof text ? size : sizeof text;
		memcpy(text, whole, size);
		for (int k = rand() % 4; k > 0 && size > 0; k--)
			text[(size_t)rand() % size] = letters[(size_t)rand() % (sizeof letters - 1)];
		if (!keeps_within_need(text, size))
			CHECK(!"need was too small");
		lua_settop(L, 0);
	}
}

/* What takes the most for each byte of text. */
static void need_holds_at_worst(void)
{
	static const char *const parts[][3] = {
		{ "[", "0,", "0]" },    { "[", "[],", "[]]" },       { "[", "{},", "{}]" },
		{ "[", "\"\",", "1]" }, { "{", "\"%d\":0,", "\"\":0}" }, { "{", "\"%d\":{},", "\"\":[]}" },
		{ "\"", "x", "\"" },    { "\"", "\\n", "\"" },       { "", "1", "" },
		{ "", "x", "" },        { "\"", "x", "" },           { "[", "1.5,", "null]" },
		{ "[", "[[{\"%d\":\"\"}]],", "1]" },                 { "{\"", "k", "\":1}" },
		{ "{", "\"kkkkkkkkkkkkkkkkkkkkkkk%d\":0,", "\"\":0}" },
		{ "[", "\"xxxxxxxxxxxxxxxxxxxxxxxx\",", "1]" },
	};
	static const int repeats[] = { 0, 1, 7, 8, 9, 31, 32, 33, 1000, 1024, 1025, 20000 };
	struct buffer text = { 0 };
	char part[64];

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (size_t r = 0; r < sizeof repeats / sizeof *repeats; r++) {
			text.size = 0;
			REQUIRE(!buffer_append(&text, parts[i][0], strlen(parts[i][0])));
			for (int k = 0; k < repeats[r]; k++) {
				const char *digits = strchr(parts[i][1], '%');
				int size = digits ? snprintf(part, sizeof part, "%.*s%d%s", (int)(digits - parts[i][1]),
				                             parts[i][1], k, digits + 2)
				                  : snprintf(part, sizeof part, "%s", parts[i][1]);

				REQUIRE(!buffer_append(&text, part, (size_t)size));
			}
			REQUIRE(!buffer_append(&text, parts[i][2], strlen(parts[i][2])));
			CHECK(keeps_within_need(text.data, text.size));
		}
	buffer_release(&text);
}

/* ---- memory ---- */

static size_t used_after_collecting(void)
{
	size_t before;

	lua_settop(L, 0);
	do {
		before = quota.used_bytes; /* the table of strings shrinks in steps */
		lua_gc(L, LUA_GCCOLLECT);
	} while (quota.used_bytes < before);
	return quota.used_bytes;
}

/* Calls global `function`; LUA_OK or the error. */
static int call(const char *function)
{
	lua_getglobal(L, function);
	return lua_pcall(L, 0, 0, 0);
}

static const char work[] =
	"local text = '{\"a\":[1,2.5,\"three\",{\"b\":[[]],\"c\":null}],\"long\":\"' .. ('x'):rep(2000) .. '\"}'\n"
	"function decode() local v, message = json.decode(text) result = v and 'ok' or message end\n"
	"local value = json.decode(text)\n"
	"function encode() result = json.encode(value) end\n";

/* With every limit between too little and enough: an error or the result, and all
 * memory is back. */
static void too_little_memory_loses_none(const char *function)
{
	size_t before, limit;
	int failures = 0, status;

	CHECK(call(function) == LUA_OK);
	CHECK(run("result = nil"));
	before = used_after_collecting();
	library.used = 0;
	for (limit = before; (quota.memory_bytes = limit, status = call(function)) != LUA_OK; limit += 16) {
		quota.memory_bytes = 0;
		CHECK(status == LUA_ERRMEM && library.used == 0 && used_after_collecting() == before);
		failures++;
	}
	quota.memory_bytes = 0;
	printf("%s: %d failures, %zu bytes enough\n", function, failures, limit - before);
	CHECK(failures > 100);
}

static void lua_without_memory(void)
{
	CHECK(run(work));
	too_little_memory_loses_none("decode");
	too_little_memory_loses_none("encode");
	CHECK(run("result = nil"));
}

/* jansson's nth allocation fails, for every n. */
static void library_without_memory(const char *function)
{
	size_t before;
	long n, all;

	CHECK(call(function) == LUA_OK);
	CHECK(run("result = nil"));
	before = used_after_collecting();
	library.used = 0;
	library.n = 0;
	CHECK(call(function) == LUA_OK);
	all = library.n;
	for (n = 0; n < all; n++) {
		library.until_failure = n;
		if (call(function) == LUA_OK) /* jansson blames the text, or a float took a longer form */
			CHECK(holds("result and result ~= 'ok'"));
		library.until_failure = -1;
		CHECK(run("result = nil"));
		CHECK(library.used == 0 && used_after_collecting() == before);
	}
	printf("%s: %ld allocations\n", function, all);
	CHECK(all > 10);
}

static void jansson_without_memory(void)
{
	CHECK(run(work));
	library_without_memory("decode");
	library_without_memory("encode");
}

/* A text that would take jansson far over the script's limit is not even given to it. */
static void a_bomb_is_refused_before_it_is_parsed(void)
{
	CHECK(run("bomb = '[' .. ('[],'):rep(500000) .. '0]' function decode() return json.decode(bomb) end"));
	quota.memory_bytes = 8 << 20;
	library.peak = library.used = 0;
	CHECK(call("decode") == LUA_ERRMEM && library.peak == 0);
	lua_settop(L, 0);
	CHECK(run("bomb = '[' .. ('[],'):rep(10000) .. '0]'"));
	CHECK(call("decode") == LUA_OK);
	quota.memory_bytes = 0;
	CHECK(run("bomb = nil"));
}

int main(void)
{
	json_set_alloc_funcs(library_malloc, library_free);
	library.until_failure = -1;
	open_state();
	RUN(integers_are_exact);
	RUN(floats_stay_floats);
	RUN(strings_keep_every_byte);
	RUN(utf8_is_checked);
	RUN(null_is_a_value);
	RUN(empty_arrays_and_objects_differ);
	RUN(the_mark_is_out_of_reach);
	RUN(duplicates_and_order);
	RUN(names_what_is_no_json);
	RUN(names_what_json_cannot_hold);
	RUN(depth_is_bounded);
	RUN(anything_goes_through_ctx);
	RUN(what_is_encoded_decodes);
	RUN(need_holds_at_random);
	RUN(need_holds_at_worst);
	RUN(lua_without_memory);
	RUN(jansson_without_memory);
	RUN(a_bomb_is_refused_before_it_is_parsed);
	lua_close(L);
	CHECK(quota.used_bytes == 0);
	return test_end();
}
