/* The table `kdb`: typed values, and kdb+'s encoding of them. Rows are queued by kdb.upd(), which acts on links as
 * mqtt.pub() does and is in api_mqtt.c.
 */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <string.h>

#include "api.h"
#include "kdb_bytes.h"
#include "kdb_coerce.h"
#include "kdb_compress.h"
#include "kdb_ipc.h"
#include "kdb_time.h"
#include "kdb_value.h"
#include "script_state.h"

/* The buffer that results are made in, empty. */
static struct buffer *scratch(lua_State *L)
{
	struct buffer *buffer = &script_of(L)->kdb;

	buffer->size = 0;
	return buffer;
}

/* How large what a script makes may be: no larger than what it could keep. */
static size_t size_limit(lua_State *L)
{
	size_t memory = script_of(L)->quota.memory_bytes;

	return memory > 0 && memory < KDB_SIZE_MAX ? memory : KDB_SIZE_MAX;
}

/* Pushes the object in the buffer, which is right. */
static int push_right(lua_State *L, struct buffer *buffer)
{
	struct kdb_input input = { { buffer->data, buffer->size }, 0, KDB_BIG_ENDIAN_HOST };

	kdb_value_push(L, &input);
	buffer_reset(buffer);
	return 1;
}

/* The same of parts that need not fit together: raises "WHAT: ..." if they do not. */
static int push_made(lua_State *L, struct buffer *buffer, const char *what)
{
	struct kdb_input input;
	char err[200];

	if (kdb_open_object(&input, (struct bytes){ buffer->data, buffer->size }, err, sizeof err)) {
		const char *colon = strstr(err, ": "); /* behind the byte, which nobody sees here */
		return luaL_error(L, "%s: %s", what, colon ? colon + 2 : err);
	}
	return push_right(L, buffer);
}

/* ---- constructors ---- */

static int misfit(lua_State *L, const struct kdb_column *type, int index, lua_Integer item)
{
	const char *got = api_got(L, index);

	if (item > 0)
		return luaL_error(L, "kdb.%s: [%I]: %s expected, got %s", kdb_column_type(type), item, kdb_expected(type), got);
	return luaL_error(L, "kdb.%s: %s expected, got %s", kdb_column_type(type), kdb_expected(type), got);
}

/* Raises if it is none. A type's null is asked for by its name. */
static void put_one(lua_State *L, int index, const struct kdb_column *type, lua_Integer item, struct buffer *out)
{
	enum kdb_coerced result = lua_isnil(L, index) ? KDB_MISFIT : kdb_coerce(L, index, type, item > 0 && !type->string, out);

	if (result == KDB_COERCE_MEMORY || out->size > size_limit(L))
		quota_out_of_memory(L);
	if (result == KDB_MISFIT)
		misfit(L, type, index, item);
}

/* Puts a vector of the list at `index`; a list, of strings. */
static void put_vector(lua_State *L, int index, const struct kdb_column *type, const char *what, struct buffer *out)
{
	lua_Integer n;

	if (!script_state_push_entries(L, index))
		lua_pushvalue(L, index);
	index = lua_gettop(L);
	n = kdb_value_count(L, index, what);
	if (type->string ? kdb_put_list(out, (size_t)n) : kdb_put_vector_head(out, type->type, (size_t)n))
		quota_out_of_memory(L);
	for (lua_Integer i = 1; i <= n; i++) {
		if (i % 1024 == 0)
			quota_check_time(L);
		lua_rawgeti(L, index, i);
		put_one(L, lua_gettop(L), type, i, out);
		lua_settop(L, index);
	}
	lua_settop(L, index - 1);
}

