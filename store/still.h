/* A database file as it stands, with its write-ahead log over it, for SQLite to read.
 *
 * SQLite itself reads a log only where it may write: it wants to make an index of it in a file, or to lock out
 * everybody. This is a virtual file over store/image.h that never changes. Nobody else can write to the
 * file while it is open.
 */
#ifndef TIDEGATE_STILL_H
#define TIDEGATE_STILL_H

#include <sqlite3.h>
#include <stddef.h>

struct still;

/* NULL with the reason in `why`: it is not there, it is in use. */
struct still *still_open(const char *path, char *why, size_t size);
void still_close(struct still *still); /* after the database; NULL is allowed */

/* The database in it, not looked at yet; the caller's to close. NULL with the reason in `why`. */
sqlite3 *still_database(struct still *still, char *why, size_t size);

#endif
