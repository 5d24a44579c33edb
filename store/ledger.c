/* A bounded list of records in memory, written as rows when they change.
 *
 * Room is made without allocating: a record's topic can become "#" where it is,
 * and its reason's first word is what remains when the rest is cut off. Totals are
 * kept apart, so that they stay true whatever was merged or forgotten. */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

/* Tests compile with few. */
#ifndef LEDGER_RECORDS
#define LEDGER_RECORDS 500
#endif
#define TEXT_SIZE 256 /* of a topic or a reason, as it is kept */


struct record {
	uint64_t id; /* of its row; later records have higher ones */
	uint64_t hash;
	bool stored, changed;
	struct loss loss; /* its strings are in `text` */
	char *topic, *reason;
	char text[];
};

/* How much a link has lost for reasons with the same first word. */
struct total {
	struct total *next;
	uint64_t count;
	bool changed;
	char *reason;
	char link[]; /* and the reason after it */
};

struct ledger {
	struct store *store;
	struct participant participant;
	sqlite3_stmt *put, *delete, *put_total;
	struct record *records[LEDGER_RECORDS]; /* oldest first */
	size_t n;
	uint64_t gone[LEDGER_RECORDS]; /* rows to delete: never more than there are rows */
	size_t n_gone;
	struct total *totals;
	uint64_t next_id;
	bool dirty;
	struct store_unsafe unsafe; /* added since the last commit */
};

/* ---- texts ---- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
	do {
		hash = (hash ^ (unsigned char)*text) * 1099511628211u;
	} while (*text++);
	return hash;
}

static uint64_t hash_loss(const char *link, const char *topic, const char *reason)
{
	return hash_text(hash_text(hash_text(14695981039346656037u, link), topic), reason);
}

/* Of the reason's first word. */
static size_t kind_length(const char *reason)
{
	return strcspn(reason, ":");
}

/* Copies as much of `text` as fits, whole UTF-8 characters. */
static void cut_text(char *to, const char *text)
{
	size_t size = strlen(text);

	if (size >= TEXT_SIZE)
		for (size = TEXT_SIZE - 1; size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80; size--)
			;
	memcpy(to, text, size);
	to[size] = '\0';
}

/* A topic that is too long becomes the longest filter that covers it. */
static void cut_topic(char *to, const char *topic)
{
	size_t size = TEXT_SIZE - 2;

	if (strlen(topic) < TEXT_SIZE) {
		strcpy(to, topic);
		return;
	}
	while (size > 0 && topic[size - 1] != '/')
		size--;
	memcpy(to, topic, size);
	strcpy(to + size, "#");
}

/* ---- records ---- */

/* They may be merged: the same link and the same first word of the reason. */
static bool same_kind(const struct loss *a, const struct loss *b)
{
	size_t length = kind_length(a->reason);

	return kind_length(b->reason) == length && memcmp(a->reason, b->reason, length) == 0 && strcmp(a->link, b->link) == 0;
}

static struct record *find(const struct ledger *ledger, const char *link, const char *topic, const char *reason)
{
	uint64_t hash = hash_loss(link, topic, reason);

	for (size_t i = 0; i < ledger->n; i++) {
		struct record *record = ledger->records[i];

		if (record->hash == hash && !record->loss.reported && strcmp(record->loss.link, link) == 0 &&
		    strcmp(record->topic, topic) == 0 && strcmp(record->reason, reason) == 0)
			return record;
	}
	return NULL;
}

/* Where a loss belongs: to the record of its topic, or to one that merged others. */
static struct record *find_place(const struct ledger *ledger, const struct loss *loss)
{
	struct record *record = find(ledger, loss->link, loss->topic, loss->reason);
	char kind[TEXT_SIZE];

	if (!record)
		record = find(ledger, loss->link, "#", loss->reason);
	if (record)
		return record;
	snprintf(kind, sizeof kind, "%.*s", (int)kind_length(loss->reason), loss->reason);
	return find(ledger, loss->link, "#", kind);
}

