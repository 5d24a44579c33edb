/* Giving up what waits because its owner wants it so: all of it, from the front of each
 * lane, as overflow does it; or one, from wherever it is. */
#include <stdlib.h>

#include "queue_internal.h"

int queue_purge(struct queue *queue, uint64_t to, int most)
{
	bool failed = false;
	int purged = 0;

	queue->peeked = NULL;
	for (unsigned i = 0; i < 2 * (QUEUE_PRIORITY_MAX + 1); i++) {
		struct lane *lane = queue_lane(queue, i / 2, i % 2 == 1);

		while (purged < most && !failed) {
			failed = lane_load(lane, &queue->rows, &queue->flight) < 0;
			if (failed || !lane->waiting.head || lane->waiting.head->message.seq > to)
				break;
			failed = !queue_drop_first(queue, lane, QUEUE_PURGED);
			purged += !failed;
		}
	}
	return failed && purged == 0 ? -1 : purged;
}

/* ---- one ---- */

/* Takes it out of what is in memory of its lane. NULL: it is not there. */
static struct entry *detach(struct queue *queue, uint64_t seq, unsigned priority)
{
	struct entry *entry = NULL;

	for (int live = 0; live < 2 && !entry; live++) {
		struct lane *lane = queue_lane(queue, priority, live);

		entry = entry_list_remove(&lane->waiting, seq);
		if (!entry)
			entry = entry_list_remove(&lane->behind, seq);
	}
	return entry;
}

/* The caller's: an unsaved one, or a copy. 1; 0 if there is none, -1 if it cannot be read now. */
static int take_out(struct queue *queue, uint64_t seq, struct entry **entry)
{
	int found = 0;

	*entry = NULL;
	for (unsigned priority = 0; priority <= QUEUE_PRIORITY_MAX && !*entry; priority++)
		*entry = detach(queue, seq, priority);
	for (unsigned priority = 0; priority <= QUEUE_PRIORITY_MAX && !*entry && found == 0; priority++)
		found = rows_read(&queue->rows, rows_key(seq, priority), entry);
	return *entry ? 1 : found;
}

/* It is no neighbour of what leaves its lane before and after it: between them is more. */
int queue_purge_one(struct queue *queue, uint64_t seq)
{
	struct handed *handed;
	struct entry *entry;
	int found;

	if (flight_find(&queue->flight, seq))
		return 0;
	if (flight_reserve(&queue->flight) < 0)
		return -1;
	found = take_out(queue, seq, &entry);
	if (found <= 0)
		return found;
	queue->peeked = NULL;
	queue->dropped(queue->arg, queue, &entry->message, QUEUE_PURGED);
	flight_break(&queue->flight);
	handed = flight_add(&queue->flight, queue, entry, queue_is_counted(queue, seq, entry->message.priority));
	if (entry->saved)
		free(entry);
	else
		handed->entry = entry;
	queue_finish(queue, handed);
	return 1;
}

/* ---- what is in flight ---- */

uint64_t queue_unwant(struct queue *queue, uint64_t from, uint64_t to)
{
	uint64_t n = 0;

	for (size_t i = 0; i < queue->flight.n; i++) {
		struct handed *handed = &queue->flight.records[i];

		if (handed->seq < from || handed->seq > to || handed->priority == QUEUE_PRIORITY_REPORT || flight_is_done(handed))
			continue;
		handed->unwanted = true;
		n++;
	}
	return n;
}

bool queue_unwanted(const struct queue *queue, uint64_t seq)
{
	const struct handed *handed = flight_find(&queue->flight, seq);

	return handed && handed->unwanted;
}
