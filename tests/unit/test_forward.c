/* Forwarding from queue to link: the window, order, refusals, restarts, what nobody wants any
 * more. */
#include "forward_fixture.h"

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
	forward_fixture_begin();
	RUN(keeps_the_window_full_and_no_fuller);
	RUN(hands_on_the_time_as_it_is_known_now);
	RUN(sends_nothing_while_the_link_is_down);
	RUN(sends_what_is_on_disk_only_if_told_to);
	RUN(tells_who_asked);
	RUN(gives_up_what_is_refused_for_good);
	RUN(sends_again_what_is_refused_for_now);
	RUN(sends_again_after_the_transport_was_replaced);
	RUN(gives_up_what_is_purged_once_it_is_back);
	RUN(gives_up_what_is_purged_with_receipts);
	return forward_fixture_end();
}
