/* Which message a broker hangs up on, in simulated time: brokers that do, and the
 * innocent on lines that are cut in every rhythm. */
#include "hangup.h"

#include <math.h>
#include <string.h>

#include "test.h"

#define MESSAGES 12
#define NEVER INT64_MAX

/* A line, a broker behind it, and messages 1 to MESSAGES going through one at a time. */
struct world {
	int64_t round_trip_ms[MESSAGES + 1]; /* of each until its acknowledgement */
	bool guilty[MESSAGES + 1];
	int64_t hangs_up_ms; /* after it got one that is guilty */
	int down_for;        /* connections in which it hangs up on every message */
	int64_t (*cut_ms)(const struct world *world); /* so long after it came up, each connection ends */
	int64_t interval_ms;
	bool halfway, stalls; /* how it ends */
	/* what became of them */
	uint64_t line[MESSAGES], delivered[MESSAGES], given_up[MESSAGES];
	size_t n_line, n_delivered, n_given_up, n_passed_over;
	int connections;
	struct hangup hangup;
	int64_t now_ms;
};

static uint64_t seed = 88172645463325252u;

static double random_unit(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((double)(seed >> 11) + 1) / 9007199254740993.0;
}

static int64_t never(const struct world *world)
{
	(void)world;
	return NEVER / 2;
}

static int64_t at_intervals(const struct world *world)
{
	return world->interval_ms;
}

static int64_t at_random(const struct world *world)
{
	return (int64_t)(-log(random_unit()) * (double)world->interval_ms);
}

/* Back into its place. */
static void line_up(struct world *world, uint64_t seq)
{
	size_t at = world->n_line++;

	for (; at > 0 && world->line[at - 1] > seq; at--)
		world->line[at] = world->line[at - 1];
	world->line[at] = seq;
}

static void step_forward(struct world *world)
{
	memmove(&world->line[0], &world->line[1], --world->n_line * sizeof world->line[0]);
}

static void lose(struct world *world, bool closed)
{
	uint64_t first = world->line[0];

	switch (hangup_lost(&world->hangup, first, MESSAGES, closed, !world->halfway, world->now_ms)) {
	case HANGUP_UNPROVED:
		return;
	case HANGUP_GIVE_UP:
		world->given_up[world->n_given_up++] = first;
		break;
	case HANGUP_PASS_OVER:
		world->n_passed_over++;
		break;
	}
	step_forward(world);
}

static void deliver(struct world *world)
{
	uint64_t seq = world->line[0], back;

	world->delivered[world->n_delivered++] = seq;
	step_forward(world);
	back = hangup_acknowledged(&world->hangup, seq);
	if (back)
		line_up(world, back);
}

static void connect_once(struct world *world)
{
	int64_t ends_ms, due_ms;

	world->connections++;
	world->now_ms += 50;
	hangup_up(&world->hangup, world->now_ms);
	ends_ms = world->now_ms + world->cut_ms(world);
	while (world->n_line > 0) {
		uint64_t seq = world->line[0];
		bool guilty = world->guilty[seq] || world->connections <= world->down_for;

		due_ms = hangup_due_ms(&world->hangup, seq);
		world->now_ms = due_ms > world->now_ms ? due_ms : world->now_ms;
		if (world->now_ms < ends_ms) {
			hangup_sent(&world->hangup, seq, world->now_ms);
			world->now_ms += guilty ? world->hangs_up_ms : world->round_trip_ms[seq];
		}
		if (world->now_ms >= ends_ms || guilty) {
			bool cut = world->now_ms >= ends_ms;

			world->now_ms = cut ? ends_ms : world->now_ms;
			lose(world, !world->stalls);
			return;
		}
		deliver(world);
	}
}

static struct world make(void)
{
	struct world world = {.hangs_up_ms = 20, .cut_ms = never};

	for (uint64_t seq = 1; seq <= MESSAGES; seq++) {
		world.round_trip_ms[seq] = 20;
		world.line[world.n_line++] = seq;
	}
	return world;
}

static void run(struct world *world, int connections)
{
	while (world->n_line > 0 && connections-- > 0)
		connect_once(world);
}

