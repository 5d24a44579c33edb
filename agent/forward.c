/* The window of one link: which message went out under which handle. What was
 * refused for now is kept by number only and read from disk when it is sent
 * again, before anything newer. */
#include "forward.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "hangup.h"
#include "log.h"
#include "log_limit.h"
#include "retry.h"

#define BUSY_MIN_MS 1000 /* backoff after "refused for now", doubling up to */
#define BUSY_MAX_MS 60000
#define LOSSES_TELL 4 /* in a row are worth a warning, and whenever they have doubled */
/* libmosquitto hands out 16-bit packet ids in a cycle without looking for one
 * still in use: stop before the oldest in flight would be met again. */
#define HANDLE_CYCLE 60000

struct flight {
	int handle;
	bool wants_fate;
	uint8_t qos;
	uint64_t seq;
	uint64_t number; /* of the send: how long ago it was */
};

struct forward {
	struct queue *queue;
	struct link *link;
	const struct forward_events *events;
	bool (*wants_fate)(void *arg, uint32_t origin);
	void *arg;
	struct flight *flights; /* in order of sending */
	size_t n, size;
	uint64_t *again; /* refused for now, or forgotten by the transport; in order of seq */
	size_t n_again, again_size;
	int64_t busy_until_ms;
	unsigned busy; /* refusals for now in a row */
	uint64_t sends, dropped;
	struct log_limit drops;
	struct hangup hangup;
	struct forward_policy policy;
	uint64_t backlog_to; /* seq: what waits up to here, since the link came up, is the backlog; 0: it is through */
	double allowance;    /* messages that policy.rate allows now, */
	int64_t allowed_ms;  /* as of this time */
	bool disk_failed;
	char component[80];
};

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
	free(forward->flights);
	free(forward->again);
	free(forward);
}

