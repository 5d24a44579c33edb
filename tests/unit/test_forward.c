/* Forwarding against a real queue and a link made of stubs: the window, order,
 * refusals, restarts. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "forward.h"
#include "store.h"
#include "test.h"

/* The stubs that stand for agent/link.c. */
struct link {
	bool up;
	int window, next_handle;
	enum send_result result;
	uint64_t sent[4096];
	int n_sent;
	int64_t time_ms; /* of the last */
	enum hang_up hung_up;
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
	return SEND_OK;
}

static char directory[] = "/tmp/tidegate-forward-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct queue *queue;
static struct forward *forward;
static uint64_t sent[64], dropped[64];
static int n_sent, n_dropped;
static char last_reason[300], last_context[32];

static void on_sent(void *arg, struct forward *which, uint64_t seq, const struct message *message)
{
	(void)arg;
	REQUIRE(message != NULL);
	CHECK(which == forward && message->seq == seq);
	snprintf(last_context, sizeof last_context, "%.*s", (int)message->context.size,
	         (const char *)message->context.data);
	sent[n_sent++] = seq;
}

static void on_given_up(void *arg, struct queue *which, const struct message *message, enum queue_drop why)
{
	(void)arg;
	(void)which;
	(void)message;
	(void)why;
}

static void on_dropped(void *arg, struct forward *which, uint64_t seq, const struct message *message,
                       const char *reason)
{
	(void)arg;
	CHECK(which == forward && message && message->seq == seq);
	snprintf(last_reason, sizeof last_reason, "%s", reason);
	dropped[n_dropped++] = seq;
}

static bool wants_fate(void *arg, uint32_t origin)
{
	(void)arg;
	return origin == 7;
}

static void correct_time(void *arg, struct message *message)
{
	(void)arg;
	message->time_ms += 1000;
}

static const struct forward_events events = {
        .sent = on_sent, .dropped = on_dropped, .correct_time = correct_time};

static void end(void)
{
	forward_close(forward);
	queue_close(queue);
	store_close(store);
	forward = NULL;
	queue = NULL;
	store = NULL;
}

static void begin(void)
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

static void push(int n, uint32_t origin)
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

static void keeps_the_window_full_and_no_fuller(void)
{
	begin();
	push(10, 0);
	CHECK(forward_fill(forward, 0, 1) == INT64_MAX);
	CHECK(stub.n_sent == 3 && forward_in_flight(forward) == 3);
	forward_acknowledged(forward, 2);
	forward_acknowledged(forward, 2);
	CHECK(forward_in_flight(forward) == 2);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 4);
	for (int handle = 1; handle <= 10; handle++) {
		forward_acknowledged(forward, handle);
		forward_fill(forward, 0, 1);
	}
	CHECK(stub.n_sent == 10 && queue_messages(queue) == 0);
	for (int i = 1; i < 10; i++)
		CHECK(stub.sent[i] > stub.sent[i - 1]);
	CHECK(n_sent == 0); /* nobody asked */
}

static void hands_on_the_time_as_it_is_known_now(void)
{
	begin();
	push(1, 0);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 1 && stub.time_ms == 1000);
	forward_restart(forward);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 2 && stub.time_ms == 1000); /* what is queued stays as it is */
}

static void sends_nothing_while_the_link_is_down(void)
{
	begin();
	push(2, 0);
	stub.up = false;
	CHECK(forward_fill(forward, 0, 1) == INT64_MAX && stub.n_sent == 0);
	stub.up = true;
	stub.result = SEND_LATER;
	forward_fill(forward, 0, 1);
	CHECK(forward_in_flight(forward) == 0 && queue_messages(queue) == 2);
	stub.result = SEND_OK;
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 2);
}

static void sends_what_is_on_disk_only_if_told_to(void)
{
	struct message message = {.topic = {"t", 1}, .qos = 1};

	begin();
	forward_set_policy(forward, (struct forward_policy){.strict = true});
	push(1, 0);
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == 0);
	forward_fill(forward, 0, 0);
	CHECK(stub.n_sent == 1);
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
	forward_fill(forward, 0, 0);
	CHECK(stub.n_sent == 2);
}

