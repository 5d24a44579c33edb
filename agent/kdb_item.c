/* A number is the shortest text that reads back as the same; times are those of a clock
 * in UTC, also far from now.
 */
#include "kdb_item.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kdb_time.h"

#define DATETIME_DAYS_MAX 1e9

const char *kdb_prefix(int type)
{
	return abs(type) == KDB_BYTE ? "0x" : "";
}

const char *kdb_suffix(int type)
{
	switch (abs(type)) {
	case KDB_BOOLEAN:
		return "b";
	case KDB_SHORT:
		return "h";
	case KDB_INT:
		return "i";
	case KDB_REAL:
		return "e";
	default:
		return "";
	}
}

/* ---- times ---- */

static void format_date(int32_t date, char *text)
{
	struct kdb_civil civil = kdb_civil_of_date(date);

	(void)snprintf(text, KDB_ITEM_SIZE, "%04" PRId64 ".%02d.%02d", civil.year, civil.month, civil.day);
}

static void format_month(int32_t month, char *text)
{
	struct kdb_civil civil = kdb_civil_of_month(month);

	(void)snprintf(text, KDB_ITEM_SIZE, "%04" PRId64 ".%02dm", civil.year, civil.month);
}

/* A length of time with 0, 3 or 9 `digits` behind the second, and so many units to it. */
static void format_clock(int64_t value, int64_t units, int digits, char *text)
{
	uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value, per_second = (uint64_t)units;
	uint64_t seconds = size / per_second;
	int n = snprintf(text, KDB_ITEM_SIZE, "%s%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, value < 0 ? "-" : "", seconds / 3600,
	                 seconds / 60 % 60, seconds % 60);

	if (digits > 0)
		(void)snprintf(text + n, KDB_ITEM_SIZE - (size_t)n, digits == 9 ? ".%09" PRIu64 : ".%03" PRIu64,
		               size % per_second);
}

static void format_timespan(int64_t value, char *text)
{
	uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	char clock[KDB_ITEM_SIZE];

	format_clock((int64_t)(size % (uint64_t)KDB_DAY_NS), 1000000000, 9, clock);
	(void)snprintf(text, KDB_ITEM_SIZE, "%s%" PRIu64 "D%.30s", value < 0 ? "-" : "", size / (uint64_t)KDB_DAY_NS, clock);
}

static void format_timestamp(int64_t value, char *text)
{
	char date[KDB_ITEM_SIZE], clock[KDB_ITEM_SIZE];

	format_date(kdb_date_of_timestamp(value), date);
	format_clock(kdb_timespan_of_timestamp(value), 1000000000, 9, clock);
	(void)snprintf(text, KDB_ITEM_SIZE, "%.30sD%.30s", date, clock);
}

static void format_datetime(double value, char *text)
{
	char date[KDB_ITEM_SIZE], clock[KDB_ITEM_SIZE];
	int64_t ms, day;

	if (isnan(value) || isinf(value)) {
		(void)snprintf(text, KDB_ITEM_SIZE, "%s", isnan(value) ? "0Nz" : value > 0 ? "0wz" : "-0wz");
		return;
	}
	if (fabs(value) > DATETIME_DAYS_MAX) {
		(void)snprintf(text, KDB_ITEM_SIZE, "%.17gz", value);
		return;
	}
	ms = llround(value * 86400000);
	day = ms / 86400000 - (ms % 86400000 < 0);
	format_date((int32_t)day, date);
	format_clock(ms - day * 86400000, 1000, 3, clock);
	(void)snprintf(text, KDB_ITEM_SIZE, "%.30sT%.30s", date, clock);
}

static void format_minute(int64_t value, char *text)
{
	uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	(void)snprintf(text, KDB_ITEM_SIZE, "%s%02" PRIu64 ":%02" PRIu64, value < 0 ? "-" : "", size / 60, size % 60);
}

/* ---- numbers ---- */

/* In a vector the suffix of shorts and ints stands once, that of times with each. */
static bool format_special(int type, int64_t value, char *text)
{
	char letter = kdb_type_letter(type);
	int64_t infinite = kdb_infinite_integer(type);

	if (infinite == 0)
		return false;
	if (type <= KDB_LONG)
		letter = 0;
	if (value == kdb_null_integer(type))
		(void)snprintf(text, KDB_ITEM_SIZE, letter ? "0N%c" : "0N", letter);
	else if (value == infinite || value == -infinite)
		(void)snprintf(text, KDB_ITEM_SIZE, letter ? "%s0W%c" : "%s0W", value < 0 ? "-" : "", letter);
	else
		return false;
	return true;
}

static void format_integer(int type, int64_t value, char *text)
{
	if (format_special(type, value, text))
		return;
	switch (type) {
	case KDB_BYTE:
		(void)snprintf(text, KDB_ITEM_SIZE, "%02x", (unsigned)value);
		break;
	case KDB_TIMESTAMP:
		format_timestamp(value, text);
		break;
	case KDB_MONTH:
		format_month((int32_t)value, text);
		break;
	case KDB_DATE:
		format_date((int32_t)value, text);
		break;
	case KDB_TIMESPAN:
		format_timespan(value, text);
		break;
	case KDB_MINUTE:
		format_minute(value, text);
		break;
	case KDB_SECOND:
		format_clock(value, 1, 0, text);
		break;
	case KDB_TIME:
		format_clock(value, 1000, 3, text);
		break;
	default:
		(void)snprintf(text, KDB_ITEM_SIZE, "%" PRId64, value);
	}
}

static void format_float(int type, double value, char *text)
{
	bool real = type == KDB_REAL;

	if (isnan(value) || isinf(value)) {
		(void)snprintf(text, KDB_ITEM_SIZE, isnan(value) ? (real ? "0N" : "0n") : value > 0 ? (real ? "0W" : "0w")
		                                                         : real    ? "-0W"
		                                                                   : "-0w");
		return;
	}
	for (int digits = real ? 6 : 15; digits <= 17; digits++) {
		(void)snprintf(text, KDB_ITEM_SIZE, "%.*g", digits, value);
		double again = strtod(text, NULL);

		if (real ? (float)again == (float)value : again == value)
			break;
	}
}

static void format_guid(const unsigned char *guid, char *text)
{
	size_t at = 0, zeros = 0;

	for (size_t i = 0; i < 16; i++) {
		bool dash = i == 4 || i == 6 || i == 8 || i == 10;

		at += (size_t)snprintf(text + at, KDB_ITEM_SIZE - at, dash ? "-%02x" : "%02x", guid[i]);
		zeros += guid[i] == 0;
	}
	if (zeros == 16)
		(void)snprintf(text, KDB_ITEM_SIZE, "0Ng");
}

void kdb_format_item(const struct kdb_object *object, size_t i, char text[KDB_ITEM_SIZE])
{
	int type = abs(object->type);

	if (type == KDB_GUID)
		format_guid(kdb_guid_at(object, i), text);
	else if (type == KDB_DATETIME)
		format_datetime(kdb_float_at(object, i), text);
	else if (kdb_is_float(type))
		format_float(type, kdb_float_at(object, i), text);
	else
		format_integer(type, kdb_integer_at(object, i), text);
}
