/* Dead letters: messages that could not be handled, kept until the owner looks.
 *
 * Durable with the store's next commit; until then they count as unsafe, so that
 * whoever brought the message is acknowledged only after it. Bounded: the oldest
 * make room. What is committed is on disk only; memory has a few bytes for each.
 */
#ifndef TIDEGATE_DEAD_H
#define TIDEGATE_DEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h" /* struct bytes */

/* Tests compile with less. The newest is kept whatever its size. */
#ifndef DEAD_LETTERS_MAX
#define DEAD_LETTERS_MAX 1000
#endif
#ifndef DEAD_BYTES_MAX
#define DEAD_BYTES_MAX 8388608
#endif

struct dead;
struct store;

struct dead_letter {
	uint64_t id;        /* from store_next_seq(); 0 when it is added */
	const char *link;   /* that it came on */
	const char *script; /* that could not handle it, by its name in the store */
	const char *reason;
	struct bytes topic, payload, properties; /* topic is NUL-terminated in letters that are returned */
	int64_t time_ms;    /* wall clock, when it was received */
	int qos;
	bool retain;
	bool retry;         /* dead_retry_later() was asked for */
	unsigned tries;     /* that failed, the first included; 1 when it is added */
};

/* NULL on failure with the reason in `err`. Close before the store. */
struct dead *dead_open(struct store *store, char *err, size_t err_size);
void dead_close(struct dead *dead);

/* Adds a copy, and tells in *lost how many older ones made room for it (may be
 * NULL). Returns its id, or 0: no memory. */
uint64_t dead_add(struct dead *dead, const struct dead_letter *letter, unsigned *lost);

/* Whether `letters` more, of so many bytes altogether, find room beside the others. Where there is none,
 * there is room for anything. */
bool dead_has_room(const struct dead *dead, size_t letters, size_t bytes);

/* One letter with all its parts; valid until the next call. NULL: there is none of
 * that id, or it cannot be read now (dead_known() tells which). */
const struct dead_letter *dead_get(struct dead *dead, uint64_t id);
bool dead_known(const struct dead *dead, uint64_t id);

/* The id of the oldest letter above `id`, or 0: to go through them one at a time. */
uint64_t dead_next(const struct dead *dead, uint64_t id);

/* All, oldest first, with their payloads. `visit` may remove letters and change them; the
 * one it is given is valid until it does. What cannot be read is left out. */
void dead_visit(struct dead *dead, void (*visit)(void *arg, const struct dead_letter *letter), void *arg);

/* It is gone with the next commit. False: there is none of that id. */
bool dead_remove(struct dead *dead, uint64_t id);

/* It failed again: counts the try, keeps the newest reason (if there is memory) and
 * takes back dead_retry_later(). */
void dead_failed_again(struct dead *dead, uint64_t id, const char *reason);

/* Marks it for the next agent that opens the store, or takes that back. False: there is
 * none of that id. */
bool dead_retry_later(struct dead *dead, uint64_t id, bool retry);

uint64_t dead_count(const struct dead *dead);

#endif
