/* Each observation counts once, in the first bucket that holds it. */
#include "histogram.h"

#include "test.h"

static void bounds_belong_to_their_bucket(void)
{
	struct histogram histogram = {0};

	histogram_add(&histogram, 0);
	histogram_add(&histogram, histogram_bounds[0]);
	histogram_add(&histogram, histogram_bounds[0] * 1.01);
	histogram_add(&histogram, 1);
	histogram_add(&histogram, 60);
	CHECK(histogram.counts[0] == 2 && histogram.counts[1] == 1);
	CHECK(histogram.counts[HISTOGRAM_BOUNDS - 1] == 1 && histogram.counts[HISTOGRAM_BOUNDS] == 1);
	CHECK(histogram.sum > 61 && histogram.sum < 61.1);
}

static void bounds_ascend(void)
{
	for (int i = 1; i < HISTOGRAM_BOUNDS; i++)
		CHECK(histogram_bounds[i] > histogram_bounds[i - 1]);
}

int main(void)
{
	RUN(bounds_belong_to_their_bucket);
	RUN(bounds_ascend);
	return test_end();
}
