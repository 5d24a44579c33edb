/* Three lists of batches. What an error means is in kdb_errors.c, what a batch is in
 * kdb_batch.c; here is what follows from it. */
#include "kdb_calls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kdb_errors.h"
#include "kdb_ipc.h"
#include "kdb_time.h"
#include "log.h"
#include "pattern.h"
#include "retry.h"

#define HANG_UPS 3      /* over the same batch: then it is set aside */
#define UNKNOWN_TRIES 5 /* of an error that nobody knows: then it is taken to be for good */
#define ROWS_MAX 50000  /* under way and waiting here; forward and queue hand out somewhat more */

/* ---- lists ---- */

static void append(struct kdb_calls_list *list, struct kdb_batch *batch)
{
	batch->next = NULL;
	*list->end = batch;
	list->end = &batch->next;
}

static void prepend(struct kdb_calls_list *list, struct kdb_batch *batch)
{
	batch->next = list->first;
	if (!list->first)
		list->end = &batch->next;
	list->first = batch;
}

static void unlink_batch(struct kdb_calls_list *list, struct kdb_batch *batch)
{
	struct kdb_batch **at = &list->first;

	while (*at != batch)
		at = &(*at)->next;
	*at = batch->next;
	if (!*at)
		list->end = at;
}

static void release(struct kdb_calls_list *list)
{
	while (list->first) {
		struct kdb_batch *batch = list->first;

		list->first = batch->next;
		kdb_batch_close(batch);
	}
	list->end = &list->first;
}

void kdb_calls_init(struct kdb_calls *calls, const struct link_config *config, const struct transport_events *events,
                    void *arg)
{
	calls->config = config;
	calls->events = events;
	calls->arg = arg;
	calls->open.end = &calls->open.first;
	calls->sealed.end = &calls->sealed.first;
	calls->called.end = &calls->called.first;
	snprintf(calls->component, sizeof calls->component, "link %s", config->name);
}

static void release_all(struct kdb_calls *calls)
{
	release(&calls->open);
	release(&calls->sealed);
	release(&calls->called);
	calls->n_called = calls->rows = calls->bytes = 0;
}

void kdb_calls_release(struct kdb_calls *calls)
{
	release_all(calls);
	kdb_cells_release(&calls->row);
	kdb_cuts_release(&calls->cuts);
	free(calls->suspect.table);
}

/* ---- collecting ---- */

static void seal(struct kdb_calls *calls, struct kdb_batch *batch)
{
	unlink_batch(&calls->open, batch);
	append(&calls->sealed, batch);
}

/* Those under way, and one that is filled meanwhile. */
static size_t most_batches(const struct kdb_calls *calls)
{
	return (size_t)calls->config->window + 1;
}

static size_t rows_of_full(const struct kdb_calls *calls)
{
	size_t most = ROWS_MAX / most_batches(calls);

	return (size_t)calls->config->kdb.batch_rows < most ? (size_t)calls->config->kdb.batch_rows : most;
}

static bool has_room(const struct kdb_calls *calls)
{
	return calls->rows < most_batches(calls) * rows_of_full(calls) &&
	       calls->bytes < most_batches(calls) * (size_t)calls->config->kdb.batch_bytes;
}

/* The batch that takes the row. Where a mark is kept for each table, its rows must not
 * overtake each other: what is open and does not take it goes before. */
static struct kdb_batch *open_batch(struct kdb_calls *calls, const struct message *message, bool late)
{
	const struct kdb_config *kdb = &calls->config->kdb;
	const char *table = message->topic.data;
	struct kdb_batch *batch = calls->open.first, *next;

	for (; batch; batch = next) {
		bool fits = kdb_batch_takes(batch, table, &calls->row) && batch->late == late;

		next = batch->next;
		if (fits && message->seq <= batch->end &&
		    batch->bytes + kdb_cells_bytes(&calls->row) <= (size_t)kdb->batch_bytes)
			return batch;
		if (fits || (kdb->exactly_once && strcmp(batch->table, table) == 0))
			seal(calls, batch);
	}
	return NULL;
}

