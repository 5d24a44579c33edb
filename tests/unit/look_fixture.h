/* Two queues, and a model of what should be in them; a look at both. For one source of each
 * program.
 */
#ifndef TIDEGATE_LOOK_FIXTURE_H
#define TIDEGATE_LOOK_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "look.h"
#include "store.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-look-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct queue *core, *hist;

#define SEQS 8192

enum fate { NOWHERE, WAITS, FLIES, GONE };

/* What should be there, by sequence number. */
static struct {
	enum fate fate;
	bool hist;
	unsigned priority;
} model[SEQS];
static uint64_t newest;
static int n_purged;

static inline void on_dropped(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	(void)arg;
	REQUIRE(message->seq < SEQS);
	CHECK(why == QUEUE_PURGED && model[message->seq].fate == WAITS);
	CHECK((queue == hist) == model[message->seq].hist && model[message->seq].priority == message->priority);
	model[message->seq].fate = GONE;
	n_purged++;
}

static inline struct queue *open_queue(const char *name)
{
	struct queue *queue = queue_open(store, name, (struct queue_limits){0}, on_dropped, NULL, err, sizeof err);

	REQUIRE(queue != NULL);
	while (queue_count(queue) > 0)
		;
	return queue;
}

static inline void close_all(void)
{
	queue_close(core);
	queue_close(hist);
	store_close(store);
	core = hist = NULL;
	store = NULL;
}

static inline void open_all(void)
{
	store = store_open(path, STORE_OFF, err, sizeof err);
	REQUIRE(store != NULL);
	core = open_queue("core");
	hist = open_queue("hist");
}

/* Two empty ones. */
static inline void begin(void)
{
	close_all();
	unlink(path);
	memset(model, 0, sizeof model);
	newest = 0;
	n_purged = 0;
	open_all();
}

static inline uint64_t push(struct queue *queue, unsigned priority)
{
	char payload[32];
	struct message message = {.seq = store_next_seq(store), .topic = {"a/b", 3}, .priority = (uint8_t)priority, .qos = 1};

	REQUIRE(message.seq < SEQS);
	snprintf(payload, sizeof payload, "payload %d", (int)message.seq);
	message.payload = (struct bytes){payload, strlen(payload)};
	CHECK(queue_push(queue, &message) == QUEUE_OK);
	model[message.seq].fate = WAITS;
	model[message.seq].hist = queue == hist;
	model[message.seq].priority = priority;
	newest = message.seq;
	return message.seq;
}

static inline void commit(void)
{
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

static inline struct look *look(const char *link, uint64_t from, uint64_t to)
{
	struct look *opened = look_open(store, link, from, to, err, sizeof err);

	REQUIRE(opened != NULL);
	return opened;
}

static inline void look_fixture_begin(void)
{
	REQUIRE(mkdtemp(directory) != NULL);
	snprintf(path, sizeof path, "%s/queue.db", directory);
}

/* The exit status. */
static inline int look_fixture_end(void)
{
	close_all();
	unlink(path);
	rmdir(directory);
	return test_end();
}

#endif
