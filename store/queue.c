/* One link's FIFO: a memory tail in front of a table keyed by seq.
 *
 * Pushes wait in `tail` until the store commits; committed messages move on to
 * `ready` while that is the whole rest of the queue, otherwise they stay on
 * disk only and are read back in order when their turn comes. `flight` lists
 * what was handed out; its acknowledged runs are deleted by ranges. */
#include "queue.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

/* How much of the queue is kept in memory ahead of sending: enough for a few
 * turns, small against a router's memory. Tests compile with tiny ones. */
#ifndef QUEUE_READY_MESSAGES
#define QUEUE_READY_MESSAGES 256
#endif
#ifndef QUEUE_READY_BYTES
#define QUEUE_READY_BYTES (256 * 1024)
#endif
/* Hand out no more while so many deletions wait for a disk that does not take them. */
#ifndef QUEUE_FLIGHT_MAX
#define QUEUE_FLIGHT_MAX 65536
#endif

/* A message and its bytes in one piece. */
struct entry {
	struct entry *next;
	struct message message;
	char bytes[];
};

struct list {
	struct entry *head, **end;
	size_t messages, bytes;
};

struct handed {
	uint64_t seq;
	uint32_t bytes;
	bool acknowledged;
};

struct queue {
	struct store *store;
	struct participant participant;
	sqlite3_stmt *insert, *load, *lookup, *delete;
	struct list ready, tail;
	struct entry *looked_up; /* what queue_lookup() returned last */
	uint64_t loaded_to;      /* every committed seq up to here is, or was, in `ready` */
	uint64_t body_to;        /* the last committed seq */
	uint64_t pushed_to;      /* the last seq pushed */
	struct handed *flight;   /* in order of seq */
	size_t flight_n, flight_size, acknowledged_n;
	uint64_t messages, bytes;
};

/* ---- entries ---- */

static void put(char **to, struct bytes *field, bool terminate)
{
	if (field->size > 0)
		memcpy(*to, field->data, field->size);
	field->data = *to;
	*to += field->size;
	if (terminate)
		*(*to)++ = '\0';
}

static struct entry *entry_copy(const struct message *message)
{
	struct entry *entry = malloc(sizeof *entry + message->topic.size + 1 + message->payload.size +
	                             message->properties.size + message->context.size);
	char *to;

	if (!entry)
		return NULL;
	entry->next = NULL;
	entry->message = *message;
	to = entry->bytes;
	put(&to, &entry->message.topic, true);
	put(&to, &entry->message.payload, false);
	put(&to, &entry->message.properties, false);
	put(&to, &entry->message.context, false);
	return entry;
}

/* What limits and counters call a message's size. */
static size_t entry_size(const struct entry *entry)
{
	return entry->message.topic.size + entry->message.payload.size;
}

static void list_append(struct list *list, struct entry *entry)
{
	if (!list->head)
		list->end = &list->head;
	*list->end = entry;
	list->end = &entry->next;
	list->messages++;
	list->bytes += entry_size(entry);
}

static struct entry *list_remove_first(struct list *list)
{
	struct entry *entry = list->head;

	list->head = entry->next;
	entry->next = NULL;
	list->messages--;
	list->bytes -= entry_size(entry);
	return entry;
}

static void list_release(struct list *list)
{
	while (list->head)
		free(list_remove_first(list));
}

static bool ready_has_room(const struct queue *queue)
{
	return queue->ready.messages < QUEUE_READY_MESSAGES && queue->ready.bytes < QUEUE_READY_BYTES;
}

/* ---- rows ---- */

#define COLUMNS "seq, topic, payload, properties, context, time_ms, origin, flags"

static struct bytes column_bytes(sqlite3_stmt *row, int column)
{
	/* In this order: the size is of the form that the first call converted to. */
	const void *data = sqlite3_column_blob(row, column);

	return (struct bytes){.data = data, .size = (size_t)sqlite3_column_bytes(row, column)};
}

static struct entry *entry_from_row(sqlite3_stmt *row)
{
	int flags = sqlite3_column_int(row, 7);
	struct message message = {
	        .seq = (uint64_t)sqlite3_column_int64(row, 0),
	        .topic = column_bytes(row, 1),
	        .payload = column_bytes(row, 2),
	        .properties = column_bytes(row, 3),
	        .context = column_bytes(row, 4),
	        .time_ms = sqlite3_column_int64(row, 5),
	        .origin = (uint32_t)sqlite3_column_int64(row, 6),
	        .qos = (uint8_t)(flags & 3),
	        .retain = (flags & 4) != 0,
	};

