/* One link's FIFO: lanes in front of a table, one for each priority, and one more of
 * each for what goes ahead of the backlog; a list of what is not on disk yet; and
 * what was handed out. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue_internal.h"

#define DROP_MAX 1000   /* given up at a time */
#define COUNT_ROWS 4096 /* at a time, about a millisecond */

/* ---- the unsaved ones ---- */

static void unsaved_add(struct queue *queue, struct entry *entry)
{
	entry->older = queue->newest;
	if (queue->newest)
		queue->newest->newer = entry;
	else
		queue->oldest = entry;
	queue->newest = entry;
	queue->unsafe++;
	queue->unsafe_bytes += entry_size(entry);
}

static void unsaved_remove(struct queue *queue, struct entry *entry)
{
	*(entry->older ? &entry->older->newer : &queue->oldest) = entry->newer;
	*(entry->newer ? &entry->newer->older : &queue->newest) = entry->older;
	entry->older = entry->newer = NULL;
	queue->unsafe--;
	queue->unsafe_bytes -= entry_size(entry);
}

/* ---- what is handed out, or given up ---- */

struct lane *queue_lane(struct queue *queue, unsigned priority, bool live)
{
	return live ? &queue->live[priority] : &queue->lanes[priority];
}

bool queue_is_counted(const struct queue *queue, uint64_t seq, unsigned priority)
{
	return seq > queue->found_to || rows_key(seq, priority) > queue->uncounted_to;
}

static void count(struct queue *queue, unsigned priority, size_t size)
{
	queue->messages++;
	queue->bytes += size;
	if (priority == QUEUE_PRIORITY_REPORT) {
		queue->reports++;
		queue->report_bytes += size;
	}
}

static void uncount(struct queue *queue, unsigned priority, size_t size)
{
	queue->messages--;
	queue->bytes -= size;
	if (priority == QUEUE_PRIORITY_REPORT) {
		queue->reports--;
		queue->report_bytes -= size;
	}
	if (queue->messages == 0 && queue->uncounted_to == INT64_MIN)
		queue->may_expire = false;
}

/* Takes the front of a lane, which is in memory, after flight_reserve(). */
static struct handed *hand_out(struct queue *queue, struct lane *lane)
{
	struct entry *entry = entry_list_remove_first(&lane->waiting);
	struct handed *handed = flight_add(&queue->flight, lane, entry,
	                                   queue_is_counted(queue, entry->message.seq, entry->message.priority));

	if (entry->saved) {
		free(entry);
	} else {
		entry->place = HANDED;
		handed->entry = entry;
	}
	return handed;
}

void queue_finish(struct queue *queue, struct handed *handed)
{
	if (handed->counted)
		uncount(queue, handed->priority, handed->size);
	if (handed->entry)
		unsaved_remove(queue, handed->entry);
	flight_done(&queue->flight, handed);
}

bool queue_drop_first(struct queue *queue, struct lane *lane, enum queue_drop why)
{
	if (flight_reserve(&queue->flight) < 0)
		return false;
	queue->dropped(queue->arg, queue, &lane->waiting.head->message, why);
	queue_finish(queue, hand_out(queue, lane));
	return true;
}

/* ---- taking part in the store's transaction ---- */

static size_t deletions(const void *owner)
{
	return ((const struct queue *)owner)->flight.acknowledged;
}

static void add_unsafe(const void *owner, struct store_unsafe *unsafe)
{
	const struct queue *queue = owner;

	if (queue->oldest && queue->oldest->message.seq < unsafe->first)
		unsafe->first = queue->oldest->message.seq;
	unsafe->messages += queue->unsafe;
	unsafe->bytes += queue->unsafe_bytes;
}

/* Deletions first: the pages they free are dirty anyway, and what is inserted
 * then goes into those instead of into others. */
static int write_changes(void *owner, bool additions)
{
	struct queue *queue = owner;

	if (flight_delete(&queue->flight, &queue->rows) < 0)
		return -1;
	for (const struct entry *entry = queue->oldest; entry && additions; entry = entry->newer)
		if (rows_insert(&queue->rows, &entry->message) < 0)
			return -1;
	return 0;
}

/* An unsaved message has a row now. In memory it stays as long as it is in one piece
 * with what is sent next. */