/* kdb.int(5), kdb.int{1, 2, 3} */
static int construct(lua_State *L, int type, bool string)
{
	struct kdb_column column = { NULL, type, string };
	struct buffer *out = scratch(L);

	luaL_checkany(L, 1);
	lua_settop(L, 1);
	if (lua_istable(L, 1))
		put_vector(L, 1, &column, lua_pushfstring(L, "kdb.%s", kdb_column_type(&column)), out);
	else
		put_one(L, 1, &column, 0, out);
	return push_right(L, out);
}

#define CONSTRUCTOR(name, type, string)           \
	static int make_##name(lua_State *L)      \
	{                                         \
		return construct(L, type, string); \
	}
CONSTRUCTOR(boolean, KDB_BOOLEAN, false)
CONSTRUCTOR(guid, KDB_GUID, false)
CONSTRUCTOR(byte, KDB_BYTE, false)
CONSTRUCTOR(short, KDB_SHORT, false)
CONSTRUCTOR(int, KDB_INT, false)
CONSTRUCTOR(long, KDB_LONG, false)
CONSTRUCTOR(real, KDB_REAL, false)
CONSTRUCTOR(float, KDB_FLOAT, false)
CONSTRUCTOR(char, KDB_CHAR, false)
CONSTRUCTOR(string, KDB_CHAR, true)
CONSTRUCTOR(symbol, KDB_SYMBOL, false)
CONSTRUCTOR(month, KDB_MONTH, false)
CONSTRUCTOR(date, KDB_DATE, false)
CONSTRUCTOR(timespan, KDB_TIMESPAN, false)
CONSTRUCTOR(minute, KDB_MINUTE, false)
CONSTRUCTOR(second, KDB_SECOND, false)
CONSTRUCTOR(time, KDB_TIME, false)

static void push_integer(lua_State *L, int type, int64_t value)
{
	struct buffer *out = scratch(L);

	if (kdb_put_integer(out, type, value))
		quota_out_of_memory(L);
	push_right(L, out);
}

/* kdb.timestamp(seconds [, nanoseconds]): two integers are exact. */
static int make_timestamp(lua_State *L)
{
	lua_Integer seconds, ns;

	if (lua_isnoneornil(L, 2))
		return construct(L, KDB_TIMESTAMP, false);
	seconds = luaL_checkinteger(L, 1);
	ns = luaL_checkinteger(L, 2);
	luaL_argcheck(L, ns >= 0 && ns < 1000000000, 2, "nanoseconds: 0 to 999999999 expected");
	luaL_argcheck(L, seconds > KDB_EPOCH_S - 9223372036 && seconds < KDB_EPOCH_S + INT64_C(9223372036), 1,
	              "seconds of 1707 to 2292 expected");
	push_integer(L, KDB_TIMESTAMP, (seconds - KDB_EPOCH_S) * 1000000000 + ns);
	return 1;
}

/* kdb.raw(type, number): the number as it is encoded, in the type's own unit. */
static int make_raw(lua_State *L)
{
	const char *name = api_check_text(L, 1, "type");
	int type = kdb_type_by_name(name), whole = 0;
	lua_Integer value = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &whole) : 0;
	const char *got = lua_isnone(L, 2) ? "no value" : api_got(L, 2);
	struct buffer *out;

	if (kdb_is_float(type)) {
		out = scratch(L);
		if (kdb_put_float(out, type, luaL_checknumber(L, 2)))
			return quota_out_of_memory(L);
		return push_right(L, out);
	}
	luaL_argcheck(L, kdb_is_integer(type), 1, "type: one that is a number expected, such as \"date\"");
	if (!whole || !kdb_integer_fits(type, value))
		return luaL_argerror(L, 2, lua_pushfstring(L, "number: %s as it is encoded expected, got %s", name, got));
	push_integer(L, type, value);
	return 1;
}

/* ---- containers ---- */

/* kdb.dictionary(keys, values) */
static int make_dictionary(lua_State *L)
{
	struct buffer *out = scratch(L);

	luaL_checkany(L, 2);
	if (kdb_put_dictionary(out))
		return quota_out_of_memory(L);
	kdb_value_encode(L, 1, "kdb.dictionary: keys", out, size_limit(L));
	kdb_value_encode(L, 2, "kdb.dictionary: values", out, size_limit(L));
	return push_made(L, out, "kdb.dictionary");
}

