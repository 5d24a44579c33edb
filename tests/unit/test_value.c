/* value.c: what goes in comes out exactly, what cannot be kept is named, and no
 * run of bytes does harm.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "value.h"

static lua_State *L;

/* Evaluates `expression`, encodes and decodes it; leaves the original as `a`
 * and the copy as `b`. */
static int round_trip(const char *expression)
{
	struct buffer run = { 0 };
	char chunk[500], err[200] = "";
	int result;

	lua_settop(L, 0);
	(void)snprintf(chunk, sizeof chunk, "a = %s", expression);
	if (luaL_dostring(L, chunk)) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		return -1;
	}
	lua_getglobal(L, "a");
	result = value_encode(L, -1, "ctx", &run, err, sizeof err);
	CHECK(lua_gettop(L) == 1);
	if (result)
		fprintf(stderr, "%s: %s\n", expression, err);
	value_decode(L, (struct bytes){ run.data, run.size });
	CHECK(lua_gettop(L) == 2);
	lua_setglobal(L, "b");
	buffer_release(&run);
	return result;
}

static bool holds(const char *condition)
{
	char chunk[500];

	(void)snprintf(chunk, sizeof chunk, "return %s", condition);
	if (luaL_dostring(L, chunk)) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		return false;
	}
	return lua_toboolean(L, -1);
}

static bool exact(const char *expression)
{
	return !round_trip(expression) && holds("b == a and math.type(b) == math.type(a)");
}

static const char *refusal(const char *expression)
{
	static char err[200];
	struct buffer run = { 0 };
	char chunk[500];

	lua_settop(L, 0);
	(void)snprintf(chunk, sizeof chunk, "return %s", expression);
	if (luaL_dostring(L, chunk))
		return lua_tostring(L, -1);
	err[0] = 0;
	CHECK(buffer_append(&run, "kept", 4) == 0);
	CHECK(value_encode(L, -1, "ctx", &run, err, sizeof err) == -1);
	CHECK(run.size == 4 && lua_gettop(L) == 1);
	buffer_release(&run);
	return err;
}

static void keeps_scalars_exactly(void)
{
	CHECK(!round_trip("nil") && holds("b == nil"));
	CHECK(exact("true") && exact("false"));
	CHECK(exact("0") && exact("1") && exact("-1"));
	CHECK(exact("math.mininteger") && exact("math.maxinteger"));
	CHECK(exact("0.1") && exact("1.0") && exact("1e308") && exact("5e-324"));
	CHECK(exact("math.huge") && exact("-math.huge"));
	CHECK(!round_trip("0/0") && holds("b ~= b"));
	CHECK(exact("-0.0") && holds("1/b == -math.huge"));
	CHECK(exact("''") && exact("'a\\0b\\255'") && exact("('x'):rep(100000)"));
}

static void keeps_tables(void)
{
	CHECK(!round_trip("{}") && holds("type(b) == 'table' and next(b) == nil"));
	CHECK(!round_trip("{1, 'two', {x = 1.5, [true] = false}, [10] = 'ten', [2.5] = 2, [-1] = {}}"));
	CHECK(holds("b[1] == 1 and b[2] == 'two' and b[3].x == 1.5 and b[3][true] == false"));
	CHECK(holds("b[10] == 'ten' and b[2.5] == 2 and next(b[-1]) == nil and math.type(b[1]) == 'integer'"));
	CHECK(!round_trip("(function() local t = {} for i = 1, 5000 do t[i] = i * i end return t end)()"));
	CHECK(holds("#b == 5000 and b[4999] == 4999 * 4999"));
	CHECK(!round_trip("(function() local t = {7} for i = 1, 15 do t = {t} end return t end)()"));
	CHECK(holds("b[1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1] == 7"));
}

static void keeps_many_in_one_buffer(void)
{
	struct buffer run = { 0 };
	char err[200];
	size_t first;

	lua_settop(L, 0);
	lua_pushliteral(L, "one");
	lua_pushinteger(L, 2);
	CHECK(value_encode(L, 1, "a", &run, err, sizeof err) == 0);
	first = run.size;
	CHECK(value_encode(L, 2, "b", &run, err, sizeof err) == 0);
	value_decode(L, (struct bytes){ run.data, first });
	value_decode(L, (struct bytes){ run.data + first, run.size - first });
	CHECK(lua_rawequal(L, 1, 3) && lua_rawequal(L, 2, 4));
	buffer_release(&run);
}

