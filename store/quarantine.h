/* Moves a damaged or foreign database aside and puts a new one in its place, with
 * what could be salvaged. A crash at any moment leaves either the old database
 * where it was or the new one, complete; what was begun is finished, or begun again,
 * at the next start. */
#ifndef TIDEGATE_QUARANTINE_H
#define TIDEGATE_QUARANTINE_H

#include <sys/stat.h>

#include "store_internal.h"

/* Replaces the database file `path`, which must still be the file `seen` (else
 * somebody has replaced it meanwhile: nothing is done). `why` is kept in the new one.
 * 0, or -1 with the reason in `err` (without the path): in use, disk full, ... */
int quarantine(const char *path, const struct stat *seen, const char *why, char *err, size_t err_size);

/* Finishes or sweeps away what a crash left of that. 0, or -1 with the reason. */
int quarantine_resume(const char *path, char *err, size_t err_size);

#endif
