/* Looking into the queues of a store: of links that are open and of those that are not, what is on
 * disk and what is only in memory, in the order of sequence numbers.
 *
 * A walk takes as long as whoever asked takes to read it, and messages come and go meanwhile: so nothing
 * is kept of the database between two steps, and each goes on behind the last number it told.
 */
#ifndef TIDEGATE_LOOK_H
#define TIDEGATE_LOOK_H

#include "queue.h"

struct look;

struct look_item {
	const char *link;
	const struct message *message; /* all of it is valid for this call only */
	bool in_flight;                /* handed out, and neither delivered nor given up */
	bool saved;                    /* on disk */
};

/* Begins a walk over what has a number from `from` to `to`, on `link` or, if that is NULL, on all. NULL with the
 * reason in `err`: there is no such link, ... */
struct look *look_open(struct store *store, const char *link, uint64_t from, uint64_t to, char *err, size_t err_size);
void look_close(struct look *look);

/* Calls `take` for the next messages until it returns false (then that was the last one): 1, or
 * there are no more: 0. -1: the disk cannot be read now, or memory is exhausted. `take` may not
 * change a queue. */
int look_on(struct look *look, bool (*take)(void *arg, const struct look_item *item), void *arg);

/* The link with the next higher id, of those that have a queue; `*id` is 0 to begin with. 1; 0: there
 * are no more; -1. */
int look_link(struct store *store, uint32_t *id, char *name, size_t size);

/* How much a queue has that is not open. 0, or -1. Takes a while for many. */
int look_count(struct store *store, uint32_t id, uint64_t *messages, uint64_t *bytes);

/* The queue of that link, if it is open; else NULL. */
struct queue *queue_named(struct store *store, const char *name);

#endif
