/* What scripts can do with typed values: look into them, compare and print them. */
#include "kdb_access.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "api.h"
#include "kdb_bytes.h"
#include "kdb_item.h"
#include "kdb_print.h"
#include "kdb_time.h"
#include "quota.h"
#include "value.h"

#define PRINT_MAX 1000 /* bytes of a value as text */

static struct kdb_value *check_value(lua_State *L, int arg)
{
	struct kdb_value *value = kdb_value_of(L, arg);

	if (!value)
		luaL_argerror(L, arg, lua_pushfstring(L, "kdb value expected, got %s", api_kind(L, arg)));
	return value;
}

int kdb_type_of(const struct kdb_value *value)
{
	return (signed char)value->bytes[0];
}

bool kdb_is_vector(const struct kdb_value *value)
{
	return kdb_type_of(value) > KDB_LIST && kdb_type_of(value) <= KDB_TIME;
}

bool kdb_is_atom(const struct kdb_value *value)
{
	return kdb_type_of(value) < KDB_LIST && kdb_type_of(value) >= -KDB_TIME;
}

/* Takes the first object off the input. */
struct kdb_object kdb_open_value(const struct kdb_value *value, struct kdb_input *input)
{
	struct kdb_object object = { 0 };

	*input = (struct kdb_input){ { value->bytes, value->size }, 0, KDB_BIG_ENDIAN_HOST };
	(void)kdb_next(input, &object);
	return object;
}

/* ---- what is in containers ---- */

/* How many items, rows or keys there are; it is not in the bytes of dictionaries and tables themselves. */
static size_t count_of(struct kdb_input *input)
{
	struct kdb_object object = { 0 };

	(void)kdb_next(input, &object);
	if (object.type == KDB_TABLE) { /* the rows of its first column */
		(void)kdb_next(input, &object);
		(void)kdb_next(input, &object);
		return count_of(input);
	}
	if (object.type == KDB_DICTIONARY)
		return count_of(input);
	return object.type == KDB_LIST ? object.children : object.n;
}

size_t kdb_length(const struct kdb_value *value)
{
	struct kdb_input input = { { value->bytes, value->size }, 0, KDB_BIG_ENDIAN_HOST };

	return count_of(&input);
}

/* Pushes child `i`, 0 or 1, of a dictionary or table. */
void kdb_push_child(lua_State *L, const struct kdb_value *value, int i)
{
	struct kdb_input input;
	struct kdb_object child = { 0 };

	(void)kdb_open_value(value, &input);
	if (i == 1) {
		(void)kdb_next(&input, &child);
		kdb_skip(&input, &child);
	}
	kdb_value_push(L, &input);
}