static bool in_order(const uint64_t *seqs, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (seqs[i] <= seqs[i - 1])
			return false;
	return true;
}

static void gives_up_the_one_it_hangs_up_on_and_no_other(void)
{
	struct world world = make();

	world.guilty[5] = true;
	run(&world, 100);
	CHECK(world.n_given_up == 1 && world.given_up[0] == 5 && world.n_passed_over == 1);
	CHECK(world.n_delivered == MESSAGES - 1 && in_order(world.delivered, world.n_delivered));
	/* 4 losses in line, 5 alone, 2 after another got through. */
	CHECK(world.connections <= 4 + 5 + 2 + 1);
	CHECK(world.now_ms < 35000);
}

static void gives_up_several_in_a_row(void)
{
	struct world world = make();

	world.guilty[1] = world.guilty[2] = world.guilty[3] = world.guilty[12] = true;
	run(&world, 100);
	CHECK(world.n_given_up == 3 && in_order(world.given_up, 3) && world.given_up[2] == 3);
	CHECK(world.n_delivered == MESSAGES - 4 && in_order(world.delivered, world.n_delivered));
	CHECK(world.n_line == 0 && world.hangup.n_passed == 1); /* the last: nothing came behind it */
}

static void gives_nothing_up_where_nothing_gets_through(void)
{
	struct world world = make();

	world.down_for = 40;
	run(&world, 40);
	CHECK(world.n_given_up == 0 && world.n_delivered == 0 && world.n_passed_over >= 5);
	run(&world, 100);
	CHECK(world.n_given_up == 0 && world.n_delivered == MESSAGES);
	/* And if it never ends, they all wait. */
	world = make();
	world.down_for = 10000;
	run(&world, 1000);
	CHECK(world.n_given_up == 0 && world.hangup.n_passed == MESSAGES);
}

static void one_acknowledgement_is_not_enough_to_give_up_two(void)
{
	struct world world = make();

	for (uint64_t seq = 1; seq <= MESSAGES; seq++)
		world.guilty[seq] = seq != 4;
	run(&world, 1000);
	CHECK(world.n_delivered == 1 && world.n_given_up == 1 && world.hangup.n_passed == MESSAGES - 2);
}

/* What takes as long as the line lives, beside others that get through well: the first, then one in
 * the middle. */
static size_t convicted(struct world base, int64_t round_trip_ms)
{
	size_t n = 0;

	for (uint64_t seq = 1; seq <= 6; seq += 5) {
		struct world world = base;

		world.round_trip_ms[seq] = round_trip_ms;
		run(&world, 500);
		n += world.n_given_up;
		CHECK(world.n_given_up + world.n_delivered + world.n_line + world.hangup.n_passed - world.hangup.back == MESSAGES);
	}
	return n;
}

static void a_line_that_is_cut_at_intervals_convicts_nobody(void)
{
	struct world world = make();

	world.cut_ms = at_intervals;
	for (world.interval_ms = 10; world.interval_ms < 100000; world.interval_ms += 1 + world.interval_ms / 7)
		for (int64_t round_trip_ms = 10; round_trip_ms < 100000; round_trip_ms += 1 + round_trip_ms / 7) {
			size_t n = convicted(world, round_trip_ms);

			CHECK(n == 0);
			if (round_trip_ms + 100 < world.interval_ms) { /* nor does it keep it from getting through */
				struct world other = world;

				other.round_trip_ms[1] = round_trip_ms;
				run(&other, 500);
				CHECK(other.n_delivered == MESSAGES);
			}
		}
}

static void a_line_that_is_cut_at_random_convicts_nobody(void)
{
	struct world world = make();
	size_t n = 0, lines = 0;

	world.cut_ms = at_random;
	for (world.interval_ms = 50; world.interval_ms < 100000; world.interval_ms *= 2)
		for (int64_t round_trip_ms = 20; round_trip_ms < 100000; round_trip_ms *= 2)
			for (int i = 0; i < 100; i++, lines++)
				n += convicted(world, round_trip_ms);
	printf("figures: %zu of %zu messages given up on lines cut at random\n", n, 2 * lines);
	CHECK(n == 0);
}

