/* Where batches must end. A batch whose reply never came may have been applied or not; a
 * collector that knows its last row can tell, if the same rows come again with none behind
 * them: so its end is remembered as a cut, and no batch has rows on both sides of one.
 *
 * Pure; as text it survives the process.
 */
#ifndef TIDEGATE_KDB_CUTS_H
#define TIDEGATE_KDB_CUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kdb_cut {
	char *table;
	uint64_t seq;
};

/* Zero-initialise. */
struct kdb_cuts {
	struct kdb_cut *cuts; /* few */
	size_t n, size;
};

void kdb_cuts_release(struct kdb_cuts *cuts);

/* A batch of that table ends with that row. 1, or 0 if that is known, or -1: no memory. */
int kdb_cuts_add(struct kdb_cuts *cuts, const char *table, uint64_t seq);
bool kdb_cuts_has(const struct kdb_cuts *cuts, const char *table, uint64_t seq);

/* The last row that may be in a batch with `seq`, or UINT64_MAX. */
uint64_t kdb_cuts_end(const struct kdb_cuts *cuts, const char *table, uint64_t seq);

/* It is known what became of the rows up to `seq`. */
void kdb_cuts_settled(struct kdb_cuts *cuts, const char *table, uint64_t seq);

/* "sensor 17 alarm 4", malloc'd; NULL: no memory. */
char *kdb_cuts_text(const struct kdb_cuts *cuts);

/* Adds what such a text says; 0, or -1 if it is none, or memory is exhausted. */
int kdb_cuts_restore(struct kdb_cuts *cuts, const char *text);

#endif
