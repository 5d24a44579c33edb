/* The heap of timers, against a list that is searched from end to end. */
#include "timers.h"

#include <string.h>

#include "test.h"

enum { MANY = 300 };

static struct timer all[MANY];
static size_t n_over;

static void over(void *arg, struct timer *timer)
{
	CHECK(!timer->wanted && !timer->armed);
	*(struct timer **)arg = timer;
	n_over++;
}

static int64_t now_ms;
static struct timer *last_over;

static void settle(struct timers *timers, bool happens)
{
	timers_settle(timers, happens, now_ms, over, &last_over);
}

static struct timer *earliest(void)
{
	struct timer *first = NULL;

	for (size_t i = 0; i < MANY; i++)
		if (all[i].armed && (!first || all[i].due_ns < first->due_ns ||
		                     (all[i].due_ns == first->due_ns && all[i].number < first->number)))
			first = &all[i];
	return first;
}

static void same_order_as_a_list(void)
{
	struct timers timers = { 0 };
	struct quota quota;
	unsigned random = 1;

	quota_init(&quota, "test", 0, 0);
	now_ms = 1000;
	for (int round = 0; round < 20000; round++) {
		struct timer *timer, *expected;

		random = random * 1103515245 + 12345;
		timer = &all[(random >> 8) % MANY];
		if (timer->wanted) {
			CHECK(timers_cancel(&timers, timer) && !timers_cancel(&timers, timer));
		} else if (!timer->armed && !timer->noted) {
			*timer = (struct timer){ .delay_ns = (int64_t)((random >> 4) % 50 + 1) * 700000, .repeats = random & 64 };
			CHECK(timers_set(&timers, timer, &quota) == 0);
		}
		if (random & 0x10000)
			settle(&timers, random & 0x20000);
		now_ms += random & 0x40000 ? 1 : 0;
		expected = earliest();
		CHECK((timers_due_ms(&timers) <= now_ms) == (expected && expected->due_ns <= now_ms * 1000000));
		if (timers.first)
			continue;
		timer = timers_take(&timers, now_ms);
		CHECK(!timer || timer == expected);
		CHECK(!timer || !timer->repeats || (timer->due_ns > now_ms * 1000000 &&
		                                    timer->due_ns - timer->delay_ns <= now_ms * 1000000));
	}
	settle(&timers, true);
	timers_release(&timers, &quota);
	CHECK(quota.used_bytes == 0);
}

static void no_memory_is_told(void)
{
	static struct timer a, b;
	struct timers timers = { 0 };
	struct quota quota;

	quota_init(&quota, "test", 12 * sizeof(struct timer *), 0);
	for (int i = 0; i < 8; i++) {
		all[i] = (struct timer){ .delay_ns = 1 };
		CHECK(timers_set(&timers, &all[i], &quota) == 0);
	}
	CHECK(timers_set(&timers, &a, &quota) == -1 && !a.wanted && !a.noted);
	n_over = 0;
	settle(&timers, false);
	CHECK(n_over == 8 && timers.n == 0);
	CHECK(timers_set(&timers, &b, &quota) == 0);
	settle(&timers, true);
	CHECK(timers.n == 1 && timers_take(&timers, now_ms + 1) == &b && timers_due_ms(&timers) == INT64_MAX);
	timers_release(&timers, &quota);
}

/* A period that is no whole number of milliseconds, over a year. */
static void does_not_drift(void)
{
	static struct timer third = { .delay_ns = 333333333, .repeats = true };
	struct timers timers = { 0 };
	struct quota quota;
	int64_t calls = 0;

	quota_init(&quota, "test", 0, 0);
	now_ms = 0;
	CHECK(timers_set(&timers, &third, &quota) == 0);
	settle(&timers, true);
	while (calls < 3 * 86400 * 30) {
		now_ms = timers_due_ms(&timers);
		CHECK(timers_take(&timers, now_ms) == &third);
		CHECK(!timers_take(&timers, now_ms));
		calls++;
	}
	CHECK(now_ms == (calls * 333333333 + 999999) / 1000000);
	/* A stall: one call, and on with the grid. */
	now_ms += 100000;
	CHECK(timers_take(&timers, now_ms) == &third && !timers_take(&timers, now_ms));
	CHECK(third.due_ns % 333333333 == 0 && third.due_ns > now_ms * 1000000);
	CHECK(timers_cancel(&timers, &third));
	settle(&timers, true);
	timers_release(&timers, &quota);
}

int main(void)
{
	RUN(same_order_as_a_list);
	RUN(no_memory_is_told);
	RUN(does_not_drift);
	return test_end();
}
