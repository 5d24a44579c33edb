/* What a kdb+ link makes of rows, replies and lost connections. */
#include <stdlib.h>
#include <string.h>

#include "kdb_calls.h"
#include "kdb_ipc.h"
#include "test.h"

static struct link_config config;
static struct kdb_calls calls;
static int acknowledged[64], refused[64]; /* the first of them */
static size_t n_acknowledged, n_refused;
static char last_reason[200];
static uint64_t last_seq;
static int64_t now_ms;
static struct buffer out;

static void on_acknowledged(void *arg, int handle)
{
	CHECK(arg == &calls);
	acknowledged[n_acknowledged++] = handle;
}

static void on_refused(void *arg, int handle, enum refusal refusal, const char *reason)
{
	CHECK(arg == &calls && refusal == REFUSED_FOR_GOOD);
	refused[n_refused++] = handle;
	snprintf(last_reason, sizeof last_reason, "%s", reason);
}

static bool room = true;

static bool room_for_refused(void *arg, size_t messages, size_t bytes)
{
	(void)arg;
	CHECK(messages > 0 && bytes > 0);
	return room;
}

static const struct transport_events events = {
        .acknowledged = on_acknowledged, .refused = on_refused, .room_for_refused = room_for_refused};

static void begin(void)
{
	kdb_calls_release(&calls);
	memset(&calls, 0, sizeof calls);
	config = (struct link_config){
	        .name = (char *)"hist",
	        .kind = LINK_KDB,
	        .window = 1,
	        .reconnect_min_ms = 1000,
	        .reconnect_max_ms = 60000,
	        .kdb = {.call = (char *)".u.upd",
	                .batch_rows = 4,
	                .batch_bytes = 1 << 20,
	                .batch_delay_ms = 500,
	                .timeout_ms = 2000},
	};
	kdb_calls_init(&calls, &config, &events, &calls);
	n_acknowledged = n_refused = 0;
	last_seq = 0;
	now_ms = 100000;
	out.size = 0;
}

static enum send_result add_at(const char *table, int64_t value, int64_t time_ms)
{
	struct buffer payload = {0};
	struct message message = {.seq = ++last_seq, .topic = {table, strlen(table)}, .time_ms = time_ms};
	enum send_result result;
	char reason[200];
	int handle = 0;

	REQUIRE(kdb_put_list(&payload, 1) == 0 && kdb_put_integer(&payload, KDB_LONG, value) == 0);
	message.payload = (struct bytes){payload.data, payload.size};
	result = kdb_calls_add(&calls, &message, 5000000, &handle, reason, sizeof reason);
	if (result != SEND_OK)
		last_seq--;
	buffer_release(&payload);
	return result;
}

static void add(const char *table, int n)
{
	while (n-- > 0)
		CHECK(add_at(table, n, 5000000) == SEND_OK);
}

/* The rows of the next call, 0: there is none now. */
static size_t call(void)
{
	char *note = kdb_calls_settle(&calls, now_ms);
	size_t rows;

	if (note)
		kdb_calls_noted(&calls);
	free(note);
	out.size = 0;
	if (!kdb_calls_ready(&calls, now_ms))
		return 0;
	rows = calls.sealed.first->n;
	CHECK(kdb_calls_next(&calls, now_ms, &out) == 0);
	return rows;
}

/* Turns end, and time passes. */
static void pass(int64_t ms)
{
	free(kdb_calls_settle(&calls, now_ms));
	now_ms += ms;
}

static void answer(const char *error)
{
	struct bytes text = {error, error ? strlen(error) : 0};

	CHECK(kdb_calls_answered(&calls, error ? &text : NULL, now_ms));
}

static void test_full_batches_go_at_once(void)
{
	begin();
	add("sensor", 3);
	CHECK(call() == 0);
	add("sensor", 2);
	CHECK(call() == 4 && call() == 0);
	answer(NULL);
	CHECK(n_acknowledged == 4 && acknowledged[0] == 1 && acknowledged[3] == 4);
	CHECK(call() == 0 && kdb_calls_due_ms(&calls, now_ms) == now_ms + 500);
	pass(500);
	CHECK(call() == 1);
	CHECK(kdb_calls_due_ms(&calls, now_ms) == now_ms + 2000);
	now_ms += 1000;
	CHECK(kdb_calls_waited_ms(&calls, now_ms) == 1000);
	answer(NULL);
	CHECK(n_acknowledged == 5 && kdb_calls_due_ms(&calls, now_ms) == INT64_MAX && calls.rows == 0 && calls.bytes == 0);
	CHECK(!kdb_calls_answered(&calls, NULL, now_ms));
}

