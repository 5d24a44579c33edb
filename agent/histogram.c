/* Buckets that do not overlap: one addition for each observation. */
#include "histogram.h"

#include <stddef.h>

const double histogram_bounds[HISTOGRAM_BOUNDS] = {
        0.00001, 0.000025, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1,
};

void histogram_add(struct histogram *histogram, double seconds)
{
	size_t i = 0;

	while (i < HISTOGRAM_BOUNDS && seconds > histogram_bounds[i])
		i++;
	histogram->counts[i]++;
	histogram->sum += seconds;
}
