/* One link's durable queue of outgoing messages: a memory tail and an SQLite body.
 *
 *     handed out <── waiting in memory <── body on disk <── tail
 *     (in flight)    (next to send)        (as long as the   (pushed, not committed yet)
 *                                           outage lasts)
 *
 * An entry is *safe* once it is committed, or acknowledged by the collector. While
 * the link keeps up, entries are handed out before any commit, and what is
 * acknowledged by then never touches the disk. Memory is bounded: the waiting part
 * by a constant, what is unsafe by when the agent commits.
 *
 * Messages of higher priority go first, equal ones in the order they were pushed;
 * with queue_go_live() what is pushed from then on goes ahead of what waited.
 */
#ifndef TIDEGATE_QUEUE_H
#define TIDEGATE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of messages; 0 is the usual one. The agent's own reports go ahead of all, are never
 * given up, and do not count against limits. */
#define QUEUE_PRIORITY_MAX 9
#define QUEUE_PRIORITY_REPORT 10

struct store;
struct queue;

/* A piece of memory that may hold any bytes; data may be NULL if size is 0. */
struct bytes {
	const void *data;
	size_t size;
};

/* A queued message. The store keeps every field; it interprets seq, priority,
 * expires_ms and sizes only. */
struct message {
	uint64_t seq;            /* from store_next_seq(); also its token */
	struct bytes topic;      /* data is NUL-terminated in messages a queue returns */
	struct bytes payload;
	struct bytes properties; /* MQTT 5 properties, see agent/properties.h */
	struct bytes context;    /* what on_sent and on_drop get back, see agent/value.h */
	int64_t time_ms;         /* wall clock, ms since 1970, when it was published */
	bool time_uncertain;     /* not kept: time_ms may be wrong, told where it is handed on */
	int64_t age_ms;          /* the agent's own clock then, which nobody can set: agent/clock.h */
	int64_t expires_ms;      /* on that clock; 0: never */
	uint32_t origin;         /* who published it: store_name_id(), 0 nobody */
	uint8_t qos;
	uint8_t priority;
	bool retain;
};

enum queue_overflow { QUEUE_DROP_OLDEST, QUEUE_DROP_NEWEST, QUEUE_HOLD };

/* How much a queue may hold; 0: no limit. */
struct queue_limits {
	uint64_t max_messages, max_bytes;
	enum queue_overflow overflow;
};

enum queue_result {
	QUEUE_OK,
	QUEUE_FULL,  /* not queued: the limit is reached, and the newest go (it is told as dropped) */
	QUEUE_ERROR, /* not queued: memory is exhausted */
};

enum queue_drop { QUEUE_OVERFLOW, QUEUE_EXPIRED, QUEUE_PURGED };

/* Told of each message that is given up, from inside queue_push(), queue_peek(),
 * queue_expire() and queue_purge(); it may not call the queue. */
typedef void queue_dropped(void *arg, struct queue *queue, const struct message *message, enum queue_drop why);

/* Opens the queue of the link `name`, empty if there was none. NULL on failure with
 * the reason in `err`. Close before the store. */
struct queue *queue_open(struct store *store, const char *name, struct queue_limits limits, queue_dropped *dropped,
                         void *arg, char *err, size_t err_size);
void queue_close(struct queue *queue);
void queue_set_limits(struct queue *queue, struct queue_limits limits);

/* What an earlier process left is counted afterwards, as a large backlog takes a
 * while: counts some thousand messages more. 1: there are more; 0: all are counted; -1:
 * the disk cannot be read now. Until it is 0, queue_messages() and queue_bytes() tell too little. */
int queue_count(struct queue *queue);

/* Calls `visit` for every queue of the store that is not open. */
void queue_visit(struct store *store, void (*visit)(void *arg, const char *name, uint64_t messages), void *arg);

/* Appends a copy of `message`. seq must be above every seq pushed before. At the
 * limit, drop-oldest makes room by giving up the oldest of the lowest priority that
 * are not in flight; hold takes it all the same, and whoever brings messages should
 * not be read while queue_full(). */
enum queue_result queue_push(struct queue *queue, const struct message *message);
bool queue_full(const struct queue *queue);

/* The next message to send that was not handed out yet, or NULL if there is none or
 * the disk cannot be read now (then *failed is set and `err` says why). What has
 * expired at `now_ms` is given up. `committed`: only what is on disk. Valid until
 * the next call on this queue. */
const struct message *queue_peek(struct queue *queue, int64_t now_ms, bool committed, bool *failed, char *err,
                                 size_t err_size);

/* Makes sure that queue_take() can do its work. 0, or -1: memory is exhausted, or too
 * many deletions wait for a disk that does not take them. */
int queue_reserve(struct queue *queue);

/* Hands out what queue_peek() returned, after queue_reserve(): it will not be
 * returned again by this process. */
void queue_take(struct queue *queue);

/* A message in flight once more, to send it again or to tell its origin what became
 * of it. NULL if it is not in flight or cannot be read. Valid until the next call. */
const struct message *queue_lookup(struct queue *queue, uint64_t seq);

/* The collector has it, or it was given up: a row goes with the next commit, what
 * is not on disk goes at once. Unknown numbers are ignored. */
void queue_acknowledged(struct queue *queue, uint64_t seq);

/* Gives up what waits and has expired, as far as it has come to the front. */
void queue_expire(struct queue *queue, int64_t now_ms);
bool queue_may_expire(const struct queue *queue); /* something waits that will, as far as is known */

/* Gives up, because its owner wants it so, up to `most` messages that wait and have a number
 * up to `to`; not the agent's own reports. Returns how many; 0 if there are none, -1 if the disk
 * cannot be read now, or too many deletions wait for a commit. What is in flight stays. */
int queue_purge(struct queue *queue, uint64_t to, int most);
/* The one with that number: 1 if it is given up, else as above. */
int queue_purge_one(struct queue *queue, uint64_t seq);

/* What is in flight, and has a number from `from` to `to`, is not worth to be sent again: whoever does that
 * gives it up instead. Not remembered by the next process. Returns how many they are. */
uint64_t queue_unwant(struct queue *queue, uint64_t from, uint64_t to);
bool queue_unwanted(const struct queue *queue, uint64_t seq);

/* The oldest goes first whatever its priority, which then says only what is given up. */
void queue_set_in_order(struct queue *queue, bool in_order);

/* From now on what is pushed goes ahead of what waits; and all is one line again. */
void queue_go_live(struct queue *queue);
void queue_line_up(struct queue *queue);
uint64_t queue_newest(const struct queue *queue);     /* seq of what was pushed last, by whatever process */
int64_t queue_latest_age(const struct queue *queue);  /* the latest age_ms that an earlier process left here, or 0 */
/* The age_ms of the oldest message that waits or is in flight; 0: there is none, or the disk cannot be read now. */
int64_t queue_oldest_age(struct queue *queue);
bool queue_has_reports(const struct queue *queue); /* waiting or in flight */
uint64_t queue_messages(const struct queue *queue); /* waiting or in flight, safe or not */
uint64_t queue_bytes(const struct queue *queue);    /* topics and payloads of those */
size_t queue_unsafe(const struct queue *queue);     /* messages neither on disk nor acknowledged */

#endif
