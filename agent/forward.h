/* Queue to link: keeps the link's window full with the oldest messages, takes
 * acknowledgements back to the queue, sends again what was refused for now,
 * and gives up what was refused for good.
 *
 * Knows links and queues, not MQTT.
 */
#ifndef TIDEGATE_FORWARD_H
#define TIDEGATE_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "link.h"
#include "receipts.h"

#define FORWARD_PURGED "purged" /* why what nobody wants is dropped */

struct forward;

/* What became of a message; called at most once for each. `message` is NULL
 * when its row could not be read again (only seq is known then). */
struct forward_events {
	void (*sent)(void *arg, struct forward *forward, uint64_t seq, const struct message *message);
	void (*dropped)(void *arg, struct forward *forward, uint64_t seq, const struct message *message,
	                const char *reason);
	/* It is going to the link: its time_ms is brought in line with the clock, or marked. */
	void (*correct_time)(void *arg, struct message *message);
};

/* How a queue is emptied. */
struct forward_policy {
	bool strict;     /* nothing leaves before it is on disk */
	bool live_first; /* after an outage, what is new goes ahead of the backlog */
	double rate;     /* messages of the backlog a second, 0: as fast as it goes */
	bool no_qos2;    /* what was published at QoS 2 is sent at 1 */
	bool finds_guilty; /* the link finds out itself what a peer hangs up on, and refuses that */
	/* Not NULL: from now on messages carry it and their number (agent/ack_line.h), go in the order of
	 * their numbers, and are kept until the collector acknowledges them (agent/receipts.h). */
	const char *instance;
	size_t ack_window;
	int64_t ack_timeout_ms;
};

/* `wants_fate` tells whether `sent` should be called for messages of that
 * origin at all: it costs reading the row again. */
struct forward *forward_open(struct queue *queue, struct link *link, const struct forward_events *events,
                             bool (*wants_fate)(void *arg, uint32_t origin), void *arg);
void forward_close(struct forward *forward);
void forward_set_policy(struct forward *forward, struct forward_policy policy);

struct link *forward_link(const struct forward *forward);
struct queue *forward_queue(const struct forward *forward);
size_t forward_in_flight(const struct forward *forward);
uint64_t forward_dropped(const struct forward *forward);
const struct receipts *forward_receipts(const struct forward *forward);

/* Step "send": hands messages to the link until the window is full. `now_ms` is
 * loop_now_ms()'s clock, `age_ms` the agent's own (agent/clock.h), on which messages
 * expire. Returns when, on the first, it wants to be called again though nothing
 * happens, or INT64_MAX. */
int64_t forward_fill(struct forward *forward, int64_t now_ms, int64_t age_ms);

/* The link is up: what waits now is the backlog. */
void forward_up(struct forward *forward, int64_t now_ms);

/* What was handed out, is not the agent's own report and has a number from `from` to `to` is not wanted
 * any more. What is to be sent again is given up now: returns how many those were. What the transport or
 * the collector has is delivered, or given up when it comes back: *left is how many those are. */
uint64_t forward_purge(struct forward *forward, uint64_t from, uint64_t to, uint64_t *left);

/* A message that was not handed out is given up: logs and counts it. */
void forward_gave_up(struct forward *forward, const struct message *message, const char *reason);

/* The link says so. False: nothing is in flight under that handle. */
bool forward_acknowledged(struct forward *forward, int handle);
bool forward_refused(struct forward *forward, int handle, enum refusal refusal, const char *reason, int64_t now_ms);

/* The collector says that it holds everything up to `seq`. */
enum receipts_news forward_collected(struct forward *forward, uint64_t seq, int64_t now_ms);

/* The connection was lost, because the broker hung up on a message perhaps: agent/hangup.h
 * says when that is taken for proved. */
void forward_lost(struct forward *forward, int64_t now_ms);
/* The connection is being lost: the transport had better forget what is in flight. Never at
 * QoS 2, where messages could come twice. */
bool forward_isolates(const struct forward *forward);

bool forward_has_qos(const struct forward *forward, int qos); /* in flight */
/* The transport has forgotten what is in flight: it is sent again, first. */
void forward_restart(struct forward *forward);
/* It has not, except for QoS 0; returns how many those are. */
size_t forward_restart_qos0(struct forward *forward);

#endif
