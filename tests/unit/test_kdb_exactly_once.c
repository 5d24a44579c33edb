/* With exactly_once: where a batch ends is noted before it is called, and whatever is answered
 * its rows come again in the same batches, in order. */
#include "kdb_calls_fixture.h"

static void test_a_note_before_a_call(void)
{
	char *note;

	begin();
	config.kdb.exactly_once = true;
	config.kdb.agent = (char *)"gw";
	add("sensor", 4);
	CHECK(!kdb_calls_ready(&calls, now_ms));
	note = kdb_calls_settle(&calls, now_ms);
	CHECK(note && strcmp(note, "sensor 4") == 0 && !kdb_calls_ready(&calls, now_ms));
	free(note);
	kdb_calls_noted(&calls);
	CHECK(kdb_calls_ready(&calls, now_ms) && !kdb_calls_settle(&calls, now_ms));
	CHECK(call() == 4);
	/* The next may be noted while this one is awaited. */
	add("sensor", 4);
	note = kdb_calls_settle(&calls, now_ms);
	CHECK(note && strcmp(note, "sensor 4 sensor 8") == 0);
	free(note);
	answer(NULL);
	CHECK(calls.cuts.n == 1 && !kdb_calls_ready(&calls, now_ms));
	kdb_calls_noted(&calls);
	CHECK(kdb_calls_ready(&calls, now_ms));
}

/* Another process, that would batch otherwise: what may have been applied is not mixed with the rest. */
static void test_batches_end_where_they_ended(void)
{
	begin();
	config.kdb.exactly_once = true;
	config.kdb.agent = (char *)"gw";
	config.kdb.batch_rows = 100;
	CHECK(kdb_calls_restore(&calls, "sensor 3") == 0);
	add("sensor", 5);
	CHECK(call() == 3);
	kdb_calls_lost(&calls, false);
	last_seq = 0;
	add("sensor", 2);
	add("sensor", 4);
	CHECK(call() == 3);
	answer(NULL);
	pass(500);
	CHECK(call() == 3);
	answer("type");
	CHECK(call() == 1);
	kdb_calls_lost(&calls, false);
	last_seq = 3;
	add("sensor", 3);
	CHECK(call() == 1);
}

/* A mark is kept for each table: its rows must not overtake each other. */
static void test_order_with_exactly_once(void)
{
	struct buffer payload = {0};
	struct message message = {.topic = {"sensor", 6}};
	char reason[200];
	int handle;

	begin();
	config.kdb.exactly_once = true;
	config.kdb.agent = (char *)"gw";
	add("sensor", 2);
	REQUIRE(kdb_put_list(&payload, 1) == 0 && kdb_put_float(&payload, KDB_FLOAT, 1) == 0);
	message.seq = ++last_seq;
	message.payload = (struct bytes){payload.data, payload.size};
	CHECK(kdb_calls_add(&calls, &message, 0, &handle, reason, sizeof reason) == SEND_OK);
	add("sensor", 1);
	CHECK(call() == 2);
	answer(NULL);
	CHECK(call() == 1);
	answer(NULL);
	pass(500);
	CHECK(call() == 1 && n_acknowledged == 3 && acknowledged[2] == 3);
	buffer_release(&payload);
}

static uint64_t first_called(void)
{
	return calls.called.first ? kdb_batch_first(calls.called.first) : 0;
}

/* It has expired, or was given up for want of room: its place ends a batch all the same. */
static void test_the_last_row_is_gone(void)
{
	begin();
	config.kdb.exactly_once = true;
	config.kdb.agent = (char *)"gw";
	CHECK(kdb_calls_restore(&calls, "sensor 3") == 0);
	add("sensor", 2);
	last_seq = 3;
	add("sensor", 2);
	CHECK(call() == 2 && first_called() == 1);
	answer(NULL);
	pass(500);
	CHECK(call() == 2 && first_called() == 4);
}

/* Whatever is answered: rows that overtook others would make the collector skip those. */
static void test_what_comes_again_comes_first(void)
{
	static const char *const errors[] = {"stop", "wsfull", "type", "sensor", "pig"};

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		uint64_t last = 0;

		begin();
		config.kdb.exactly_once = true;
		config.kdb.agent = (char *)"gw";
		add("sensor", 8);
		CHECK(call() == 4);
		answer(errors[i]);
		for (now_ms += 60000; call() > 0; now_ms += 60000) {
			CHECK(first_called() == last + 1);
			last = kdb_batch_last(calls.called.first);
			answer(NULL);
		}
		CHECK(last == 8 && n_acknowledged == 8);
	}
}

int main(void)
{
	RUN(test_a_note_before_a_call);
	RUN(test_batches_end_where_they_ended);
	RUN(test_order_with_exactly_once);
	RUN(test_the_last_row_is_gone);
	RUN(test_what_comes_again_comes_first);
	return kdb_calls_fixture_end();
}
