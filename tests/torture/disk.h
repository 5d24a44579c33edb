/* A disk that forgets: a file system in memory, as an SQLite VFS, that remembers of
 * each file what was synced and what was only written, so that the power can be cut at
 * any moment and as often as one likes: disk_cut() makes the disk that the machine
 * would find when it is switched on again.
 *
 * The model is as unkind as POSIX allows where SQLite relies on a promise: what was
 * written since the last sync of that file may be there or not, by sectors and in any
 * order, or be garbage; a size may have changed without the bytes; a name is only
 * certain once its directory was synced (SQLite does that with the first sync of a new
 * journal or log, and with deletions that ask for it). A sync that fails forgets what it
 * should have written, though reading still shows it, as Linux does.
 */
#ifndef TIDEGATE_TORTURE_DISK_H
#define TIDEGATE_TORTURE_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct disk;

enum disk_operation {
	DISK_OPEN,
	DISK_READ,
	DISK_WRITE,
	DISK_TRUNCATE,
	DISK_SYNC,
	DISK_SIZE,
	DISK_LOCK,
	DISK_ACCESS,
	DISK_DELETE,
};

/* Called before each operation and after it (what it returns then does not count).
 * Anything but SQLITE_OK makes the operation fail with that; of a write that fails,
 * a part is written. May use other disks. */
typedef int disk_hook(void *arg, struct disk *disk, enum disk_operation operation, bool after);

enum disk_cut {
	CUT_LOSE, /* what was not synced is gone */
	CUT_KEEP, /* all that was written is there: the process died, not the machine */
	CUT_TEAR, /* anything between, and worse */
};

/* Makes this SQLite's default file system. Names are "DISK/FILE". */
void disk_install(uint64_t seed);

/* How large the pages of new databases are from now on. */
void disk_page_size(int bytes);

/* An empty disk of that name. Its hook may be NULL. disk_close() frees it: no file of it
 * may be open. */
struct disk *disk_open(const char *name, disk_hook *hook, void *arg);
void disk_close(struct disk *disk);

/* Calls no hook when it is NULL. */
void disk_set_hook(struct disk *disk, disk_hook *hook, void *arg);

/* A new disk as it would be found after a power cut now. `disk` stays as it is. */
struct disk *disk_cut(const struct disk *disk, const char *name, enum disk_cut cut, uint64_t *random);

/* From now on every operation fails: the power is off, the program has not noticed. */
void disk_freeze(struct disk *disk);
bool disk_frozen(const struct disk *disk);

#endif
