/* The window of one link: which message went out under which handle. What was
 * refused for now, or awaits the collector, is kept by number only and read from disk when
 * it is sent again, before anything newer. */
#include "forward_internal.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ack_line.h"
#include "clock.h"
#include "log.h"
#include "retry.h"

#define BUSY_MIN_MS 1000 /* backoff after "refused for now", doubling up to */
#define BUSY_MAX_MS 60000
/* libmosquitto hands out 16-bit packet ids in a cycle without looking for one
 * still in use: stop before the oldest in flight would be met again. */
#define HANDLE_CYCLE 60000

struct forward *forward_open(struct queue *queue, struct link *link, const struct forward_events *events,
                             bool (*wants_fate)(void *arg, uint32_t origin), void *arg)
{
	struct forward *forward = calloc(1, sizeof *forward);

	if (!forward)
		return NULL;
	forward->queue = queue;
	forward->link = link;
	forward->events = events;
	forward->wants_fate = wants_fate;
	forward->arg = arg;
	snprintf(forward->component, sizeof forward->component, "link %s", link_name(link));
	return forward;
}

void forward_close(struct forward *forward)
{
	if (!forward)
		return;
	free(forward->room);
	free(forward->again);
	receipts_release(&forward->receipts);
	buffer_release(&forward->envelope);
	free(forward);
}

struct link *forward_link(const struct forward *forward)
{
	return forward->link;
}

struct queue *forward_queue(const struct forward *forward)
{
	return forward->queue;
}

size_t forward_in_flight(const struct forward *forward)
{
	return forward->n;
}

uint64_t forward_dropped(const struct forward *forward)
{
	return forward->dropped;
}

const struct receipts *forward_receipts(const struct forward *forward)
{
	return &forward->receipts;
}

/* ---- the two lists ---- */

/* Makes room for one more of `*size` items. 0, or -1: no memory. */
static int grow(void **items, size_t n, size_t *size, size_t item_size)
{
	size_t bigger = *size ? *size * 2 : 32;
	void *moved;

	if (n < *size)
		return 0;
	moved = realloc(*items, bigger * item_size);
	if (!moved)
		return -1;
	*items = moved;
	*size = bigger;
	return 0;
}

/* What has left at the front makes room at the end, when that is as much as is moved for it. */
static bool reserve_flight(struct forward *forward)
{
	size_t ahead = (size_t)(forward->flights - forward->room);
	void *room = forward->room;
	bool ok = true;

	if (ahead + forward->n < forward->size)
		return true;
	if (ahead > 0 && ahead >= forward->n) {
		memmove(forward->room, forward->flights, forward->n * sizeof forward->flights[0]);
		ahead = 0;
	} else {
		ok = grow(&room, forward->size, &forward->size, sizeof forward->flights[0]) == 0;
	}
	forward->room = room;
	forward->flights = forward->room + ahead;
	return ok;
}

static bool take_flight(struct forward *forward, int handle, struct flight *taken)
{
	for (size_t i = 0; i < forward->n; i++)
		if (forward->flights[i].handle == handle) {
			*taken = forward->flights[i];
			forward->n--;
			if (i == 0) { /* mostly: peers acknowledge in order */
				forward->flights++;
				return true;
			}
			memmove(&forward->flights[i], &forward->flights[i + 1], (forward->n - i) * sizeof forward->flights[0]);
			return true;
		}
	return false;
}

void forward_remember_again(struct forward *forward, uint64_t seq)
{
	void *again = forward->again;
	size_t at = forward->n_again;
	bool ok = grow(&again, forward->n_again, &forward->again_size, sizeof forward->again[0]) == 0;

	forward->again = again;
	if (!ok) {
		/* It stays on disk and is sent after the next restart. */
		log_error(forward->component, "out of memory: message %llu waits for a restart", (unsigned long long)seq);
		return;
	}
	while (at > 0 && forward->again[at - 1] > seq)
		at--;
	memmove(&forward->again[at + 1], &forward->again[at], (forward->n_again - at) * sizeof forward->again[0]);
	forward->again[at] = seq;
	forward->n_again++;
}

void forward_forget_again(struct forward *forward, size_t at)
{
	forward->n_again--;
	memmove(&forward->again[at], &forward->again[at + 1], (forward->n_again - at) * sizeof forward->again[0]);
}

/* It did not arrive. */
void forward_send_again(struct forward *forward, uint64_t seq)
{
	if (receipts_has(&forward->receipts, seq))
		receipts_repeat(&forward->receipts, seq);
	else
		forward_remember_again(forward, seq);
}

static bool is_in_flight(const struct forward *forward, uint64_t seq)
{
	for (size_t i = 0; i < forward->n; i++)
		if (forward->flights[i].seq == seq)
			return true;
	return false;
}

