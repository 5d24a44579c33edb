/* Where the three parts of a lane meet: what is appended, read back, saved. */
#include "lane.h"

#include <stdlib.h>

/* How much is kept in memory ahead of sending: enough for a few turns, small against
 * a router's memory. Tests compile with tiny ones. */
#ifndef QUEUE_READY_MESSAGES
#define QUEUE_READY_MESSAGES 512
#endif
#ifndef QUEUE_READY_BYTES
#define QUEUE_READY_BYTES (256 * 1024)
#endif

static int64_t key_of(const struct entry *entry)
{
	return rows_key(entry->message.seq, entry->message.priority);
}

static bool all_loaded(const struct lane *lane)
{
	return lane->loaded_to >= lane->body_to;
}

static bool has_room(const struct entry_list *list)
{
	return !list->head || (list->messages < QUEUE_READY_MESSAGES && list->bytes < QUEUE_READY_BYTES);
}

void lane_init(struct lane *lane, int64_t key)
{
	*lane = (struct lane){.loaded_to = key, .body_to = key};
}

void lane_release(struct lane *lane)
{
	entry_list_release(&lane->waiting);
	entry_list_release(&lane->behind);
}

bool lane_is_empty(const struct lane *lane)
{
	return !lane->waiting.head && !lane->behind.head && all_loaded(lane);
}

/* What is behind follows when nothing is left that is on disk only. */
static void close_up(struct lane *lane)
{
	while (all_loaded(lane) && lane->behind.head) {
		struct entry *entry = entry_list_remove_first(&lane->behind);

		entry->place = WAITING;
		entry_list_append(&lane->waiting, entry);
	}
}

struct loading {
	struct lane *lane;
	const struct flight *flight;
	bool failed;
};

static bool take_row(void *arg, struct entry *entry)
{
	struct loading *loading = arg;

	if (!entry) {
		loading->failed = true;
		return false;
	}
	loading->lane->loaded_to = key_of(entry);
	if (flight_find(loading->flight, entry->message.seq))
		free(entry); /* it left when its lane was another */
	else
		entry_list_append(&loading->lane->waiting, entry);
	return has_room(&loading->lane->waiting);
}

int lane_load(struct lane *lane, struct rows *rows, const struct flight *flight)
{
	struct loading loading = {.lane = lane, .flight = flight};
	bool complete = false;

	if (lane->waiting.head || all_loaded(lane))
		return 0;
	if (rows_load(rows, lane->loaded_to, lane->body_to, take_row, &loading, &complete) < 0)
		loading.failed = true;
	if (complete && !loading.failed)
		lane->loaded_to = lane->body_to;
	close_up(lane);
	return loading.failed && !lane->waiting.head ? -1 : 0;
}

void lane_append(struct lane *lane, struct entry *entry)
{
	entry->place = all_loaded(lane) ? WAITING : BEHIND;
	entry_list_append(entry->place == WAITING ? &lane->waiting : &lane->behind, entry);
}

void lane_saved(struct lane *lane, const struct entry *entry)
{
	if (all_loaded(lane) && entry->place != BEHIND)
		lane->loaded_to = key_of(entry);
	lane->body_to = key_of(entry);
}

void lane_trim(struct lane *lane)
{
	struct entry_list kept = {0};

	entry_list_release(&lane->behind);
	if (lane->waiting.messages <= QUEUE_READY_MESSAGES && lane->waiting.bytes <= QUEUE_READY_BYTES)
		return;
	while (lane->waiting.head && has_room(&kept))
		entry_list_append(&kept, entry_list_remove_first(&lane->waiting));
	if (lane->waiting.head)
		lane->loaded_to = key_of(kept.last);
	entry_list_release(&lane->waiting);
	lane->waiting = kept;
}

/* If some of `lane` is on disk only, then so become the saved ones of `next`, and its
 * unsaved ones wait behind. */
void lane_join(struct lane *lane, struct lane *next)
{
	bool in_one_piece = all_loaded(lane);

	while (in_one_piece && next->waiting.head)
		entry_list_append(&lane->waiting, entry_list_remove_first(&next->waiting));
	for (struct entry_list *list = &next->waiting; list; list = list == &next->waiting ? &next->behind : NULL)
		while (list->head) {
			struct entry *entry = entry_list_remove_first(list);

			if (entry->saved) {
				free(entry);
				continue;
			}
			entry->place = BEHIND;
			entry_list_append(&lane->behind, entry);
		}
	if (next->body_to > lane->body_to) {
		lane->body_to = next->body_to;
		if (in_one_piece)
			lane->loaded_to = next->loaded_to;
	}
	*next = (struct lane){0};
}
