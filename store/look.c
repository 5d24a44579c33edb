/* One merge: of each link and priority the table gives numbers in order, of each open queue the list of
 * what is not saved yet. A commit saves all there is, so that what is not saved is newer than every
 * row of its queue. */
#include "look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue_internal.h"

#define SEQ_MAX ((UINT64_C(1) << SEQ_BITS) - 1)

struct look_queue {
	uint32_t id;
	uint64_t from[PRIORITIES]; /* the next row has this number, or a higher one */
	char *name;
	/* During a step: */
	struct queue *queue;         /* NULL: it is not open */
	struct rows own;             /* then */
	struct rows *rows;
	const struct entry *unsaved; /* the next one */
	uint64_t last;               /* no row has a higher number, or none that is of interest */
};

struct look {
	struct store *store;
	struct look_queue *queues;
	size_t n;
	uint64_t next, to; /* what is told next has this number, or a higher one */
};

/* ---- links ---- */

int look_link(struct store *store, uint32_t *id, char *name, size_t size)
{
	sqlite3_stmt *link = NULL;
	int step = SQLITE_ERROR;

	if (store_prepare(store, &link, "SELECT id, name FROM link WHERE id > ?1 ORDER BY id LIMIT 1", 0) == 0) {
		sqlite3_bind_int64(link, 1, *id);
		step = sqlite3_step(link);
	}
	if (step == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(link, 1);

		*id = (uint32_t)sqlite3_column_int64(link, 0);
		snprintf(name, size, "%s", text ? text : "");
	}
	sqlite3_finalize(link);
	store_failed(store);
	return step == SQLITE_ROW ? 1 : step == SQLITE_DONE ? 0 : -1;
}

int look_count(struct store *store, uint32_t id, uint64_t *messages, uint64_t *bytes)
{
	sqlite3_stmt *sum = NULL;
	bool found = store_prepare(store, &sum,
	                           "SELECT count(*), ifnull(sum(length(topic) + ifnull(length(payload), 0)), 0) FROM queue_%u",
	                           id) == 0 &&
	             sqlite3_step(sum) == SQLITE_ROW;

	*messages = found ? (uint64_t)sqlite3_column_int64(sum, 0) : 0;
	*bytes = found ? (uint64_t)sqlite3_column_int64(sum, 1) : 0;
	sqlite3_finalize(sum);
	store_failed(store);
	return found ? 0 : -1;
}

/* ---- opening ---- */

static int add_queue(struct look *look, uint32_t id, const char *name)
{
	struct look_queue *queues = realloc(look->queues, (look->n + 1) * sizeof *queues), *queue;

	if (!queues)
		return -1;
	look->queues = queues;
	queue = &queues[look->n];
	*queue = (struct look_queue){.id = id, .name = strdup(name)};
	look->n += queue->name != NULL;
	return queue->name ? 0 : -1;
}

struct look *look_open(struct store *store, const char *link, uint64_t from, uint64_t to, char *err, size_t err_size)
{
	struct look *look = calloc(1, sizeof *look);
	char name[256];
	uint32_t id = 0;
	int found = look ? 1 : -1;

	while (found > 0 && (found = look_link(store, &id, name, sizeof name)) > 0)
		if ((!link || strcmp(name, link) == 0) && add_queue(look, id, name) < 0)
			found = -1;
	if (found < 0)
		snprintf(err, err_size, "%s", look && store_corrupt(store) ? store_error(store) : "out of memory");
	else if (link && look->n == 0)
		snprintf(err, err_size, "there is no link %s, nor was there one", link);
	if (found < 0 || (link && look->n == 0)) {
		look_close(look);
		return NULL;
	}
	look->store = store;
	look->next = from;
	look->to = to < SEQ_MAX ? to : SEQ_MAX;
	return look;
}

void look_close(struct look *look)
{
	if (!look)
		return;
	for (size_t i = 0; i < look->n; i++)
		free(look->queues[i].name);
	free(look->queues);
	free(look);
}

/* ---- a step ---- */