static void tells_who_asked(void)
{
	begin();
	push(1, 7);
	push(1, 8);
	forward_fill(forward, 0, 1);
	forward_acknowledged(forward, 1);
	forward_acknowledged(forward, 2);
	CHECK(n_sent == 1 && sent[0] == stub.sent[0] && strcmp(last_context, "ctx") == 0);
}

static void gives_up_what_is_refused_for_good(void)
{
	begin();
	push(2, 7);
	forward_fill(forward, 0, 1);
	forward_refused(forward, 1, REFUSED_FOR_GOOD, "Not authorized", 0);
	CHECK(n_dropped == 1 && dropped[0] == stub.sent[0]);
	CHECK(strcmp(last_reason, "rejected: Not authorized") == 0);
	CHECK(forward_dropped(forward) == 1 && queue_messages(queue) == 1);
	push(1, 7);
	stub.result = SEND_NEVER;
	forward_fill(forward, 0, 1);
	CHECK(n_dropped == 2 && strcmp(last_reason, "rejected: too large") == 0);
	CHECK(forward_in_flight(forward) == 1);
}

static void sends_again_what_is_refused_for_now(void)
{
	begin();
	push(5, 7);
	forward_fill(forward, 0, 1);
	forward_refused(forward, 2, REFUSED_FOR_NOW, "Quota exceeded", 100);
	forward_refused(forward, 1, REFUSED_FOR_NOW, "Quota exceeded", 100);
	CHECK(n_dropped == 0 && queue_messages(queue) == 5);
	CHECK(forward_fill(forward, 200, 1) == 850 && stub.n_sent == 3);
	CHECK(forward_fill(forward, 1100, 1) == INT64_MAX);
	/* The refused ones go first, in order. */
	CHECK(stub.n_sent == 5 && stub.sent[3] == stub.sent[0] && stub.sent[4] == stub.sent[1]);
	/* The backoff grows while it goes on, and is over with the first acknowledgement. */
	forward_refused(forward, 4, REFUSED_FOR_NOW, "Quota exceeded", 1200);
	CHECK(forward_fill(forward, 1300, 1) == 2700);
	forward_acknowledged(forward, 3);
	forward_acknowledged(forward, 5);
	CHECK(forward_fill(forward, 3200, 1) == INT64_MAX);
	forward_refused(forward, 6, REFUSED_FOR_NOW, "Quota exceeded", 4000);
	CHECK(forward_fill(forward, 4000, 1) == 4750);
	CHECK(n_sent == 2);
}

static void sends_again_after_the_transport_was_replaced(void)
{
	begin();
	push(4, 0);
	forward_fill(forward, 0, 1);
	forward_restart(forward);
	CHECK(forward_in_flight(forward) == 0);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 6);
	for (int i = 0; i < 3; i++)
		CHECK(stub.sent[i] == stub.sent[i + 3]);
	forward_acknowledged(forward, 1); /* a handle of before means nothing */
	CHECK(queue_messages(queue) == 4);
}

static void lose(int64_t now_ms)
{
	if (forward_isolates(forward))
		forward_restart(forward);
	forward_lost(forward, now_ms);
}

/* One more connection, which the broker ends on getting `guilty`; the rest it acknowledges. */
static void connect_once(uint64_t guilty, int64_t *now_ms)
{
	forward_up(forward, *now_ms);
	while (forward_in_flight(forward) == 0) { /* else the transport sends it again */
		int64_t again_ms = forward_fill(forward, *now_ms, 1);

		if (again_ms == INT64_MAX && forward_in_flight(forward) == 0)
			return;
		if (again_ms != INT64_MAX)
			*now_ms = again_ms;
		else if (stub.sent[stub.n_sent - 1] != guilty)
			forward_acknowledged(forward, stub.next_handle);
	}
	*now_ms += 20;
	lose(*now_ms);
}

