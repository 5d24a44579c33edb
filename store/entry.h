/* Queued messages in memory: each in one piece of malloc'd memory, and lists of
 * them. Used by the queue only. */
#ifndef TIDEGATE_ENTRY_H
#define TIDEGATE_ENTRY_H

#include "queue.h"

struct entry {
	struct entry *next;                   /* in the list it waits in */
	struct entry *older, *newer;          /* among the unsaved ones, in order of seq */
	bool saved;                           /* on disk */
	enum { WAITING, BEHIND, HANDED } place; /* of an unsaved one: see lane.h */
	struct message message;
	char bytes[];
};

/* A copy of `message` with all its parts; NULL without memory. Free with free(). */
struct entry *entry_copy(const struct message *message);

/* What limits and counters call a message's size: topic and payload. */
size_t entry_size(const struct entry *entry);

/* Zero-initialise. */
struct entry_list {
	struct entry *head, *last;
	size_t messages, bytes;
};

void entry_list_append(struct entry_list *list, struct entry *entry);
struct entry *entry_list_remove_first(struct entry_list *list); /* there must be one */
struct entry *entry_list_remove(struct entry_list *list, uint64_t seq); /* NULL: it is not there */
void entry_list_release(struct entry_list *list);

#endif
