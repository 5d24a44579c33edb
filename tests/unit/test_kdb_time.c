/* kdb+'s times: days before 2000 and before 1970 are rounded down, and nothing overflows. */
#include "kdb_time.h"

#include <limits.h>
#include <stdbool.h>

#include "test.h"

#define DAY KDB_DAY_NS

static void timestamps_count_from_2000(void)
{
	CHECK(kdb_timestamp_of_unix_ns(INT64_C(946684800000000000)) == 0);
	CHECK(kdb_timestamp_of_unix_ns(0) == INT64_C(-946684800000000000));
	CHECK(kdb_unix_ns_of_timestamp(1) == INT64_C(946684800000000001));
	CHECK(kdb_timestamp_of_unix_ms(946684800001) == 1000000);
	CHECK(kdb_timestamp_of_unix_ms(-1) == INT64_C(-946684800001000000));
}

static void what_is_out_of_range_is_the_nearest_time(void)
{
	CHECK(kdb_timestamp_of_unix_ns(INT64_MIN) == INT64_MIN + 2);
	CHECK(kdb_timestamp_of_unix_ns(INT64_MIN + 2 + INT64_C(946684800000000000)) == INT64_MIN + 2);
	CHECK(kdb_timestamp_of_unix_ns(INT64_MAX) == INT64_MAX - INT64_C(946684800000000000));
	CHECK(kdb_unix_ns_of_timestamp(INT64_MAX) == INT64_MAX);
	CHECK(kdb_unix_ns_of_timestamp(INT64_MIN) == INT64_MIN + INT64_C(946684800000000000));
	CHECK(kdb_timestamp_of_unix_ms(INT64_MIN) == INT64_MIN + 2);
	CHECK(kdb_timestamp_of_unix_ms(INT64_MAX) == INT64_MAX - 1);
	CHECK(kdb_date_of_unix_s(INT64_MIN) == INT32_MIN + 2 && kdb_date_of_unix_s(INT64_MAX) == INT32_MAX - 1);
}

static void days_are_rounded_down(void)
{
	CHECK(kdb_date_of_timestamp(0) == 0 && kdb_date_of_timestamp(-1) == -1);
	CHECK(kdb_date_of_timestamp(DAY - 1) == 0 && kdb_date_of_timestamp(DAY) == 1);
	CHECK(kdb_timespan_of_timestamp(-1) == DAY - 1 && kdb_timespan_of_timestamp(DAY) == 0);
	CHECK(kdb_timespan_of_timestamp(-DAY) == 0 && kdb_date_of_timestamp(-DAY) == -1);
	CHECK(kdb_date_of_unix_s(946684799) == -1 && kdb_date_of_unix_s(-1) == -KDB_EPOCH_DAYS - 1);
	/* the day before the first timestamp began does not fit into 64 bits of nanoseconds */
	CHECK(kdb_timespan_of_timestamp(INT64_MIN) >= 0 && kdb_timespan_of_timestamp(INT64_MIN) < DAY);
}

static bool is(struct kdb_civil civil, int64_t year, int month, int day)
{
	return civil.year == year && civil.month == month && civil.day == day;
}

static void dates_follow_the_calendar(void)
{
	CHECK(is(kdb_civil_of_date(0), 2000, 1, 1) && is(kdb_civil_of_date(59), 2000, 2, 29));
	CHECK(is(kdb_civil_of_date(-KDB_EPOCH_DAYS), 1970, 1, 1) && is(kdb_civil_of_date(-1), 1999, 12, 31));
	CHECK(is(kdb_civil_of_date(36583), 2100, 2, 28) && is(kdb_civil_of_date(36584), 2100, 3, 1));
	CHECK(is(kdb_civil_of_date(-730425), 0, 3, 1) && is(kdb_civil_of_date(-730426), 0, 2, 29));
	CHECK(kdb_civil_of_date(INT32_MAX).year == 5881610);
	CHECK(kdb_date_of_civil((struct kdb_civil){ 2001, 2, 31 }) ==
	      kdb_date_of_civil((struct kdb_civil){ 2001, 3, 3 }));
	CHECK(kdb_date_of_civil((struct kdb_civil){ INT64_MAX, 1, 1 }) == INT32_MAX - 1);
	for (int64_t date = -800000; date < 800000; date += 7)
		CHECK(kdb_date_of_civil(kdb_civil_of_date((int32_t)date)) == date);
	for (int64_t date = INT32_MIN + INT64_C(2); date < INT32_MAX; date += 1000003)
		CHECK(kdb_date_of_civil(kdb_civil_of_date((int32_t)date)) == date);
}

static void months_count_from_2000(void)
{
	CHECK(is(kdb_civil_of_month(0), 2000, 1, 1) && is(kdb_civil_of_month(-1), 1999, 12, 1));
	CHECK(is(kdb_civil_of_month(300), 2025, 1, 1));
	CHECK(kdb_month_of_civil((struct kdb_civil){ 1999, 12, 31 }) == -1);
	for (int64_t month = INT32_MIN + INT64_C(2); month < INT32_MAX; month += 1000003)
		CHECK(kdb_month_of_civil(kdb_civil_of_month((int32_t)month)) == month);
}

int main(void)
{
	RUN(timestamps_count_from_2000);
	RUN(what_is_out_of_range_is_the_nearest_time);
	RUN(days_are_rounded_down);
	RUN(dates_follow_the_calendar);
	RUN(months_count_from_2000);
	return test_end();
}
