/* The queue's functions as the torture uses them: the one place that knows both the
 * queue that commits before it hands out and the one that does not. */
#ifndef TIDEGATE_TORTURE_QUEUE_CALLS_H
#define TIDEGATE_TORTURE_QUEUE_CALLS_H

#include "queue.h"

static inline struct queue *call_open(struct store *store, const char *name, char *err, size_t err_size)
{
#ifdef QUEUE_PRIORITY_MAX
	return queue_open(store, name, (struct queue_limits){0}, NULL, NULL, err, err_size);
#else
	return queue_open(store, name, err, err_size);
#endif
}

static inline bool call_push(struct queue *queue, const struct message *message)
{
#ifdef QUEUE_PRIORITY_MAX
	return queue_push(queue, message) == QUEUE_OK;
#else
	return queue_push(queue, message) == 0;
#endif
}

static inline const struct message *call_peek(struct queue *queue, bool committed, bool *failed)
{
	char err[256];

#ifdef QUEUE_PRIORITY_MAX
	return queue_peek(queue, 0, committed, failed, err, sizeof err);
#else
	(void)committed;
	return queue_peek(queue, failed, err, sizeof err);
#endif
}

#endif