static char *put_text(char **to, const char *text, size_t size)
{
	char *at = *to;

	memcpy(at, text, size);
	*to += size;
	return at;
}

static struct record *record_copy(const struct loss *loss)
{
	size_t link_size = strlen(loss->link) + 1, topic_size = strlen(loss->topic) + 1, reason_size = strlen(loss->reason) + 1;
	struct record *record = malloc(sizeof *record + link_size + topic_size + reason_size + sizeof "#");
	char *to;

	if (!record)
		return NULL;
	*record = (struct record){.loss = *loss, .hash = hash_loss(loss->link, loss->topic, loss->reason)};
	to = record->text;
	record->loss.link = put_text(&to, loss->link, link_size);
	record->loss.reason = record->reason = put_text(&to, loss->reason, reason_size);
	record->loss.topic = record->topic = put_text(&to, loss->topic, topic_size); /* last: there is room for "#" */
	return record;
}

static void add_up(struct record *record, const struct loss *loss)
{
	struct loss *sum = &record->loss;

	sum->first_seq = loss->first_seq < sum->first_seq ? loss->first_seq : sum->first_seq;
	sum->last_seq = loss->last_seq > sum->last_seq ? loss->last_seq : sum->last_seq;
	sum->first_time_ms = loss->first_time_ms < sum->first_time_ms ? loss->first_time_ms : sum->first_time_ms;
	sum->last_time_ms = loss->last_time_ms > sum->last_time_ms ? loss->last_time_ms : sum->last_time_ms;
	sum->count += loss->count;
	sum->bytes += loss->bytes;
	record->changed = true;
}

static void widen(struct record *record, bool same_reason)
{
	strcpy(record->topic, "#");
	if (!same_reason)
		record->reason[kind_length(record->reason)] = '\0';
	record->hash = hash_loss(record->loss.link, record->topic, record->reason);
	record->changed = true;
}

static void forget(struct ledger *ledger, size_t at)
{
	struct record *record = ledger->records[at];

	if (record->stored)
		ledger->gone[ledger->n_gone++] = record->id;
	free(record);
	ledger->n--;
	memmove(&ledger->records[at], &ledger->records[at + 1], (ledger->n - at) * sizeof ledger->records[0]);
}

/* ---- making room ---- */

static size_t count_mergeable(const struct ledger *ledger, const struct loss *loss)
{
	size_t n = 0;

	for (size_t i = 0; i < ledger->n; i++)
		n += !ledger->records[i]->loss.reported && same_kind(&ledger->records[i]->loss, loss);
	return n;
}

/* Merges into the record at `first` all that may be merged with it. */
static void merge(struct ledger *ledger, size_t first)
{
	struct record *record = ledger->records[first];
	bool same_reason = true;

	for (size_t i = ledger->n - 1; i > first; i--) {
		const struct loss *loss = &ledger->records[i]->loss;

		if (loss->reported || !same_kind(&record->loss, loss))
			continue;
		same_reason = same_reason && strcmp(record->reason, loss->reason) == 0;
		add_up(record, loss);
		forget(ledger, i);
	}
	widen(record, same_reason);
}

/* The oldest that was reported goes; if none was, the largest number of records that
 * can be one become one; if none can, the oldest goes. */
static void make_room(struct ledger *ledger)
{
	size_t best = 0, best_n = 1;

	for (size_t i = 0; i < ledger->n; i++)
		if (ledger->records[i]->loss.reported) {
			forget(ledger, i);
			return;
		}
	for (size_t i = 0; i < ledger->n; i++) {
		size_t n = count_mergeable(ledger, &ledger->records[i]->loss);

		if (n > best_n) {
			best = i;
			best_n = n;
		}
	}
	if (best_n > 1)
		merge(ledger, best);
	else
		forget(ledger, 0);
}

/* ---- totals ---- */

static struct total *find_total(const struct ledger *ledger, const char *link, const char *reason, size_t length)
{
	struct total *total = ledger->totals;

	while (total && (strncmp(total->reason, reason, length) != 0 || total->reason[length] != '\0' ||
	                 strcmp(total->link, link) != 0))
		total = total->next;
	return total;
}

