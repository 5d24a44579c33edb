/* What the collector has yet to acknowledge, step by step; a collector and a broker that forget
 * at random; and the line that goes over the wire. */
#include <string.h>

#include "ack_line.h"
#include "receipts.h"
#include "test.h"

static struct receipts receipts;

static void begin(size_t window)
{
	receipts_release(&receipts);
	receipts_configure(&receipts, window, 1000, 0);
	receipts_up(&receipts, 0);
}

static void send(uint64_t seq, int64_t now_ms)
{
	REQUIRE(receipts_reserve(&receipts) == 0);
	receipts_sent(&receipts, seq, false, now_ms);
}

static void send_taken(uint64_t seq, int64_t now_ms)
{
	send(seq, now_ms);
	CHECK(receipts_taken(&receipts, seq));
}

/* How many are finished now. */
static int finished(void)
{
	struct receipt receipt;
	int n = 0;

	while (receipts_finish(&receipts, &receipt))
		n++;
	return n;
}

static void test_acknowledges_all_up_to_one(void)
{
	begin(10);
	for (uint64_t seq = 2; seq <= 10; seq += 2)
		send_taken(seq, 0);
	CHECK(receipts_awaited(&receipts) == 5);
	CHECK(receipts_acknowledged(&receipts, 7, 1) == RECEIPTS_PROGRESS && finished() == 3);
	CHECK(receipts_awaited(&receipts) == 2);
	CHECK(receipts_acknowledged(&receipts, 6, 1) == RECEIPTS_KNOWN && finished() == 0);
	CHECK(receipts_acknowledged(&receipts, 11, 1) == RECEIPTS_NEVER_SENT && receipts_awaited(&receipts) == 2);
	CHECK(receipts_acknowledged(&receipts, 10, 1) == RECEIPTS_PROGRESS && finished() == 2);
	CHECK(receipts_due_ms(&receipts) == INT64_MAX);
}

static void test_says_what_each_follows(void)
{
	begin(10);
	CHECK(receipts_after(&receipts) == 0);
	send_taken(3, 0);
	CHECK(receipts_after(&receipts) == 3);
	send_taken(5, 0);
	CHECK(receipts_after(&receipts) == 5);
	receipts_acknowledged(&receipts, 5, 0);
	CHECK(receipts_after(&receipts) == 0); /* also before they are forgotten */
	finished();
	CHECK(receipts_after(&receipts) == 0);
}

static void test_waits_for_the_broker_too(void)
{
	begin(10);
	send(1, 0);
	send(2, 0);
	CHECK(receipts_acknowledged(&receipts, 2, 0) == RECEIPTS_PROGRESS && finished() == 0);
	CHECK(!receipts_taken(&receipts, 2) && !receipts_taken(&receipts, 1));
	CHECK(receipts_awaited(&receipts) == 0);
	CHECK(!receipts_taken(&receipts, 9)); /* unknown: nothing awaits it */
}

static void test_is_bounded(void)
{
	begin(3);
	for (uint64_t seq = 1; seq <= 3; seq++) {
		CHECK(receipts_may_send(&receipts));
		send_taken(seq, 0);
	}
	CHECK(!receipts_may_send(&receipts));
	receipts_acknowledged(&receipts, 1, 0);
	CHECK(finished() == 1 && receipts_may_send(&receipts));
	for (uint64_t seq = 4; seq < 100000; seq++) {
		send_taken(seq, 0);
		receipts_acknowledged(&receipts, seq - 1, 0);
		CHECK(finished() > 0);
	}
	CHECK(receipts.size <= 64);
}

static void test_probes_a_silent_collector(void)
{
	begin(10);
	for (uint64_t seq = 1; seq <= 5; seq++)
		send_taken(seq, 100);
	CHECK(receipts_due_ms(&receipts) == 1100 && !receipts_step(&receipts, 0, 1099));
	CHECK(receipts_step(&receipts, 0, 1100));
	CHECK(receipts_may_send(&receipts) && receipts_next(&receipts) == 1 && receipts_after(&receipts) == 0);
	CHECK(receipts_due_ms(&receipts) == INT64_MAX); /* until it is sent */
	send_taken(1, 1200);
	CHECK(!receipts_may_send(&receipts)); /* one only */
	CHECK(receipts_due_ms(&receipts) == 1200 + 2000);
	CHECK(receipts_step(&receipts, 0, 3200) && receipts_next(&receipts) == 1);
	send_taken(1, 3200);
	CHECK(receipts_due_ms(&receipts) == 3200 + 4000);
	CHECK(receipts_acknowledged(&receipts, 3, 4000) == RECEIPTS_PROGRESS);
	CHECK(finished() == 3 && receipts_next(&receipts) == 4 && receipts_may_send(&receipts));
	send_taken(4, 4000);
	CHECK(receipts_after(&receipts) == 4 && receipts_next(&receipts) == 5);
	send_taken(5, 4000);
	CHECK(receipts_next(&receipts) == 0 && receipts_due_ms(&receipts) == 5000);
	CHECK(receipts.resent == 4);
}

