/* The retry policy: pure, so every case by itself. */
#include "retry.h"
#include "test.h"

static void backs_off_exponentially_with_jitter(void)
{
	CHECK(retry_backoff_ms(1000, 60000, 0, 0.0) == 500);
	CHECK(retry_backoff_ms(1000, 60000, 0, 0.999999) == 999);
	CHECK(retry_backoff_ms(1000, 60000, 3, 0.0) == 4000);
	CHECK(retry_backoff_ms(1000, 60000, 3, 0.5) == 6000);
	CHECK(retry_backoff_ms(1000, 60000, 6, 0.0) == 30000);
	CHECK(retry_backoff_ms(1000, 60000, 1000000, 0.999999) <= 60000);
	CHECK(retry_backoff_ms(0, 0, 5, 0.5) == 0);
}

static void fails_over_before_it_waits(void)
{
	struct retry retry = {.random = 1};
	int64_t first, second;

	CHECK(retry_failed(&retry, 3, 1000, 60000) == 0 && retry.url == 1);
	CHECK(retry_failed(&retry, 3, 1000, 60000) == 0 && retry.url == 2);
	first = retry_failed(&retry, 3, 1000, 60000);
	CHECK(first >= 500 && first <= 1000 && retry.url == 0);
	second = retry_failed(&retry, 1, 1000, 60000);
	CHECK(second >= 1000 && second <= 2000);
	for (int i = 0; i < 100; i++)
		second = retry_failed(&retry, 1, 1000, 60000);
	CHECK(second >= 30000 && second <= 60000);
}

static void starts_anew_only_after_a_stable_connection(void)
{
	struct retry retry = {.random = 1};
	int64_t delay_ms = 0;

	for (int i = 0; i < 5; i++)
		delay_ms = retry_lost(&retry, 1, false, 100, 10000);
	CHECK(delay_ms >= 800 && delay_ms <= 1600);
	retry.url = 2;
	delay_ms = retry_lost(&retry, 3, true, 100, 10000);
	CHECK(delay_ms >= 50 && delay_ms <= 100 && retry.url == 0);
}

static void goes_on_to_the_next_after_an_unstable_connection(void)
{
	struct retry retry = {.random = 1, .rounds = 5};
	int64_t delay_ms;

	CHECK(retry_lost(&retry, 3, false, 100, 10000) == 0 && retry.url == 1);
	CHECK(retry_lost(&retry, 3, false, 100, 10000) == 0 && retry.url == 2);
	delay_ms = retry_lost(&retry, 3, false, 100, 10000);
	CHECK(delay_ms >= 1600 && delay_ms <= 3200 && retry.url == 0);
}

static int told(struct retry *retry, const char *failure, int times)
{
	int n = 0;

	while (times-- > 0)
		n += retry_worth_telling(retry, failure);
	return n;
}

static void tells_equal_failures_ever_more_seldom(void)
{
	struct retry retry = {0};

	CHECK(told(&retry, "refused", 1) == 1);
	CHECK(told(&retry, "refused", 1022) == 9); /* the 2nd, 4th, ... 512th */
	CHECK(told(&retry, "refused", 1) == 1);    /* the 1024th */
	CHECK(told(&retry, "timed out", 1) == 1);
	retry.url = 1; /* another URL's failures are its own */
	CHECK(told(&retry, "refused", 1) == 1);
	retry.url = 0;
	CHECK(told(&retry, "timed out", 2) == 1);
	retry_up(&retry);
	CHECK(told(&retry, "timed out", 1) == 1);
}

int main(void)
{
	RUN(backs_off_exponentially_with_jitter);
	RUN(fails_over_before_it_waits);
	RUN(starts_anew_only_after_a_stable_connection);
	RUN(goes_on_to_the_next_after_an_unstable_connection);
	RUN(tells_equal_failures_ever_more_seldom);
	return test_end();
}
