/* What a queue gives up, and refuses: at its limits, where priorities count and reports do not,
 * and when time is over. */
#include "queue_fixture.h"

static void makes_room_by_dropping_the_oldest(void)
{
	uint64_t seqs[20];

	for (int saved = 0; saved < 2; saved++) {
		begin();
		limits = (struct queue_limits){.max_messages = 10};
		queue_set_limits(queue, limits);
		for (int i = 0; i < 10; i++)
			seqs[i] = push("reading");
		if (saved)
			commit();
		CHECK(take() == seqs[0]); /* in flight: not given up */
		for (int i = 10; i < 20; i++) {
			seqs[i] = push("reading");
			if (saved)
				commit();
		}
		CHECK(queue_messages(queue) == 10 && n_dropped == 10);
		for (int i = 0; i < 10; i++)
			CHECK(dropped[i] == seqs[i + 1] && dropped_why[i] == QUEUE_OVERFLOW);
		commit();
		open_again();
		CHECK(queue_messages(queue) == 10 && take() == seqs[0] && take() == seqs[11]);
	}
}

static void gives_up_the_lowest_priority_first(void)
{
	uint64_t high, low, higher;

	begin();
	queue_set_limits(queue, (struct queue_limits){.max_bytes = 25});
	high = push_as(5, 0);
	low = push_as(1, 0);
	higher = push_as(9, 0);
	CHECK(n_dropped == 1 && dropped[0] == low);
	push_as(0, 0); /* nothing waits that is worth less */
	CHECK(n_dropped == 2 && queue_messages(queue) == 2);
	push_as(QUEUE_PRIORITY_REPORT, 0);
	CHECK(n_dropped == 2 && queue_messages(queue) == 3);
	CHECK(take() > higher && take() == higher && take() == high && take() == 0);
}

static void refuses_or_holds_at_the_limit(void)
{
	struct message message = {.topic = {"a/b", 3}, .payload = {"0123456789", 10}, .qos = 1};

	begin();
	queue_set_limits(queue, (struct queue_limits){.max_messages = 2, .overflow = QUEUE_DROP_NEWEST});
	push("one");
	CHECK(!queue_full(queue));
	push("two");
	CHECK(queue_full(queue));
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == QUEUE_FULL && n_dropped == 1 && dropped[0] == message.seq);
	queue_set_limits(queue, (struct queue_limits){.max_messages = 2, .overflow = QUEUE_HOLD});
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == QUEUE_OK && queue_full(queue) && queue_messages(queue) == 3);
	queue_set_limits(queue, (struct queue_limits){.max_bytes = 12});
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == QUEUE_FULL); /* larger than all that may be */
	CHECK(queue_messages(queue) == 3);
}

static void reports_take_nobodys_place(void)
{
	begin();
	queue_set_limits(queue, (struct queue_limits){.max_messages = 10});
	for (int i = 0; i < 10; i++)
		push_as(0, 0);
	for (int i = 0; i < 10; i++)
		push_as(QUEUE_PRIORITY_REPORT, 0);
	CHECK(n_dropped == 0 && queue_messages(queue) == 20 && queue_has_reports(queue));
	push_as(0, 0);
	CHECK(n_dropped == 1 && queue_messages(queue) == 20);
	commit();
	open_again();
	for (int i = 0; i < 10; i++)
		queue_acknowledged(queue, take());
	CHECK(!queue_has_reports(queue) && queue_messages(queue) == 10 && !queue_full(queue));
	queue_set_limits(queue, (struct queue_limits){.max_messages = 10});
	CHECK(queue_full(queue));
}

static void comes_down_to_a_lower_limit_in_steps(void)
{
	begin();
	for (int i = 0; i < 2000; i++)
		push_as(0, 0);
	commit();
	queue_set_limits(queue, (struct queue_limits){.max_messages = 10});
	for (int i = 0; i < 20; i++) {
		uint64_t newest = push_as(0, 0);

		for (int j = 0; j < n_dropped && j < 64; j++)
			CHECK(dropped[j] != newest);
		commit();
	}
	CHECK(queue_messages(queue) == 10);
}

static void gives_up_what_has_expired(void)
{
	uint64_t stays, later;

	for (int saved = 0; saved < 2; saved++) {
		begin();
		now_ms = 1000;
		for (int i = 0; i < 9; i++)
			push_as(0, 2000);
		stays = push_as(0, 0);
		later = push_as(0, 5000);
		if (saved)
			commit();
		queue_expire(queue, 1999);
		CHECK(n_dropped == 0);
		queue_expire(queue, 2000);
		CHECK(n_dropped == 9 && dropped_why[8] == QUEUE_EXPIRED && queue_messages(queue) == 2);
		now_ms = 6000;
		queue_expire(queue, 6000); /* behind one that has not */
		CHECK(n_dropped == 9);
		CHECK(take() == stays);
		CHECK(take() == 0 && n_dropped == 10 && dropped[9] == later);
		commit();
		open_again();
		CHECK(queue_messages(queue) == 1 && take() == stays);
		now_ms = 0;
	}
}

int main(void)
{
	queue_fixture_begin();
	RUN(makes_room_by_dropping_the_oldest);
	RUN(gives_up_the_lowest_priority_first);
	RUN(refuses_or_holds_at_the_limit);
	RUN(reports_take_nobodys_place);
	RUN(comes_down_to_a_lower_limit_in_steps);
	RUN(gives_up_what_has_expired);
	return queue_fixture_end();
}
