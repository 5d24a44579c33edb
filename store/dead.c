/* An index of ids in memory over a table of letters; only what is not committed yet
 * is in memory as a whole. Items are in order of id, so those without a row are at
 * the end. */
#include "dead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

/* A letter and its bytes in one piece. */
struct copy {
	struct dead_letter letter;
	char bytes[];
};

struct item {
	uint64_t id;
	size_t bytes; /* what the limit counts */
	struct copy *copy; /* NULL: it has a row */
	char *reason;      /* a newer one than the row's; malloc'd */
	unsigned tries;
	bool retry;
	bool changed; /* tries, retry or reason are not what the row says */
	bool removed; /* its row goes with the next commit */
};

struct dead {
	struct store *store;
	struct participant participant;
	sqlite3_stmt *insert, *get, *update, *delete;
	struct item *items; /* in order of id */
	size_t n, size;
	size_t copies, changes; /* items that are not written, and changed or removed rows */
	size_t letters, bytes;  /* removed ones not counted */
	struct copy *got;       /* what dead_get() returned last */
};

/* ---- copies ---- */

static size_t letter_size(const struct dead_letter *letter)
{
	return letter->topic.size + letter->payload.size + letter->properties.size;
}

static void put(char **to, struct bytes *field, bool terminate)
{
	if (field->size > 0)
		memcpy(*to, field->data, field->size);
	field->data = *to;
	*to += field->size;
	if (terminate)
		*(*to)++ = '\0';
}

static void put_text(char **to, const char **text)
{
	size_t size = strlen(*text) + 1;

	memcpy(*to, *text, size);
	*text = *to;
	*to += size;
}

static struct copy *copy_letter(const struct dead_letter *letter)
{
	struct copy *copy = malloc(sizeof *copy + letter_size(letter) + 1 + strlen(letter->link) + 1 + strlen(letter->script) +
	                           1 + strlen(letter->reason) + 1);
	char *to;

	if (!copy)
		return NULL;
	copy->letter = *letter;
	to = copy->bytes;
	put_text(&to, &copy->letter.link);
	put_text(&to, &copy->letter.script);
	put_text(&to, &copy->letter.reason);
	put(&to, &copy->letter.topic, true);
	put(&to, &copy->letter.payload, false);
	put(&to, &copy->letter.properties, false);
	return copy;
}

/* ---- items ---- */

