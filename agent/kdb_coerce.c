/* One function for each family of types. Plain numbers that kdb+ would take for null or infinity do not fit; those
 * of longs do, for Lua has no others: kdb.null.long is math.mininteger.
 */
#include "kdb_coerce.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <lua.h>

#include "hex.h"
#include "kdb_ipc.h"
#include "kdb_time.h"
#include "kdb_value.h"
#include "value.h"

/* What is to be written, and where. */
struct target {
	struct buffer *out;
	int type;
	bool item; /* without the type */
};

static enum kdb_coerced written(int status)
{
	return status ? KDB_COERCE_MEMORY : KDB_COERCED;
}

static enum kdb_coerced put_integer(const struct target *target, int64_t value)
{
	return written(target->item ? kdb_put_integer_item(target->out, target->type, value)
	                            : kdb_put_integer(target->out, target->type, value));
}

static enum kdb_coerced put_float(const struct target *target, double value)
{
	return written(target->item ? kdb_put_float_item(target->out, target->type, value)
	                            : kdb_put_float(target->out, target->type, value));
}

static enum kdb_coerced put_guid(const struct target *target, const unsigned char guid[16])
{
	return written(target->item ? buffer_append(target->out, guid, 16) : kdb_put_guid(target->out, guid));
}

static enum kdb_coerced put_symbol(const struct target *target, struct bytes text)
{
	return written(target->item ? kdb_put_symbol_item(target->out, text) : kdb_put_symbol(target->out, text));
}

static enum kdb_coerced put_null(const struct target *target)
{
	static const unsigned char zeros[16];

	if (target->type == KDB_BOOLEAN || target->type == KDB_BYTE)
		return KDB_MISFIT;
	if (target->type == KDB_GUID)
		return put_guid(target, zeros);
	if (target->type == KDB_SYMBOL)
		return put_symbol(target, (struct bytes){ "", 0 });
	if (kdb_is_float(target->type))
		return put_float(target, NAN);
	return put_integer(target, kdb_null_integer(target->type));
}

/* The range of plain numbers. */
static void limits(int type, int64_t *least, int64_t *most)
{
	int64_t infinite = kdb_infinite_integer(type);

	*least = type == KDB_LONG ? INT64_MIN : infinite ? 1 - infinite : 0;
	*most = type == KDB_LONG ? INT64_MAX : infinite ? infinite - 1 : UINT8_MAX;
}

static enum kdb_coerced coerce_integer(lua_State *L, int index, const struct target *target)
{
	int64_t least, most;
	int whole = 0;
	lua_Integer value = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &whole) : 0;

	limits(target->type, &least, &most);
	return whole && value >= least && value <= most ? put_integer(target, value) : KDB_MISFIT;
}

static enum kdb_coerced coerce_float(lua_State *L, int index, const struct target *target)
{
	double value = lua_tonumber(L, index);

	if (lua_type(L, index) != LUA_TNUMBER)
		return KDB_MISFIT;
	/* 2^63 itself is not an integer of Lua's: converting it back would be undefined */
	if (lua_isinteger(L, index) && target->type == KDB_FLOAT &&
	    (value >= 0x1p63 || (lua_Integer)value != lua_tointeger(L, index)))
		return KDB_MISFIT;
	if (target->type == KDB_REAL && isfinite(value) && fabs(value) > (double)FLT_MAX)
		return KDB_MISFIT;
	return put_float(target, value);
}

/* ---- times: all of them from seconds ---- */

#define NS INT64_C(1000000000)

/* From here on, which is 2004, a double is at most 0.24 us apart from the next: what it has beyond microseconds is noise,
 * and 10:00:00.123 would become 10:00:00.122999907. */
#define FINE_SECONDS 1073741824.0

/* Whole seconds, and nanoseconds beyond them; false if the value at `index` is no such number. */
static bool read_seconds(lua_State *L, int index, int64_t *seconds, int64_t *ns)
{
	double value = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : NAN;

	*ns = 0;
	if (!(fabs(value) < 9e15))
		return false;
	if (lua_isinteger(L, index)) {
		*seconds = lua_tointeger(L, index);
	} else {
		*seconds = (int64_t)floor(value);
		*ns = fabs(value) < FINE_SECONDS ? (int64_t)llround((value - floor(value)) * 1e9)
		                                 : (int64_t)llround((value - floor(value)) * 1e6) * 1000;
	}
	return true;
}

static bool in_days(int64_t seconds, int64_t *days)
{
	*days = kdb_floor_div(seconds, 86400) - KDB_EPOCH_DAYS;
	return *days > -INT32_MAX && *days < INT32_MAX;
}