/* Nobody acknowledges it any more: what awaited that goes out again, without an envelope. */
static void give_up_receipts(struct forward *forward)
{
	const struct receipts *receipts = &forward->receipts;

	for (size_t i = receipts->first; i < receipts->end; i++)
		if (!is_in_flight(forward, receipts->items[i].seq))
			forward_remember_again(forward, receipts->items[i].seq);
	receipts_release(&forward->receipts);
}

void forward_set_policy(struct forward *forward, struct forward_policy policy)
{
	if (policy.instance)
		receipts_configure(&forward->receipts, policy.ack_window, policy.ack_timeout_ms,
		                   forward->policy.instance ? 0 : queue_newest(forward->queue));
	else
		give_up_receipts(forward);
	queue_set_in_order(forward->queue, policy.instance);
	forward->policy = policy;
}

/* ---- sending ---- */

static void log_drop(struct forward *forward, uint64_t seq, const struct message *message, const char *reason)
{
	uint64_t earlier = 0;

	if (!log_limit_allows(&forward->drops, clock_monotonic_ms(), &earlier))
		return;
	if (earlier > 0)
		log_warn(forward->component, "%llu more messages dropped meanwhile", (unsigned long long)earlier);
	log_warn(forward->component, "message dropped: %s seq=%llu topic=%.200s", reason, (unsigned long long)seq,
	         message ? (const char *)message->topic.data : "?");
}

void forward_gave_up(struct forward *forward, const struct message *message, const char *reason)
{
	log_drop(forward, message->seq, message, reason);
	forward->dropped++;
}

void forward_give_up(struct forward *forward, uint64_t seq, const struct message *message, const char *reason)
{
	log_drop(forward, seq, message, reason);
	forward->dropped++;
	forward->events->dropped(forward->arg, forward, seq, message, reason);
	receipts_forget(&forward->receipts, seq);
	queue_acknowledged(forward->queue, seq);
}

void forward_drop(struct forward *forward, uint64_t seq, const struct message *message, const char *why)
{
	char reason[300];

	snprintf(reason, sizeof reason, "rejected: %s", why);
	forward_give_up(forward, seq, message, reason);
}

static void delivered(struct forward *forward, uint64_t seq, bool fate)
{
	if (fate)
		forward->events->sent(forward->arg, forward, seq, queue_lookup(forward->queue, seq));
	queue_acknowledged(forward->queue, seq);
}

static void finish_collected(struct forward *forward)
{
	struct receipt receipt;

	while (receipts_finish(&forward->receipts, &receipt))
		delivered(forward, receipt.seq, receipt.wants_fate);
}

/* Where the next message comes from: refused ones first, they are older. */
enum source { FROM_AGAIN, FROM_RECEIPTS, FROM_QUEUE };

static enum source next_source(const struct forward *forward)
{
	return forward->n_again > 0 ? FROM_AGAIN : receipts_next(&forward->receipts) ? FROM_RECEIPTS : FROM_QUEUE;
}

/* NULL if there is none, or the disk cannot be read now. */
static const struct message *next_message(struct forward *forward, enum source source, int64_t age_ms)
{
	char err[256] = "the row cannot be read again";
	bool failed = false;
	const struct message *message;

	if (source != FROM_QUEUE) {
		message = queue_lookup(forward->queue,
		                       source == FROM_AGAIN ? forward->again[0] : receipts_next(&forward->receipts));
		failed = !message;
	} else {
		message = queue_peek(forward->queue, age_ms, forward->policy.strict, &failed, err, sizeof err);
		if (!message && !failed)
			forward->backlog_to = 0;
	}
	if (failed && !forward->disk_failed)
		log_error(forward->component, "cannot read the queue: %s", err);
	forward->disk_failed = failed;
	return message;
}

/* Takes it off the front of what waits; of the receipts it is told apart. */
static void hand_out(struct forward *forward, enum source source)
{
	if (source == FROM_AGAIN)
		forward_forget_again(forward, 0);
	else if (source == FROM_QUEUE)
		queue_take(forward->queue);
}

static bool window_open(const struct forward *forward)
{
	if (forward->n > 0 && hangup_alone(&forward->hangup, forward->flights[0].seq))
		return false;
	if (forward->policy.instance && !(receipts_may_send(&forward->receipts) && link_hears_receipts(forward->link)))
		return false;
	return forward->n < (size_t)link_window(forward->link) &&
	       (forward->n == 0 || forward->sends - forward->flights[0].number < HANDLE_CYCLE);
}

/* ---- the rate of draining ---- */

