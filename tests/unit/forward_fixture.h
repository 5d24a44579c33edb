/* A real queue, a link made of stubs that writes down what it is given, and what is told about
 * both. For one source of each program.
 */
#ifndef TIDEGATE_FORWARD_FIXTURE_H
#define TIDEGATE_FORWARD_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "forward.h"
#include "store.h"
#include "test.h"

/* ---- stubs that stand for agent/link.c ---- */

struct link {
	bool up;
	int window, next_handle;
	enum send_result result;
	uint64_t sent[4096];
	int n_sent;
	int64_t time_ms; /* of the last */
	enum hang_up hung_up;
	bool deaf;          /* to receipts */
	char payload[200];  /* of the last */
	int64_t expires_ms; /* the same */
};

static struct link stub;

const char *link_name(const struct link *link)
{
	(void)link;
	return "core";
}

bool link_connected(const struct link *link)
{
	return link->up;
}

int link_window(const struct link *link)
{
	return link->window;
}

int link_window_qos2(const struct link *link)
{
	return link->window;
}

bool link_hears_receipts(const struct link *link)
{
	return link->up && !link->deaf;
}

enum hang_up link_hung_up(const struct link *link)
{
	return link->hung_up;
}

enum send_result link_send(struct link *link, const struct message *message, int *handle, char *reason,
                           size_t reason_size)
{
	if (link->result == SEND_NEVER)
		snprintf(reason, reason_size, "too large");
	if (link->result != SEND_OK)
		return link->result;
	*handle = ++link->next_handle;
	link->sent[link->n_sent++] = message->seq;
	link->time_ms = message->time_ms;
	link->expires_ms = message->expires_ms;
	snprintf(link->payload, sizeof link->payload, "%.*s", (int)message->payload.size,
	         message->payload.size > 0 ? (const char *)message->payload.data : "");
	return SEND_OK;
}

/* ---- what is told ---- */

static char directory[] = "/tmp/tidegate-forward-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct queue *queue;
static struct forward *forward;
static uint64_t sent[64], dropped[64];
static int n_sent, n_dropped;
static char last_reason[300], last_context[32];

static inline void on_sent(void *arg, struct forward *which, uint64_t seq, const struct message *message)
{
	(void)arg;
	REQUIRE(message != NULL);
	CHECK(which == forward && message->seq == seq);
	snprintf(last_context, sizeof last_context, "%.*s", (int)message->context.size,
	         (const char *)message->context.data);
	sent[n_sent++] = seq;
}

static inline void on_given_up(void *arg, struct queue *which, const struct message *message, enum queue_drop why)
{
	(void)arg;
	(void)which;
	(void)message;
	(void)why;
}

static inline void on_dropped(void *arg, struct forward *which, uint64_t seq, const struct message *message,
                              const char *reason)
{
	(void)arg;
	CHECK(which == forward && message && message->seq == seq);
	snprintf(last_reason, sizeof last_reason, "%s", reason);
	dropped[n_dropped++] = seq;
}

static inline bool wants_fate(void *arg, uint32_t origin)
{
	(void)arg;
	return origin == 7;
}

static inline void correct_time(void *arg, struct message *message)
{
	(void)arg;
	message->time_ms += 1000;
}

static const struct forward_events events = {
        .sent = on_sent, .dropped = on_dropped, .correct_time = correct_time};

/* ---- a queue with something in it ---- */

static inline void end(void)
{
	forward_close(forward);
	queue_close(queue);
	store_close(store);
	forward = NULL;
	queue = NULL;
	store = NULL;
}

static inline void begin(void)
{
	end();
	snprintf(path, sizeof path, "%s/queue.db", directory);
	unlink(path);
	store = store_open(path, STORE_OFF, err, sizeof err);
	queue = queue_open(store, "core", (struct queue_limits){0}, on_given_up, NULL, err, sizeof err);
	forward = forward_open(queue, &stub, &events, wants_fate, NULL);
	REQUIRE(forward != NULL);
	memset(&stub, 0, sizeof stub);
	stub.up = true;
	stub.window = 3;
	n_sent = n_dropped = 0;
}

/* With a collector that acknowledges itself. */
static inline void begin_receipts(size_t window)
{
	begin();
	stub.window = 10;
	forward_set_policy(forward, (struct forward_policy){.instance = "i", .ack_window = window, .ack_timeout_ms = 1000});
	forward_up(forward, 0);
}

/* At QoS 1, and on disk. */
static inline void push(int n, uint32_t origin)
{
	while (n-- > 0) {
		struct message message = {.seq = store_next_seq(store),
		                          .topic = {"t", 1},
		                          .context = {"ctx", 3},
		                          .origin = origin,
		                          .qos = 1};

		CHECK(queue_push(queue, &message) == 0);
	}
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

static inline void push_one(uint8_t qos)
{
	struct message message = {.seq = store_next_seq(store), .topic = {"t", 1}, .qos = qos};

	CHECK(queue_push(queue, &message) == 0 && store_commit(store, err, sizeof err) == STORE_OK);
}

/* ---- a program of tests ---- */

static inline void forward_fixture_begin(void)
{
	REQUIRE(mkdtemp(directory));
}

/* The exit status. */
static inline int forward_fixture_end(void)
{
	char command[256];

	end();
	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command) == 0 ? test_end() : 1;
}

#endif
