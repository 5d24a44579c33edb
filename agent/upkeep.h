/* The upkeep of the database file: gives space back when it is quiet, and ends the run
 * when the file turns out corrupt, so that the next one begins with what can be
 * salvaged. */
#ifndef TIDEGATE_UPKEEP_H
#define TIDEGATE_UPKEEP_H

#include <stdbool.h>

#include "loop.h"

struct agent;
struct config;

struct upkeep {
	struct loop_timer shrink;
	bool told; /* that it is corrupt */
};

void upkeep_init(struct agent *agent);

/* The store is open: says so if it took the place of a damaged one. */
void upkeep_opened(struct agent *agent);

/* Something was committed: once nothing has been for a while, the file may shrink. */
void upkeep_committed(struct agent *agent);

/* True if the database is corrupt: then the loop ends with this turn, and nothing may be
 * acknowledged any more. */
bool upkeep_must_end(struct agent *agent);

/* After the store was closed: moves the database aside and salvages it. RUN_AGAIN, or
 * the exit status. */
int upkeep_replace(const struct config *config);

#endif