/* NULL: no memory. */
static struct total *add_total(struct ledger *ledger, const char *link, const char *reason, uint64_t count)
{
	size_t length = kind_length(reason), link_size = strlen(link) + 1;
	struct total *total = find_total(ledger, link, reason, length);

	if (!total) {
		total = calloc(1, sizeof *total + link_size + length + 1);
		if (!total)
			return NULL;
		strcpy(total->link, link);
		total->reason = total->link + link_size;
		memcpy(total->reason, reason, length);
		total->next = ledger->totals;
		ledger->totals = total;
	}
	total->count += count;
	total->changed = true;
	return total;
}

uint64_t ledger_total(const struct ledger *ledger, const char *link, const char *reason)
{
	uint64_t count = 0;

	for (const struct total *total = ledger->totals; total; total = total->next)
		if (strcmp(total->link, link) == 0 && (!reason || strcmp(total->reason, reason) == 0))
			count += total->count;
	return count;
}

/* ---- the ledger ---- */

static int append(struct ledger *ledger, const struct loss *loss)
{
	struct record *record = record_copy(loss);

	if (!record)
		return -1;
	record->id = ledger->next_id++;
	record->changed = true;
	record->loss.reported = false;
	ledger->records[ledger->n++] = record;
	return 0;
}

/* Without memory: under "#", if there is a record that can become that. */
static void add_to_any(struct ledger *ledger, const struct loss *loss)
{
	for (size_t i = 0; i < ledger->n; i++) {
		struct record *record = ledger->records[i];

		if (record->loss.reported || !same_kind(&record->loss, loss))
			continue;
		add_up(record, loss);
		widen(record, strcmp(record->reason, loss->reason) == 0);
		return;
	}
}

static void count_unsafe(struct store_unsafe *unsafe, const struct store_unsafe *more)
{
	unsafe->first = more->first < unsafe->first ? more->first : unsafe->first;
	unsafe->messages += more->messages;
	unsafe->bytes += more->bytes;
}

int ledger_add(struct ledger *ledger, const struct loss *loss)
{
	char topic[TEXT_SIZE], reason[TEXT_SIZE];
	struct loss cut = *loss;
	struct record *record;
	int result;

	cut_topic(topic, loss->topic);
	cut_text(reason, loss->reason);
	cut.topic = topic;
	cut.reason = reason;
	count_unsafe(&ledger->unsafe,
	             &(struct store_unsafe){.first = loss->first_seq, .messages = loss->count, .bytes = loss->bytes});
	ledger->dirty = true;
	result = add_total(ledger, cut.link, cut.reason, cut.count) ? 0 : -1;
	record = find_place(ledger, &cut);
	if (!record && ledger->n == LEDGER_RECORDS) {
		make_room(ledger);
		record = find_place(ledger, &cut);
	}
	if (record) {
		add_up(record, &cut);
	} else if (append(ledger, &cut) < 0) {
		add_to_any(ledger, &cut);
		result = -1;
	}
	return result;
}

void ledger_report(struct ledger *ledger, const char *link, int (*report)(void *arg, const struct loss *loss), void *arg)
{
	for (size_t i = 0; i < ledger->n; i++) {
		struct record *record = ledger->records[i];

		if (record->loss.reported || strcmp(record->loss.link, link) != 0 || report(arg, &record->loss) != 0)
			continue;
		record->loss.reported = record->changed = ledger->dirty = true;
	}
}

bool ledger_unreported(const struct ledger *ledger, const char *link)
{
	for (size_t i = 0; i < ledger->n; i++)
		if (!ledger->records[i]->loss.reported && strcmp(ledger->records[i]->loss.link, link) == 0)
			return true;
	return false;
}

void ledger_visit(const struct ledger *ledger, void (*visit)(void *arg, const struct loss *loss), void *arg)
{
	for (size_t i = 0; i < ledger->n; i++)
		visit(arg, &ledger->records[i]->loss);
}

