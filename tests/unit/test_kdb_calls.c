/* What a kdb+ link makes of rows: which go into one call, when it is made, and how many at a
 * time. */
#include "kdb_calls_fixture.h"

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

static void test_what_is_no_row(void)
{
	struct message message = {.seq = 1, .topic = {"sensor", 6}, .payload = {"hello", 5}};
	char reason[200];
	int handle;

	begin();
	CHECK(kdb_calls_add(&calls, &message, 0, &handle, reason, sizeof reason) == SEND_NEVER);
	CHECK(strstr(reason, "no row of a kdb+ table") != NULL && calls.rows == 0);
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
	RUN(test_each_reply_has_its_time);
	RUN(test_what_is_no_row);
	return kdb_calls_fixture_end();
}