static void test_backs_off_to_a_limit(void)
{
	int64_t now_ms = 0;

	begin(10);
	for (int i = 0; i < 100; i++) {
		send_taken(1, now_ms);
		CHECK(receipts_due_ms(&receipts) - now_ms <= RECEIPTS_QUIET_MAX_MS);
		now_ms = receipts_due_ms(&receipts);
		CHECK(receipts_step(&receipts, 0, now_ms));
	}
}

static void test_waits_until_nothing_is_in_flight(void)
{
	begin(10);
	send(1, 0);
	send_taken(2, 0);
	send(3, 0);
	receipts_repeat(&receipts, 2);
	CHECK(!receipts_step(&receipts, 2, 1) && !receipts_may_send(&receipts));
	CHECK(receipts_taken(&receipts, 1) && receipts_taken(&receipts, 3));
	CHECK(!receipts_step(&receipts, 0, 1) && receipts_may_send(&receipts));
	CHECK(receipts_next(&receipts) == 2 && receipts_last(&receipts) == 3 && receipts_again(&receipts) == 2);
	CHECK(receipts_after(&receipts) == 1);
	CHECK(receipts_acknowledged(&receipts, 3, 1) == RECEIPTS_PROGRESS && finished() == 3); /* it had them */
	CHECK(receipts_next(&receipts) == 0);
}

static void test_what_follows_a_lost_one_goes_again(void)
{
	begin(10);
	for (uint64_t seq = 1; seq <= 4; seq++)
		send_taken(seq, 0);
	receipts_forget(&receipts, 2);
	receipts_step(&receipts, 0, 0);
	CHECK(!receipts_has(&receipts, 2) && receipts_next(&receipts) == 3 && receipts_after(&receipts) == 1);
	receipts_forget(&receipts, 77);
	receipts_forget(&receipts, 1);
	receipts_step(&receipts, 0, 0);
	CHECK(receipts_next(&receipts) == 3 && receipts_after(&receipts) == 0);
	receipts_forget(&receipts, 3);
	receipts_forget(&receipts, 4);
	receipts_step(&receipts, 0, 0);
	CHECK(receipts_awaited(&receipts) == 0 && receipts_next(&receipts) == 0 && receipts_may_send(&receipts));
}

/* What is passed over stays in the chain: the collector does not take what follows. */
static void test_what_is_passed_over_is_followed(void)
{
	begin(10);
	send_taken(1, 0);
	send(2, 0);
	receipts_repeat(&receipts, 2);
	receipts_step(&receipts, 0, 0);
	receipts_skip(&receipts);
	CHECK(receipts_next(&receipts) == 0 && receipts_after(&receipts) == 2);
	send_taken(3, 0);
	receipts_repeat(&receipts, 2);
	receipts_step(&receipts, 0, 0);
	CHECK(receipts_next(&receipts) == 2 && receipts_after(&receipts) == 1);
}

static void test_an_earlier_process_may_have_sent_it(void)
{
	begin(10);
	receipts_configure(&receipts, 10, 1000, 50);
	CHECK(receipts_acknowledged(&receipts, 51, 0) == RECEIPTS_NEVER_SENT);
	CHECK(receipts_acknowledged(&receipts, 50, 0) == RECEIPTS_PROGRESS && receipts.held_to == 50);
}

/* ---- at random ---- */

#define MESSAGES 3000
#define PIPE 64

struct delivery {
	uint64_t seq, after;
};

static unsigned dice(unsigned sides)
{
	static unsigned state = 12345;

	state = state * 1103515245 + 12345;
	return (state >> 16) % sides;
}

/* The broker takes everything, and loses some of it on the way to the collector, also together with all
 * that follows; the collector keeps the rule, and some of its acknowledgements are lost. */