static struct kdb_batch *batch_for(struct kdb_calls *calls, const struct message *message, bool late)
{
	struct kdb_batch *batch = open_batch(calls, message, late);

	if (batch)
		return batch;
	batch = kdb_batch_open(message->topic.data, &calls->row);
	if (!batch)
		return NULL;
	batch->late = late;
	batch->end = kdb_cuts_end(&calls->cuts, batch->table, message->seq);
	append(&calls->open, batch);
	return batch;
}

static bool is_late(const struct kdb_config *kdb, const struct message *message, int64_t wall_ms)
{
	return kdb->late_call && kdb->late_after_ms > 0 && !message->time_uncertain &&
	       wall_ms - message->time_ms > kdb->late_after_ms;
}

static void stamp(struct kdb_cells *row, enum kdb_time_column column, int64_t time_ms)
{
	int64_t timestamp = kdb_timestamp_of_unix_ms(time_ms);

	if (column == KDB_TIME_COLUMN_TIMESTAMP)
		kdb_cells_stamp(row, KDB_TIMESTAMP, timestamp);
	else if (column == KDB_TIME_COLUMN_TIMESPAN)
		kdb_cells_stamp(row, KDB_TIMESPAN, kdb_timespan_of_timestamp(timestamp));
}

enum send_result kdb_calls_add(struct kdb_calls *calls, const struct message *message, int64_t wall_ms, int *handle,
                               char *reason, size_t reason_size)
{
	const struct kdb_config *kdb = &calls->config->kdb;
	struct kdb_batch *batch;

	if (!has_room(calls))
		return SEND_LATER;
	if (memchr(message->topic.data, 0, message->topic.size) || message->topic.size == 0) {
		snprintf(reason, reason_size, "no name of a kdb+ table");
		return SEND_NEVER;
	}
	if (kdb_cells_read(&calls->row, message->payload, reason, reason_size) < 0)
		return SEND_NEVER;
	stamp(&calls->row, kdb->time_column, message->time_ms);
	batch = batch_for(calls, message, is_late(kdb, message, wall_ms));
	*handle = (int)(++calls->last_handle & 0x7fffffff);
	if (!batch || kdb_batch_add(batch, &calls->row, (struct kdb_place){message->seq, *handle}) < 0) {
		if (batch && batch->n == 0) {
			unlink_batch(&calls->open, batch);
			kdb_batch_close(batch);
		}
		return SEND_LATER;
	}
	calls->rows++;
	calls->bytes += kdb_cells_bytes(&calls->row);
	if (batch->n >= rows_of_full(calls) || batch->bytes >= (size_t)kdb->batch_bytes || message->seq == batch->end)
		seal(calls, batch);
	return SEND_OK;
}

/* ---- finishing ---- */

static bool is_suspect(const struct kdb_calls *calls, const struct kdb_batch *batch)
{
	return calls->suspect.table && strcmp(calls->suspect.table, batch->table) == 0 &&
	       calls->suspect.first == kdb_batch_first(batch) && calls->suspect.last == kdb_batch_last(batch);
}

static void clear_suspect(struct kdb_calls *calls)
{
	free(calls->suspect.table);
	memset(&calls->suspect, 0, sizeof calls->suspect);
}

/* It is over for every row of it; frees it. `reason` NULL: they were taken. */
static void finish(struct kdb_calls *calls, struct kdb_batch *batch, const char *reason)
{
	if (is_suspect(calls, batch))
		clear_suspect(calls);
	kdb_cuts_settled(&calls->cuts, batch->table, kdb_batch_last(batch));
	calls->rows -= batch->n;
	calls->bytes -= batch->bytes;
	for (size_t i = 0; i < batch->n; i++)
		if (reason)
			calls->events->refused(calls->arg, batch->places[i].handle, REFUSED_FOR_GOOD, reason);
		else
			calls->events->acknowledged(calls->arg, batch->places[i].handle);
	kdb_batch_close(batch);
}

