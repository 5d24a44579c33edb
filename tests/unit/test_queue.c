/* What a queue keeps, in memory, on disk and across restarts, compiled with a read-ahead of
 * 4 messages or 200 bytes so that every path between the two is taken. Links SQLite and nothing
 * of the agent. */
#include "bad_disk.h"
#include "queue_fixture.h"

static void hands_out_only_what_is_committed_if_asked(void)
{
	uint64_t seq;

	begin();
	committed_only = true;
	seq = push("one");
	CHECK(peek() == NULL);
	CHECK(queue_messages(queue) == 1 && queue_bytes(queue) == 6 && queue_unsafe(queue) == 1);
	commit();
	CHECK(queue_unsafe(queue) == 0);
	CHECK(peek() && peek()->seq == seq);
	CHECK(take() == seq);
	CHECK(peek() == NULL);
	CHECK(queue_messages(queue) == 1);
	queue_acknowledged(queue, seq);
	CHECK(queue_messages(queue) == 0 && queue_bytes(queue) == 0);
	committed_only = false;
}

static void keeps_every_field(void)
{
	char topic[65535];
	const struct message *back;
	struct message message = {
	        .topic = {topic, sizeof topic},
	        .payload = {"nul\0and\xff", 8},
	        .properties = {"\x01\x01", 2},
	        .context = {"c\0c", 3},
	        .time_ms = 1700000000123,
	        .age_ms = 5000000000,
	        .expires_ms = 6000000000,
	        .priority = 3,
	        .origin = 7,
	        .qos = 2,
	        .retain = true,
	};

	begin();
	memset(topic, 't', sizeof topic);
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == QUEUE_OK);
	commit();
	for (int from_disk = 0; from_disk < 2; from_disk++) {
		back = peek();
		CHECK(back && back->topic.size == sizeof topic && memcmp(back->topic.data, topic, sizeof topic) == 0);
		CHECK(back && ((const char *)back->topic.data)[sizeof topic] == '\0');
		CHECK(back && back->payload.size == 8 && memcmp(back->payload.data, message.payload.data, 8) == 0);
		CHECK(back && back->properties.size == 2 && back->context.size == 3);
		CHECK(back && memcmp(back->context.data, "c\0c", 3) == 0);
		CHECK(back && back->time_ms == 1700000000123 && back->origin == 7 && back->qos == 2 && back->retain);
		CHECK(back && back->age_ms == 5000000000 && back->expires_ms == 6000000000 && back->priority == 3);
		open_again();
	}
}

static void keeps_an_empty_payload(void)
{
	begin();
	push("");
	commit();
	open_again();
	CHECK(peek() && peek()->payload.size == 0);
	CHECK(queue_messages(queue) == 1 && queue_bytes(queue) == 3);
}

static void resumes_after_a_restart(void)
{
	uint64_t seqs[20];

	begin();
	for (int i = 0; i < 20; i++)
		seqs[i] = push("reading");
	commit();
	for (int i = 0; i < 10; i++)
		CHECK(take() == seqs[i]);
	/* Acknowledged out of order, with gaps, then committed by the next turn. */
	queue_acknowledged(queue, seqs[1]);
	queue_acknowledged(queue, seqs[0]);
	queue_acknowledged(queue, seqs[5]);
	queue_acknowledged(queue, seqs[5]);
	queue_acknowledged(queue, 424242);
	CHECK(queue_messages(queue) == 17);
	commit();
	queue_acknowledged(queue, seqs[2]); /* not committed: forgotten, as by a kill */
	open_again();
	CHECK(queue_messages(queue) == 17 && queue_bytes(queue) == 17 * 10);
	for (int i = 2; i < 20; i++)
		if (i != 5)
			CHECK(take() == seqs[i]);
	CHECK(take() == 0);
}

static int interrupt(void *arg)
{
	(void)arg;
	return 1;
}

static void says_when_it_cannot_count(void)
{
	begin();
	push("reading");
	commit();
	queue_close(queue);
	queue = queue_open(store, "core", limits, on_dropped, NULL, err, sizeof err);
	REQUIRE(queue != NULL);
	sqlite3_progress_handler(store_database(store), 1, interrupt, NULL);
	CHECK(queue_count(queue) < 0);
	sqlite3_progress_handler(store_database(store), 0, NULL, NULL);
	CHECK(queue_count(queue) == 0);
	CHECK(queue_messages(queue) == 1);
}

static void loses_only_what_was_not_committed(void)
{
	uint64_t first;

	begin();
	first = push("committed");
	commit();
	push("not committed");
	open_again();
	CHECK(queue_messages(queue) == 1);
	CHECK(take() == first);
	CHECK(take() == 0);
	CHECK(push("new") > first + 1); /* the lost one's number is not given again */
}

static void reads_what_is_in_flight_again(void)
{
	uint64_t seq;

	begin();
	seq = push("again");
	commit();
	CHECK(queue_lookup(queue, seq) == NULL); /* not handed out yet */
	take();
	CHECK(queue_lookup(queue, seq) && queue_lookup(queue, seq)->payload.size == 5);
	queue_acknowledged(queue, seq);
	CHECK(queue_lookup(queue, seq) == NULL);
}

static void keeps_links_apart(void)
{
	struct queue *other;
	bool failed;

	begin();
	other = queue_open(store, "hist", limits, on_dropped, NULL, err, sizeof err);
	REQUIRE(other != NULL);
	push("for core");
	commit();
	CHECK(queue_peek(other, 0, false, &failed, err, sizeof err) == NULL && !failed);
	CHECK(queue_messages(other) == 0 && queue_messages(queue) == 1);
	queue_close(other);
}