static void entry_saved(struct queue *queue, struct entry *entry)
{
	bool live = queue->live_after && entry->message.seq > queue->live_after;

	unsaved_remove(queue, entry);
	entry->saved = true;
	lane_saved(queue_lane(queue, entry->message.priority, live), entry);
	if (entry->place == HANDED) {
		flight_find(&queue->flight, entry->message.seq)->entry = NULL;
		free(entry);
	}
}

static void changes_written(void *owner, bool additions)
{
	struct queue *queue = owner;

	while (additions && queue->oldest)
		entry_saved(queue, queue->oldest);
	for (size_t i = 0; additions && i < PRIORITIES; i++) {
		lane_trim(&queue->lanes[i]);
		lane_trim(&queue->live[i]);
	}
	flight_deleted(&queue->flight);
}

/* ---- opening ---- */

static int find_lanes(struct queue *queue)
{
	const uint64_t last_seq = (UINT64_C(1) << SEQ_BITS) - 1;

	queue->uncounted_to = INT64_MIN;
	for (unsigned priority = 0; priority < PRIORITIES; priority++) {
		struct lane *lane = &queue->lanes[priority];
		int64_t age_ms;

		lane->loaded_to = rows_key(0, priority);
		if (rows_last(&queue->rows, rows_key(1, priority), rows_key(last_seq, priority), &lane->body_to, &age_ms) < 0)
			return -1;
		if (lane->body_to == lane->loaded_to)
			continue;
		if (rows_seq(lane->body_to) > queue->found_to)
			queue->found_to = rows_seq(lane->body_to);
		if (lane->body_to > queue->uncounted_to)
			queue->uncounted_to = lane->body_to;
		if (age_ms > queue->latest_age_ms)
			queue->latest_age_ms = age_ms;
	}
	queue->pushed_to = queue->found_to;
	queue->may_expire = queue->found_to > 0;
	return 0;
}

struct queue *queue_open(struct store *store, const char *name, struct queue_limits limits, queue_dropped *dropped,
                         void *arg, char *err, size_t err_size)
{
	struct queue *queue = calloc(1, sizeof *queue);

	if (!queue || !(queue->name = strdup(name))) {
		snprintf(err, err_size, "queue of link %s: out of memory", name);
		free(queue);
		return NULL;
	}
	queue->limits = limits;
	queue->dropped = dropped;
	queue->arg = arg;
	queue->participant = (struct participant){.owner = queue,
	                                          .dirty = deletions,
	                                          .unsafe = add_unsafe,
	                                          .write = write_changes,
	                                          .written = changes_written};
	if (rows_open(&queue->rows, store, name, err, err_size) < 0) {
		queue_close(queue);
		return NULL;
	}
	if (find_lanes(queue) < 0) {
		snprintf(err, err_size, "queue of link %s: %s", name, store_error(store));
		queue_close(queue);
		return NULL;
	}
	queue->store = store;
	store_join(store, &queue->participant);
	return queue;
}

void queue_close(struct queue *queue)
{
	if (!queue)
		return;
	if (queue->store)
		store_leave(queue->store, &queue->participant);
	for (size_t i = 0; i < PRIORITIES; i++) {
		lane_release(&queue->lanes[i]);
		lane_release(&queue->live[i]);
	}
	flight_release(&queue->flight);
	rows_release(&queue->rows);
	free(queue->looked_up);
	free(queue->name);
	free(queue);
}

void queue_set_limits(struct queue *queue, struct queue_limits limits)
{
	queue->limits = limits;
}

static void count_row(void *arg, int64_t key, size_t size)
{
	struct queue *queue = arg;
	struct handed *handed = flight_find(&queue->flight, rows_seq(key));

	if (rows_seq(key) > queue->found_to || (handed && flight_is_done(handed)))
		return;
	count(queue, rows_priority(key), size);
	if (handed)
		handed->counted = true;
}

bool queue_may_expire(const struct queue *queue)
{
	return queue->may_expire;
}

int queue_count(struct queue *queue)
{
	if (queue->uncounted_to != INT64_MIN &&
	    rows_count(&queue->rows, &queue->uncounted_to, COUNT_ROWS, count_row, queue) < 0)
		return -1;
	return queue->uncounted_to != INT64_MIN;
}

struct queue *queue_named(struct store *store, const char *name)
{
	for (const struct participant *p = store->participants; p; p = p->next)
		if (p->write == write_changes && strcmp(((struct queue *)p->owner)->name, name) == 0)
			return p->owner;
	return NULL;
}

static bool is_open(struct store *store, const char *name)
{
	return queue_named(store, name);
}