static int begin(const struct look *look, struct look_queue *queue)
{
	queue->queue = queue_named(look->store, queue->name);
	queue->unsaved = queue->queue ? queue->queue->oldest : NULL;
	queue->last = look->to;
	if (queue->unsaved && queue->unsaved->message.seq <= queue->last)
		queue->last = queue->unsaved->message.seq - 1;
	queue->own = (struct rows){0};
	queue->rows = queue->queue ? &queue->queue->rows : &queue->own;
	return queue->queue ? 0 : rows_open_to_read(&queue->own, look->store, queue->id);
}

static void end(struct look *look)
{
	for (size_t i = 0; i < look->n; i++)
		rows_release(&look->queues[i].own);
}

/* Where the next row may be: of which queue, and of which priority. UINT64_MAX: nowhere. */
static uint64_t next_row(const struct look *look, struct look_queue **queue, unsigned *priority)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < look->n; i++)
		for (unsigned p = 0; p < PRIORITIES; p++) {
			struct look_queue *other = &look->queues[i];

			if (other->from[p] < look->next)
				other->from[p] = look->next;
			if (other->from[p] <= other->last && other->from[p] < next) {
				next = other->from[p];
				*queue = other;
				*priority = p;
			}
		}
	return next;
}

static uint64_t next_unsaved(const struct look *look, struct look_queue **queue)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < look->n; i++) {
		struct look_queue *other = &look->queues[i];

		while (other->unsaved && other->unsaved->message.seq < look->next)
			other->unsaved = other->unsaved->newer;
		if (other->unsaved && other->unsaved->message.seq <= look->to && other->unsaved->message.seq < next) {
			next = other->unsaved->message.seq;
			*queue = other;
		}
	}
	return next;
}

static bool tell(struct look *look, const struct look_queue *queue, const struct entry *entry,
                 bool (*take)(void *arg, const struct look_item *item), void *arg)
{
	const struct handed *handed = queue->queue ? flight_find(&queue->queue->flight, entry->message.seq) : NULL;
	struct look_item item = {
	        .link = queue->name, .message = &entry->message, .in_flight = handed, .saved = entry->saved};

	look->next = entry->message.seq + 1;
	if (handed && flight_is_done(handed)) /* its row goes with the next commit */
		return true;
	return take(arg, &item);
}

enum found { FOUND_NONE, FOUND_ROW, FOUND_FAILED };

/* Whether the row is where it may be; else the next place is known better. */
static enum found find_row(struct look_queue *queue, unsigned priority, uint64_t seq, struct entry **entry)
{
	int64_t key;
	int found = rows_first(queue->rows, rows_key(seq, priority), rows_key(queue->last, priority), &key);

	if (found < 0)
		return FOUND_FAILED;
	queue->from[priority] = found ? rows_seq(key) : queue->last + 1;
	if (queue->from[priority] != seq)
		return FOUND_NONE;
	return rows_read(queue->rows, key, entry) > 0 ? FOUND_ROW : FOUND_FAILED;
}

static int walk(struct look *look, bool (*take)(void *arg, const struct look_item *item), void *arg)
{
	for (;;) {
		struct look_queue *queue = NULL, *other = NULL;
		unsigned priority = 0;
		uint64_t row = next_row(look, &queue, &priority), unsaved = next_unsaved(look, &other);
		struct entry *entry = NULL;
		bool more = true;

		if (row == UINT64_MAX && unsaved == UINT64_MAX)
			return 0;
		if (unsaved < row) {
			more = tell(look, other, other->unsaved, take, arg);
		} else {
			if (find_row(queue, priority, row, &entry) == FOUND_FAILED)
				return -1;
			more = !entry || tell(look, queue, entry, take, arg);
			free(entry);
		}
		if (!more)
			return 1;
	}
}

int look_on(struct look *look, bool (*take)(void *arg, const struct look_item *item), void *arg)
{
	int result = 0;

	for (size_t i = 0; i < look->n; i++)
		if (begin(look, &look->queues[i]) < 0)
			result = -1;
	if (result == 0)
		result = walk(look, take, arg);
	end(look);
	return result;
}