/* ---- taking part in the store's transaction ---- */

static size_t is_dirty(const void *owner)
{
	return ((const struct ledger *)owner)->dirty;
}

static void add_unsafe(const void *owner, struct store_unsafe *unsafe)
{
	count_unsafe(unsafe, &((const struct ledger *)owner)->unsafe);
}

static int put_record(struct ledger *ledger, const struct record *record)
{
	const struct loss *loss = &record->loss;
	sqlite3_stmt *row = ledger->put;
	const int64_t numbers[] = {(int64_t)loss->first_seq, (int64_t)loss->last_seq, loss->first_time_ms, loss->last_time_ms,
	                           (int64_t)loss->count, (int64_t)loss->bytes, loss->reported};

	sqlite3_bind_int64(row, 1, (sqlite3_int64)record->id);
	sqlite3_bind_text(row, 2, loss->link, -1, SQLITE_STATIC);
	sqlite3_bind_text(row, 3, loss->topic, -1, SQLITE_STATIC);
	sqlite3_bind_text(row, 4, loss->reason, -1, SQLITE_STATIC);
	for (int i = 0; i < (int)(sizeof numbers / sizeof *numbers); i++)
		sqlite3_bind_int64(row, 5 + i, numbers[i]);
	return store_step(row);
}

static int put_total(struct ledger *ledger, const struct total *total)
{
	sqlite3_bind_text(ledger->put_total, 1, total->link, -1, SQLITE_STATIC);
	sqlite3_bind_text(ledger->put_total, 2, total->reason, -1, SQLITE_STATIC);
	sqlite3_bind_int64(ledger->put_total, 3, (sqlite3_int64)total->count);
	return store_step(ledger->put_total);
}

/* Also where only deletions are wanted: a message must not be deleted without its
 * record, and that is small. */
static int write_changes(void *owner, bool additions)
{
	struct ledger *ledger = owner;

	(void)additions;
	if (!ledger->dirty)
		return 0;
	for (size_t i = 0; i < ledger->n_gone; i++) {
		sqlite3_bind_int64(ledger->delete, 1, (sqlite3_int64)ledger->gone[i]);
		if (store_step(ledger->delete) < 0)
			return -1;
	}
	for (size_t i = 0; i < ledger->n; i++)
		if (ledger->records[i]->changed && put_record(ledger, ledger->records[i]) < 0)
			return -1;
	for (const struct total *total = ledger->totals; total; total = total->next)
		if (total->changed && put_total(ledger, total) < 0)
			return -1;
	return 0;
}

static void changes_written(void *owner, bool additions)
{
	struct ledger *ledger = owner;

	(void)additions;
	if (!ledger->dirty)
		return;
	for (size_t i = 0; i < ledger->n; i++) {
		ledger->records[i]->stored = true;
		ledger->records[i]->changed = false;
	}
	for (struct total *total = ledger->totals; total; total = total->next)
		total->changed = false;
	ledger->n_gone = 0;
	ledger->unsafe = (struct store_unsafe){.first = UINT64_MAX};
	ledger->dirty = false;
}

/* ---- opening ---- */

static const char *column_text(sqlite3_stmt *row, int column)
{
	const char *text = (const char *)sqlite3_column_text(row, column);

	return text ? text : "";
}

static int load_record(struct ledger *ledger, sqlite3_stmt *row)
{
	char topic[TEXT_SIZE], reason[TEXT_SIZE];
	struct loss loss = {
	        .link = column_text(row, 1),
	        .topic = topic,
	        .reason = reason,
	        .first_seq = (uint64_t)sqlite3_column_int64(row, 4),
	        .last_seq = (uint64_t)sqlite3_column_int64(row, 5),
	        .first_time_ms = sqlite3_column_int64(row, 6),
	        .last_time_ms = sqlite3_column_int64(row, 7),
	        .count = (uint64_t)sqlite3_column_int64(row, 8),
	        .bytes = (uint64_t)sqlite3_column_int64(row, 9),
	};
	struct record *record;

	cut_topic(topic, column_text(row, 2));
	cut_text(reason, column_text(row, 3));
	if (append(ledger, &loss) < 0)
		return -1;
	record = ledger->records[ledger->n - 1];
	record->id = (uint64_t)sqlite3_column_int64(row, 0);
	record->stored = true;
	record->changed = false;
	record->loss.reported = sqlite3_column_int(row, 10) != 0;
	ledger->next_id = record->id + 1;
	return 0;
}