/* ---- pausing ---- */

/* Told the first time, the second, the fourth... */
static void pause_calls(struct kdb_calls *calls, bool slowly, const char *what, const char *problem, int64_t now_ms)
{
	int64_t max_ms = kdb_slow_ms(calls->config), min_ms = slowly ? max_ms : calls->config->reconnect_min_ms;
	int64_t delay_ms = retry_backoff_ms(min_ms, max_ms, calls->pauses, (double)(now_ms % 997) / 997);
	unsigned times = ++calls->pauses;

	calls->paused_until_ms = now_ms + delay_ms;
	if (times & (times - 1))
		return;
	if (slowly) /* somebody has to do something */
		log_error(calls->component, "%s: %s; again in %.1f s", what, problem, (double)delay_ms / 1000);
	else
		log_warn(calls->component, "%s: %s; again in %.1f s", what, problem, (double)delay_ms / 1000);
}

int64_t kdb_slow_ms(const struct link_config *config)
{
	return config->reconnect_max_ms;
}

/* Without room among the dead letters it waits for that, and all behind it: many rows that do not fit are a
 * table that is wrong rather than wrong rows. */
static bool must_wait(struct kdb_calls *calls, const struct kdb_batch *batch, const char *what, int64_t now_ms)
{
	if (calls->events->room_for_refused(calls->arg, batch->n, batch->bytes))
		return false;
	pause_calls(calls, true, what, "there is no more room among the dead letters (tidegate dead), so it waits", now_ms);
	return true;
}

/* ---- sealing, and noting ---- */

/* What waits in many open batches leaves no room for more: then the oldest goes as it is. */
static void seal_due(struct kdb_calls *calls, int64_t now_ms)
{
	for (struct kdb_batch *batch = calls->open.first; batch; batch = batch->next)
		if (batch->opened_ms == 0)
			batch->opened_ms = now_ms;
	while (calls->open.first && now_ms - calls->open.first->opened_ms >= calls->config->kdb.batch_delay_ms)
		seal(calls, calls->open.first);
	if (calls->open.first && !calls->sealed.first && !calls->called.first && !has_room(calls))
		seal(calls, calls->open.first);
}

/* The next call's end is a cut, from before it leaves. */
static void note_next(struct kdb_calls *calls)
{
	const struct kdb_batch *next = calls->sealed.first;

	if (!next)
		return;
	switch (kdb_cuts_add(&calls->cuts, next->table, kdb_batch_last(next))) {
	case 1:
		calls->unnoted = true;
		break;
	case -1:
		log_warn(calls->component, "out of memory: a call waits");
		break;
	}
}

/* What the collector hung up on too often is not called again. */
static void set_aside(struct kdb_calls *calls, int64_t now_ms)
{
	static const char why[] = "the collector hung up on it three times";
	struct kdb_batch *next = calls->sealed.first;

	if (!next || calls->suspect.times < HANG_UPS || !is_suspect(calls, next) || now_ms < calls->paused_until_ms)
		return;
	if (must_wait(calls, next, why, now_ms))
		return;
	unlink_batch(&calls->sealed, next);
	calls->pauses = 0;
	finish(calls, next, why);
}

char *kdb_calls_settle(struct kdb_calls *calls, int64_t now_ms)
{
	seal_due(calls, now_ms);
	set_aside(calls, now_ms);
	if (!calls->config->kdb.exactly_once)
		return NULL;
	note_next(calls);
	return calls->unnoted ? kdb_cuts_text(&calls->cuts) : NULL;
}

void kdb_calls_noted(struct kdb_calls *calls)
{
	calls->unnoted = false;
}

int kdb_calls_restore(struct kdb_calls *calls, const char *note)
{
	return kdb_cuts_restore(&calls->cuts, note);
}

/* ---- calling ---- */

