/* What becomes of the window when a connection ends: what is sent again, and which message
 * the broker hung up on. */
#include "forward_internal.h"

#include "log.h"

#define LOSSES_TELL 4 /* in a row are worth a warning, and whenever they have doubled */

/* The ends of the line: of what is in flight, and what is to be sent again. First is
 * UINT64_MAX where there is neither. */
static void line_of(const struct forward *forward, uint64_t *first, uint64_t *last)
{
	uint64_t next = receipts_next(&forward->receipts), end = receipts_last(&forward->receipts);

	*first = forward->n_again > 0 ? forward->again[0] : UINT64_MAX;
	*last = forward->n_again > 0 ? forward->again[forward->n_again - 1] : 0;
	*first = next > 0 && next < *first ? next : *first;
	*last = end > *last ? end : *last;
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

/* It is first in line, and nothing is in flight. */
static void pass_over(struct forward *forward, uint64_t seq)
{
	if (forward->n_again > 0 && forward->again[0] == seq)
		forward_forget_again(forward, 0);
	else
		receipts_skip(&forward->receipts);
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
	if (first == UINT64_MAX || forward->policy.finds_guilty)
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
		pass_over(forward, first);
		break;
	case HANGUP_GIVE_UP:
		pass_over(forward, first);
		forward_drop(forward, first, queue_lookup(forward->queue, first), "the broker hangs up on it");
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
			forward_remember_again(forward, forward->flights[i].seq);
		else
			forward->flights[kept++] = forward->flights[i];
	forward->n = kept;
	return before - kept;
}

void forward_restart(struct forward *forward)
{
	for (size_t i = 0; i < forward->n; i++)
		forward_send_again(forward, forward->flights[i].seq);
	forward->n = 0;
	receipts_go_back(&forward->receipts);
	forward->busy_until_ms = 0;
}