	return entry_copy(&message);
}

static void bind_optional(sqlite3_stmt *row, int column, struct bytes bytes)
{
	if (bytes.size > 0)
		sqlite3_bind_blob64(row, column, bytes.data, bytes.size, SQLITE_STATIC);
	else
		sqlite3_bind_null(row, column);
}

static int insert_row(struct queue *queue, const struct message *message)
{
	sqlite3_stmt *row = queue->insert;

	sqlite3_bind_int64(row, 1, (sqlite3_int64)message->seq);
	sqlite3_bind_blob64(row, 2, message->topic.data, message->topic.size, SQLITE_STATIC);
	bind_optional(row, 3, message->payload);
	bind_optional(row, 4, message->properties);
	bind_optional(row, 5, message->context);
	sqlite3_bind_int64(row, 6, message->time_ms);
	sqlite3_bind_int64(row, 7, message->origin);
	sqlite3_bind_int(row, 8, message->qos | (message->retain ? 4 : 0));
	return store_step(row);
}

static int delete_range(struct queue *queue, uint64_t first, uint64_t last)
{
	sqlite3_bind_int64(queue->delete, 1, (sqlite3_int64)first);
	sqlite3_bind_int64(queue->delete, 2, (sqlite3_int64)last);
	return store_step(queue->delete);
}

/* ---- taking part in the store's transaction ---- */

static bool is_dirty(const void *owner)
{
	const struct queue *queue = owner;

	return queue->tail.messages > 0 || queue->acknowledged_n > 0;
}

static void add_unsafe(const void *owner, struct store_unsafe *unsafe)
{
	const struct queue *queue = owner;

	if (queue->tail.head && queue->tail.head->message.seq < unsafe->first)
		unsafe->first = queue->tail.head->message.seq;
	unsafe->messages += queue->tail.messages;
	unsafe->bytes += queue->tail.bytes;
}

/* Rows are handed out in order of seq, so between two neighbours of `flight`
 * the table has nothing: a run of acknowledged neighbours is one range. */
static int delete_acknowledged(struct queue *queue)
{
	size_t at = 0;

	while (at < queue->flight_n) {
		size_t first = at;

		while (at < queue->flight_n && queue->flight[at].acknowledged)
			at++;
		if (at > first && delete_range(queue, queue->flight[first].seq, queue->flight[at - 1].seq) < 0)
			return -1;
		while (at < queue->flight_n && !queue->flight[at].acknowledged)
			at++;
	}
	return 0;
}

/* Deletions first: the pages they free are dirty anyway, and what is inserted
 * then goes into those instead of into others. */
static int write_changes(void *owner, bool additions)
{
	struct queue *queue = owner;

	if (queue->acknowledged_n > 0 && delete_acknowledged(queue) < 0)
		return -1;
	for (const struct entry *entry = queue->tail.head; entry && additions; entry = entry->next)
		if (insert_row(queue, &entry->message) < 0)
			return -1;
	return 0;
}

static void forget_acknowledged(struct queue *queue)
{
	size_t kept = 0;

	for (size_t i = 0; i < queue->flight_n; i++)
		if (!queue->flight[i].acknowledged)
			queue->flight[kept++] = queue->flight[i];
	queue->flight_n = kept;
	queue->acknowledged_n = 0;
}

/* The tail is on disk now. As long as `ready` is the whole rest of the queue,
 * it grows at its end; once something stays on disk only, so must all after it. */
static void changes_written(void *owner, bool additions)
{
	struct queue *queue = owner;

	while (additions && queue->tail.head) {
		struct entry *entry = list_remove_first(&queue->tail);
		bool follows = queue->loaded_to == queue->body_to;

		queue->body_to = entry->message.seq;
		if (follows && ready_has_room(queue)) {
			queue->loaded_to = entry->message.seq;
			list_append(&queue->ready, entry);
		} else {
			free(entry);
		}
	}
	if (queue->acknowledged_n > 0)
		forget_acknowledged(queue);
}

/* ---- opening ---- */