static void gives_up_what_the_broker_hangs_up_on(void)
{
	int64_t now_ms = 0;

	begin();
	stub.hung_up = HANG_UP;
	push(3, 7);
	forward_fill(forward, 0, 1);
	forward_acknowledged(forward, 1);
	for (int i = 1; i <= 4; i++) {
		CHECK(forward_in_flight(forward) == 2 && forward_isolates(forward) == (i == 4));
		lose(0);
	}
	push(3, 7);
	stub.n_sent = 0;
	stub.window = 1; /* for those above 3, which may go together */
	for (int i = 0; i < 5; i++) {
		CHECK(n_dropped == 0 && queue_messages(queue) == 5);
		connect_once(2, &now_ms);
		CHECK(stub.n_sent == i + 1 && stub.sent[i] == 2); /* alone */
	}
	/* What is behind it goes now, and then it is its turn again. */
	CHECK(n_dropped == 0 && forward_in_flight(forward) == 0);
	connect_once(2, &now_ms);
	CHECK(stub.n_sent == 7 && stub.sent[5] == 3 && stub.sent[6] == 2 && n_dropped == 0);
	connect_once(2, &now_ms);
	CHECK(n_dropped == 1 && dropped[0] == 2 && strcmp(last_reason, "rejected: the broker hangs up on it") == 0);
	connect_once(2, &now_ms);
	CHECK(n_dropped == 1 && queue_messages(queue) == 0 && stub.n_sent == 11 && stub.sent[10] == 6);
	CHECK(now_ms > 25000 && now_ms < 26000);
}

static void keeps_the_innocent_when_nothing_gets_through(void)
{
	int64_t now_ms = 0;

	begin();
	stub.hung_up = HANG_UP;
	stub.window = 1;
	push(3, 7);
	for (uint64_t guilty = 1; guilty <= 3; guilty++)
		for (int i = 0; i < 9; i++)
			connect_once(guilty, &now_ms);
	CHECK(n_dropped == 0 && queue_messages(queue) == 3 && forward_in_flight(forward) == 0);
	push(1, 7);
	connect_once(0, &now_ms);
	CHECK(n_dropped == 0 && queue_messages(queue) == 0 && n_sent == 4 && sent[0] == 4);
	CHECK(sent[1] == 1 && sent[2] == 2 && sent[3] == 3);
}

static void suspects_nothing_while_something_is_acknowledged(void)
{
	begin();
	push(20, 7);
	for (int i = 1; i <= 17; i++) {
		forward_fill(forward, 0, 1);
		CHECK(forward_in_flight(forward) == 3 && !forward_isolates(forward));
		forward_lost(forward, 0);
		forward_lost(forward, 0);
		forward_lost(forward, 0);
		forward_acknowledged(forward, i);
	}
}

static void push_one(uint8_t qos)
{
	struct message message = {.seq = store_next_seq(store), .topic = {"t", 1}, .qos = qos};

	CHECK(queue_push(queue, &message) == 0 && store_commit(store, err, sizeof err) == STORE_OK);
}

static void takes_no_written_qos_0_for_an_acknowledgement(void)
{
	begin();
	push_one(1);
	for (int i = 0; i < 4; i++) {
		push_one(0);
		forward_fill(forward, 0, 1);
		forward_acknowledged(forward, 2 + i);
		CHECK(forward_isolates(forward) == (i == 3));
		forward_lost(forward, 0);
	}
}

static void leaves_qos_2_in_flight(void)
{
	begin();
	push_one(1);
	push_one(2);
	forward_fill(forward, 0, 1);
	for (int i = 0; i < 10; i++) {
		CHECK(!forward_isolates(forward));
		forward_lost(forward, 0);
	}
	CHECK(n_dropped == 0 && forward_in_flight(forward) == 2);
}

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	RUN(keeps_the_window_full_and_no_fuller);
	RUN(hands_on_the_time_as_it_is_known_now);
	RUN(sends_nothing_while_the_link_is_down);
	RUN(sends_what_is_on_disk_only_if_told_to);
	RUN(tells_who_asked);
	RUN(gives_up_what_is_refused_for_good);
	RUN(sends_again_what_is_refused_for_now);
	RUN(sends_again_after_the_transport_was_replaced);
	RUN(gives_up_what_the_broker_hangs_up_on);
	RUN(keeps_the_innocent_when_nothing_gets_through);
	RUN(suspects_nothing_while_something_is_acknowledged);
	RUN(takes_no_written_qos_0_for_an_acknowledgement);
	RUN(leaves_qos_2_in_flight);
	end();
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
