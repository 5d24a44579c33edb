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
#define A_DAY 86400000 /* is never, here */

static void connect_once(uint64_t guilty, int64_t *now_ms)
{
	forward_up(forward, *now_ms);
	while (forward_in_flight(forward) == 0) { /* else the transport sends it again */
		int64_t again_ms = forward_fill(forward, *now_ms, 1);

		if (again_ms - *now_ms >= A_DAY && forward_in_flight(forward) == 0)
			return;
		if (again_ms - *now_ms < A_DAY)
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

static void isolates_what_is_sent_below_qos_2(void)
{
	begin();
	forward_set_policy(forward, (struct forward_policy){.no_qos2 = true});
	push_one(2);
	forward_fill(forward, 0, 1);
	CHECK(forward_has_qos(forward, 1) && !forward_has_qos(forward, 2));
	for (int i = 0; i < 3; i++)
		forward_lost(forward, 0);
	CHECK(forward_isolates(forward));
}

/* ---- a collector that acknowledges itself ---- */

static void begin_receipts(size_t window)
{
	begin();
	stub.window = 10;
	forward_set_policy(forward, (struct forward_policy){.instance = "i", .ack_window = window, .ack_timeout_ms = 1000});
	forward_up(forward, 0);
}

static void acknowledge_all(void)
{
	for (int handle = 1; handle <= stub.next_handle; handle++)
		forward_acknowledged(forward, handle);
}

static bool was_sent(int i, uint64_t seq)
{
	return i < stub.n_sent && stub.sent[i] == seq;
}

static void keeps_what_the_collector_does_not_have(void)
{
	begin_receipts(10);
	push(3, 7);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 3 && strcmp(stub.payload, "{\"instance\":\"i\",\"seq\":3,\"after\":2}\n") == 0);
	acknowledge_all();
	CHECK(forward_in_flight(forward) == 0 && queue_messages(queue) == 3 && n_sent == 0);
	CHECK(receipts_awaited(forward_receipts(forward)) == 3);
	CHECK(forward_collected(forward, 2, 0) == RECEIPTS_PROGRESS && n_sent == 2 && queue_messages(queue) == 1);
	CHECK(forward_collected(forward, 4, 0) == RECEIPTS_NEVER_SENT && queue_messages(queue) == 1);
	CHECK(forward_collected(forward, 3, 0) == RECEIPTS_PROGRESS && queue_messages(queue) == 0);
	CHECK(n_sent == 3 && sent[0] == 1 && sent[2] == 3 && strcmp(last_context, "ctx") == 0);
}

static void sends_without_custody_at_qos_0(void)
{
	begin_receipts(10);
	push_one(0);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 1 && stub.payload[0] == 0);
	acknowledge_all();
	CHECK(queue_messages(queue) == 0);
}

static void sends_in_order_of_seq(void)
{
	struct message report = {.topic = {"t", 1}, .qos = 1, .priority = QUEUE_PRIORITY_REPORT};

	begin_receipts(10);
	push(2, 0);
	report.seq = store_next_seq(store);
	CHECK(queue_push(queue, &report) == 0);
	push(2, 0);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 5);
	for (int i = 0; i < 5; i++)
		CHECK(was_sent(i, (uint64_t)i + 1));
	acknowledge_all();
	CHECK(forward_collected(forward, 5, 0) == RECEIPTS_PROGRESS && queue_messages(queue) == 0);
}

static void waits_until_receipts_are_heard(void)
{
	begin_receipts(10);
	stub.deaf = true;
	push(2, 0);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 0);
	stub.deaf = false;
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 2);
}

static void stops_at_the_ack_window(void)
{
	begin_receipts(4);
	push(100, 0);
	for (int i = 0; i < 10; i++) {
		forward_fill(forward, 0, 1);
		acknowledge_all();
	}
	CHECK(stub.n_sent == 4);
	forward_collected(forward, 1, 0);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 5);
}

static void probes_a_collector_that_is_silent(void)
{
	begin_receipts(10);
	push(3, 0);
	CHECK(forward_fill(forward, 0, 1) == 1000);
	acknowledge_all();
	CHECK(forward_fill(forward, 999, 1) == 1000 && stub.n_sent == 3);
	CHECK(forward_fill(forward, 1000, 1) == 3000 && stub.n_sent == 4 && was_sent(3, 1));
	acknowledge_all();
	forward_fill(forward, 1001, 1);
	CHECK(stub.n_sent == 4);
	forward_collected(forward, 2, 1002); /* it had two of them */
	forward_fill(forward, 1002, 1);
	CHECK(stub.n_sent == 5 && was_sent(4, 3) && strstr(stub.payload, "\"after\":0}"));
}

static void sends_all_again_that_follows_a_refused_one(void)
{
	begin_receipts(10);
	push(4, 7);
	forward_fill(forward, 0, 1);
	forward_refused(forward, 2, REFUSED_FOR_NOW, "Quota exceeded", 0);
	forward_acknowledged(forward, 1);
	forward_acknowledged(forward, 3);
	forward_fill(forward, 5000, 1);
	CHECK(stub.n_sent == 4); /* 4 is still in flight */
	forward_acknowledged(forward, 4);
	forward_fill(forward, 5000, 1);
	CHECK(stub.n_sent == 7 && was_sent(4, 2) && was_sent(6, 4));
	forward_refused(forward, 6, REFUSED_FOR_GOOD, "Not authorized", 5000);
	CHECK(n_dropped == 1 && dropped[0] == 3);
	acknowledge_all();
	forward_fill(forward, 5000, 1);
	CHECK(stub.n_sent == 8 && was_sent(7, 4) && strstr(stub.payload, "\"after\":2}"));
	acknowledge_all();
	CHECK(forward_collected(forward, 4, 5000) == RECEIPTS_PROGRESS && queue_messages(queue) == 0 && n_sent == 3);
}