static uint32_t link_id(struct store *store, const char *name)
{
	sqlite3_stmt *statement = NULL;
	uint32_t id = 0;

	if (sqlite3_prepare_v2(store_database(store), "SELECT id FROM link WHERE name = ?1", -1, &statement, NULL) ==
	            SQLITE_OK &&
	    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		id = (uint32_t)sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return id;
}

static int create_table(struct store *store, const char *name)
{
	sqlite3_stmt *add = NULL, *create = NULL;
	int result = -1;

	if (sqlite3_prepare_v2(store_database(store), "INSERT INTO link (name) VALUES (?1)", -1, &add, NULL) ==
	            SQLITE_OK &&
	    sqlite3_bind_text(add, 1, name, -1, SQLITE_STATIC) == SQLITE_OK && store_exec(store, "BEGIN IMMEDIATE") == 0) {
		if (store_step(add) == 0 &&
		    store_prepare(store, &create, QUEUE_TABLE, (uint32_t)sqlite3_last_insert_rowid(store_database(store))) == 0 &&
		    store_step(create) == 0)
			result = 0;
		if (result < 0 || store_exec(store, "COMMIT") < 0) {
			store_exec(store, "ROLLBACK");
			result = -1;
		}
	}
	sqlite3_finalize(create);
	sqlite3_finalize(add);
	return result;
}

/* Counts what an earlier process left. */
static int count_rows(struct queue *queue, uint32_t id)
{
	sqlite3_stmt *count = NULL;
	int result = -1;

	if (store_prepare(queue->store, &count,
	                  "SELECT count(*), total(length(topic) + ifnull(length(payload), 0)), ifnull(max(seq), 0)"
	                  " FROM queue_%u",
	                  id) == 0 &&
	    sqlite3_step(count) == SQLITE_ROW) {
		queue->messages = (uint64_t)sqlite3_column_int64(count, 0);
		queue->bytes = (uint64_t)sqlite3_column_int64(count, 1);
		queue->body_to = queue->pushed_to = (uint64_t)sqlite3_column_int64(count, 2);
		result = 0;
	}
	sqlite3_finalize(count);
	return result;
}

static int prepare_statements(struct queue *queue, uint32_t id)
{
	struct store *store = queue->store;

	return store_prepare(store, &queue->insert, "INSERT OR REPLACE INTO queue_%u (" COLUMNS ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
	                     id) < 0 ||
	                       store_prepare(store, &queue->load,
	                                     "SELECT " COLUMNS " FROM queue_%u WHERE seq > ?1 ORDER BY seq", id) < 0 ||
	                       store_prepare(store, &queue->lookup, "SELECT " COLUMNS " FROM queue_%u WHERE seq = ?1",
	                                     id) < 0 ||
	                       store_prepare(store, &queue->delete, "DELETE FROM queue_%u WHERE seq BETWEEN ?1 AND ?2",
	                                     id) < 0
	               ? -1
	               : 0;
}

struct queue *queue_open(struct store *store, const char *name, char *err, size_t err_size)
{
	struct queue *queue = calloc(1, sizeof *queue);
	uint32_t id;

	if (!queue) {
		snprintf(err, err_size, "queue of link %s: out of memory", name);
		return NULL;
	}
	queue->store = store;
	queue->participant = (struct participant){
	        .owner = queue, .dirty = is_dirty, .unsafe = add_unsafe, .write = write_changes, .written = changes_written};
	if ((link_id(store, name) == 0 && create_table(store, name) < 0) || (id = link_id(store, name)) == 0 ||
	    prepare_statements(queue, id) < 0 || count_rows(queue, id) < 0) {
		snprintf(err, err_size, "queue of link %s: %s", name, sqlite3_errmsg(store_database(store)));
		queue->store = NULL;
		queue_close(queue);
		return NULL;
	}
	store_join(store, &queue->participant);
	return queue;
}

void queue_close(struct queue *queue)
{
	if (!queue)
		return;
	if (queue->store)
		store_leave(queue->store, &queue->participant);
	sqlite3_finalize(queue->insert);
	sqlite3_finalize(queue->load);
	sqlite3_finalize(queue->lookup);
	sqlite3_finalize(queue->delete);
	list_release(&queue->ready);
	list_release(&queue->tail);
	free(queue->looked_up);
	free(queue->flight);
	free(queue);
}

void queue_visit(struct store *store, void (*visit)(void *arg, const char *name, uint64_t messages), void *arg)
{
	sqlite3_stmt *links = NULL;

	if (store_prepare(store, &links, "SELECT id, name FROM link ORDER BY id", 0) == 0)
		while (sqlite3_step(links) == SQLITE_ROW) {
			sqlite3_stmt *count = NULL;

			if (store_prepare(store, &count, "SELECT count(*) FROM queue_%u",
			                  (uint32_t)sqlite3_column_int64(links, 0)) == 0 &&
			    sqlite3_step(count) == SQLITE_ROW)
				visit(arg, (const char *)sqlite3_column_text(links, 1), (uint64_t)sqlite3_column_int64(count, 0));
			sqlite3_finalize(count);
		}
	sqlite3_finalize(links);
}

/* ---- the queue ---- */

int queue_push(struct queue *queue, const struct message *message)
{
	struct entry *entry = entry_copy(message);

	if (!entry)
		return -1;
	assert(message->seq > queue->pushed_to);
	queue->pushed_to = message->seq;
	list_append(&queue->tail, entry);
	queue->messages++;
	queue->bytes += entry_size(entry);
	return 0;
}

/* Fills `ready` from the body. 0, or -1 if the disk or memory failed. */
static int load_ready(struct queue *queue)
{
	int step = SQLITE_DONE;

	sqlite3_bind_int64(queue->load, 1, (sqlite3_int64)queue->loaded_to);
	while (ready_has_room(queue) && (step = sqlite3_step(queue->load)) == SQLITE_ROW) {
		struct entry *entry = entry_from_row(queue->load);

		if (!entry) {
			step = SQLITE_NOMEM;
			break;
		}
		queue->loaded_to = entry->message.seq;
		list_append(&queue->ready, entry);
	}
	sqlite3_reset(queue->load);
	if (step == SQLITE_DONE)
		queue->loaded_to = queue->body_to;
	return step == SQLITE_DONE || step == SQLITE_ROW ? 0 : -1;
}

const struct message *queue_peek(struct queue *queue, bool *failed, char *err, size_t err_size)
{
	*failed = false;
	if (!queue->ready.head && queue->loaded_to < queue->body_to && load_ready(queue) < 0 && !queue->ready.head) {
		*failed = true;
		snprintf(err, err_size, "%s", sqlite3_errmsg(store_database(queue->store)));
	}
	return queue->ready.head ? &queue->ready.head->message : NULL;
}

int queue_reserve(struct queue *queue)
{
	size_t size = queue->flight_size ? queue->flight_size * 2 : 64;
	struct handed *flight;

	if (queue->flight_n < queue->flight_size)
		return 0;
	if (queue->flight_n >= QUEUE_FLIGHT_MAX)
		return -1;
	flight = realloc(queue->flight, size * sizeof *flight);
	if (!flight)
		return -1;
	queue->flight = flight;
	queue->flight_size = size;
	return 0;
}

void queue_take(struct queue *queue)
{
	struct entry *entry;

	assert(queue->ready.head && queue->flight_n < queue->flight_size);
	entry = list_remove_first(&queue->ready);
	queue->flight[queue->flight_n++] =
	        (struct handed){.seq = entry->message.seq, .bytes = (uint32_t)entry_size(entry)};
	free(entry);
}

static struct handed *find_handed(struct queue *queue, uint64_t seq)
{
	size_t low = 0, high = queue->flight_n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (queue->flight[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low < queue->flight_n && queue->flight[low].seq == seq ? &queue->flight[low] : NULL;
}

const struct message *queue_lookup(struct queue *queue, uint64_t seq)
{
	const struct handed *handed = find_handed(queue, seq);

	free(queue->looked_up);
	queue->looked_up = NULL;
	if (!handed || handed->acknowledged)
		return NULL;
	sqlite3_bind_int64(queue->lookup, 1, (sqlite3_int64)seq);
	if (sqlite3_step(queue->lookup) == SQLITE_ROW)
		queue->looked_up = entry_from_row(queue->lookup);
	sqlite3_reset(queue->lookup);
	return queue->looked_up ? &queue->looked_up->message : NULL;
}

void queue_acknowledged(struct queue *queue, uint64_t seq)
{
	struct handed *handed = find_handed(queue, seq);

	if (!handed || handed->acknowledged)
		return;
	handed->acknowledged = true;
	queue->acknowledged_n++;
	queue->messages--;
	queue->bytes -= handed->bytes;
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
	return queue->tail.messages;
}