static void names_what_cannot_be_kept(void)
{
	CHECK(!strcmp(refusal("print"), "ctx: a function cannot be stored"));
	CHECK(!strcmp(refusal("{items = {1, 2, print}}"), "ctx.items[3]: a function cannot be stored"));
	CHECK(!strcmp(refusal("{[false] = coroutine.create(print)}"), "ctx[false]: a thread cannot be stored"));
	CHECK(!strcmp(refusal("{[1.5] = io.stdout}"), "ctx[1.5]: a userdata cannot be stored"));
	CHECK(!strcmp(refusal("{a = setmetatable({}, {})}"), "ctx.a: a table with a metatable cannot be stored"));
	CHECK(!strcmp(refusal("{[{}] = 1}"), "ctx[a table]: a table cannot be a key"));
	CHECK(!strcmp(refusal("{[print] = 1}"), "ctx[a function]: a function cannot be stored"));
	CHECK(strstr(refusal("(function() local t = {} t.t = t return t end)()"), "ctx.t.t.t.t"));
	CHECK(strstr(refusal("(function() local t = {} t.t = t return t end)()"), "nested more than 16 deep"));
	CHECK(strstr(refusal("('x'):rep(2000000)"), "too large"));
	/* A tangle that would be 10^15 values when written out. */
	CHECK(strstr(refusal("(function() local t = {} for i = 1, 15 do t = {t, t, t, t, t, t, t, t, t, t} end return t end)()"),
	             "too large"));
	CHECK(strlen(refusal("{[('k'):rep(1000)] = print}")) < 200);
}

static void damage_reads_as_nil(void)
{
	static const char *const damaged[] = { "x", "i1234567", "d", "s\377\377\377\377abc", "s\001", "{", "{n", "{t",
		                               "{ts\002", "{{}t}", "tt", "}", "{nt}", "{d\0\0\0\0\0\0\370\177t}" };
	static const size_t sizes[] = { 1, 8, 1, 8, 2, 1, 2, 2, 4, 5, 2, 1, 4, 12 };

	lua_settop(L, 0);
	value_decode(L, (struct bytes){ NULL, 0 });
	CHECK(lua_gettop(L) == 1 && lua_isnil(L, 1));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		lua_settop(L, 0);
		value_decode(L, (struct bytes){ damaged[i], sizes[i] });
		CHECK(lua_gettop(L) == 1 && lua_isnil(L, 1));
	}
}

static void too_deep_reads_as_nil(void)
{
	char run[200000];

	memset(run, '{', sizeof run);
	lua_settop(L, 0);
	value_decode(L, (struct bytes){ run, sizeof run });
	CHECK(lua_gettop(L) == 1 && lua_isnil(L, 1));
}

/* Bytes in exact-size allocations, so that AddressSanitizer sees a byte too far. */
static void random_bytes_do_no_harm(void)
{
	static const char tags[] = "nftids{}";

	srand(1);
	for (int i = 0; i < 200000; i++) {
		size_t size = (size_t)(rand() % 40);
		char *run = malloc(size ? size : 1);

		if (!run)
			abort();
		for (size_t k = 0; k < size; k++)
			run[k] = rand() % 3 ? tags[rand() % 8] : (char)(rand() % 4 ? rand() % 6 : rand());
		lua_settop(L, 0);
		value_decode(L, (struct bytes){ run, size });
		CHECK(lua_gettop(L) == 1);
		free(run);
	}
}

static void flipped_bytes_do_no_harm(void)
{
	struct buffer run = { 0 };
	char err[200];

	lua_settop(L, 0);
	CHECK(luaL_dostring(L, "return {1, 2.5, 'text', {a = true, b = {x = 'y'}}}") == LUA_OK);
	CHECK(value_encode(L, -1, "ctx", &run, err, sizeof err) == 0);
	for (size_t i = 0; i < run.size * 256; i++) {
		char kept = run.data[i / 256];

		run.data[i / 256] = (char)(i % 256);
		lua_settop(L, 0);
		value_decode(L, (struct bytes){ run.data, run.size });
		CHECK(lua_gettop(L) == 1);
		run.data[i / 256] = kept;
	}
	buffer_release(&run);
}

int main(void)
{
	L = luaL_newstate();
	if (!L)
		return 1;
	luaL_openlibs(L);
	RUN(keeps_scalars_exactly);
	RUN(keeps_tables);
	RUN(keeps_many_in_one_buffer);
	RUN(names_what_cannot_be_kept);
	RUN(damage_reads_as_nil);
	RUN(too_deep_reads_as_nil);
	RUN(random_bytes_do_no_harm);
	RUN(flipped_bytes_do_no_harm);
	lua_close(L);
	return test_end();
}
