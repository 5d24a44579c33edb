/* How long things take: counts by size, as Prometheus has them. Zero-initialise. */
#ifndef TIDEGATE_HISTOGRAM_H
#define TIDEGATE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 11 };

/* Seconds, ascending, from 10 us to 1 s: a rule takes some microseconds, and by default 250 ms at most. */
extern const double histogram_bounds[HISTOGRAM_BOUNDS];

struct histogram {
	uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* [i]: at most histogram_bounds[i], above the one before; last: above all */
	double sum;
};

void histogram_add(struct histogram *histogram, double seconds);

#endif
