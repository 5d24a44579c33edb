/* The days of the calendar are counted from the first of March of the year 0, in eras of
 * 400 years, so that leap days come last and every era is alike.
 */
#include "kdb_time.h"

#define TIMESTAMP_MIN (INT64_MIN + 2) /* below are null and minus infinity */
#define TIMESTAMP_MAX (INT64_MAX - 1)
#define DAY_MIN       (INT32_MIN + 2)
#define DAY_MAX       (INT32_MAX - 1)
#define EPOCH_NS      (KDB_EPOCH_S * INT64_C(1000000000))
#define ERA_DAYS      146097
#define MARCH_0       730425 /* days from 0000-03-01 to 2000-01-01 */

int64_t kdb_floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
	return value < least ? least : value > most ? most : value;
}

int64_t kdb_timestamp_of_unix_ns(int64_t unix_ns)
{
	return unix_ns < TIMESTAMP_MIN + EPOCH_NS ? TIMESTAMP_MIN : unix_ns - EPOCH_NS;
}

int64_t kdb_unix_ns_of_timestamp(int64_t timestamp)
{
	return timestamp > INT64_MAX - EPOCH_NS ? INT64_MAX : timestamp + EPOCH_NS;
}

int64_t kdb_timestamp_of_unix_ms(int64_t unix_ms)
{
	int64_t most = TIMESTAMP_MAX / 1000000, least = -most;

	if (unix_ms < least + EPOCH_NS / 1000000)
		return TIMESTAMP_MIN;
	unix_ms -= EPOCH_NS / 1000000;
	return unix_ms > most ? TIMESTAMP_MAX : unix_ms * 1000000;
}

int32_t kdb_date_of_timestamp(int64_t timestamp)
{
	return (int32_t)kdb_floor_div(timestamp, KDB_DAY_NS);
}

int64_t kdb_timespan_of_timestamp(int64_t timestamp)
{
	int64_t rest = timestamp % KDB_DAY_NS;

	return rest < 0 ? rest + KDB_DAY_NS : rest;
}

int32_t kdb_date_of_unix_s(int64_t unix_s)
{
	return (int32_t)clamp(kdb_floor_div(unix_s, 86400) - KDB_EPOCH_DAYS, DAY_MIN, DAY_MAX);
}

struct kdb_civil kdb_civil_of_date(int32_t date)
{
	int64_t days = (int64_t)date + MARCH_0, era = kdb_floor_div(days, ERA_DAYS);
	int64_t of_era = days - era * ERA_DAYS;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int month = (int)((5 * of_year + 2) / 153); /* from March */

	return (struct kdb_civil){
		.year = year + era * 400 + (month >= 10),
		.month = month < 10 ? month + 3 : month - 9,
		.day = (int)of_year - (153 * month + 2) / 5 + 1,
	};
}

int32_t kdb_date_of_civil(struct kdb_civil civil)
{
	int64_t year = clamp(civil.year, -6000000, 6000000) - (civil.month <= 2), era = kdb_floor_div(year, 400);
	int64_t of_era = year - era * 400;
	int64_t of_year = (153 * (civil.month > 2 ? civil.month - 3 : civil.month + 9) + 2) / 5 + civil.day - 1;
	int64_t days = era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year;

	return (int32_t)clamp(days - MARCH_0, DAY_MIN, DAY_MAX);
}

struct kdb_civil kdb_civil_of_month(int32_t month)
{
	int64_t years = kdb_floor_div(month, 12);

	return (struct kdb_civil){ 2000 + years, (int)(month - years * 12) + 1, 1 };
}

int32_t kdb_month_of_civil(struct kdb_civil civil)
{
	int64_t year = clamp(civil.year, -200000000, 200000000);

	return (int32_t)clamp((year - 2000) * 12 + civil.month - 1, DAY_MIN, DAY_MAX);
}