/* In the unit of the type; false if it does not fit. */
static bool time_of(int type, int64_t seconds, int64_t ns, int64_t *value)
{
	switch (type) {
	case KDB_TIMESTAMP:
	case KDB_TIMESPAN:
		seconds -= type == KDB_TIMESTAMP ? KDB_EPOCH_S : 0;
		if (seconds <= -9223372036 || seconds >= 9223372036)
			return false;
		*value = seconds * NS + ns;
		return true;
	case KDB_DATE:
		return in_days(seconds, value);
	case KDB_MONTH:
		if (!in_days(seconds, value))
			return false;
		*value = kdb_month_of_civil(kdb_civil_of_date((int32_t)*value));
		return true;
	case KDB_TIME:
		*value = seconds * 1000 + ns / 1000000;
		break;
	case KDB_SECOND:
		*value = seconds + ns / NS;
		break;
	default:
		*value = kdb_floor_div(seconds, 60);
		break;
	}
	return *value > -INT32_MAX && *value < INT32_MAX;
}

static enum kdb_coerced coerce_time(lua_State *L, int index, const struct target *target)
{
	int64_t seconds, ns, value;

	return read_seconds(L, index, &seconds, &ns) && time_of(target->type, seconds, ns, &value)
	               ? put_integer(target, value)
	               : KDB_MISFIT;
}

/* ---- texts ---- */

/* 8c680a01-5a49-5aab-5a65-d4bfddb6a661 */
static bool parse_guid(const char *text, size_t size, unsigned char guid[16])
{
	size_t at = 0;

	if (size != 36)
		return false;
	for (size_t i = 0; i < 16; i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-')
			return false;
		int high = hex_digit(text[at]), low = hex_digit(text[at + 1]);
		if (high < 0 || low < 0)
			return false;
		guid[i] = (unsigned char)(high << 4 | low);
		at += 2;
	}
	return true;
}

static enum kdb_coerced coerce_text(lua_State *L, int index, const struct target *target, bool string)
{
	struct bytes text = { "", 0 };
	unsigned char guid[16];

	if (lua_type(L, index) != LUA_TSTRING)
		return KDB_MISFIT;
	text.data = lua_tolstring(L, index, &text.size);
	if (string)
		return written(kdb_put_string(target->out, text));
	if (target->type == KDB_SYMBOL)
		return memchr(text.data, 0, text.size) ? KDB_MISFIT : put_symbol(target, text);
	if (target->type == KDB_GUID)
		return parse_guid(text.data, text.size, guid) ? put_guid(target, guid) : KDB_MISFIT;
	return text.size == 1 ? put_integer(target, *(const unsigned char *)text.data) : KDB_MISFIT;
}

/* ---- any type ---- */

static enum kdb_coerced coerce_typed(struct bytes object, int type, const struct target *target)
{
	size_t skip = target->item;

	if (type != -target->type)
		return KDB_MISFIT;
	return written(buffer_append(target->out, (const char *)object.data + skip, object.size - skip));
}

enum kdb_coerced kdb_coerce(struct lua_State *L, int index, const struct kdb_column *type, bool item, struct buffer *out)
{
	struct target target = { out, type->type, item };
	struct bytes object = kdb_value_bytes(L, index);

	if (object.data)
		return type->string ? KDB_MISFIT : coerce_typed(object, kdb_value_type(L, index), &target);
	if (lua_isnil(L, index) || value_is_null(L, index))
		return type->string ? written(kdb_put_string(out, (struct bytes){ "", 0 })) : put_null(&target);
	switch (type->type) {
	case KDB_BOOLEAN:
		return lua_isboolean(L, index) ? put_integer(&target, lua_toboolean(L, index)) : KDB_MISFIT;
	case KDB_BYTE:
	case KDB_SHORT:
	case KDB_INT:
	case KDB_LONG:
		return coerce_integer(L, index, &target);
	case KDB_REAL:
	case KDB_FLOAT:
		return coerce_float(L, index, &target);
	case KDB_CHAR:
	case KDB_SYMBOL:
	case KDB_GUID:
		return coerce_text(L, index, &target, type->string);
	default:
		return coerce_time(L, index, &target);
	}
}

const char *kdb_expected(const struct kdb_column *type)
{
	switch (type->type) {
	case KDB_BOOLEAN:
		return "boolean (true or false)";
	case KDB_BYTE:
		return "byte (0 to 255)";
	case KDB_SHORT:
		return "short (-32766 to 32766)";
	case KDB_INT:
		return "int (-2147483646 to 2147483646)";
	case KDB_LONG:
		return "long (a whole number)";
	case KDB_REAL:
		return "real (a number, at most 3.4e38)";
	case KDB_FLOAT:
		return "float (a number, exactly)";
	case KDB_CHAR:
		return type->string ? "string" : "char (a string of one byte)";
	case KDB_SYMBOL:
		return "symbol (a string without NUL)";
	case KDB_GUID:
		return "guid (as \"8c680a01-5a49-5aab-5a65-d4bfddb6a661\")";
	case KDB_TIMESTAMP:
		return "timestamp (seconds since 1970, of 1707 to 2292)";
	case KDB_MONTH:
		return "month (seconds since 1970)";
	case KDB_DATE:
		return "date (seconds since 1970)";
	case KDB_TIMESPAN:
		return "timespan (seconds)";
	case KDB_MINUTE:
		return "minute (seconds)";
	case KDB_SECOND:
		return "second (seconds)";
	case KDB_TIME:
		return "time (seconds)";
	default:
		return kdb_column_type(type);
	}
}