void queue_visit(struct store *store, void (*visit)(void *arg, const char *name, uint64_t messages), void *arg)
{
	rows_visit(store, visit, arg, is_open);
}

/* ---- the queue ---- */

static bool exceeds(const struct queue *queue, uint64_t more_messages, uint64_t more_bytes)
{
	const struct queue_limits *limits = &queue->limits;

	return (limits->max_messages && queue->messages - queue->reports + more_messages > limits->max_messages) ||
	       (limits->max_bytes && queue->bytes - queue->report_bytes + more_bytes > limits->max_bytes);
}

bool queue_full(const struct queue *queue)
{
	return exceeds(queue, 1, 0);
}

/* The lane whose oldest goes when room is needed for a message of that priority. NULL:
 * nothing waits that is worth as little. */
static struct lane *lane_to_give_up(struct queue *queue, unsigned priority)
{
	for (unsigned lowest = 0; lowest <= priority && lowest <= QUEUE_PRIORITY_MAX; lowest++)
		for (int live = 0; live < 2; live++) {
			struct lane *lane = queue_lane(queue, lowest, live);

			if (lane_load(lane, &queue->rows, &queue->flight) == 0 && lane->waiting.head)
				return lane;
		}
	return NULL;
}

/* Far beyond a limit that was lowered it takes a while to get below it: a bounded step
 * each time, and the new one is taken all the same. */
static bool admits(struct queue *queue, const struct message *message, size_t size)
{
	if (message->priority == QUEUE_PRIORITY_REPORT || queue->limits.overflow == QUEUE_HOLD)
		return true;
	if (queue->limits.max_bytes && size > queue->limits.max_bytes)
		return false;
	for (int dropped = 0; exceeds(queue, 1, size) && dropped < DROP_MAX; dropped++) {
		struct lane *lane = NULL;

		if (queue->limits.overflow == QUEUE_DROP_OLDEST)
			lane = lane_to_give_up(queue, message->priority);
		if (!lane)
			return false;
		if (!queue_drop_first(queue, lane, QUEUE_OVERFLOW))
			return true;
	}
	return true;
}

enum queue_result queue_push(struct queue *queue, const struct message *message)
{
	struct entry *entry = entry_copy(message);

	if (!entry)
		return QUEUE_ERROR;
	assert(message->seq > queue->pushed_to && message->priority < PRIORITIES);
	queue->pushed_to = message->seq;
	if (!admits(queue, &entry->message, entry_size(entry))) {
		queue->dropped(queue->arg, queue, &entry->message, QUEUE_OVERFLOW);
		free(entry);
		return QUEUE_FULL;
	}
	lane_append(queue_lane(queue, message->priority, queue->live_after), entry);
	unsaved_add(queue, entry);
	queue->may_expire = queue->may_expire || message->expires_ms;
	count(queue, message->priority, entry_size(entry));
	return QUEUE_OK;
}

static bool has_expired(const struct message *message, int64_t now_ms)
{
	return message->expires_ms != 0 && message->expires_ms <= now_ms;
}

/* The front of a lane, in memory and not expired. NULL: there is none, or *failed. */
static struct entry *front_of(struct queue *queue, struct lane *lane, int64_t now_ms, bool *failed)
{
	while (!lane_is_empty(lane)) {
		if (lane_load(lane, &queue->rows, &queue->flight) < 0)
			*failed = true;
		if (!lane->waiting.head || !has_expired(&lane->waiting.head->message, now_ms))
			return lane->waiting.head;
		if (!queue_drop_first(queue, lane, QUEUE_EXPIRED))
			return NULL;
	}
	return NULL;
}

/* It may leave: its number is never given to another message, even after a kill. */
static bool may_leave(const struct queue *queue, const struct entry *entry, bool committed)
{
	return entry->saved || (!committed && entry->message.seq < queue->store->seq_limit);
}

/* A lane whose front may not leave, as the disk does not take it, does not keep others
 * from leaving: that is how the disk gets room. In order of seq, nothing behind it could leave
 * either: commits save all there is. */
