/* The FIFO, compiled with a read-ahead of 4 messages or 200 bytes so that every
 * path between memory and disk is taken. Links SQLite and nothing of the agent. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bad_disk.h"
#include "queue.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-queue-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct queue *queue;

static struct queue_limits limits;
static uint64_t dropped[64];
static enum queue_drop dropped_why[64];
static int n_dropped;

static void on_dropped(void *arg, struct queue *which, const struct message *message, enum queue_drop why)
{
	(void)arg;
	CHECK(which != NULL);
	if (n_dropped < 64) {
		dropped[n_dropped] = message->seq;
		dropped_why[n_dropped] = why;
	}
	n_dropped++;
}

static void open_again(void)
{
	queue_close(queue);
	store_close(store);
	store = store_open(path, STORE_OFF, err, sizeof err);
	queue = store ? queue_open(store, "core", limits, on_dropped, NULL, err, sizeof err) : NULL;
	REQUIRE(queue != NULL);
	while (queue_count(queue) > 0)
		;
}

static void begin(void)
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

static uint64_t push(const char *payload)
{
	struct message message = {
	        .seq = store_next_seq(store), .topic = {"a/b", 3}, .payload = {payload, strlen(payload)}, .qos = 1};

	CHECK(queue_push(queue, &message) == QUEUE_OK);
	return message.seq;
}

static void commit(void)
{
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

static int64_t now_ms;
static bool committed_only;

static const struct message *peek(void)
{
	bool failed;
	const struct message *message = queue_peek(queue, now_ms, committed_only, &failed, err, sizeof err);

	CHECK(!failed);
	return message;
}

static uint64_t take(void)
{
	const struct message *message = peek();
	uint64_t seq = message ? message->seq : 0;

	if (message) {
		CHECK(queue_reserve(queue) == 0);
		queue_take(queue);
	}
	return seq;
}

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

static void keeps_order_from_memory_and_disk(void)
{
	uint64_t expected[300], got = 0;
	size_t pushed = 0;

	begin();
	/* Bursts larger and smaller than the read-ahead, taken at another pace. */
	for (int turn = 0; pushed < 300; turn++) {
		for (int i = 0; i < turn % 9 && pushed < 300; i++)
			expected[pushed++] = push("0123456789");
		commit();
		for (int i = 0; i < turn % 5; i++) {
			uint64_t seq = take();

			if (seq) {
				CHECK(seq == expected[got]);
				got++;
			}
		}
	}
	for (uint64_t seq; (seq = take()) != 0; got++)
		CHECK(seq == expected[got]);
	CHECK(got == 300);
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

/* ---- before the commit ---- */

static uint64_t push_as(unsigned priority, int64_t expires_ms)
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

/* Random pushes, takes, acknowledgements, commits, restarts and switches of order
 * against a plain list of what must be there. */
struct model {
	uint64_t seq;
	unsigned priority;
	bool taken, acknowledged, committed;
};

static unsigned random_state;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 1103515245u + 12345u;
	return (random_state >> 16) % n;
}

static int expected_next(const struct model *model, int n, uint64_t live_after)
{
	int best = -1;

	for (int i = 0; i < n; i++) {
		bool live = live_after && model[i].seq > live_after;
		bool best_live = best >= 0 && live_after && model[best].seq > live_after;

		if (model[i].taken || model[i].acknowledged)
			continue;
		if (best < 0 || model[i].priority > model[best].priority ||
		    (model[i].priority == model[best].priority && live && !best_live))
			best = i;
	}
	return best;
}

/* What a queue should do, and how far it has been driven. */
static struct {
	struct model messages[4000];
	int n;
	uint64_t live_after, newest;
} reference;

static void model_push(void)
{
	struct model *message = &reference.messages[reference.n++];

	*message = (struct model){.priority = random_below(4) ? 0 : random_below(10)};
	message->seq = reference.newest = push_as(message->priority, 0);
}

static void model_take(void)
{
	int next = expected_next(reference.messages, reference.n, reference.live_after);
	uint64_t seq = take();

	CHECK(seq == (next < 0 ? 0 : reference.messages[next].seq));
	if (next >= 0)
		reference.messages[next].taken = true;
}

static void model_acknowledge(void)
{
	struct model *message = &reference.messages[reference.n ? random_below((unsigned)reference.n) : 0];

	if (reference.n == 0 || !message->taken || message->acknowledged)
		return;
	queue_acknowledged(queue, message->seq);
	message->acknowledged = true;
}

static void model_commit(void)
{
	commit();
	for (int i = 0; i < reference.n; i++)
		reference.messages[i].committed = true;
}

static void model_open_again(void)
{
	int kept = 0;

	commit();
	open_again();
	for (int i = 0; i < reference.n; i++)
		if (!reference.messages[i].acknowledged) {
			reference.messages[kept] = reference.messages[i];
			reference.messages[kept++].taken = false;
		}
	reference.n = kept;
	reference.live_after = 0;
}