/* Pushes the column names of a table as a list of strings. */
static void push_names(lua_State *L, const struct kdb_value *value)
{
	struct kdb_input input;
	struct kdb_object names = { 0 };
	size_t at = 0;

	(void)kdb_open_value(value, &input);
	(void)kdb_next(&input, &names);
	lua_createtable(L, (int)names.n, 0);
	for (size_t i = 0; i < names.n; i++) {
		struct bytes name = kdb_symbol_next(&names, &at);

		lua_pushlstring(L, name.data, name.size);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static struct kdb_value *check_type(lua_State *L, int type, const char *what)
{
	struct kdb_value *value = check_value(L, 1);

	if (kdb_type_of(value) != type)
		luaL_argerror(L, 1, lua_pushfstring(L, "%s expected, got kdb %s", what, kdb_type_name(kdb_type_of(value))));
	return value;
}

/* t:column(name) */
static int column(lua_State *L)
{
	struct kdb_value *value = check_type(L, KDB_TABLE, "table");
	struct kdb_input input;
	struct kdb_object names = { 0 }, other;
	size_t at = 0, i = 0, size;
	const char *name = api_check_string(L, 2, "name", &size);

	(void)kdb_open_value(value, &input);
	(void)kdb_next(&input, &names);
	for (; i < names.n; i++) {
		struct bytes known = kdb_symbol_next(&names, &at);

		if (known.size == size && memcmp(known.data, name, size) == 0)
			break;
	}
	if (i == names.n)
		return 0;
	(void)kdb_next(&input, &other); /* the list */
	for (; i > 0; i--) {
		(void)kdb_next(&input, &other);
		kdb_skip(&input, &other);
	}
	kdb_value_push(L, &input);
	return 1;
}

/* Pushes two values, which must stay. */
struct kdb_items kdb_open_items(lua_State *L, int index)
{
	struct kdb_value *value = kdb_value_of(L, index);
	bool table = value && kdb_type_of(value) == KDB_TABLE;

	quota_check_stack(L, 16);
	lua_settop(L, lua_gettop(L) + 2);
	struct kdb_items items = { index, lua_gettop(L) - 1, lua_gettop(L) };
	if (table) {
		push_names(L, value);
		lua_replace(L, items.names);
		kdb_push_child(L, value, 1);
		lua_replace(L, items.columns);
	}
	return items;
}

/* Row i of a table, by column names. */
static void push_row(lua_State *L, const struct kdb_items *items, size_t i)
{
	size_t n = lua_rawlen(L, items->names);
	int row = lua_gettop(L) + 1;

	lua_createtable(L, 0, (int)n);
	for (size_t c = 1; c <= n; c++) {
		lua_rawgeti(L, items->names, (lua_Integer)c);
		lua_rawgeti(L, items->columns, (lua_Integer)c);
		struct kdb_items column_items = kdb_open_items(L, row + 2);
		kdb_items_push(L, &column_items, i);
		lua_replace(L, row + 2);
		lua_settop(L, row + 2);
		lua_rawset(L, row);
	}
}

/* Item i, from 0, of a list, string, vector or table. */
void kdb_items_push(lua_State *L, const struct kdb_items *items, size_t i)
{
	struct kdb_value *value = kdb_value_of(L, items->of);
	size_t size;
	const char *text;

	if (lua_istable(L, items->of)) {
		lua_rawgeti(L, items->of, (lua_Integer)i + 1);
	} else if (lua_type(L, items->of) == LUA_TSTRING) {
		text = lua_tolstring(L, items->of, &size);
		lua_pushlstring(L, i < size ? text + i : "", i < size);
	} else if (value && kdb_is_vector(value)) {
		kdb_push_item(L, value, i);
	} else if (value && kdb_type_of(value) == KDB_TABLE) {
		push_row(L, items, i);
	} else {
		lua_pushnil(L);
	}
}

/* Is the key at `wanted` that on top? Symbols are also found by their text. */
static bool is_key(lua_State *L, int wanted)
{
	struct bytes symbol = kdb_value_bytes(L, -1);
	size_t size;
	const char *text;

	if (lua_compare(L, wanted, -1, LUA_OPEQ))
		return true;
	if (kdb_value_type(L, -1) != -KDB_SYMBOL || lua_type(L, wanted) != LUA_TSTRING)
		return false;
	text = lua_tolstring(L, wanted, &size);
	return symbol.size == size + 2 && memcmp((const char *)symbol.data + 1, text, size) == 0;
}

/* d:get(key) */
static int get(lua_State *L)
{
	struct kdb_value *value = check_type(L, KDB_DICTIONARY, "dictionary");
	size_t n = kdb_length(value);

	luaL_checkany(L, 2);
	lua_settop(L, 2);
	kdb_push_child(L, value, 0);
	struct kdb_items keys = kdb_open_items(L, 3);
	for (size_t i = 0; i < n; i++) {
		if (i % 1024 == 0)
			quota_check_time(L);
		kdb_items_push(L, &keys, i);
		if (is_key(L, 2)) {
			kdb_push_child(L, value, 1);
			struct kdb_items values = kdb_open_items(L, lua_gettop(L));
			kdb_items_push(L, &values, i);
			return 1;
		}
		lua_pop(L, 1);
	}
	return 0;
}

/* ---- atoms ---- */

bool kdb_is_null(const struct kdb_object *atom)
{
	static const unsigned char zeros[16];
	int type = -atom->type;

	if (type == KDB_GUID)
		return memcmp(kdb_guid_at(atom, 0), zeros, sizeof zeros) == 0;
	if (type == KDB_SYMBOL)
		return kdb_text(atom).size == 0;
	if (kdb_is_float(type))
		return isnan(kdb_float_at(atom, 0));
	return type != KDB_BOOLEAN && type != KDB_BYTE && kdb_integer_at(atom, 0) == kdb_null_integer(type);
}

/* Seconds of a time: since 1970 where it has a date. */
static bool seconds_of(const struct kdb_object *atom, double *seconds)
{
	int64_t value = kdb_is_integer(-atom->type) ? kdb_integer_at(atom, 0) : 0;
	int64_t infinite = kdb_infinite_integer(-atom->type);

	switch (-atom->type) {
	case KDB_TIMESTAMP:
	case KDB_TIMESPAN:
		*seconds = (double)(value / 1000000000) + (double)(value % 1000000000) / 1e9;
		*seconds += -atom->type == KDB_TIMESTAMP ? KDB_EPOCH_S : 0;
		break;
	case KDB_MONTH:
	case KDB_DATE:
		if (-atom->type == KDB_MONTH && value > -infinite && value < infinite)
			value = kdb_date_of_civil(kdb_civil_of_month((int32_t)value));
		*seconds = (double)(value + KDB_EPOCH_DAYS) * 86400;
		break;
	case KDB_DATETIME:
		*seconds = (kdb_float_at(atom, 0) + KDB_EPOCH_DAYS) * 86400;
		return true;
	case KDB_MINUTE:
		*seconds = (double)value * 60;
		break;
	case KDB_SECOND:
		*seconds = (double)value;
		break;
	case KDB_TIME:
		*seconds = (double)value / 1000;
		break;
	default:
		return false;
	}
	value = kdb_integer_at(atom, 0);
	if (value == infinite || value == -infinite)
		*seconds = value > 0 ? INFINITY : -INFINITY;
	return true;
}

int kdb_push_seconds(lua_State *L, const struct kdb_object *atom)
{
	double seconds;

	if (kdb_is_null(atom) || !seconds_of(atom, &seconds))
		return 0;
	lua_pushnumber(L, seconds);
	return 1;
}

/* What is in an atom or error, as a number or string. */
int kdb_push_text(lua_State *L, const struct kdb_object *object)
{
	int type = object->type == KDB_ERROR ? KDB_SYMBOL : -object->type;
	char guid[KDB_ITEM_SIZE];
	struct bytes text = kdb_text(object);

	if (type == KDB_GUID) {
		kdb_format_item(object, 0, guid);
		lua_pushstring(L, guid);
	} else if (type == KDB_SYMBOL || type == KDB_CHAR) {
		lua_pushlstring(L, text.data, text.size);
	} else if (kdb_is_float(type)) {
		lua_pushnumber(L, kdb_float_at(object, 0));
	} else if (kdb_is_integer(type)) {
		lua_pushinteger(L, kdb_integer_at(object, 0));
	} else {
		return 0;
	}
	return 1;
}

/* ---- metamethods ---- */

static int to_string(lua_State *L)
{
	struct kdb_value *value = check_value(L, 1);
	struct buffer *out = &script_of(L)->kdb;
	struct kdb_input input = { { value->bytes, value->size }, 0, KDB_BIG_ENDIAN_HOST };

	out->size = 0;
	if (kdb_print(out, &input, PRINT_MAX))
		return quota_out_of_memory(L);
	lua_pushlstring(L, out->data, out->size);
	return 1;
}

static int plain(lua_State *L)
{
	check_value(L, 1);
	kdb_value_plain(L, 1);
	return 1;
}

static int property(lua_State *L, struct kdb_value *value, const char *name)
{
	struct kdb_input input;
	struct kdb_object object = kdb_open_value(value, &input);

	if (!strcmp(name, "type")) {
		bool nothing = object.type == KDB_NULL && *(const unsigned char *)object.items.data == 0;
		lua_pushstring(L, nothing ? "null" : kdb_type_name(object.type));
	} else if (!strcmp(name, "atom")) {
		lua_pushboolean(L, kdb_is_atom(value));
	} else if (!strcmp(name, "value") && (kdb_is_atom(value) || object.type == KDB_ERROR)) {
		return kdb_push_text(L, &object);
	} else if (!strcmp(name, "null")) {
		lua_pushboolean(L, object.type == KDB_NULL || (kdb_is_atom(value) && kdb_is_null(&object)));
	} else if (!strcmp(name, "seconds") && kdb_is_atom(value)) {
		return kdb_push_seconds(L, &object);
	} else if (!strcmp(name, "plain")) {
		lua_pushcfunction(L, plain);
	} else if (object.type == KDB_TABLE && !strcmp(name, "names")) {
		push_names(L, value);
	} else if (object.type == KDB_TABLE && !strcmp(name, "columns")) {
		kdb_push_child(L, value, 1);
	} else if (object.type == KDB_TABLE && !strcmp(name, "column")) {
		lua_pushcfunction(L, column);
	} else if (object.type == KDB_DICTIONARY && !strcmp(name, "keys")) {
		kdb_push_child(L, value, 0);
	} else if (object.type == KDB_DICTIONARY && !strcmp(name, "values")) {
		kdb_push_child(L, value, 1);
	} else if (object.type == KDB_DICTIONARY && !strcmp(name, "get")) {
		lua_pushcfunction(L, get);
	} else {
		return 0;
	}
	return 1;
}

/* v[i] and v.name; nil for what it has not. */
static int index_value(lua_State *L)
{
	struct kdb_value *value = check_value(L, 1);
	lua_Integer i = lua_isinteger(L, 2) ? lua_tointeger(L, 2) : 0;

	if (lua_type(L, 2) == LUA_TSTRING)
		return property(L, value, lua_tostring(L, 2));
	if (kdb_is_vector(value) && i >= 1 && (size_t)i <= kdb_vector_of(value).n) {
		kdb_push_item(L, value, (size_t)i - 1);
		return 1;
	}
	if (kdb_type_of(value) == KDB_TABLE && i >= 1 && (size_t)i <= kdb_length(value)) {
		struct kdb_items rows = kdb_open_items(L, 1);
		push_row(L, &rows, (size_t)i - 1);
		return 1;
	}
	return 0;
}

static int length_of(lua_State *L)
{
	struct kdb_value *value = check_value(L, 1);

	if (!kdb_is_vector(value) && kdb_type_of(value) != KDB_TABLE && kdb_type_of(value) != KDB_DICTIONARY)
		return luaL_error(L, "a kdb %s has no length", kdb_type_name(kdb_type_of(value)));
	lua_pushinteger(L, (lua_Integer)kdb_length(value));
	return 1;
}

static int equal(lua_State *L)
{
	struct bytes a = kdb_value_bytes(L, 1), b = kdb_value_bytes(L, 2);

	lua_pushboolean(L, a.data && a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
	return 1;
}

/* Below 0, 0 or above 0, as q sorts: nulls first. */
static int order_of(const struct kdb_object *a, const struct kdb_object *b)
{
	int type = -a->type;

	if (kdb_is_integer(type)) {
		int64_t x = kdb_integer_at(a, 0), y = kdb_integer_at(b, 0);
		return (x > y) - (x < y);
	}
	if (kdb_is_float(type)) {
		double x = kdb_float_at(a, 0), y = kdb_float_at(b, 0);
		return isnan(x) || isnan(y) ? isnan(y) - isnan(x) : (x > y) - (x < y);
	}
	struct bytes x = a->items, y = b->items;
	int order = memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);
	return order ? order : (x.size > y.size) - (x.size < y.size);
}

/* Two atoms of one type, or an error as of Lua's own. */
static int compare(lua_State *L)
{
	struct kdb_value *a = kdb_value_of(L, 1), *b = kdb_value_of(L, 2);
	struct kdb_input one, other;
	struct kdb_object x, y;

	if (!a || !b || !kdb_is_atom(a) || kdb_type_of(a) != kdb_type_of(b))
		return luaL_error(L, "attempt to compare kdb %s with %s%s",
		                  a ? kdb_type_name(kdb_type_of(a)) : luaL_typename(L, 1), b ? "kdb " : "",
		                  b ? kdb_type_name(kdb_type_of(b)) : luaL_typename(L, 2));
	x = kdb_open_value(a, &one);
	y = kdb_open_value(b, &other);
	return order_of(&x, &y);
}

static int less_than(lua_State *L)
{
	int order = compare(L);

	lua_pushboolean(L, order < 0);
	return 1;
}

static int less_equal(lua_State *L)
{
	int order = compare(L);

	lua_pushboolean(L, order <= 0);
	return 1;
}

const struct luaL_Reg kdb_metamethods[] = {
	{ "__index", index_value }, { "__len", length_of }, { "__eq", equal },         { "__lt", less_than },
	{ "__le", less_equal },     { "__tostring", to_string }, { NULL, NULL },
};
