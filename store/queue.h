/* One link's durable FIFO of outgoing messages.
 *
 *     handed out ──> ready ──────────> body on disk ──────────> tail
 *     (in flight)    (next to send,    (as long as the outage   (pushed, waits for
 *                     in memory)        lasts, costs no memory)  store_commit())
 *
 * Only committed messages are handed out (strict mode). What was handed out
 * stays on disk until queue_acknowledged(), and is handed out again, in order,
 * after a restart. Memory is bounded: the ready part by a constant, the tail by
 * what the agent takes in one turn.
 */
#ifndef TIDEGATE_QUEUE_H
#define TIDEGATE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct queue;

/* A piece of memory that may hold any bytes; data may be NULL if size is 0. */
struct bytes {
	const void *data;
	size_t size;
};

/* A queued message. The store keeps every field and interprets none but seq. */
struct message {
	uint64_t seq;            /* from store_next_seq(); also its token */
	struct bytes topic;      /* data is NUL-terminated in messages a queue returns */
	struct bytes payload;
	struct bytes properties; /* MQTT 5 properties, see agent/properties.h */
	struct bytes context;    /* what on_sent and on_drop get back, see agent/value.h */
	int64_t time_ms;         /* wall clock, ms since 1970, when it was published */
	uint32_t origin;         /* who published it: store_name_id(), 0 nobody */
	uint8_t qos;
	bool retain;
};

/* Opens the queue of the link `name`, empty if there was none, and counts what
 * it holds. NULL on failure with the reason in `err`. Close before the store. */
struct queue *queue_open(struct store *store, const char *name, char *err, size_t err_size);
void queue_close(struct queue *queue);

/* Calls `visit` for every queue that the store has, opened or not. */
void queue_visit(struct store *store, void (*visit)(void *arg, const char *name, uint64_t messages), void *arg);

/* Appends a copy of `message` to the tail. seq must be above every seq pushed
 * before. 0, or -1 if memory is exhausted. */
int queue_push(struct queue *queue, const struct message *message);

/* The oldest message that is committed and was not handed out yet, or NULL if
 * there is none or the disk cannot be read now (then *failed is set and `err`
 * says why). Valid until the next call on this queue. */
const struct message *queue_peek(struct queue *queue, bool *failed, char *err, size_t err_size);

/* Makes sure that queue_take() can do its work. 0, or -1 if nothing can be handed
 * out now: memory is exhausted, or too many deletions wait for a disk that does
 * not take them. */
int queue_reserve(struct queue *queue);

/* Hands out what queue_peek() returned, after queue_reserve(): it will not be
 * returned again by this process. */
void queue_take(struct queue *queue);

/* Reads a message that was handed out once more, to send it again, or to tell
 * its origin what became of it. NULL if it is not in flight or cannot be read.
 * Valid until the next call on this queue. */
const struct message *queue_lookup(struct queue *queue, uint64_t seq);

/* The collector has it, or it was given up: the row goes with the next commit.
 * Unknown numbers are ignored (a late acknowledgement is no error). */
void queue_acknowledged(struct queue *queue, uint64_t seq);

uint64_t queue_messages(const struct queue *queue); /* waiting or in flight, committed or not */
uint64_t queue_bytes(const struct queue *queue);    /* topics and payloads of those */
size_t queue_unsafe(const struct queue *queue);     /* pushed, not committed yet */

#endif
