/* kdb+'s times: counted from 2000, in UTC, without leap seconds. What does not fit becomes the nearest that
 * does and is neither null nor infinite. Nulls and infinities are the caller's.
 */
#ifndef TIDEGATE_KDB_TIME_H
#define TIDEGATE_KDB_TIME_H

#include <stdint.h>

#define KDB_EPOCH_DAYS 10957 /* 2000-01-01, in days since 1970 */
#define KDB_EPOCH_S    946684800
#define KDB_DAY_NS     INT64_C(86400000000000)

/* a / b, rounded down; b is positive. */
int64_t kdb_floor_div(int64_t a, int64_t b);

/* Nanoseconds since 1970 as a timestamp, and back. */
int64_t kdb_timestamp_of_unix_ns(int64_t unix_ns);
int64_t kdb_unix_ns_of_timestamp(int64_t timestamp);
/* The same for milliseconds, which is what the queue has; rounded down. */
int64_t kdb_timestamp_of_unix_ms(int64_t unix_ms);

/* The day, and the time since it began; rounded down, before 2000 as well. */
int32_t kdb_date_of_timestamp(int64_t timestamp);
int64_t kdb_timespan_of_timestamp(int64_t timestamp);
int32_t kdb_date_of_unix_s(int64_t unix_s);

/* In the Gregorian calendar. `month` and `day` count from 1. */
struct kdb_civil {
	int64_t year;
	int month, day;
};

struct kdb_civil kdb_civil_of_date(int32_t date);
int32_t kdb_date_of_civil(struct kdb_civil civil); /* a 31st of February is a 3rd of March */
struct kdb_civil kdb_civil_of_month(int32_t month); /* its first day */
int32_t kdb_month_of_civil(struct kdb_civil civil);

#endif