void forward_set_policy(struct forward *forward, struct forward_policy policy)
{
	forward->policy = policy;
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

static bool reserve_flight(struct forward *forward)
{
	void *flights = forward->flights;
	bool ok = grow(&flights, forward->n, &forward->size, sizeof forward->flights[0]) == 0;

	forward->flights = flights;
	return ok;
}

static bool take_flight(struct forward *forward, int handle, struct flight *taken)
{
	for (size_t i = 0; i < forward->n; i++)
		if (forward->flights[i].handle == handle) {
			*taken = forward->flights[i];
			forward->n--;
			memmove(&forward->flights[i], &forward->flights[i + 1], (forward->n - i) * sizeof forward->flights[0]);
			return true;
		}
	return false;
}

static void remember_again(struct forward *forward, uint64_t seq)
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

static void forget_again(struct forward *forward)
{
	forward->n_again--;
	memmove(&forward->again[0], &forward->again[1], forward->n_again * sizeof forward->again[0]);
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

static void drop(struct forward *forward, uint64_t seq, const struct message *message, const char *why)
{
	char reason[300];

	snprintf(reason, sizeof reason, "rejected: %s", why);
	log_drop(forward, seq, message, reason);
	forward->dropped++;
	forward->events->dropped(forward->arg, forward, seq, message, reason);
	queue_acknowledged(forward->queue, seq);
}

/* The next message to send: refused ones first, they are older. NULL if there is
 * none, or the disk cannot be read now. */
static const struct message *next_message(struct forward *forward, int64_t age_ms)
{
	char err[256] = "the row cannot be read again";
	bool failed = false;
	const struct message *message;

	if (forward->n_again > 0) {
		message = queue_lookup(forward->queue, forward->again[0]);
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

/* Takes it off the front of what waits. */
static void hand_out(struct forward *forward)
{
	if (forward->n_again > 0)
		forget_again(forward);
	else
		queue_take(forward->queue);
}

static bool window_open(const struct forward *forward)
{
	if (forward->n > 0 && hangup_alone(&forward->hangup, forward->flights[0].seq))
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

/* With its time as the clock sees it now, and what is left of its time to live. */
static enum send_result send_copy(struct forward *forward, const struct message *message, int64_t age_ms,
                                  struct flight *flight, char *reason, size_t reason_size)
{
	struct message copy = *message;

	forward->events->correct_time(forward->arg, &copy);
	if (copy.expires_ms)
		copy.expires_ms = copy.expires_ms > age_ms ? copy.expires_ms - age_ms : 1;
	return link_send(forward->link, &copy, &flight->handle, reason, reason_size);
}

static enum step send_one(struct forward *forward, int64_t now_ms, int64_t age_ms, int64_t *due_ms)
{
	const struct message *message = next_message(forward, age_ms);
	struct flight flight = {0};
	char reason[256];
	bool limited;

	if (!message || !reserve_flight(forward) || queue_reserve(forward->queue) < 0)
		return STEP_WAIT;
	if (forward->n > 0 && hangup_alone(&forward->hangup, message->seq))
		return STEP_WAIT;
	*due_ms = hangup_due_ms(&forward->hangup, message->seq);
	if (now_ms < *due_ms)
		return STEP_QUIET;
	limited = is_limited(forward, message);
	if (limited && forward->allowance < 1)
		return STEP_RATE;
	flight.seq = message->seq;
	flight.qos = message->qos;
	flight.wants_fate = forward->wants_fate(forward->arg, message->origin);
	switch (send_copy(forward, message, age_ms, &flight, reason, sizeof reason)) {
	case SEND_OK:
		flight.number = forward->sends++;
		hangup_sent(&forward->hangup, flight.seq, now_ms);
		forward->flights[forward->n++] = flight;
		forward->allowance -= limited ? 1 : 0;
		hand_out(forward);
		return STEP_SENT;
	case SEND_NEVER:
		hangup_refused(&forward->hangup, flight.seq);
		hand_out(forward);
		drop(forward, flight.seq, queue_lookup(forward->queue, flight.seq), reason);
		return STEP_SENT;
	case SEND_LATER:
		break;
	}
	return STEP_WAIT;
}

int64_t forward_fill(struct forward *forward, int64_t now_ms, int64_t age_ms)
{
	enum step step = STEP_SENT;
	int64_t due_ms = 0;

	if (!link_connected(forward->link))
		return INT64_MAX;
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

void forward_up(struct forward *forward, int64_t now_ms)
{
	hangup_up(&forward->hangup, now_ms);
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
		remember_again(forward, back);
}

bool forward_acknowledged(struct forward *forward, int handle)
{
	struct flight flight;

	if (!take_flight(forward, handle, &flight))
		return false;
	forward->busy = 0;
	note_acknowledged(forward, &flight);
	if (flight.wants_fate)
		forward->events->sent(forward->arg, forward, flight.seq, queue_lookup(forward->queue, flight.seq));
	queue_acknowledged(forward->queue, flight.seq);
	return true;
}

bool forward_refused(struct forward *forward, int handle, enum refusal refusal, const char *reason, int64_t now_ms)
{
	struct flight flight;

	if (!take_flight(forward, handle, &flight))
		return false;
	hangup_refused(&forward->hangup, flight.seq);
	if (refusal == REFUSED_FOR_GOOD) {
		drop(forward, flight.seq, queue_lookup(forward->queue, flight.seq), reason);
		return true;
	}
	remember_again(forward, flight.seq);
	if (now_ms >= forward->busy_until_ms) {
		int64_t delay = retry_backoff_ms(BUSY_MIN_MS, BUSY_MAX_MS, forward->busy++, 0.5);

		forward->busy_until_ms = now_ms + delay;
		log_warn(forward->component, "message refused for now: %s; again in %.1f s seq=%llu", reason,
		         (double)delay / 1000, (unsigned long long)flight.seq);
	}
	return true;
}

/* ---- what the broker hangs up on ---- */

/* The ends of the line: of what is in flight, and what is to be sent again. First is
 * UINT64_MAX where there is neither. */
static void line_of(const struct forward *forward, uint64_t *first, uint64_t *last)
{
	*first = forward->n_again > 0 ? forward->again[0] : UINT64_MAX;
	*last = forward->n_again > 0 ? forward->again[forward->n_again - 1] : 0;
	for (size_t i = 0; i < forward->n; i++) {
		uint64_t seq = forward->flights[i].seq;

		*first = seq < *first ? seq : *first;
		*last = seq > *last ? seq : *last;
	}
}

static void log_suspect(struct forward *forward, uint64_t seq, const char *what)
{
	const struct message *message = queue_lookup(forward->queue, seq);

	log_warn(forward->component, "lost %u times in a row while the same message was waiting for its acknowledgement: "
	                             "%s seq=%llu topic=%.200s bytes=%zu",
	         forward->hangup.losses, what, (unsigned long long)seq, message ? (const char *)message->topic.data : "?",
	         message ? message->payload.size : 0);
}

bool forward_isolates(const struct forward *forward)
{
	uint64_t first, last;

	line_of(forward, &first, &last);
	return hangup_isolates(&forward->hangup, first) && !forward_has_qos(forward, 2);
}

void forward_lost(struct forward *forward, int64_t now_ms)
{
	uint64_t first, last;
	enum hang_up how;
	unsigned losses;

	queue_line_up(forward->queue);
	line_of(forward, &first, &last);
	if (first == UINT64_MAX)
		return;
	how = link_hung_up(forward->link);
	switch (hangup_lost(&forward->hangup, first, last, how != NO_HANG_UP, how == HANG_UP, now_ms)) {
	case HANGUP_UNPROVED:
		losses = forward->hangup.losses;
		if (losses >= LOSSES_TELL && (losses & (losses - 1)) == 0)
			log_suspect(forward, first, "does the broker hang up on it?");
		break;
	case HANGUP_PASS_OVER:
		log_suspect(forward, first, "the broker hangs up on it, so it is passed over until another gets through");
		forget_again(forward);
		break;
	case HANGUP_GIVE_UP:
		forget_again(forward);
		drop(forward, first, queue_lookup(forward->queue, first), "the broker hangs up on it");
		break;
	}
}

bool forward_has_qos(const struct forward *forward, int qos)
{
	for (size_t i = 0; i < forward->n; i++)
		if (forward->flights[i].qos == qos)
			return true;
	return false;
}

size_t forward_restart_qos0(struct forward *forward)
{
	size_t before = forward->n, kept = 0;

	for (size_t i = 0; i < before; i++)
		if (forward->flights[i].qos == 0)
			remember_again(forward, forward->flights[i].seq);
		else
			forward->flights[kept++] = forward->flights[i];
	forward->n = kept;
	return before - kept;
}

void forward_restart(struct forward *forward)
{
	for (size_t i = 0; i < forward->n; i++)
		remember_again(forward, forward->flights[i].seq);
	forward->n = 0;
	forward->busy_until_ms = 0;
}