/* Raises if two of the names in the vector are the same: q takes such a table, and finds one of them. */
static void check_names(lua_State *L, struct bytes vector)
{
	struct kdb_input input = { vector, 0, KDB_BIG_ENDIAN_HOST };
	struct kdb_object names = { 0 };
	size_t at = 0;

	(void)kdb_next(&input, &names);
	lua_createtable(L, 0, (int)names.n);
	for (size_t i = 0; i < names.n; i++) {
		struct bytes name = kdb_symbol_next(&names, &at);

		lua_pushlstring(L, name.data, name.size);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, -3) != LUA_TNIL)
			luaL_error(L, "kdb.table: there are two columns %s", lua_tostring(L, -2));
		lua_pop(L, 1);
		lua_pushboolean(L, 1);
		lua_rawset(L, -3);
	}
	lua_pop(L, 1);
}

/* kdb.table(names, columns) */
static int make_table(lua_State *L)
{
	static const struct kdb_column symbol = { NULL, KDB_SYMBOL, false };
	struct buffer *out = scratch(L);
	size_t names;

	if (!lua_istable(L, 1))
		return luaL_argerror(L, 1, lua_pushfstring(L, "names: list of strings expected, got %s", api_kind(L, 1)));
	if (!lua_istable(L, 2))
		return luaL_argerror(L, 2, lua_pushfstring(L, "columns: list expected, got %s", api_kind(L, 2)));
	if (kdb_put_table(out))
		return quota_out_of_memory(L);
	names = out->size;
	put_vector(L, 1, &symbol, "kdb.table: names", out);
	check_names(L, (struct bytes){ (const char *)out->data + names, out->size - names });
	kdb_value_encode(L, 2, "kdb.table: columns", out, size_limit(L));
	return push_made(L, out, "kdb.table");
}

/* ---- messages ---- */

struct encode_options {
	bool compress;
};

static const struct api_option encode_options[] = {
	{ "opts.compress", api_option_bool, offsetof(struct encode_options, compress), 0 },
	{ NULL, NULL, 0, 0 },
};

static int compress(lua_State *L, struct buffer *plain)
{
	struct buffer *out = &script_of(L)->context;

	out->size = 0;
	switch (kdb_compress((struct bytes){ plain->data, plain->size }, out)) {
	case 0:
		lua_pushlstring(L, plain->data, plain->size);
		break;
	case 1:
		lua_pushlstring(L, out->data, out->size);
		break;
	default:
		return quota_out_of_memory(L);
	}
	buffer_reset(out);
	return 1;
}

/* kdb.encode(value [, opts]) */
static int encode(lua_State *L)
{
	struct encode_options options = { false };
	struct buffer *out = scratch(L);
	struct kdb_input input;
	char err[200];
	size_t begin;

	luaL_checkany(L, 1);
	api_options_read(L, 2, "opts", encode_options, &options);
	begin = kdb_message_begin(out, kdb_value_type(L, 1) == KDB_ERROR ? KDB_RESPONSE : KDB_ASYNC);
	kdb_value_encode(L, 1, "kdb.encode", out, size_limit(L));
	if (kdb_message_end(out, begin))
		return quota_out_of_memory(L);
	/* typed values in lists may be deep, too */
	if (lua_istable(L, 1) && kdb_open(&input, (struct bytes){ out->data, out->size }, KDB_SIZE_MAX, NULL, err, sizeof err))
		return luaL_error(L, "kdb.encode: %s", err);
	if (options.compress)
		compress(L, out);
	else
		lua_pushlstring(L, out->data, out->size);
	buffer_reset(out);
	return 1;
}