static void model_step(unsigned what)
{
	if (what < 40 && reference.n < 4000) {
		model_push();
	} else if (what < 65) {
		model_take();
	} else if (what < 90) {
		model_acknowledge();
	} else if (what < 96) {
		model_commit();
	} else if (what == 96) {
		queue_go_live(queue);
		reference.live_after = reference.newest;
	} else if (what == 97) {
		queue_line_up(queue);
		reference.live_after = 0;
	} else if (what == 98 && random_below(4) == 0) {
		model_open_again();
	}
}

static void agrees_with_a_model(void)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		uint64_t left = 0;

		begin();
		random_state = seed;
		reference.n = 0;
		reference.live_after = reference.newest = 0;
		for (int step = 0; step < 1500; step++)
			model_step(random_below(100));
		for (int i = 0; i < reference.n; i++)
			left += !reference.messages[i].acknowledged;
		CHECK(queue_messages(queue) == left && queue_bytes(queue) == 10 * left);
	}
}

/* ---- limits, priority, expiry ---- */

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

/* Else a disk that takes nothing more would never be emptied. */
static void what_may_not_leave_keeps_nothing_back(void)
{
	uint64_t first;

	begin();
	first = push_as(0, 0);
	commit();
	queue_go_live(queue);
	push_as(0, 0);
	push_as(QUEUE_PRIORITY_REPORT, 0);
	committed_only = true;
	CHECK(take() == first && take() == 0);
	committed_only = false;
	CHECK(take() == first + 2 && take() == first + 1);
}

/* Whatever the priority, from memory and from disk. */
static void goes_in_order_if_asked(void)
{
	uint64_t expected = 0;

	begin();
	for (int i = 0; i < 40; i++) {
		uint64_t seq = push_as(i % 3 == 0 ? QUEUE_PRIORITY_REPORT : (unsigned)i % 4, 0);

		expected = expected ? expected : seq;
		if (i == 20)
			commit();
	}
	queue_set_in_order(queue, true);
	for (int i = 0; i < 40; i++) {
		const struct message *message = peek();

		CHECK(message && message->seq == expected + (uint64_t)i);
		if (message && queue_reserve(queue) == 0)
			queue_take(queue);
		if (i == 30)
			commit();
	}
	CHECK(peek() == NULL && queue_messages(queue) == 40);
	for (int i = 0; i < 40; i++)
		queue_acknowledged(queue, expected + (uint64_t)i);
	commit();
	CHECK(queue_messages(queue) == 0);
	open_again();
	CHECK(peek() == NULL);
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

static void what_is_live_goes_first(void)
{
	uint64_t backlog[12], live[12];

	begin();
	for (int i = 0; i < 12; i++)
		backlog[i] = push("backlog");
	commit();
	queue_go_live(queue);
	for (int i = 0; i < 12; i++) {
		live[i] = push("live");
		if (i == 5)
			commit();
	}
	for (int i = 0; i < 7; i++)
		CHECK(take() == live[i]);
	queue_acknowledged(queue, live[0]);
	queue_line_up(queue); /* the link is down: in order again */
	commit();
	queue_acknowledged(queue, live[1]);
	CHECK(take() == backlog[0]);
	queue_acknowledged(queue, backlog[0]);
	commit();
	for (int i = 1; i < 12; i++)
		CHECK(take() == backlog[i]);
	for (int i = 7; i < 12; i++)
		CHECK(take() == live[i]);
	CHECK(take() == 0 && queue_messages(queue) == 21);
	open_again();
	for (int i = 1; i < 12; i++)
		CHECK(take() == backlog[i]);
	for (int i = 2; i < 12; i++)
		CHECK(take() == live[i]);
}

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	RUN(hands_out_only_what_is_committed_if_asked);
	RUN(keeps_every_field);
	RUN(keeps_an_empty_payload);
	RUN(keeps_order_from_memory_and_disk);
	RUN(resumes_after_a_restart);
	RUN(says_when_it_cannot_count);
	RUN(loses_only_what_was_not_committed);
	RUN(reads_what_is_in_flight_again);
	RUN(keeps_links_apart);
	RUN(takes_a_message_larger_than_its_read_ahead);
	RUN(stops_handing_out_while_deletions_wait);
	RUN(what_is_acknowledged_first_never_touches_the_disk);
	RUN(what_is_in_flight_is_saved_by_a_commit);
	RUN(agrees_with_a_model);
	RUN(makes_room_by_dropping_the_oldest);
	RUN(gives_up_the_lowest_priority_first);
	RUN(refuses_or_holds_at_the_limit);
	RUN(reports_take_nobodys_place);
	RUN(what_may_not_leave_keeps_nothing_back);
	RUN(goes_in_order_if_asked);
	RUN(makes_room_on_a_full_disk);
	RUN(comes_down_to_a_lower_limit_in_steps);
	RUN(gives_up_what_has_expired);
	RUN(what_is_live_goes_first);
	RUN(tells_how_old_its_oldest_is);
	queue_close(queue);
	store_close(store);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
