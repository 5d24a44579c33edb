/* Messages that a broker delivers again although their effects are on disk: the
 * process, or the connection, ended between commit and acknowledgement.
 *
 * The commit also carries what it acknowledges: a packet id and a hash for each
 * message. A message marked as redelivered that matches is acknowledged and not run
 * again. That is sound only where ids go round in a cycle, 1 to 65,535 and again: a
 * broker that always takes the lowest free id can give the same one to an equal new
 * message. So it begins with a long enough run of ids that went forward. Ids may be
 * left out, as brokers number messages that they then drop, but not come back.
 *
 * Policy only: no socket, no store.
 */
#ifndef TIDEGATE_REDELIVERY_H
#define TIDEGATE_REDELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"

/* So many ids must have gone forward, or twice what the broker may have in flight
 * if that is known to be more: with fewer in flight at a time, a broker that uses
 * ids again would have done so. */
#define REDELIVERY_RUN 2048

/* Remembered are the last messages, so many; across processes, as every commit
 * carries them, only those of the last batches, and at least some. */
#define REDELIVERY_MOST 1024
#define REDELIVERY_BATCHES 8
#define REDELIVERY_LEAST 64

struct redelivery;

struct redelivery *redelivery_open(void); /* NULL: out of memory */
void redelivery_close(struct redelivery *redelivery);

/* A connection has been greeted. `session` stands for broker and client id; whether
 * the broker knew the session, and how many messages it may have in flight on it
 * (0: unknown). Everything is forgotten if it is another session than before. */
void redelivery_session(struct redelivery *redelivery, uint64_t session, bool present, unsigned in_flight);

/* True if `message` was taken already: acknowledge it, do not run it. */
bool redelivery_repeats(struct redelivery *redelivery, const struct inbound *message);

/* `message` was new, and its effects will be in the next commit. */
void redelivery_taken(struct redelivery *redelivery, const struct inbound *message);

/* What the next commit must carry, as text; NULL if nothing, or memory is exhausted.
 * Ends a batch. free() it. */
char *redelivery_note(struct redelivery *redelivery);

/* So much was taken since that a commit should be made for the note alone. */
bool redelivery_note_due(const struct redelivery *redelivery);

/* Takes up what an earlier process noted; nonsense is ignored. */
void redelivery_restore(struct redelivery *redelivery, const char *note);

/* For people: "on", "learning", "off: ids are not cyclic". */
const char *redelivery_state(const struct redelivery *redelivery);

/* FNV-1a over topic and payload, and over names that identify a session. */
uint64_t redelivery_hash(const char *text, struct bytes rest);

#endif