static bool is_noted(const struct kdb_calls *calls, const struct kdb_batch *batch)
{
	return !calls->unnoted && kdb_cuts_has(&calls->cuts, batch->table, kdb_batch_last(batch));
}

bool kdb_calls_ready(const struct kdb_calls *calls, int64_t now_ms)
{
	const struct kdb_batch *next = calls->sealed.first;

	return next && calls->n_called < (size_t)calls->config->window && now_ms >= calls->paused_until_ms &&
	       (!calls->config->kdb.exactly_once || is_noted(calls, next));
}

static const char *function_of(const struct kdb_calls *calls, const struct kdb_batch *batch)
{
	return batch->late ? calls->config->kdb.late_call : calls->config->kdb.call;
}

int kdb_calls_next(struct kdb_calls *calls, int64_t now_ms, struct buffer *out)
{
	const struct kdb_config *kdb = &calls->config->kdb;
	struct kdb_batch *batch = calls->sealed.first;
	size_t before = out->size;
	struct kdb_target target = {
	        .function = function_of(calls, batch) ? function_of(calls, batch) : kdb->call,
	        .as_string = kdb->call_as_string,
	        .agent = kdb->exactly_once ? kdb->agent : NULL,
	        .instance = kdb->instance,
	};

	if (kdb_batch_encode(batch, &target, out) < 0) {
		out->size = before;
		return -1;
	}
	unlink_batch(&calls->sealed, batch);
	if (!calls->called.first)
		calls->since_ms = now_ms;
	append(&calls->called, batch);
	calls->n_called++;
	return 0;
}

/* ---- replies ---- */

/* Its halves go next. False: it has only one row. */
static bool split(struct kdb_calls *calls, struct kdb_batch *batch)
{
	struct kdb_batch *rest;

	if (batch->n < 2)
		return false;
	rest = kdb_batch_halve(batch);
	if (rest)
		prepend(&calls->sealed, rest);
	else
		log_warn(calls->component, "out of memory: a call is not split");
	prepend(&calls->sealed, batch);
	return true;
}

static bool is_to_be_retried(const struct kdb_calls *calls, struct bytes error)
{
	const struct kdb_config *kdb = &calls->config->kdb;
	char err[200];

	for (size_t i = 0; i < kdb->n_retry_errors; i++) {
		int found = pattern_find(kdb->retry_errors[i], error.data, error.size, err, sizeof err);

		if (found < 0)
			log_warn(calls->component, "retry_errors: %s", err);
		if (found > 0)
			return true;
	}
	return false;
}

static enum kdb_fault fault_of(const struct kdb_calls *calls, const struct kdb_batch *batch, struct bytes error)
{
	if (is_to_be_retried(calls, error))
		return KDB_FAULT_MOMENT;
	return kdb_fault_of(error, function_of(calls, batch) ? function_of(calls, batch) : "", batch->table);
}

/* It is to be sent again, after a while. */
static void again_later(struct kdb_calls *calls, struct kdb_batch *batch, enum kdb_fault fault, const char *what,
                        int64_t now_ms)
{
	const char *problem = fault == KDB_FAULT_DENIED    ? "permission is denied"
	                      : fault == KDB_FAULT_MISSING ? "it has no such table or function, yet"
	                      : fault == KDB_FAULT_DISK    ? "its disk does not take it"
	                                                   : "not now";
	bool slowly = fault == KDB_FAULT_DENIED || fault == KDB_FAULT_MISSING || fault == KDB_FAULT_DISK;

	if (fault != KDB_FAULT_SIZE || !split(calls, batch))
		prepend(&calls->sealed, batch);
	pause_calls(calls, slowly, what, problem, now_ms);
}

