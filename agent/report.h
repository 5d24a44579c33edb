/* What `tidegate replay` tells: per link what was delivered and how late, what was lost
 * and why, what still waits, and how much waited at most.
 */
#ifndef TIDEGATE_REPORT_H
#define TIDEGATE_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct play;

struct report {
	struct play *play;
	struct account *accounts; /* one a link */
	uint64_t failures;        /* handlers that raised */
};

/* Fills what `play` tells. Both must live until it is over. */
void report_attach(struct report *report, struct play *play);
void report_print(const struct report *report, FILE *out, bool json);
void report_release(struct report *report);

#endif