static int load_records(struct ledger *ledger)
{
	sqlite3_stmt *rows = NULL;
	int step = SQLITE_ERROR;

	if (store_prepare(ledger->store, &rows,
	                  "SELECT id, link, topic, reason, first_seq, last_seq, first_time_ms, last_time_ms, count, bytes,"
	                  " reported FROM loss ORDER BY id",
	                  0) == 0)
		while ((step = sqlite3_step(rows)) == SQLITE_ROW && ledger->n < LEDGER_RECORDS)
			if (load_record(ledger, rows) < 0)
				break;
	sqlite3_finalize(rows);
	store_failed(ledger->store);
	return step == SQLITE_DONE ? 0 : -1;
}

static int load_totals(struct ledger *ledger)
{
	sqlite3_stmt *rows = NULL;
	int step = SQLITE_ERROR;

	if (store_prepare(ledger->store, &rows, "SELECT link, reason, count FROM loss_total", 0) == 0)
		while ((step = sqlite3_step(rows)) == SQLITE_ROW) {
			struct total *total = add_total(ledger, column_text(rows, 0), column_text(rows, 1),
			                                (uint64_t)sqlite3_column_int64(rows, 2));

			if (!total)
				break;
			total->changed = false;
		}
	sqlite3_finalize(rows);
	store_failed(ledger->store);
	return step == SQLITE_DONE ? 0 : -1;
}

static int load(struct ledger *ledger)
{
	struct store *store = ledger->store;

	if (!store->still &&
	    store_exec(store,
	               /* A version that keeps more may have been here. */
	               "DELETE FROM loss WHERE id <= (SELECT id FROM loss ORDER BY id DESC LIMIT 1 OFFSET " STRING(
	                       LEDGER_RECORDS) ")") < 0)
		return -1;
	if (store_prepare(store, &ledger->put,
	                  "INSERT OR REPLACE INTO loss VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)", 0) < 0 ||
	    store_prepare(store, &ledger->delete, "DELETE FROM loss WHERE id = ?1", 0) < 0 ||
	    store_prepare(store, &ledger->put_total, "INSERT OR REPLACE INTO loss_total VALUES (?1,?2,?3)", 0) < 0)
		return -1;
	return load_records(ledger) < 0 || load_totals(ledger) < 0 ? -1 : 0;
}

struct ledger *ledger_open(struct store *store, char *err, size_t err_size)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);

	if (!ledger) {
		snprintf(err, err_size, "the record of losses: out of memory");
		return NULL;
	}
	ledger->store = store;
	ledger->next_id = 1;
	ledger->unsafe.first = UINT64_MAX;
	ledger->participant = (struct participant){
	        .owner = ledger, .dirty = is_dirty, .unsafe = add_unsafe, .write = write_changes, .written = changes_written};
	if (load(ledger) < 0) {
		snprintf(err, err_size, "the record of losses: %s", store_error(store));
		ledger->store = NULL;
		ledger_close(ledger);
		return NULL;
	}
	store_join(store, &ledger->participant);
	return ledger;
}

void ledger_close(struct ledger *ledger)
{
	if (!ledger)
		return;
	if (ledger->store)
		store_leave(ledger->store, &ledger->participant);
	sqlite3_finalize(ledger->put);
	sqlite3_finalize(ledger->delete);
	sqlite3_finalize(ledger->put_total);
	for (size_t i = 0; i < ledger->n; i++)
		free(ledger->records[i]);
	while (ledger->totals) {
		struct total *total = ledger->totals;

		ledger->totals = total->next;
		free(total);
	}
	free(ledger);
}