static void test_nothing_is_lost_at_random(void)
{
	static bool held[MESSAGES + 1];
	struct delivery pipe[PIPE] = {{0}};
	uint64_t new_seq = 1, mark = 0, acknowledged = 0;
	int64_t now_ms = 0;
	size_t n = 0;

	begin(20);
	for (int turn = 0; acknowledged < MESSAGES && turn < 1000000; turn++) {
		receipts_step(&receipts, 0, now_ms);
		while (receipts_may_send(&receipts) && n < PIPE && (receipts_next(&receipts) || new_seq <= MESSAGES)) {
			uint64_t seq = receipts_next(&receipts) ? receipts_next(&receipts) : new_seq++;

			pipe[n++] = (struct delivery){seq, receipts_after(&receipts)};
			send_taken(seq, now_ms);
			if (dice(200) == 0)
				receipts_repeat(&receipts, seq);
		}
		if (dice(10) == 0)
			n = dice((unsigned)n + 1);
		for (size_t i = 0; i < n; i++)
			if (dice(50) > 0 && pipe[i].after <= mark && pipe[i].seq > mark) {
				CHECK(pipe[i].seq == mark + 1 && !held[pipe[i].seq]);
				held[pipe[i].seq] = true;
				mark = pipe[i].seq;
			}
		if (dice(3) > 0)
			CHECK(receipts_acknowledged(&receipts, mark, now_ms) != RECEIPTS_NEVER_SENT || mark == 0);
		acknowledged += (uint64_t)finished();
		n = 0;
		now_ms += dice(300);
	}
	for (uint64_t seq = 1; seq <= MESSAGES; seq++)
		CHECK(held[seq]);
	CHECK(acknowledged == MESSAGES && receipts_awaited(&receipts) == 0);
}

/* ---- the line ---- */

static int read_line(const char *text, size_t size, uint64_t *seq)
{
	char instance[40] = "", err[160] = "";
	int result = ack_line_read((struct bytes){text, size}, instance, sizeof instance, seq, err, sizeof err);

	CHECK(result == 0 ? strcmp(instance, "abc") == 0 : err[0] != 0);
	return result;
}

static uint64_t seq_in(const char *text)
{
	uint64_t seq = 0;

	return read_line(text, strlen(text), &seq) == 0 ? seq : 0;
}

static void test_the_line(void)
{
	static const char expected[] = "{\"instance\":\"abc\",\"seq\":9007199254740993,\"after\":9007199254740992}\n";
	struct buffer line = {0};
	uint64_t seq = 0;

	REQUIRE(ack_line_append(&line, "abc", 9007199254740993, 9007199254740992) == 0);
	CHECK(line.size == sizeof expected - 1 && memcmp(line.data, expected, line.size) == 0);
	CHECK(read_line(line.data, line.size, &seq) == 0 && seq == 9007199254740993);
	buffer_release(&line);
	CHECK(seq_in("{\"seq\":17,\"instance\":\"abc\"}") == 17);
	CHECK(seq_in(" {\"instance\":\"abc\",\"seq\":\"9007199254740993\",\"q\":[1]} ") == 9007199254740993);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":17.0}") == 0); /* 1.234568e+08 of q may be 123456789 */
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":1.234568e+08}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":0}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":-1}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":99999999999999999999}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":\"99999999999999999999\"}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":\"17j\"}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":\"\"}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\",\"seq\":1,\"seq\":2}") == 0);
	CHECK(seq_in("{\"instance\":7,\"seq\":17}") == 0);
	CHECK(seq_in("{\"instance\":\"abc\"}") == 0);
	CHECK(seq_in("[1]") == 0);
	CHECK(seq_in("17") == 0);
	CHECK(seq_in("") == 0);
	CHECK(read_line(NULL, 0, &seq) == -1);
}

static void test_the_line_is_short(void)
{
	static char text[2000];
	uint64_t seq = 0;

	memset(text, ' ', sizeof text);
	memcpy(text, "{\"instance\":\"abc\",\"seq\":17}", 27);
	CHECK(read_line(text, 1024, &seq) == 0 && seq == 17);
	CHECK(read_line(text, 1025, &seq) == -1);
}

int main(void)
{
	RUN(test_acknowledges_all_up_to_one);
	RUN(test_says_what_each_follows);
	RUN(test_waits_for_the_broker_too);
	RUN(test_is_bounded);
	RUN(test_probes_a_silent_collector);
	RUN(test_backs_off_to_a_limit);
	RUN(test_waits_until_nothing_is_in_flight);
	RUN(test_what_follows_a_lost_one_goes_again);
	RUN(test_what_is_passed_over_is_followed);
	RUN(test_an_earlier_process_may_have_sent_it);
	RUN(test_nothing_is_lost_at_random);
	RUN(test_the_line);
	RUN(test_the_line_is_short);
	receipts_release(&receipts);
	return test_end();
}
