/* What can still be read of a damaged database, copied into a new one. */
#ifndef TIDEGATE_SALVAGE_H
#define TIDEGATE_SALVAGE_H

#include "store_internal.h"

/* Copies every row of `from` that can be read (NULL: nothing can) into `to`, which has
 * the schema and is empty, in one transaction, and counts them in `salvaged`. `bytes`
 * is the size of the old file: bounds the work. Does not write to `from`. Numbers go on above
 * every one that was seen. 0, or -1 if `to` cannot be written or memory is
 * exhausted. */
int salvage_copy(sqlite3 *from, struct store *to, uint64_t bytes, struct store_salvage *salvaged);

#endif