static void test_bytes_are_a_limit_too(void)
{
	begin();
	config.kdb.batch_bytes = 20; /* a row has 8 */
	add("sensor", 3);
	CHECK(call() == 2);
}

static void test_each_table_has_its_batch(void)
{
	begin();
	add("sensor", 2);
	add("alarm", 2);
	add("sensor", 2);
	CHECK(call() == 4);
	answer(NULL);
	CHECK(n_acknowledged == 4 && acknowledged[1] == 2 && acknowledged[2] == 5);
}

/* Many tables with few rows each: no room for more, and none is full. */
static void test_no_room(void)
{
	static const char *const tables[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

	begin();
	for (int i = 0; i < 8; i++)
		add(tables[i], 1);
	CHECK(add_at("i", 1, 0) == SEND_LATER);
	CHECK(call() == 1 && calls.rows == 8);
	answer(NULL);
	add("i", 1);
}

static void test_window(void)
{
	begin();
	config.window = 2;
	add("sensor", 12);
	CHECK(add_at("sensor", 1, 0) == SEND_LATER);
	CHECK(call() == 4 && call() == 4 && call() == 0);
	answer(NULL);
	CHECK(call() == 4);
	answer(NULL);
	answer(NULL);
	CHECK(n_acknowledged == 12);
}

/* Batches beyond what forward and queue hand out would never be full. */
static void test_huge_batches(void)
{
	begin();
	config.kdb.batch_rows = 100000;
	add("sensor", 25000);
	CHECK(call() == 25000);
}

static void test_late_rows(void)
{
	begin();
	config.kdb.late_after_ms = 1000;
	config.kdb.late_call = (char *)"late";
	CHECK(add_at("sensor", 1, 5000000) == SEND_OK && add_at("sensor", 2, 3000000) == SEND_OK);
	pass(500);
	CHECK(call() == 1 && memmem(out.data, out.size, ".u.upd", 6));
	answer(NULL);
	CHECK(call() == 1 && memmem(out.data, out.size, "\xf5late", 6));
	answer(NULL);
	CHECK(acknowledged[0] == 1 && acknowledged[1] == 2);
}

static void test_time_column(void)
{
	begin();
	config.kdb.time_column = KDB_TIME_COLUMN_TIMESPAN;
	CHECK(add_at("sensor", 1, INT64_C(946684800000) + 86400000 + 7) == SEND_OK);
	pass(500);
	CHECK(call() == 1);
	CHECK(memmem(out.data, out.size, "\x10\x00\x01\x00\x00\x00\xc0\xcf\x6a\x00\x00\x00\x00\x00", 14));
	begin();
	config.kdb.time_column = KDB_TIME_COLUMN_TIMESPAN;
	CHECK(add_at("sensor", 1, INT64_C(946684800000) - 1) == SEND_OK); /* before 2000: still a time of day */
	config.kdb.time_column = KDB_TIME_COLUMN_TIMESTAMP;
	CHECK(add_at("sensor", 1, INT64_C(946684800000) + 7) == SEND_OK);
	pass(500);
	CHECK(call() == 1 && memmem(out.data, out.size, "\x10\x00\x01\x00\x00\x00\xc0\xbd\x3f\x91\x94\x4e\x00\x00", 14));
	answer(NULL);
	CHECK(call() == 1 && memmem(out.data, out.size, "\x0c\x00\x01\x00\x00\x00\xc0\xcf\x6a\x00\x00\x00\x00\x00", 14));
	answer(NULL);
	CHECK(add_at("sensor", 1, INT64_C(32503680000000)) == SEND_OK); /* the year 3000: as late as there is */
	pass(500);
	CHECK(call() == 1 && memmem(out.data, out.size, "\x0c\x00\x01\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\x7f", 14));
}

/* Of four rows the third is guilty: it is found, the others go through. */
static void test_the_guilty_row_is_found(void)
{
	begin();
	add("sensor", 4);
	CHECK(call() == 4);
	answer("type");
	CHECK(call() == 2);
	answer(NULL);
	CHECK(n_acknowledged == 2 && call() == 2);
	answer("type");
	CHECK(call() == 1);
	answer("type");
	CHECK(n_refused == 1 && refused[0] == 3 && strcmp(last_reason, "'type") == 0);
	CHECK(call() == 1);
	answer(NULL);
	CHECK(n_acknowledged == 3 && acknowledged[2] == 4 && calls.rows == 0 && calls.bytes == 0);
}

static void test_the_guilty_wait_for_room(void)
{
	begin();
	add("sensor", 4);
	room = false;
	CHECK(call() == 4);
	answer("type");
	CHECK(call() == 2);
	answer("type");
	CHECK(call() == 1);
	answer("type"); /* one alone, and nowhere to keep it */
	CHECK(call() == 0 && n_refused == 0 && kdb_calls_due_ms(&calls, now_ms) - now_ms >= 30000);
	now_ms += 60000;
	CHECK(call() == 1);
	answer("type");
	CHECK(call() == 0 && n_refused == 0 && calls.rows == 4);
	now_ms += 60000;
	room = true;
	CHECK(call() == 1);
	answer("type");
	CHECK(n_refused == 1 && refused[0] == 1 && calls.pauses == 0);
	CHECK(call() == 1);
	answer(NULL);
	CHECK(call() == 2);
	answer(NULL);
	CHECK(n_acknowledged == 3 && calls.rows == 0);
}

static void test_errors_of_the_moment(void)
{
	int64_t waited_ms[3];

	begin();
	add("sensor", 4);
	for (int i = 0; i < 3; i++) {
		CHECK(call() == 4);
		answer("stop");
		CHECK(call() == 0);
		waited_ms[i] = kdb_calls_due_ms(&calls, now_ms) - now_ms;
		now_ms += waited_ms[i];
	}
	CHECK(waited_ms[0] >= 500 && waited_ms[0] <= 1000 && waited_ms[2] >= 2000 && waited_ms[2] <= 4000);
	CHECK(call() == 4);
	answer("sensor"); /* no such table: slowly */
	CHECK(kdb_calls_due_ms(&calls, now_ms) - now_ms >= 30000);
	now_ms += 60000;
	CHECK(call() == 4);
	answer(NULL);
	CHECK(n_acknowledged == 4 && n_refused == 0 && calls.pauses == 0);
}

static void test_what_is_too_much_at_once(void)
{
	begin();
	add("sensor", 4);
	CHECK(call() == 4);
	answer("wsfull");
	CHECK(call() == 0);
	now_ms += 1000;
	CHECK(call() == 2);
	answer(NULL);
	CHECK(call() == 2);
	answer(NULL);
	CHECK(n_acknowledged == 4 && n_refused == 0);
}

static void test_unknown_errors(void)
{
	static char *patterns[] = {(char *)"^busy"};
	int tries = 0;

	begin();
	add("sensor", 4);
	while (n_refused == 0 && tries < 100) {
		CHECK(call() > 0);
		answer("pig");
		tries++;
		now_ms += 60000;
	}
	CHECK(tries == 8 && refused[0] == 1); /* six as a whole, one as a half, one alone */
	begin();
	config.kdb.retry_errors = patterns;
	config.kdb.n_retry_errors = 1;
	add("sensor", 4);
	for (tries = 0; tries < 20; tries++) {
		CHECK(call() == 4);
		answer("busy now");
		now_ms += 60000;
	}
	CHECK(n_refused == 0);
}

static void send_again(const char *table, int n)
{
	last_seq -= (uint64_t)n;
	add(table, n);
}

static void test_hang_ups(void)
{
	begin();
	add("sensor", 3);
	pass(500);
	for (int i = 0; i < 3; i++) {
		CHECK(call() == 3);
		kdb_calls_lost(&calls, true);
		CHECK(calls.rows == 0 && n_refused == 0);
		send_again("sensor", 3); /* the batch is whole: it goes at once */
		add("sensor", 1);        /* and this is not part of it */
		last_seq--;
	}
	room = false;
	CHECK(call() == 0 && n_refused == 0 && calls.paused_until_ms - now_ms >= 30000);
	now_ms += 60000;
	room = true;
	CHECK(call() == 1 && n_refused == 3 && strcmp(last_reason, "the collector hung up on it three times") == 0);
	answer(NULL);
	CHECK(n_acknowledged == 1);
}

static void test_a_bad_network_is_no_hang_up(void)
{
	begin();
	add("sensor", 4);
	for (int i = 0; i < 10; i++) {
		CHECK(call() == 4);
		kdb_calls_lost(&calls, i % 3 == 0);
		if (i % 3 == 0) { /* an answer in between shows that it is innocent */
			send_again("sensor", 4);
			CHECK(call() == 4);
			answer("stop");
			now_ms += 60000;
			kdb_calls_lost(&calls, false);
		}
		send_again("sensor", 4);
	}
	CHECK(call() == 4 && n_refused == 0);
}

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

static void test_what_is_no_row(void)
{
	struct message message = {.seq = 1, .topic = {"sensor", 6}, .payload = {"hello", 5}};
	char reason[200];
	int handle;

	begin();
	CHECK(kdb_calls_add(&calls, &message, 0, &handle, reason, sizeof reason) == SEND_NEVER);
	CHECK(strstr(reason, "no row of a kdb+ table") != NULL && calls.rows == 0);
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

static void test_halves_are_like_the_whole(void)
{
	begin();
	config.kdb.late_after_ms = 60000;
	config.kdb.late_call = (char *)"late";
	for (int i = 0; i < 4; i++)
		CHECK(add_at("sensor", i, 5000000 - 60001) == SEND_OK);
	CHECK(call() == 4);
	for (int i = 0; i < 6; i++) { /* nobody knows it, and the sixth time halves are made */
		answer("pig");
		now_ms += 60000;
		CHECK(call() == (i < 5 ? 4 : 2));
	}
	answer(NULL);
	CHECK(call() == 2 && calls.called.first->late);
	answer("pig");
	CHECK(call() == 1);
}

static void test_another_batch_is_another_suspect(void)
{
	begin();
	for (int i = 0; i < 2; i++) {
		add("sensor", 4);
		CHECK(call() == 4);
		kdb_calls_lost(&calls, true);
		last_seq = 0;
	}
	add("alarm", 4);
	CHECK(call() == 4);
	kdb_calls_lost(&calls, true);
	last_seq = 0;
	add("sensor", 4);
	CHECK(call() == 4 && n_refused == 0);
}

/* A collector that answers one after the other is not one that stalls. */
static void test_each_reply_has_its_time(void)
{
	begin();
	config.window = 2;
	add("sensor", 8);
	CHECK(call() == 4 && call() == 4);
	now_ms += 1500;
	CHECK(kdb_calls_waited_ms(&calls, now_ms) == 1500);
	answer(NULL);
	CHECK(kdb_calls_waited_ms(&calls, now_ms) == 0 && kdb_calls_due_ms(&calls, now_ms) == now_ms + 2000);
	now_ms += 500;
	kdb_calls_move(&calls, now_ms);
	CHECK(kdb_calls_waited_ms(&calls, now_ms) == 0);
}

int main(void)
{
	RUN(test_full_batches_go_at_once);
	RUN(test_bytes_are_a_limit_too);
	RUN(test_each_table_has_its_batch);
	RUN(test_no_room);
	RUN(test_window);
	RUN(test_huge_batches);
	RUN(test_late_rows);
	RUN(test_time_column);
	RUN(test_the_guilty_row_is_found);
	RUN(test_the_guilty_wait_for_room);
	RUN(test_errors_of_the_moment);
	RUN(test_what_is_too_much_at_once);
	RUN(test_unknown_errors);
	RUN(test_hang_ups);
	RUN(test_a_bad_network_is_no_hang_up);
	RUN(test_a_note_before_a_call);
	RUN(test_batches_end_where_they_ended);
	RUN(test_order_with_exactly_once);
	RUN(test_the_last_row_is_gone);
	RUN(test_what_comes_again_comes_first);
	RUN(test_halves_are_like_the_whole);
	RUN(test_another_batch_is_another_suspect);
	RUN(test_each_reply_has_its_time);
	RUN(test_what_is_no_row);
	kdb_calls_release(&calls);
	buffer_release(&out);
	return test_end();
}
