/* What a collector's error means for the rows of a call. q tells nothing but a short text,
 * and any text may be a site's own; those of q and of the usual tickerplants are known.
 */
#ifndef TIDEGATE_KDB_ERRORS_H
#define TIDEGATE_KDB_ERRORS_H

#include "queue.h"

enum kdb_fault {
	KDB_FAULT_ROWS,    /* for good: there are rows among them that it cannot take */
	KDB_FAULT_MOMENT,  /* it cannot now */
	KDB_FAULT_SIZE,    /* it cannot now, and fewer would be easier */
	KDB_FAULT_MISSING, /* the table or the function is not there, yet */
	KDB_FAULT_DISK,    /* its log cannot be written */
	KDB_FAULT_DENIED,  /* we are not allowed to */
	KDB_FAULT_UNKNOWN,
};

/* `text` without a quote in front of it. */
enum kdb_fault kdb_fault_of(struct bytes text, const char *function, const char *table);

#endif
