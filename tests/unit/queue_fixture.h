/* A queue in a store in a directory of its own, and who is told what it gives up. For one source
 * of each program.
 */
#ifndef TIDEGATE_QUEUE_FIXTURE_H
#define TIDEGATE_QUEUE_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue.h"
#include "store.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-queue-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct queue *queue;

static struct queue_limits limits;
static uint64_t dropped[64];
static enum queue_drop dropped_why[64];
static int n_dropped;

static inline void on_dropped(void *arg, struct queue *which, const struct message *message, enum queue_drop why)
{
	(void)arg;
	CHECK(which != NULL);
	if (n_dropped < 64) {
		dropped[n_dropped] = message->seq;
		dropped_why[n_dropped] = why;
	}
	n_dropped++;
}

/* As after a kill: what is not committed is gone. */
static inline void open_again(void)
{
	queue_close(queue);
	store_close(store);
	store = store_open(path, STORE_OFF, err, sizeof err);
	queue = store ? queue_open(store, "core", limits, on_dropped, NULL, err, sizeof err) : NULL;
	REQUIRE(queue != NULL);
	while (queue_count(queue) > 0)
		;
}

/* An empty one, without limits. */
static inline void begin(void)
{
	queue_close(queue);
	store_close(store);
	queue = NULL;
	store = NULL;
	snprintf(path, sizeof path, "%s/queue.db", directory);
	unlink(path);
	limits = (struct queue_limits){0};
	n_dropped = 0;
	open_again();
}

static inline uint64_t push(const char *payload)
{
	struct message message = {
	        .seq = store_next_seq(store), .topic = {"a/b", 3}, .payload = {payload, strlen(payload)}, .qos = 1};

	CHECK(queue_push(queue, &message) == QUEUE_OK);
	return message.seq;
}

/* It may be refused. */
static inline uint64_t push_as(unsigned priority, int64_t expires_ms)
{
	struct message message = {.seq = store_next_seq(store),
	                          .topic = {"a/b", 3},
	                          .payload = {"0123456", 7},
	                          .expires_ms = expires_ms,
	                          .qos = 1,
	                          .priority = (uint8_t)priority};

	queue_push(queue, &message);
	return message.seq;
}

static inline void commit(void)
{
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

/* How peek() and take() ask. */
static int64_t now_ms;
static bool committed_only;

static inline const struct message *peek(void)
{
	bool failed;
	const struct message *message = queue_peek(queue, now_ms, committed_only, &failed, err, sizeof err);

	CHECK(!failed);
	return message;
}

static inline uint64_t take(void)
{
	const struct message *message = peek();
	uint64_t seq = message ? message->seq : 0;

	if (message) {
		CHECK(queue_reserve(queue) == 0);
		queue_take(queue);
	}
	return seq;
}

static inline void queue_fixture_begin(void)
{
	REQUIRE(mkdtemp(directory));
}

/* The exit status. */
static inline int queue_fixture_end(void)
{
	char command[256];

	queue_close(queue);
	store_close(store);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command) == 0 ? test_end() : 1;
}

#endif