static void refuse(struct kdb_calls *calls, struct kdb_batch *batch, struct bytes error, const char *what,
                   int64_t now_ms)
{
	char reason[200];

	/* Nothing of it was applied, by whatever call: where it ended does not matter any more. */
	kdb_cuts_settled(&calls->cuts, batch->table, kdb_batch_last(batch));
	if (batch->n > 1)
		calls->pauses = 0;
	if (split(calls, batch))
		return;
	if (must_wait(calls, batch, what, now_ms)) {
		prepend(&calls->sealed, batch);
		return;
	}
	calls->pauses = 0;
	snprintf(reason, sizeof reason, "'%.*s", (int)error.size, (const char *)error.data);
	finish(calls, batch, reason);
}

static void failed(struct kdb_calls *calls, struct kdb_batch *batch, struct bytes error, int64_t now_ms)
{
	enum kdb_fault fault = fault_of(calls, batch, error);
	char what[300];

	error.size = error.size > 160 ? 160 : error.size;
	snprintf(what, sizeof what, "the collector answers '%.*s to %zu rows of %s", (int)error.size,
	         (const char *)error.data, batch->n, batch->table);
	log_debug(calls->component, "%s", what);
	if (fault == KDB_FAULT_UNKNOWN && ++batch->refusals > UNKNOWN_TRIES)
		fault = KDB_FAULT_ROWS;
	if (fault == KDB_FAULT_ROWS)
		refuse(calls, batch, error, what, now_ms);
	else
		again_later(calls, batch, fault, what, now_ms);
}

bool kdb_calls_answered(struct kdb_calls *calls, const struct bytes *error, int64_t now_ms)
{
	struct kdb_batch *batch = calls->called.first;

	if (!batch)
		return false;
	unlink_batch(&calls->called, batch);
	calls->n_called--;
	calls->since_ms = now_ms;
	if (is_suspect(calls, batch))
		clear_suspect(calls);
	if (error) {
		failed(calls, batch, *error, now_ms);
		return true;
	}
	calls->pauses = 0;
	finish(calls, batch, NULL);
	return true;
}

/* ---- connections that end ---- */

static void suspect(struct kdb_calls *calls, const struct kdb_batch *batch)
{
	static const char *const times[] = {"first", "second", "third"};

	if (!is_suspect(calls, batch)) {
		clear_suspect(calls);
		calls->suspect.table = strdup(batch->table);
		calls->suspect.first = kdb_batch_first(batch);
		calls->suspect.last = kdb_batch_last(batch);
	}
	calls->suspect.times++;
	log_warn(calls->component, "the collector hung up on %zu rows of %s, the %s time: seq %" PRIu64 " to %" PRIu64,
	         batch->n, batch->table, times[calls->suspect.times > 2 ? 2 : calls->suspect.times - 1],
	         calls->suspect.first, calls->suspect.last);
}

void kdb_calls_lost(struct kdb_calls *calls, bool hung_up)
{
	if (hung_up && calls->called.first)
		suspect(calls, calls->called.first);
	for (const struct kdb_batch *batch = calls->called.first; batch; batch = batch->next)
		if (kdb_cuts_add(&calls->cuts, batch->table, kdb_batch_last(batch)) < 0)
			log_warn(calls->component, "out of memory: where a call ended is forgotten");
	release_all(calls);
}

/* ---- the time ---- */

int64_t kdb_calls_due_ms(const struct kdb_calls *calls, int64_t now_ms)
{
	int64_t due_ms = INT64_MAX;

	if (calls->open.first)
		due_ms = calls->open.first->opened_ms + calls->config->kdb.batch_delay_ms;
	if (calls->sealed.first && calls->paused_until_ms > now_ms && calls->paused_until_ms < due_ms)
		due_ms = calls->paused_until_ms;
	if (calls->called.first && calls->since_ms + calls->config->kdb.timeout_ms < due_ms)
		due_ms = calls->since_ms + calls->config->kdb.timeout_ms;
	return due_ms;
}

void kdb_calls_move(struct kdb_calls *calls, int64_t now_ms)
{
	calls->since_ms = now_ms;
}

int64_t kdb_calls_waited_ms(const struct kdb_calls *calls, int64_t now_ms)
{
	return calls->called.first ? now_ms - calls->since_ms : 0;
}