/* While there is a backlog everything counts as such that goes in one line with it. */
static bool is_limited(const struct forward *forward, const struct message *message)
{
	return forward->policy.rate > 0 && forward->backlog_to > 0 &&
	       (!forward->policy.live_first || message->seq <= forward->backlog_to);
}

/* Never more than a tenth of a second's worth at once. */
static void refill_allowance(struct forward *forward, int64_t now_ms)
{
	double most = forward->policy.rate > 10 ? forward->policy.rate / 10 : 1;

	forward->allowance += (double)(now_ms - forward->allowed_ms) / 1000 * forward->policy.rate;
	if (forward->allowance > most)
		forward->allowance = most;
	forward->allowed_ms = now_ms;
}

static int64_t allowed_again_ms(const struct forward *forward, int64_t now_ms)
{
	return now_ms + (int64_t)((1 - forward->allowance) / forward->policy.rate * 1000) + 1;
}

/* ---- filling the window ---- */

enum step { STEP_SENT, STEP_WAIT, STEP_RATE, STEP_QUIET };

/* What has left for the collector does not expire on the way: what follows it would wait for it. */
static int put_in_envelope(struct forward *forward, struct message *message)
{
	struct buffer *envelope = &forward->envelope;

	buffer_reset(envelope);
	if (ack_line_append(envelope, forward->policy.instance, message->seq, receipts_after(&forward->receipts)) < 0 ||
	    buffer_append(envelope, message->payload.data, message->payload.size) < 0)
		return -1;
	message->payload = (struct bytes){envelope->data, envelope->size};
	message->expires_ms = 0;
	return 0;
}

/* With its time as the clock sees it now, and what is left of its time to live. */
static enum send_result send_copy(struct forward *forward, const struct message *message, bool enveloped,
                                  int64_t age_ms, struct flight *flight, char *reason, size_t reason_size)
{
	struct message copy = *message;

	forward->events->correct_time(forward->arg, &copy);
	if (copy.expires_ms)
		copy.expires_ms = copy.expires_ms > age_ms ? copy.expires_ms - age_ms : 1;
	if (enveloped && put_in_envelope(forward, &copy) < 0)
		return SEND_LATER;
	return link_send(forward->link, &copy, &flight->handle, reason, reason_size);
}

/* It was sent before, by an earlier process perhaps, and the collector has it. */
static enum step finish(struct forward *forward, const struct message *message, enum source source)
{
	uint64_t seq = message->seq;
	bool fate = forward->wants_fate(forward->arg, message->origin);

	if (source == FROM_QUEUE) {
		queue_take(forward->queue);
		delivered(forward, seq, fate);
	} else {
		finish_collected(forward);
	}
	return STEP_SENT;
}

/* It has come back, and nobody wants it any more. */
static enum step give_up_unwanted(struct forward *forward, const struct message *message, enum source source)
{
	uint64_t seq = message->seq;

	hangup_refused(&forward->hangup, seq);
	hand_out(forward, source);
	forward_give_up(forward, seq, queue_lookup(forward->queue, seq), FORWARD_PURGED);
	return STEP_SENT;
}

static enum step send_one(struct forward *forward, int64_t now_ms, int64_t age_ms, int64_t *due_ms)
{
	enum source source = next_source(forward);
	const struct message *message = next_message(forward, source, age_ms);
	struct flight flight = {0};
	char reason[256];
	bool limited, awaited;

	if (!message || !reserve_flight(forward) || queue_reserve(forward->queue) < 0 ||
	    receipts_reserve(&forward->receipts) < 0)
		return STEP_WAIT;
	awaited = source == FROM_RECEIPTS || (source == FROM_QUEUE && forward->policy.instance && message->qos > 0);
	if (awaited && message->seq <= forward->receipts.held_to)
		return finish(forward, message, source);
	if (source != FROM_QUEUE && queue_unwanted(forward->queue, message->seq))
		return give_up_unwanted(forward, message, source);
	if (forward->n > 0 && hangup_alone(&forward->hangup, message->seq))
		return STEP_WAIT;
	if (message->qos == 2 && forward->n >= (size_t)link_window_qos2(forward->link))
		return STEP_WAIT;
	*due_ms = hangup_due_ms(&forward->hangup, message->seq);
	if (now_ms < *due_ms)
		return STEP_QUIET;
	limited = is_limited(forward, message);
	if (limited && forward->allowance < 1)
		return STEP_RATE;
	flight.seq = message->seq;
	flight.qos = message->qos == 2 && forward->policy.no_qos2 ? 1 : message->qos;
	flight.wants_fate = forward->wants_fate(forward->arg, message->origin);
	switch (send_copy(forward, message, awaited, age_ms, &flight, reason, sizeof reason)) {
	case SEND_OK:
		flight.number = forward->sends++;
		hangup_sent(&forward->hangup, flight.seq, now_ms);
		forward->flights[forward->n++] = flight;
		forward->allowance -= limited ? 1 : 0;
		hand_out(forward, source);
		if (awaited)
			receipts_sent(&forward->receipts, flight.seq, flight.wants_fate, now_ms);
		return STEP_SENT;
	case SEND_NEVER:
		hangup_refused(&forward->hangup, flight.seq);
		hand_out(forward, source);
		forward_drop(forward, flight.seq, queue_lookup(forward->queue, flight.seq), reason);
		return STEP_SENT;
	case SEND_LATER:
		break;
	}
	return STEP_WAIT;
}

