/* A line of figures, which tests/torture/torture.lua makes a table of. */
#ifndef TIDEGATE_TORTURE_FIGURES_H
#define TIDEGATE_TORTURE_FIGURES_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "custody.h"

static inline double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* `more` is what else there is to say, or "". */
static inline void print_figures(const char *test, const struct findings *f, double seconds, uint64_t seed,
                                 const char *more)
{
	printf("figures: {\"test\":\"%s\",\"cases\":%" PRIu64 ",\"promised\":%" PRIu64 ",\"lost\":%" PRIu64
	       ",\"invented\":%" PRIu64 ",\"out_of_order\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"taken_back\":%" PRIu64
	       ",\"reused\":%" PRIu64 ",\"broken\":%" PRIu64 ",\"seconds\":%.1f,\"seed\":%" PRIu64 ",\"more\":\"%s\"}\n",
	       test, f->checks, f->promised, f->lost, f->invented, f->out_of_order, f->duplicates, f->taken_back, f->reused,
	       f->broken, seconds, seed, more);
	fflush(stdout);
}

/* TORTURE_SEED, or `otherwise`. */
static inline uint64_t torture_seed(uint64_t otherwise)
{
	const char *text = getenv("TORTURE_SEED");

	return text ? strtoull(text, NULL, 10) : otherwise;
}

#endif
