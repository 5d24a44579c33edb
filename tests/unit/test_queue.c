/* The FIFO, compiled with a read-ahead of 4 messages or 200 bytes so that every
 * path between memory and disk is taken. Links SQLite and nothing of the agent. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue.h"
#include "store.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-queue-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct queue *queue;

static void open_again(void)
{
	queue_close(queue);
	store_close(store);
	store = store_open(path, STORE_OFF, err, sizeof err);
	queue = store ? queue_open(store, "core", err, sizeof err) : NULL;
	REQUIRE(queue != NULL);
}

static void begin(void)
{
	queue_close(queue);
	store_close(store);
	queue = NULL;
	store = NULL;
	snprintf(path, sizeof path, "%s/queue.db", directory);
	unlink(path);
	open_again();
}

static uint64_t push(const char *payload)
{
	struct message message = {
	        .seq = store_next_seq(store), .topic = {"a/b", 3}, .payload = {payload, strlen(payload)}, .qos = 1};

	CHECK(queue_push(queue, &message) == 0);
	return message.seq;
}

static void commit(void)
{
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

static const struct message *peek(void)
{
	bool failed;
	const struct message *message = queue_peek(queue, &failed, err, sizeof err);

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

static void hands_out_only_what_is_committed(void)
{
	uint64_t seq;

	begin();
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
	        .origin = 7,
	        .qos = 2,
	        .retain = true,
	};

	begin();
	memset(topic, 't', sizeof topic);
	message.seq = store_next_seq(store);
	CHECK(queue_push(queue, &message) == 0);
	commit();
	for (int from_disk = 0; from_disk < 2; from_disk++) {
		back = peek();
		CHECK(back && back->topic.size == sizeof topic && memcmp(back->topic.data, topic, sizeof topic) == 0);
		CHECK(back && ((const char *)back->topic.data)[sizeof topic] == '\0');
		CHECK(back && back->payload.size == 8 && memcmp(back->payload.data, message.payload.data, 8) == 0);
		CHECK(back && back->properties.size == 2 && back->context.size == 3);
		CHECK(back && memcmp(back->context.data, "c\0c", 3) == 0);
		CHECK(back && back->time_ms == 1700000000123 && back->origin == 7 && back->qos == 2 && back->retain);
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
	other = queue_open(store, "hist", err, sizeof err);
	REQUIRE(other != NULL);
	push("for core");
	commit();
	CHECK(queue_peek(other, &failed, err, sizeof err) == NULL && !failed);
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
	CHECK(queue_push(queue, &message) == 0);
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

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	RUN(hands_out_only_what_is_committed);
	RUN(keeps_every_field);
	RUN(keeps_an_empty_payload);
	RUN(keeps_order_from_memory_and_disk);
	RUN(resumes_after_a_restart);
	RUN(loses_only_what_was_not_committed);
	RUN(reads_what_is_in_flight_again);
	RUN(keeps_links_apart);
	RUN(takes_a_message_larger_than_its_read_ahead);
	RUN(stops_handing_out_while_deletions_wait);
	queue_close(queue);
	store_close(store);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
