/* Damage that SQLite reads over without complaint. */
#ifndef TIDEGATE_CHECK_H
#define TIDEGATE_CHECK_H

#include "store_internal.h"

/* Both: 0, or -1 with the reason in `why`; then store_corrupt() says whether it is damage. */

/* Tables have the keys they were made with, each queue has its link and each link its queue. And all
 * of a small database is as it must be: looking at more takes too long at a start. */
int check_opened(struct store *store, char *why, size_t size);

/* Each page of the file is where it belongs, or free. To be called when nothing else is to do: looks
 * at all of a small database, and at a large one whose queues are empty, for then something
 * must be in it that nobody finds. */
int check_idle(struct store *store, char *why, size_t size);

#endif