/* kdb.decode(bytes): the value; or nil and what is wrong. */
static int decode(lua_State *L)
{
	struct buffer *out = scratch(L), *plain = &script_of(L)->context;
	struct bytes message;
	struct kdb_input input;
	char err[300];

	message.data = api_check_string(L, 1, "bytes", &message.size);
	plain->size = 0;
	if (kdb_open(&input, message, size_limit(L), plain, err, sizeof err)) {
		lua_pushnil(L);
		lua_pushstring(L, err);
		return 2;
	}
	if (kdb_value_normalise(&input, out))
		return quota_out_of_memory(L);
	buffer_reset(plain);
	return push_right(L, out);
}

static int plain(lua_State *L)
{
	luaL_checkany(L, 1);
	kdb_value_plain(L, 1);
	return 1;
}

/* ---- nulls and infinities ---- */

static void set_null(lua_State *L, int type)
{
	struct kdb_column column = { NULL, type, false };
	struct buffer *out = scratch(L);

	lua_pushnil(L);
	if (kdb_coerce(L, -1, &column, false, out) != KDB_COERCED)
		quota_out_of_memory(L);
	lua_pop(L, 1);
	push_right(L, out);
	lua_setfield(L, -2, kdb_type_name(type));
}

static void push_nulls(lua_State *L)
{
	struct buffer *out;

	lua_createtable(L, 0, 18);
	for (int type = KDB_GUID; type <= KDB_TIME; type++)
		if (type != KDB_BYTE && type != KDB_DATETIME && strcmp(kdb_type_name(type), "?") != 0)
			set_null(L, type);
	lua_pushliteral(L, "");
	lua_setfield(L, -2, "string");
	out = scratch(L);
	if (kdb_put_null(out))
		quota_out_of_memory(L);
	push_right(L, out);
	lua_setfield(L, -2, "generic");
}

/* kdb.inf and kdb.ninf. */
static void push_infinities(lua_State *L, int sign)
{
	lua_createtable(L, 0, 13);
	for (int type = KDB_SHORT; type <= KDB_TIME; type++) {
		if (type == KDB_DATETIME)
			continue;
		if (kdb_is_float(type)) {
			struct buffer *out = scratch(L);
			if (kdb_put_float(out, type, sign * (double)INFINITY))
				quota_out_of_memory(L);
			push_right(L, out);
		} else if (kdb_infinite_integer(type)) {
			push_integer(L, type, sign * kdb_infinite_integer(type));
		} else {
			continue;
		}
		lua_setfield(L, -2, kdb_type_name(type));
	}
}

static int open_kdb(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "boolean", make_boolean }, { "guid", make_guid },         { "byte", make_byte },
		{ "short", make_short },     { "int", make_int },           { "long", make_long },
		{ "real", make_real },       { "float", make_float },       { "char", make_char },
		{ "string", make_string },   { "symbol", make_symbol },     { "timestamp", make_timestamp },
		{ "month", make_month },     { "date", make_date },         { "timespan", make_timespan },
		{ "minute", make_minute },   { "second", make_second },     { "time", make_time },
		{ "raw", make_raw },         { "dictionary", make_dictionary }, { "table", make_table },
		{ "encode", encode },        { "decode", decode },          { "plain", plain },
		{ "upd", api_mqtt_upd },     { NULL, NULL },
	};

	kdb_value_open(L);
	lua_createtable(L, 0, (int)(sizeof functions / sizeof *functions) + 2);
	luaL_setfuncs(L, functions, 0);
	push_nulls(L);
	lua_setfield(L, -2, "null");
	push_infinities(L, 1);
	lua_setfield(L, -2, "inf");
	push_infinities(L, -1);
	lua_setfield(L, -2, "ninf");
	return 1;
}

void api_kdb_open(struct lua_State *L)
{
	luaL_requiref(L, "kdb", open_kdb, 1);
	lua_pop(L, 1);
}