static void only_a_prompt_close_by_the_peer_counts(void)
{
	struct world world = make();

	world.guilty[3] = true;
	world.stalls = true; /* it is we who close */
	run(&world, 100);
	CHECK(world.n_passed_over == 0 && world.n_delivered == 2);
	world = make();
	world.guilty[3] = true;
	world.hangs_up_ms = 11000;
	run(&world, 100);
	CHECK(world.n_passed_over == 0);
	world.hangs_up_ms = 9000;
	run(&world, 100);
	CHECK(world.n_given_up == 1);
	/* Cut while some of it was on the way: that may be a slow line. */
	world = make();
	world.guilty[3] = world.halfway = true;
	world.hangs_up_ms = 1500;
	run(&world, 100);
	CHECK(world.n_passed_over == 0);
	world.hangs_up_ms = 500;
	run(&world, 100);
	CHECK(world.n_given_up == 1);
}

static void one_break_in_between_begins_anew(void)
{
	struct world world = make();

	world.guilty[1] = true;
	run(&world, 8); /* 4 in line, 1 in which the time is measured, 3 that count */
	CHECK(world.n_passed_over == 0 && world.hangup.hangups == 3);
	world.stalls = true;
	run(&world, 1);
	CHECK(world.hangup.hangups == 0);
	world.stalls = false;
	run(&world, 4); /* 1 and 3 */
	CHECK(world.n_passed_over == 0 && world.hangup.hangups == 3);
	run(&world, 1);
	CHECK(world.n_passed_over == 1);
}

static void a_refusal_in_words_settles_it(void)
{
	struct hangup hangup = {0};

	for (int i = 0; i < 4; i++)
		hangup_lost(&hangup, 7, 9, true, true, 1000);
	CHECK(hangup_isolates(&hangup, 8) && !hangup_isolates(&hangup, 10) && hangup_alone(&hangup, 9));
	hangup_up(&hangup, 2000);
	hangup_sent(&hangup, 7, 2000);
	hangup_refused(&hangup, 7);
	CHECK(hangup.alone == 0 && hangup.suspect == 0);
	CHECK(hangup_due_ms(&hangup, 8) == 2000);
}

static void keeps_at_most_so_many_waiting(void)
{
	struct hangup hangup = {.alone_to = UINT64_MAX};
	uint64_t seq = 1;
	int64_t now_ms = 0;

	for (int i = 0; i < 5 * HANGUP_PASSED_MAX + 40; i++) {
		hangup_up(&hangup, now_ms);
		now_ms += 6000;
		hangup_sent(&hangup, seq, now_ms);
		if (hangup_lost(&hangup, seq, seq, true, true, now_ms) == HANGUP_PASS_OVER)
			seq++;
	}
	CHECK(hangup.n_passed == HANGUP_PASSED_MAX && seq == HANGUP_PASSED_MAX + 1);
	CHECK(hangup_acknowledged(&hangup, 9999) == 1 && hangup_acknowledged(&hangup, 9999) == 0);
	for (uint64_t back = 1; back < HANGUP_PASSED_MAX; back++)
		CHECK(hangup_acknowledged(&hangup, back) == back + 1);
	CHECK(hangup_acknowledged(&hangup, HANGUP_PASSED_MAX) == 0 && hangup.n_passed == 0);
}

int main(void)
{
	RUN(gives_up_the_one_it_hangs_up_on_and_no_other);
	RUN(gives_up_several_in_a_row);
	RUN(gives_nothing_up_where_nothing_gets_through);
	RUN(one_acknowledgement_is_not_enough_to_give_up_two);
	RUN(a_line_that_is_cut_at_intervals_convicts_nobody);
	RUN(a_line_that_is_cut_at_random_convicts_nobody);
	RUN(only_a_prompt_close_by_the_peer_counts);
	RUN(one_break_in_between_begins_anew);
	RUN(a_refusal_in_words_settles_it);
	RUN(keeps_at_most_so_many_waiting);
	return test_end();
}
