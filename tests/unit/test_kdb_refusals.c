/* What a kdb+ link makes of errors and lost connections: it waits, it halves the batch until the
 * guilty row is alone, and it blames none for a bad network. */
#include "kdb_calls_fixture.h"

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

/* ---- without a reply ---- */

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

int main(void)
{
	RUN(test_the_guilty_row_is_found);
	RUN(test_the_guilty_wait_for_room);
	RUN(test_errors_of_the_moment);
	RUN(test_what_is_too_much_at_once);
	RUN(test_unknown_errors);
	RUN(test_hang_ups);
	RUN(test_a_bad_network_is_no_hang_up);
	RUN(test_halves_are_like_the_whole);
	RUN(test_another_batch_is_another_suspect);
	return kdb_calls_fixture_end();
}
