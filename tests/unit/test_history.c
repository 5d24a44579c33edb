/* A ring: the last hour, oldest first. */
#include "history.h"

#include "test.h"

static void keeps_the_last_hour(void)
{
	static struct history history;

	CHECK(history.n == 0);
	for (uint64_t i = 1; i <= HISTORY_POINTS + 10; i++) {
		history_add(&history, i, 3 * i, 2 * i);
		CHECK(history_at(&history, history.n - 1)->messages == i);
	}
	CHECK(history.n == HISTORY_POINTS && history_at(&history, 0)->messages == 11);
	CHECK(history_at(&history, 5)->received == 3 && history_at(&history, 5)->acknowledged == 2);
}

static void takes_what_is_too_large_or_goes_back(void)
{
	static struct history history;

	history_add(&history, UINT64_C(1) << 40, UINT64_C(1) << 40, 5);
	CHECK(history_at(&history, 0)->messages == UINT32_MAX && history_at(&history, 0)->received == UINT32_MAX);
	history_add(&history, 0, 0, 4);
	CHECK(history_at(&history, 1)->received == 0 && history_at(&history, 1)->acknowledged == 0);
}

int main(void)
{
	RUN(keeps_the_last_hour);
	RUN(takes_what_is_too_large_or_goes_back);
	return test_end();
}