static int64_t fill(struct forward *forward, int64_t now_ms, int64_t age_ms)
{
	enum step step = STEP_SENT;
	int64_t due_ms = 0;

	if (now_ms < forward->busy_until_ms)
		return forward->busy_until_ms;
	refill_allowance(forward, now_ms);
	while (step == STEP_SENT && window_open(forward))
		step = send_one(forward, now_ms, age_ms, &due_ms);
	if (step == STEP_QUIET)
		return due_ms;
	if (step == STEP_RATE)
		return allowed_again_ms(forward, now_ms);
	return forward->disk_failed ? now_ms + 1000 : INT64_MAX;
}

/* The first time is worth a line. */
static void watch_collector(struct forward *forward, int64_t now_ms)
{
	if (receipts_step(&forward->receipts, forward->n, now_ms) && forward->receipts.silences == 1)
		log_warn(forward->component, "the collector has acknowledged nothing for %.1f s, and %zu messages await it: "
		                             "the oldest is sent again until it does",
		         (double)forward->policy.ack_timeout_ms / 1000, receipts_awaited(&forward->receipts));
}

int64_t forward_fill(struct forward *forward, int64_t now_ms, int64_t age_ms)
{
	int64_t again_ms, due_ms;

	if (!link_connected(forward->link))
		return INT64_MAX;
	watch_collector(forward, now_ms);
	again_ms = fill(forward, now_ms, age_ms);
	due_ms = receipts_due_ms(&forward->receipts);
	return due_ms < again_ms ? due_ms : again_ms;
}

void forward_up(struct forward *forward, int64_t now_ms)
{
	hangup_up(&forward->hangup, now_ms);
	receipts_up(&forward->receipts, now_ms);
	forward->backlog_to = queue_newest(forward->queue);
	forward->allowance = 0;
	forward->allowed_ms = now_ms;
	if (forward->policy.live_first)
		queue_go_live(forward->queue);
}

/* ---- what became of it ---- */

/* At QoS 0 it is the transport that acknowledges. */
static void note_acknowledged(struct forward *forward, const struct flight *flight)
{
	uint64_t back = flight->qos > 0 ? hangup_acknowledged(&forward->hangup, flight->seq) : 0;

	if (back)
		forward_send_again(forward, back);
}

bool forward_acknowledged(struct forward *forward, int handle)
{
	struct flight flight;

	if (!take_flight(forward, handle, &flight))
		return false;
	forward->busy = 0;
	note_acknowledged(forward, &flight);
	if (!receipts_taken(&forward->receipts, flight.seq))
		delivered(forward, flight.seq, flight.wants_fate);
	return true;
}

enum receipts_news forward_collected(struct forward *forward, uint64_t seq, int64_t now_ms)
{
	bool silent = forward->receipts.silences > 0;
	enum receipts_news news = receipts_acknowledged(&forward->receipts, seq, now_ms);

	finish_collected(forward);
	if (news == RECEIPTS_PROGRESS && silent)
		log_info(forward->component, "the collector acknowledges again; %zu messages await it",
		         receipts_awaited(&forward->receipts));
	return news;
}

bool forward_refused(struct forward *forward, int handle, enum refusal refusal, const char *reason, int64_t now_ms)
{
	struct flight flight;

	if (!take_flight(forward, handle, &flight))
		return false;
	hangup_refused(&forward->hangup, flight.seq);
	if (refusal == REFUSED_FOR_GOOD) {
		forward_drop(forward, flight.seq, queue_lookup(forward->queue, flight.seq), reason);
		return true;
	}
	forward_send_again(forward, flight.seq);
	if (now_ms >= forward->busy_until_ms) {
		int64_t delay = retry_backoff_ms(BUSY_MIN_MS, BUSY_MAX_MS, forward->busy++, 0.5);

		forward->busy_until_ms = now_ms + delay;
		log_warn(forward->component, "message refused for now: %s; again in %.1f s seq=%llu", reason,
		         (double)delay / 1000, (unsigned long long)flight.seq);
	}
	return true;
}