static void takes_a_message_larger_than_its_read_ahead(void)
{
	char *large = malloc(1 << 20);
	struct message message = {.topic = {"t", 1}, .payload = {large, 1 << 20}};

	begin();
	memset(large, 'x', 1 << 20);
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == QUEUE_OK);
	push("small");
	commit();
	CHECK(take() == message.seq);
	CHECK(take() == message.seq + 1);
	free(large);
}

static void stops_handing_out_while_deletions_wait(void)
{
	int taken = 0;

	begin();
	for (int i = 0; i < 600; i++)
		push("x");
	commit();
	while (queue_reserve(queue) == 0 && peek()) {
		uint64_t seq = take();

		queue_acknowledged(queue, seq);
		taken++;
	}
	CHECK(taken == 512); /* QUEUE_FLIGHT_MAX of this test */
	commit();
	CHECK(take() != 0);
}

static void makes_room_on_a_full_disk(void)
{
	enum bad_disk disk = DISK_GOOD;
	struct participant bad_disk;
	uint64_t first;

	begin();
	bad_disk_join(store, &bad_disk, &disk);
	first = push("reading");
	push("reading");
	commit();
	disk = DISK_FULL;
	push("reading");
	CHECK(take() == first);
	queue_acknowledged(queue, first);
	CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
	store_leave(store, &bad_disk);
	open_again();
	CHECK(queue_messages(queue) == 1);
	CHECK(take() == first + 1);
}

static uint64_t push_at(int64_t age_ms, unsigned priority)
{
	struct message message = {.seq = store_next_seq(store), .topic = {"a", 1}, .payload = {"x", 1}, .age_ms = age_ms,
	                          .priority = (uint8_t)priority, .qos = 1};

	CHECK(queue_push(queue, &message) == QUEUE_OK);
	return message.seq;
}

static void tells_how_old_its_oldest_is(void)
{
	uint64_t first, second;

	begin();
	CHECK(queue_oldest_age(queue) == 0);
	first = push_at(100, 0);
	second = push_at(200, 5);
	for (int i = 0; i < 20; i++)
		push_at(300 + i, 0);
	CHECK(queue_oldest_age(queue) == 100);
	commit();
	open_again();
	CHECK(queue_oldest_age(queue) == 100); /* on disk only */
	CHECK(take() == second && take() == first);
	CHECK(queue_oldest_age(queue) == 100); /* in flight, and read again */
	queue_acknowledged(queue, first);
	CHECK(queue_oldest_age(queue) == 200);
	queue_acknowledged(queue, second);
	CHECK(queue_oldest_age(queue) == 300);
}

/* ---- before the commit ---- */

static uint64_t first_unsafe(void)
{
	struct store_unsafe unsafe;

	store_pending(store, &unsafe);
	CHECK(unsafe.messages == queue_unsafe(queue));
	return unsafe.first;
}

static void what_is_acknowledged_first_never_touches_the_disk(void)
{
	struct store_unsafe unsafe;
	uint64_t seqs[100];

	begin();
	for (int i = 0; i < 100; i++) {
		seqs[i] = push("reading");
		CHECK(take() == seqs[i]);
	}
	CHECK(first_unsafe() == seqs[0]);
	CHECK(queue_lookup(queue, seqs[7]) && queue_lookup(queue, seqs[7])->payload.size == 7);
	queue_acknowledged(queue, seqs[1]);
	CHECK(first_unsafe() == seqs[0]);
	queue_acknowledged(queue, seqs[0]);
	CHECK(first_unsafe() == seqs[2]);
	for (int i = 2; i < 100; i++)
		queue_acknowledged(queue, seqs[i]);
	CHECK(first_unsafe() == UINT64_MAX && queue_messages(queue) == 0 && queue_bytes(queue) == 0);
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	open_again();
	CHECK(peek() == NULL);
}

static void what_is_in_flight_is_saved_by_a_commit(void)
{
	uint64_t a, b, c;

	begin();
	a = push("a");
	b = push("b");
	c = push("c");
	CHECK(take() == a && take() == b);
	queue_acknowledged(queue, a);
	commit();
	CHECK(first_unsafe() == UINT64_MAX);
	CHECK(queue_lookup(queue, b) && queue_lookup(queue, b)->seq == b);
	CHECK(take() == c);
	queue_acknowledged(queue, c);
	commit();
	open_again();
	CHECK(queue_messages(queue) == 1 && take() == b && take() == 0);
}

int main(void)
{
	queue_fixture_begin();
	RUN(hands_out_only_what_is_committed_if_asked);
	RUN(keeps_every_field);
	RUN(keeps_an_empty_payload);
	RUN(resumes_after_a_restart);
	RUN(says_when_it_cannot_count);
	RUN(loses_only_what_was_not_committed);
	RUN(reads_what_is_in_flight_again);
	RUN(keeps_links_apart);
	RUN(takes_a_message_larger_than_its_read_ahead);
	RUN(stops_handing_out_while_deletions_wait);
	RUN(what_is_acknowledged_first_never_touches_the_disk);
	RUN(what_is_in_flight_is_saved_by_a_commit);
	RUN(makes_room_on_a_full_disk);
	RUN(tells_how_old_its_oldest_is);
	return queue_fixture_end();
}
