/* What can still be read of a damaged database, copied into a new one. */
#ifndef TIDEGATE_SALVAGE_H
#define TIDEGATE_SALVAGE_H

#include "image.h"
#include "store_internal.h"

/* Copies every row in `from` that can be read into `to`, which has the schema and is
 * empty, in one transaction, and counts them in `salvaged`. Messages of which it cannot be
 * told whose they are go to a link of their own, "salvaged-NUMBER". Sequence numbers go on
 * above every one that was seen. 0, or -1 if `to` cannot be written or memory is exhausted. */
int salvage_copy(const struct image *from, struct store *to, struct store_salvage *salvaged);

#endif