/* The first item whose id is at least that; dead->n if there is none. */
static size_t first_from(const struct dead *dead, uint64_t id)
{
	size_t low = 0, high = dead->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (dead->items[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct item *find(const struct dead *dead, uint64_t id)
{
	size_t at = first_from(dead, id);

	return at < dead->n && dead->items[at].id == id && !dead->items[at].removed ? &dead->items[at] : NULL;
}

/* Makes room for one more. 0, or -1: no memory. */
static int reserve(struct dead *dead)
{
	size_t size = dead->size ? 2 * dead->size : 16;
	struct item *items;

	if (dead->n < dead->size)
		return 0;
	items = realloc(dead->items, size * sizeof *items);
	if (!items)
		return -1;
	dead->items = items;
	dead->size = size;
	return 0;
}

static void release(struct item *item)
{
	free(item->copy);
	free(item->reason);
}

static void take_out(struct dead *dead, struct item *item)
{
	size_t at = (size_t)(item - dead->items);

	release(item);
	dead->n--;
	memmove(item, item + 1, (dead->n - at) * sizeof *item);
}

static void change(struct dead *dead, struct item *item)
{
	if (item->copy || item->changed)
		return;
	item->changed = true;
	dead->changes++;
}

static void remove_item(struct dead *dead, struct item *item)
{
	dead->letters--;
	dead->bytes -= item->bytes;
	if (item->copy) {
		dead->copies--;
		take_out(dead, item);
		return;
	}
	change(dead, item);
	item->removed = true;
}

static bool remove_oldest(struct dead *dead)
{
	for (size_t i = 0; i < dead->n; i++)
		if (!dead->items[i].removed) {
			remove_item(dead, &dead->items[i]);
			return true;
		}
	return false;
}

/* ---- letters ---- */

uint64_t dead_add(struct dead *dead, const struct dead_letter *letter, unsigned *lost)
{
	size_t bytes = letter_size(letter);
	struct copy *copy = reserve(dead) < 0 ? NULL : copy_letter(letter);
	unsigned n_lost = 0;

	if (lost)
		*lost = 0;
	if (!copy)
		return 0;
	while ((dead->letters >= DEAD_LETTERS_MAX || dead->bytes + bytes > DEAD_BYTES_MAX) && remove_oldest(dead))
		n_lost++;
	copy->letter.id = store_next_seq(dead->store);
	copy->letter.tries = 1;
	copy->letter.retry = false;
	dead->items[dead->n++] = (struct item){.id = copy->letter.id, .bytes = bytes, .copy = copy, .tries = 1};
	dead->copies++;
	dead->letters++;
	dead->bytes += bytes;
	if (lost)
		*lost = n_lost;
	return copy->letter.id;
}

bool dead_has_room(const struct dead *dead, size_t letters, size_t bytes)
{
	return dead->letters == 0 || (dead->letters + letters <= DEAD_LETTERS_MAX && dead->bytes + bytes <= DEAD_BYTES_MAX);
}

static struct bytes column_bytes(sqlite3_stmt *row, int column)
{
	/* In this order: the size is of the form that the first call converted to. */
	const void *data = sqlite3_column_blob(row, column);

	return (struct bytes){.data = data, .size = (size_t)sqlite3_column_bytes(row, column)};
}

static const char *column_text(sqlite3_stmt *row, int column)
{
	const char *text = (const char *)sqlite3_column_text(row, column);

	return text ? text : "";
}

static struct copy *read_row(struct dead *dead, uint64_t id)
{
	sqlite3_stmt *row = dead->get;
	struct copy *copy = NULL;

	sqlite3_bind_int64(row, 1, (sqlite3_int64)id);
	if (sqlite3_step(row) == SQLITE_ROW) {
		int flags = sqlite3_column_int(row, 4);

		copy = copy_letter(&(struct dead_letter){
		        .id = id,
		        .link = column_text(row, 0),
		        .script = column_text(row, 1),
		        .reason = column_text(row, 2),
		        .time_ms = sqlite3_column_int64(row, 3),
		        .qos = flags & 3,
		        .retain = (flags & 4) != 0,
		        .topic = column_bytes(row, 5),
		        .payload = column_bytes(row, 6),
		        .properties = column_bytes(row, 7),
		});
	}
	sqlite3_reset(row);
	store_failed(dead->store);
	return copy;
}

const struct dead_letter *dead_get(struct dead *dead, uint64_t id)
{
	const struct item *item = find(dead, id);
	struct copy *copy = item && !item->copy ? read_row(dead, id) : NULL;

	free(dead->got);
	dead->got = copy;
	if (item && item->copy)
		copy = item->copy;
	if (!copy)
		return NULL;
	copy->letter.tries = item->tries;
	copy->letter.retry = item->retry;
	if (item->reason)
		copy->letter.reason = item->reason;
	return &copy->letter;
}

bool dead_known(const struct dead *dead, uint64_t id)
{
	return find(dead, id) != NULL;
}

uint64_t dead_next(const struct dead *dead, uint64_t id)
{
	size_t at = first_from(dead, id + 1);

	while (at < dead->n && dead->items[at].removed)
		at++;
	return at < dead->n ? dead->items[at].id : 0;
}

void dead_visit(struct dead *dead, void (*visit)(void *arg, const struct dead_letter *letter), void *arg)
{
	size_t at = 0;

	while (at < dead->n) {
		uint64_t id = dead->items[at].id;
		const struct dead_letter *letter = dead_get(dead, id);

		if (letter)
			visit(arg, letter);
		at = first_from(dead, id + 1); /* it may have been removed */
	}
}

bool dead_remove(struct dead *dead, uint64_t id)
{
	struct item *item = find(dead, id);

	if (item)
		remove_item(dead, item);
	return item;
}

void dead_failed_again(struct dead *dead, uint64_t id, const char *reason)
{
	struct item *item = find(dead, id);
	char *copy = item ? strdup(reason) : NULL;

	if (!item)
		return;
	if (copy) {
		free(item->reason);
		item->reason = copy;
	}
	item->tries++;
	item->retry = false;
	change(dead, item);
}

bool dead_retry_later(struct dead *dead, uint64_t id, bool retry)
{
	struct item *item = find(dead, id);

	if (!item)
		return false;
	item->retry = retry;
	change(dead, item);
	return true;
}

uint64_t dead_count(const struct dead *dead)
{
	return dead->letters;
}

/* ---- taking part in the store's transaction ---- */

static size_t is_dirty(const void *owner)
{
	const struct dead *dead = owner;

	return dead->copies > 0 || dead->changes > 0;
}

static void add_unsafe(const void *owner, struct store_unsafe *unsafe)
{
	const struct dead *dead = owner;

	for (size_t i = dead->n; i > dead->n - dead->copies; i--) {
		const struct item *item = &dead->items[i - 1];

		unsafe->first = item->id < unsafe->first ? item->id : unsafe->first;
		unsafe->messages++;
		unsafe->bytes += item->bytes;
		unsafe->urgent = true;
	}
}

static void bind_bytes(sqlite3_stmt *row, int column, struct bytes bytes)
{
	if (bytes.size > 0)
		sqlite3_bind_blob64(row, column, bytes.data, bytes.size, SQLITE_STATIC);
	else
		sqlite3_bind_zeroblob(row, column, 0);
}

static int insert_row(struct dead *dead, const struct item *item)
{
	const struct dead_letter *letter = &item->copy->letter;
	sqlite3_stmt *row = dead->insert;

	sqlite3_bind_int64(row, 1, (sqlite3_int64)item->id);
	sqlite3_bind_text(row, 2, letter->link, -1, SQLITE_STATIC);
	sqlite3_bind_text(row, 3, letter->script, -1, SQLITE_STATIC);
	sqlite3_bind_text(row, 4, item->reason ? item->reason : letter->reason, -1, SQLITE_STATIC);
	sqlite3_bind_int64(row, 5, letter->time_ms);
	sqlite3_bind_int(row, 6, letter->qos | (letter->retain ? 4 : 0));
	sqlite3_bind_int64(row, 7, item->tries);
	sqlite3_bind_int(row, 8, item->retry);
	bind_bytes(row, 9, letter->topic);
	bind_bytes(row, 10, letter->payload);
	bind_bytes(row, 11, letter->properties);
	return store_step(row);
}

static int update_row(struct dead *dead, const struct item *item)
{
	sqlite3_stmt *row = dead->update;

	sqlite3_bind_int64(row, 1, (sqlite3_int64)item->id);
	sqlite3_bind_int64(row, 2, item->tries);
	sqlite3_bind_int(row, 3, item->retry);
	sqlite3_bind_text(row, 4, item->reason, -1, SQLITE_STATIC); /* NULL: it stays */
	return store_step(row);
}

static int delete_row(struct dead *dead, const struct item *item)
{
	sqlite3_bind_int64(dead->delete, 1, (sqlite3_int64)item->id);
	return store_step(dead->delete);
}

static int write_item(struct dead *dead, const struct item *item, bool additions)
{
	if (item->removed)
		return delete_row(dead, item);
	if (!additions)
		return 0;
	if (item->copy)
		return insert_row(dead, item);
	return item->changed ? update_row(dead, item) : 0;
}

static int write_changes(void *owner, bool additions)
{
	struct dead *dead = owner;

	for (size_t i = 0; i < dead->n && is_dirty(dead); i++)
		if (write_item(dead, &dead->items[i], additions) < 0)
			return -1;
	return 0;
}

static void item_written(struct dead *dead, struct item *item)
{
	dead->copies -= item->copy != NULL;
	dead->changes -= item->changed;
	release(item);
	item->copy = NULL;
	item->reason = NULL;
	item->changed = false;
}

static void changes_written(void *owner, bool additions)
{
	struct dead *dead = owner;
	size_t kept = 0;

	if (!is_dirty(dead))
		return;
	for (size_t i = 0; i < dead->n; i++) {
		struct item *item = &dead->items[i];

		if (additions || item->removed)
			item_written(dead, item);
		if (!item->removed)
			dead->items[kept++] = *item;
	}
	dead->n = kept;
}

/* ---- opening ---- */

static int load_index(struct dead *dead)
{
	sqlite3_stmt *rows = NULL;
	int step = SQLITE_ERROR;

	if (store_prepare(dead->store, &rows,
	                  "SELECT id, tries, retry, length(topic) + length(payload) + length(properties) FROM dead ORDER BY id",
	                  0) == 0)
		while ((step = sqlite3_step(rows)) == SQLITE_ROW && reserve(dead) == 0) {
			struct item item = {
			        .id = (uint64_t)sqlite3_column_int64(rows, 0),
			        .tries = (unsigned)sqlite3_column_int64(rows, 1),
			        .retry = sqlite3_column_int(rows, 2) != 0,
			        .bytes = (size_t)sqlite3_column_int64(rows, 3),
			};

			dead->items[dead->n++] = item;
			dead->letters++;
			dead->bytes += item.bytes;
		}
	sqlite3_finalize(rows);
	store_failed(dead->store);
	return step == SQLITE_DONE ? 0 : -1;
}

static int load(struct dead *dead)
{
	struct store *store = dead->store;

	if (store_prepare(store, &dead->insert, "INSERT INTO dead VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)", 0) < 0 ||
	    store_prepare(store, &dead->get,
	                  "SELECT link, script, reason, time_ms, flags, topic, payload, properties FROM dead WHERE id = ?1",
	                  0) < 0 ||
	    store_prepare(store, &dead->update,
	                  "UPDATE dead SET tries = ?2, retry = ?3, reason = ifnull(?4, reason) WHERE id = ?1", 0) < 0 ||
	    store_prepare(store, &dead->delete, "DELETE FROM dead WHERE id = ?1", 0) < 0)
		return -1;
	return load_index(dead);
}

struct dead *dead_open(struct store *store, char *err, size_t err_size)
{
	struct dead *dead = calloc(1, sizeof *dead);

	if (!dead) {
		snprintf(err, err_size, "dead letters: out of memory");
		return NULL;
	}
	dead->store = store;
	dead->participant = (struct participant){
	        .owner = dead, .dirty = is_dirty, .unsafe = add_unsafe, .write = write_changes, .written = changes_written};
	if (load(dead) < 0) {
		snprintf(err, err_size, "dead letters: %s", store_error(store));
		dead->store = NULL;
		dead_close(dead);
		return NULL;
	}
	store_join(store, &dead->participant);
	return dead;
}

void dead_close(struct dead *dead)
{
	if (!dead)
		return;
	if (dead->store)
		store_leave(dead->store, &dead->participant);
	sqlite3_finalize(dead->insert);
	sqlite3_finalize(dead->get);
	sqlite3_finalize(dead->update);
	sqlite3_finalize(dead->delete);
	for (size_t i = 0; i < dead->n; i++)
		release(&dead->items[i]);
	free(dead->items);
	free(dead->got);
	free(dead);
}