static const struct entry *best_front(struct queue *queue, int64_t now_ms, bool committed, bool *failed)
{
	const struct entry *best = NULL;

	for (unsigned priority = PRIORITIES; priority-- > 0 && (!best || queue->in_order);)
		for (int live = 1; live >= 0 && (!best || queue->in_order); live--) {
			struct lane *lane = queue_lane(queue, priority, live);
			const struct entry *front = front_of(queue, lane, now_ms, failed);

			if (*failed)
				return NULL;
			if (!front || !may_leave(queue, front, committed) || (best && best->message.seq < front->message.seq))
				continue;
			queue->peeked = lane;
			best = front;
		}
	return best;
}

const struct message *queue_peek(struct queue *queue, int64_t now_ms, bool committed, bool *failed, char *err,
                                 size_t err_size)
{
	const struct entry *front;

	*failed = false;
	front = best_front(queue, now_ms, committed, failed);
	if (*failed)
		snprintf(err, err_size, "%s", store_error(queue->store));
	if (front)
		return &front->message;
	queue->peeked = NULL;
	return NULL;
}

int64_t queue_oldest_age(struct queue *queue)
{
	const struct handed *handed = flight_oldest(&queue->flight);
	const struct message *oldest = handed ? queue_lookup(queue, handed->seq) : NULL;

	for (size_t i = 0; i < 2 * PRIORITIES; i++) {
		struct lane *lane = queue_lane(queue, (unsigned)(i / 2), i % 2);
		const struct entry *front;

		if (lane_is_empty(lane) || lane_load(lane, &queue->rows, &queue->flight) < 0)
			continue;
		front = lane->waiting.head;
		if (front && (!oldest || front->message.seq < oldest->seq))
			oldest = &front->message;
	}
	return oldest ? oldest->age_ms : 0;
}

void queue_set_in_order(struct queue *queue, bool in_order)
{
	queue->in_order = in_order;
}

int queue_reserve(struct queue *queue)
{
	return flight_reserve(&queue->flight);
}

void queue_take(struct queue *queue)
{
	assert(queue->peeked && queue->peeked->waiting.head);
	hand_out(queue, queue->peeked);
	queue->peeked = NULL;
}

const struct message *queue_lookup(struct queue *queue, uint64_t seq)
{
	const struct handed *handed = flight_find(&queue->flight, seq);

	free(queue->looked_up);
	queue->looked_up = NULL;
	if (!handed || flight_is_done(handed))
		return NULL;
	if (handed->entry)
		return &handed->entry->message;
	rows_read(&queue->rows, rows_key(seq, handed->priority), &queue->looked_up);
	return queue->looked_up ? &queue->looked_up->message : NULL;
}

void queue_acknowledged(struct queue *queue, uint64_t seq)
{
	struct handed *handed = flight_find(&queue->flight, seq);

	if (handed && !flight_is_done(handed))
		queue_finish(queue, handed);
}

void queue_expire(struct queue *queue, int64_t now_ms)
{
	for (size_t i = 0; i < 2 * (size_t)PRIORITIES; i++) {
		struct lane *lane = queue_lane(queue, (unsigned)i / 2, i % 2 == 1);

		while (lane_load(lane, &queue->rows, &queue->flight) == 0 && lane->waiting.head &&
		       has_expired(&lane->waiting.head->message, now_ms))
			if (!queue_drop_first(queue, lane, QUEUE_EXPIRED))
				return;
	}
}

/* ---- live first ---- */

void queue_go_live(struct queue *queue)
{
	queue_line_up(queue);
	if (queue->pushed_to == 0)
		return; /* nothing was ever there to go ahead of */
	queue->live_after = queue->pushed_to;
	for (unsigned priority = 0; priority < PRIORITIES; priority++)
		lane_init(&queue->live[priority], rows_key(queue->pushed_to, priority));
}

void queue_line_up(struct queue *queue)
{
	if (!queue->live_after)
		return;
	for (size_t i = 0; i < PRIORITIES; i++)
		lane_join(&queue->lanes[i], &queue->live[i]);
	queue->live_after = 0;
	queue->peeked = NULL;
	flight_break(&queue->flight);
}

/* ---- what is known ---- */

uint64_t queue_newest(const struct queue *queue)
{
	return queue->pushed_to;
}

int64_t queue_latest_age(const struct queue *queue)
{
	return queue->latest_age_ms;
}

bool queue_has_reports(const struct queue *queue)
{
	return queue->reports > 0;
}

uint64_t queue_messages(const struct queue *queue)
{
	return queue->messages;
}

uint64_t queue_bytes(const struct queue *queue)
{
	return queue->bytes;
}

size_t queue_unsafe(const struct queue *queue)
{
	return queue->unsafe;
}
