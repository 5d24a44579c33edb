/* An array in order of seq. Rows are deleted by ranges, and records of what never
 * had a row are swept out when they have become many. */
#include "flight.h"

#include <stdlib.h>

#define GONE_MAX 32 /* and more than half of all: then they are swept */

void flight_release(struct flight *flight)
{
	for (size_t i = 0; i < flight->n; i++)
		free(flight->records[i].entry);
	free(flight->records);
}

int flight_reserve(struct flight *flight)
{
	size_t size = flight->size ? flight->size * 2 : 64;
	struct handed *records;

	if (flight->n < flight->size)
		return 0;
	if (flight->n >= QUEUE_FLIGHT_MAX)
		return -1;
	records = realloc(flight->records, size * sizeof *records);
	if (!records)
		return -1;
	flight->records = records;
	flight->size = size;
	return 0;
}

struct handed *flight_add(struct flight *flight, const void *lane, const struct entry *entry, bool counted)
{
	size_t at = flight->n++;

	/* Mostly it is the newest. */
	for (; at > 0 && flight->records[at - 1].seq > entry->message.seq; at--)
		flight->records[at] = flight->records[at - 1];
	flight->number += lane == flight->last_lane ? 1 : 2;
	flight->last_lane = lane;
	flight->records[at] = (struct handed){
	        .seq = entry->message.seq,
	        .number = flight->number,
	        .size = (uint32_t)entry_size(entry),
	        .priority = entry->message.priority,
	        .counted = counted,
	};
	return &flight->records[at];
}

struct handed *flight_find(const struct flight *flight, uint64_t seq)
{
	size_t low = 0, high = flight->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (flight->records[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low < flight->n && flight->records[low].seq == seq ? &flight->records[low] : NULL;
}

bool flight_is_done(const struct handed *handed)
{
	return handed->acknowledged || handed->gone;
}

const struct handed *flight_oldest(const struct flight *flight)
{
	for (size_t i = 0; i < flight->n; i++)
		if (!flight_is_done(&flight->records[i]))
			return &flight->records[i];
	return NULL;
}

static void sweep(struct flight *flight, bool acknowledged)
{
	size_t kept = 0;

	for (size_t i = 0; i < flight->n; i++)
		if (!flight->records[i].gone && !(acknowledged && flight->records[i].acknowledged))
			flight->records[kept++] = flight->records[i];
	flight->n = kept;
	flight->gone = 0;
	if (acknowledged)
		flight->acknowledged = 0;
}

void flight_done(struct flight *flight, struct handed *handed)
{
	if (!handed->entry) {
		handed->acknowledged = true;
		flight->acknowledged++;
		return;
	}
	free(handed->entry);
	handed->entry = NULL;
	handed->gone = true;
	if (++flight->gone > GONE_MAX && flight->gone > flight->n / 2)
		sweep(flight, false);
}

void flight_break(struct flight *flight)
{
	flight->last_lane = NULL;
}

/* Between two neighbours that left the same lane one after the other the table has
 * nothing: so a run of them is one range. */
static size_t end_of_run(const struct flight *flight, size_t first)
{
	size_t end = first + 1;

	while (end < flight->n && flight_is_done(&flight->records[end]) &&
	       flight->records[end].number == flight->records[end - 1].number + 1)
		end++;
	return end;
}

int flight_delete(const struct flight *flight, struct rows *rows)
{
	size_t end;

	for (size_t first = 0; flight->acknowledged > 0 && first < flight->n; first = end) {
		const struct handed *handed = &flight->records[first];

		if (!flight_is_done(handed)) {
			end = first + 1;
			continue;
		}
		end = end_of_run(flight, first);
		if (rows_delete(rows, rows_key(handed->seq, handed->priority),
		                rows_key(flight->records[end - 1].seq, handed->priority)) < 0)
			return -1;
	}
	return 0;
}

void flight_deleted(struct flight *flight)
{
	if (flight->acknowledged > 0)
		sweep(flight, true);
}
