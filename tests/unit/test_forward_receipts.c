/* Forwarding to a collector that acknowledges itself: what its broker acknowledged is kept until
 * the collector has it, too. */
#include "forward_fixture.h"

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

int main(void)
{
	forward_fixture_begin();
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
	return forward_fixture_end();
}
