/* An agent without links: it drives the real store as agent/run.c does, turn by turn,
 * and keeps a record of its own of what the store has promised. After a power cut or a
 * failure the record says whether the store kept its word.
 *
 * The record is the set of messages, and with them the state of a script, as of each commit. What a power cut may leave of a
 * store that syncs each commit is the last of them, or the one that was being made; of
 * one that does not, any of them; and never anything else: not a message more or less,
 * none twice, none out of order, none with other contents.
 */
#ifndef TIDEGATE_TORTURE_CUSTODY_H
#define TIDEGATE_TORTURE_CUSTODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

struct custody;

/* What was found wrong, and how much was looked at; sums over many checks. */
struct findings {
	uint64_t checks;
	uint64_t promised;     /* messages that had to be there, summed over the checks */
	uint64_t found;        /* messages that were there */
	uint64_t duplicates;   /* of those, acknowledged by the collector, but that was not on disk yet */
	uint64_t taken_back;   /* commits that a power cut undid, where durability allows it */
	uint64_t lost;         /* promised and not there */
	uint64_t invented;     /* there, but never pushed, or with other contents, or forgotten for good before */
	uint64_t out_of_order; /* after a younger one of the same queue, or twice */
	uint64_t reused;       /* sequence numbers that would be given out again */
	uint64_t broken;       /* the database does not open, or is damaged, or has another identity */
};

bool findings_bad(const struct findings *findings);

/* `path` is the database's, opened with `durability` and held to what `promised`
 * promises: the same, unless it is the test that is tested. Nothing is opened yet. */
struct custody *custody_new(const char *path, enum store_durability durability, enum store_durability promised,
                            uint64_t seed);
void custody_free(struct custody *custody);

/* Opens the store and its queues. 0, or -1 (custody_error() says why): what was opened
 * is closed again. */
int custody_open(struct custody *custody);
const char *custody_error(const struct custody *custody);

/* Closes without committing, as a kill does. */
void custody_close(struct custody *custody);

/* One turn: pushes, hands out, acknowledges, and mostly commits. False: something could
 * not be done (a full disk, no memory), which is no finding: the next turn may do it. */
bool custody_turn(struct custody *custody);

/* Commits until it succeeds, at most `tries` times. */
bool custody_settle(struct custody *custody, int tries);

/* Opens the database at `path` beside, looks whether the store kept its word, and adds
 * to `findings`; says on stderr what is wrong. The machine may have lost its power
 * (`power_cut`) or the process its life. With `adopt` the record goes on from there:
 * the caller opens the store anew on the same contents. */
void custody_check(struct custody *custody, const char *path, bool power_cut, bool adopt, struct findings *findings);

/* What was handed out came out in order and as it went in; adds to `findings`. */
void custody_take_findings(struct custody *custody, struct findings *findings);

uint64_t custody_messages(const struct custody *custody); /* pushed so far */
uint64_t custody_commits(const struct custody *custody);  /* that returned STORE_OK */

#endif
