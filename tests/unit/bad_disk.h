/* A store whose commits fail when a test says so, by a participant that does
 * nothing else.
 */
#ifndef TIDEGATE_BAD_DISK_H
#define TIDEGATE_BAD_DISK_H

#include "store_internal.h"

/* What fails: nothing, what adds rows, or everything. */
enum bad_disk { DISK_GOOD, DISK_FULL, DISK_BROKEN };

static inline size_t bad_disk_dirty(const void *owner)
{
	return *(const enum bad_disk *)owner != DISK_GOOD;
}

static inline void bad_disk_unsafe(const void *owner, struct store_unsafe *unsafe)
{
	(void)owner;
	(void)unsafe;
}

static inline int bad_disk_write(void *owner, bool additions)
{
	enum bad_disk disk = *(enum bad_disk *)owner;

	return disk == DISK_BROKEN || (disk == DISK_FULL && additions) ? -1 : 0;
}

static inline void bad_disk_written(void *owner, bool additions)
{
	(void)owner;
	(void)additions;
}

/* `state` and `participant` must live until the store is closed; leave with store_leave(). */
static inline void bad_disk_join(struct store *store, struct participant *participant, enum bad_disk *state)
{
	*participant = (struct participant){.owner = state,
	                                    .dirty = bad_disk_dirty,
	                                    .unsafe = bad_disk_unsafe,
	                                    .write = bad_disk_write,
	                                    .written = bad_disk_written};
	store_join(store, participant);
}

#endif
