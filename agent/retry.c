/* A few numbers and four rules; link.c brings clock and socket. */
#include "retry.h"

#include <stdlib.h>
#include <string.h>

int64_t retry_backoff_ms(int64_t min_ms, int64_t max_ms, unsigned n, double random)
{
	int64_t whole = min_ms;

	while (n-- > 0 && whole > 0 && whole < max_ms)
		whole *= 2;
	if (whole > max_ms)
		whole = max_ms;
	return whole / 2 + (int64_t)((double)(whole - whole / 2) * random);
}

static int64_t next_delay(struct retry *retry, int64_t min_ms, int64_t max_ms)
{
	double random = (double)rand_r(&retry->random) / ((double)RAND_MAX + 1);

	return retry_backoff_ms(min_ms, max_ms, retry->rounds++, random);
}

int64_t retry_failed(struct retry *retry, size_t n_urls, int64_t min_ms, int64_t max_ms)
{
	if (retry->url + 1 < n_urls) {
		retry->url++;
		return 0;
	}
	retry->url = 0;
	return next_delay(retry, min_ms, max_ms);
}

/* FNV-1a, 32 bits (Fowler, Noll, Vo). */
static uint32_t hash(const char *text)
{
	uint32_t value = 2166136261u;

	for (; *text; text++)
		value = (value ^ (unsigned char)*text) * 16777619u;
	return value;
}

bool retry_worth_telling(struct retry *retry, const char *failure)
{
	size_t at = retry->url % RETRY_URLS;
	uint32_t now = hash(failure);
	unsigned times = retry->failures[at].hash == now ? retry->failures[at].times + 1 : 1;

	retry->failures[at].hash = now;
	retry->failures[at].times = times;
	return (times & (times - 1)) == 0;
}

void retry_up(struct retry *retry)
{
	memset(retry->failures, 0, sizeof retry->failures);
}

int64_t retry_lost(struct retry *retry, size_t n_urls, bool stable, int64_t min_ms, int64_t max_ms)
{
	if (!stable)
		return retry_failed(retry, n_urls, min_ms, max_ms);
	retry->rounds = 0;
	retry->url = 0;
	return next_delay(retry, min_ms, max_ms);
}
