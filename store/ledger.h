/* The loss ledger: what was given up, and why, in a durable and bounded record, so
 * that a collector can tell a silent sensor from a gateway that dropped.
 *
 * Losses of the same link, topic and reason merge into one record until it is
 * reported; the next one begins a new record. When there are too many records,
 * reported ones go first, then those of a link and reason merge into one with the
 * topic "#". Becomes durable with the store's next commit, the same that deletes
 * the messages; until then losses count as unsafe, so that whoever brought a
 * message that was given up at once is not acknowledged before it is on record.
 */
#ifndef TIDEGATE_LEDGER_H
#define TIDEGATE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;
struct store;

struct loss {
	/* A long topic is kept as a filter that covers it: "plant/north/#". A reason is a
	 * word, perhaps with details: "overflow", "expired", "rejected: not authorized". Both are
	 * cut at 255 bytes. */
	const char *link, *topic, *reason;
	uint64_t first_seq, last_seq;
	int64_t first_time_ms, last_time_ms; /* wall clock of the messages, ms since 1970 */
	uint64_t count, bytes;               /* topics and payloads */
	bool reported;                       /* handed to the queue of its link */
};

/* NULL on failure with the reason in `err`. Close before the store. */
struct ledger *ledger_open(struct store *store, char *err, size_t err_size);
void ledger_close(struct ledger *ledger);

/* Adds one loss of `count` messages (strings are copied; `reported` is ignored). 0, or
 * -1: no memory (it is counted all the same, under "#", if there is a record of that
 * link and the reason's first word). */
int ledger_add(struct ledger *ledger, const struct loss *loss);

/* Hands each record of `link` that is not reported yet to `report`, oldest first; it
 * counts as reported, with the next commit, if that returns 0. `report` may not call
 * the ledger. */
void ledger_report(struct ledger *ledger, const char *link, int (*report)(void *arg, const struct loss *loss), void *arg);
bool ledger_unreported(const struct ledger *ledger, const char *link);

/* All records, oldest first, reported ones included as long as they are kept. */
void ledger_visit(const struct ledger *ledger, void (*visit)(void *arg, const struct loss *loss), void *arg);

/* Messages lost on a link, ever, for reasons with the first word `reason`: what
 * stands before the colon. NULL: for all. */
uint64_t ledger_total(const struct ledger *ledger, const char *link, const char *reason);

#endif