static void forgets_no_receipt_with_the_transport(void)
{
	begin_receipts(10);
	push(4, 0);
	forward_fill(forward, 0, 1);
	forward_acknowledged(forward, 1);
	forward_acknowledged(forward, 2);
	forward_collected(forward, 3, 0); /* before the broker says so */
	CHECK(queue_messages(queue) == 2);
	forward_restart(forward);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 5 && was_sent(4, 4) && queue_messages(queue) == 1);
}

static void passes_over_what_an_earlier_process_sent(void)
{
	begin();
	push(5, 7);
	forward_close(forward);
	forward = forward_open(queue, &stub, &events, wants_fate, NULL);
	REQUIRE(forward != NULL);
	forward_set_policy(forward, (struct forward_policy){.instance = "i", .ack_window = 10, .ack_timeout_ms = 1000});
	CHECK(forward_collected(forward, 6, 0) == RECEIPTS_NEVER_SENT);
	CHECK(forward_collected(forward, 3, 0) == RECEIPTS_PROGRESS);
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 2 && was_sent(0, 4) && n_sent == 3 && queue_messages(queue) == 2);
}

static void sends_again_when_nobody_acknowledges_any_more(void)
{
	begin_receipts(10);
	push(3, 0);
	forward_fill(forward, 0, 1);
	forward_acknowledged(forward, 1);
	forward_acknowledged(forward, 2);
	forward_set_policy(forward, (struct forward_policy){0});
	forward_fill(forward, 0, 1);
	CHECK(stub.n_sent == 5 && was_sent(3, 1) && was_sent(4, 2) && stub.payload[0] == 0);
	acknowledge_all();
	CHECK(queue_messages(queue) == 0);
}

static void convicts_what_the_broker_hangs_up_on_with_receipts(void)
{
	int64_t now_ms = 0;

	begin_receipts(10);
	forward_set_policy(forward, (struct forward_policy){.instance = "i", .ack_window = 10, .ack_timeout_ms = 2 * A_DAY});
	stub.hung_up = HANG_UP;
	push(4, 7);
	for (int i = 0; i < 60 && n_dropped == 0; i++) {
		connect_once(2, &now_ms);
		forward_collected(forward, 1, now_ms);
	}
	CHECK(n_dropped == 1 && dropped[0] == 2);
	for (int i = 0; i < 10; i++)
		connect_once(0, &now_ms);
	CHECK(strstr(stub.payload, "\"seq\":4,\"after\":3}"));
	CHECK(forward_collected(forward, 4, now_ms) == RECEIPTS_PROGRESS && queue_messages(queue) == 0);
}

/* ---- what is purged ---- */

static void gives_up_what_is_purged_once_it_is_back(void)
{
	uint64_t left = 0;

	begin();
	push(4, 7);
	forward_fill(forward, 0, 1);
	forward_refused(forward, 1, REFUSED_FOR_NOW, "Quota exceeded", 0); /* it is back already */
	CHECK(forward_purge(forward, 0, stub.sent[1], &left) == 1 && left == 1);
	CHECK(n_dropped == 1 && dropped[0] == stub.sent[0] && strcmp(last_reason, FORWARD_PURGED) == 0);
	CHECK(forward_purge(forward, stub.sent[0], stub.sent[0], &left) == 0 && left == 0);
	forward_acknowledged(forward, 2); /* in flight and not taken back: delivered */
	CHECK(n_sent == 1 && n_dropped == 1);
	CHECK(forward_purge(forward, 0, UINT64_MAX, &left) == 0 && left == 1);
	forward_restart(forward); /* and what comes back now is not sent again, what waits is */
	forward_fill(forward, 0, 1);
	CHECK(n_dropped == 2 && dropped[1] == stub.sent[2] && stub.n_sent == 4 && queue_messages(queue) == 1);
}

static void gives_up_what_is_purged_with_receipts(void)
{
	uint64_t left = 0;

	begin();
	forward_set_policy(forward, (struct forward_policy){.instance = "i", .ack_window = 10, .ack_timeout_ms = 1000});
	push(3, 7);
	forward_fill(forward, 0, 1);
	forward_acknowledged(forward, 1);
	CHECK(forward_purge(forward, stub.sent[0], stub.sent[0], &left) == 0 && left == 1);
	forward_restart(forward);
	forward_fill(forward, 5000, 1);
	forward_fill(forward, 5000, 1);
	CHECK(n_dropped == 1 && dropped[0] == stub.sent[0] && strcmp(last_reason, FORWARD_PURGED) == 0);
	CHECK(forward_collected(forward, stub.sent[2], 5001) == RECEIPTS_PROGRESS);
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
	RUN(isolates_what_is_sent_below_qos_2);
	RUN(keeps_what_the_collector_does_not_have);
	RUN(sends_without_custody_at_qos_0);
	RUN(sends_in_order_of_seq);
	RUN(waits_until_receipts_are_heard);
	RUN(stops_at_the_ack_window);
	RUN(probes_a_collector_that_is_silent);
	RUN(sends_all_again_that_follows_a_refused_one);
	RUN(forgets_no_receipt_with_the_transport);
	RUN(passes_over_what_an_earlier_process_sent);
	RUN(sends_again_when_nobody_acknowledges_any_more);
	RUN(convicts_what_the_broker_hangs_up_on_with_receipts);
	RUN(gives_up_what_is_purged_once_it_is_back);
	RUN(gives_up_what_is_purged_with_receipts);
	end();
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
