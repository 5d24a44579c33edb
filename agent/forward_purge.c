/* What was handed out and is not wanted any more. */
#include "forward_internal.h"

uint64_t forward_purge(struct forward *forward, uint64_t from, uint64_t to, uint64_t *left)
{
	uint64_t n = 0;

	*left = queue_unwant(forward->queue, from, to);
	for (size_t i = 0; i < forward->n_again;) {
		uint64_t seq = forward->again[i];

		if (!queue_unwanted(forward->queue, seq)) {
			i++;
			continue;
		}
		hangup_refused(&forward->hangup, seq);
		forward_forget_again(forward, i);
		forward_give_up(forward, seq, queue_lookup(forward->queue, seq), FORWARD_PURGED);
		n++;
	}
	*left -= n < *left ? n : *left;
	return n;
}
