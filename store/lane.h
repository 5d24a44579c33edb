/* A lane: messages that wait in one order. The first of them are in memory, the next
 * on disk only, the newest again in memory until they are saved:
 *
 *     waiting ──────── on disk only ──────── behind
 *
 * While nothing is on disk only, everything is in `waiting`, and can be sent before it
 * was ever saved. Used by the queue only. */
#ifndef TIDEGATE_LANE_H
#define TIDEGATE_LANE_H

#include "entry.h"
#include "flight.h"
#include "rows.h"

struct lane {
	struct entry_list waiting, behind;
	int64_t loaded_to; /* key: every row up to here is, or was, in `waiting` */
	int64_t body_to;   /* key of the last row */
};

/* Empty, for keys above `key`. */
void lane_init(struct lane *lane, int64_t key);
void lane_release(struct lane *lane);
bool lane_is_empty(const struct lane *lane);

/* Makes the front known: `waiting` has it, unless the lane turns out to be empty. What
 * is in `flight` is passed over. 0, or -1 if the disk or memory failed. */
int lane_load(struct lane *lane, struct rows *rows, const struct flight *flight);

void lane_append(struct lane *lane, struct entry *entry); /* an unsaved one */

/* An unsaved entry of this lane has a row now; in order of seq. */
void lane_saved(struct lane *lane, const struct entry *entry);

/* Everything is saved: frees what need not be in memory. */
void lane_trim(struct lane *lane);

/* What is in `next`, all of it newer, follows what is in `lane`. Empties `next`. */
void lane_join(struct lane *lane, struct lane *next);

#endif
