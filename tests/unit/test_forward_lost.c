/* When the connection ends with something in flight: which message is to blame, and that no
 * innocent one is given up. */
#include "forward_fixture.h"

#define A_DAY 86400000 /* is never, here */

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

int main(void)
{
	forward_fixture_begin();
	RUN(gives_up_what_the_broker_hangs_up_on);
	RUN(keeps_the_innocent_when_nothing_gets_through);
	RUN(suspects_nothing_while_something_is_acknowledged);
	RUN(takes_no_written_qos_0_for_an_acknowledgement);
	RUN(leaves_qos_2_in_flight);
	RUN(isolates_what_is_sent_below_qos_2);
	RUN(convicts_what_the_broker_hangs_up_on_with_receipts);
	return forward_fixture_end();
}
