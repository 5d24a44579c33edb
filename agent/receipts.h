/* What the collector has yet to acknowledge, on a link with `ack_topic`: a PUBACK says that
 * the broker has a message, not that anybody behind it does.
 *
 *     first                          next
 *       │ sent, awaiting the collector │ to be sent (again)  │ the queue
 *       ▼                              ▼                     ▼
 *     ──●──●──●──●──●──●──●──●──●──●───○──○──○──○──○──○──○───┄┄┄┄┄┄
 *
 * Messages go out in the order of their numbers, and the collector acknowledges all up to
 * one. Of each only the number is kept; at most `window` await the collector. When it is
 * silent for too long, `next` goes back to `first`: one message goes out as a probe, and
 * again after twice the time, and so on, so that a collector that is away is not flooded, nor
 * is its queue at the broker; once it answers, the rest follows.
 *
 * Pure: it is told what happens and when, and says what to do.
 */
#ifndef TIDEGATE_RECEIPTS_H
#define TIDEGATE_RECEIPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECEIPTS_QUIET_MAX_MS 600000 /* between two probes, unless the timeout itself is longer */

struct receipt {
	uint64_t seq;
	bool taken; /* by the broker, since it was sent last */
	bool wants_fate;
};

/* All zero to begin with, but for what receipts_configure() sets. */
struct receipts {
	struct receipt *items;  /* ascending; those in [first, end), */
	size_t first, next, end, size;
	size_t window;
	int64_t timeout_ms;
	uint64_t held_to;       /* the collector has all up to this, as far as it told */
	uint64_t sent_to;       /* the highest that went out, or may have by an earlier process */
	uint64_t again_from;    /* from here on all is to be sent again, once nothing is in flight; 0: nothing is */
	int64_t since_ms;       /* the collector has been waited for since, this time; */
	int64_t heard_ms;       /* and in all */
	unsigned silences;      /* timeouts since its last word: above 0, only a probe goes out */
	uint64_t resent;
};

/* `earlier_to`: what an earlier process left goes up to there. */
void receipts_configure(struct receipts *receipts, size_t window, int64_t timeout_ms, uint64_t earlier_to);
void receipts_release(struct receipts *receipts);

size_t receipts_awaited(const struct receipts *receipts); /* sent, and not acknowledged by the collector */
size_t receipts_again(const struct receipts *receipts);   /* to be sent again, and the first of them or 0 */
uint64_t receipts_next(const struct receipts *receipts);
uint64_t receipts_last(const struct receipts *receipts);  /* of them, or 0 */

/* There is room for one more. False also while what is in flight is waited for. */
bool receipts_may_send(const struct receipts *receipts);
int receipts_reserve(struct receipts *receipts); /* makes sure of memory for one more; 0, or -1 */

/* What the message to be sent now follows: see agent/ack_line.h. */
uint64_t receipts_after(const struct receipts *receipts);

/* It went out: receipts_next(), or a new one above all others, after receipts_reserve(). */
void receipts_sent(struct receipts *receipts, uint64_t seq, bool wants_fate, int64_t now_ms);

/* receipts_next() is passed over for now. */
void receipts_skip(struct receipts *receipts);

/* The broker has it. False: so has the collector, or it is unknown: it is finished, and forgotten. */
bool receipts_taken(struct receipts *receipts, uint64_t seq);

/* It did not arrive, or another one before it is missing: it and what is behind it go out again. */
void receipts_repeat(struct receipts *receipts, uint64_t seq);

/* It is given up: forgotten. What is behind it goes out again, as it follows another one now. */
void receipts_forget(struct receipts *receipts, uint64_t seq);
bool receipts_has(const struct receipts *receipts, uint64_t seq);

enum receipts_news { RECEIPTS_PROGRESS, RECEIPTS_KNOWN, RECEIPTS_NEVER_SENT };

/* The collector says that it holds everything up to `seq`. */
enum receipts_news receipts_acknowledged(struct receipts *receipts, uint64_t seq, int64_t now_ms);

/* The next message that is finished by that, forgotten with the call. False: no more. What is still in
 * flight is finished by receipts_taken(). */
bool receipts_finish(struct receipts *receipts, struct receipt *finished);

/* A connection came up: the collector is not waited for while there is none. */
void receipts_up(struct receipts *receipts, int64_t now_ms);

/* Goes back to what is to be sent again, as nothing is in flight. */
void receipts_go_back(struct receipts *receipts);

/* The same, unless something is in flight. True: the collector has been silent for too long, now. */
bool receipts_step(struct receipts *receipts, size_t in_flight, int64_t now_ms);
int64_t receipts_due_ms(const struct receipts *receipts); /* when it wants to be asked again; INT64_MAX: never */

#endif
