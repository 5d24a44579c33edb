/* What a queue has handed out and what it gave up: messages that are in flight, and
 * rows that can go with the next commit. Used by the queue only. */
#ifndef TIDEGATE_FLIGHT_H
#define TIDEGATE_FLIGHT_H

#include "entry.h"
#include "rows.h"

/* Hand out no more while so many deletions wait for a disk that does not take them. */
#ifndef QUEUE_FLIGHT_MAX
#define QUEUE_FLIGHT_MAX 65536
#endif

struct handed {
	uint64_t seq;
	uint64_t number;     /* what left the same lane next has the next number */
	struct entry *entry; /* if it is not on disk yet; owned */
	uint32_t size;
	uint8_t priority;
	bool acknowledged; /* its row can go */
	bool gone;         /* it never had a row */
	bool counted;      /* among the queue's messages */
	bool unwanted;     /* not to be sent again */
};

/* Zero-initialise. */
struct flight {
	struct handed *records; /* in order of seq */
	size_t n, size;
	size_t acknowledged, gone;
	uint64_t number;       /* the last that was given */
	const void *last_lane; /* that something left */
};

void flight_release(struct flight *flight);

/* Makes sure that there is room for one more. 0, or -1. */
int flight_reserve(struct flight *flight);

/* Notes that `entry` leaves `lane`, after flight_reserve(). */
struct handed *flight_add(struct flight *flight, const void *lane, const struct entry *entry, bool counted);

/* NULL: unknown. Valid until the next flight_add() or a sweep. */
struct handed *flight_find(const struct flight *flight, uint64_t seq);

/* The first that is neither acknowledged nor gone, or NULL. */
const struct handed *flight_oldest(const struct flight *flight);

/* Acknowledged or gone. */
bool flight_is_done(const struct handed *handed);

/* One of them: its row can go, or it had none (which may sweep). */
void flight_done(struct flight *flight, struct handed *handed);

/* Lanes are not what they were: the next number is nobody's next. */
void flight_break(struct flight *flight);

/* Deletes the rows of what is acknowledged. 0, or -1. */
int flight_delete(const struct flight *flight, struct rows *rows);

/* The deletions are durable: forgets what is done. */
void flight_deleted(struct flight *flight);

#endif
