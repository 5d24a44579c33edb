/* What forward.c (the window, and what is sent) and forward_lost.c (what becomes of it when a
 * connection ends) share. Nothing else includes it. */
#ifndef TIDEGATE_FORWARD_INTERNAL_H
#define TIDEGATE_FORWARD_INTERNAL_H

#include "buffer.h"
#include "forward.h"
#include "hangup.h"
#include "log_limit.h"

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
	struct flight *flights; /* in order of sending; in the `room` for `size` of them */
	struct flight *room;
	size_t n, size;
	uint64_t *again; /* refused for now, or forgotten by the transport; in order of seq */
	size_t n_again, again_size;
	struct receipts receipts; /* with policy.instance, what has left at QoS 1 or 2: it is not in `again` then */
	struct buffer envelope;   /* scratch */
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

/* It is sent again, before anything newer: by number, or as its receipt is awaited. */
void forward_remember_again(struct forward *forward, uint64_t seq);
void forward_send_again(struct forward *forward, uint64_t seq);
/* One of what is remembered is not, by its place. */
void forward_forget_again(struct forward *forward, size_t at);

/* It is given up; the second: because of what the peer says, or will not have. `message` may be NULL. */
void forward_give_up(struct forward *forward, uint64_t seq, const struct message *message, const char *reason);
void forward_drop(struct forward *forward, uint64_t seq, const struct message *message, const char *why);

#endif
