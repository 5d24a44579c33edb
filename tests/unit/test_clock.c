/* The agent's own clock, with boots and wall clocks as a router has them. */
#include <string.h>
#include <time.h>

#include "clock.h"
#include "test.h"

#define Y2026 INT64_C(1767225600000)
#define HOUR INT64_C(3600000)

static void starts_at_one(void)
{
	struct clock clock;

	CHECK(clock_start(&clock, "a", 30000, NULL, 0));
	CHECK(clock_age_at(&clock, 30000) == 1);
	CHECK(clock_age_at(&clock, 30500) == 501);
}

static void goes_on_within_a_boot(void)
{
	struct clock first, second;
	char note[CLOCK_NOTE];

	CHECK(clock_start(&first, "658a3da3-404e-44cd-b2c4-d668494c91fd", 30000, NULL, 7777));
	clock_note(&first, note, sizeof note);
	CHECK(strlen(note) < sizeof note - 1);
	CHECK(!clock_start(&second, "658a3da3-404e-44cd-b2c4-d668494c91fd", HOUR, note, 8000));
	CHECK(clock_age_at(&second, HOUR) == clock_age_at(&first, HOUR));
	CHECK(clock_age_at(&second, HOUR) == 7778 + HOUR - 30000);
	CHECK(second.since_ms == first.since_ms);
}

static void goes_on_from_the_latest_in_a_new_boot(void)
{
	struct clock first, second, third;
	char note[CLOCK_NOTE];

	clock_start(&first, "a", 1000, NULL, 0);
	clock_note(&first, note, sizeof note);
	CHECK(clock_start(&second, "b", 500, note, 5000));
	CHECK(clock_age_at(&second, 500) == 5001);
	clock_note(&second, note, sizeof note);
	CHECK(clock_start(&third, "c", 9 * HOUR, note, 0)); /* all was sent: only the note remembers */
	CHECK(clock_age_at(&third, 9 * HOUR) == 5002);
}

static void never_goes_back_in_a_boot_of_the_same_name(void)
{
	struct clock first, second;
	char note[CLOCK_NOTE];

	clock_start(&first, "a", 9 * HOUR, NULL, 0);
	clock_note(&first, note, sizeof note);
	CHECK(clock_start(&second, "a", HOUR, note, 2 * HOUR));
	CHECK(clock_age_at(&second, HOUR) == 2 * HOUR + 1);
}

static void takes_a_boot_without_a_name_for_a_new_one(void)
{
	struct clock first, second;
	char note[CLOCK_NOTE];

	clock_start(&first, "", 1000, NULL, 0);
	clock_note(&first, note, sizeof note);
	CHECK(clock_start(&second, "", 2000, note, 600));
	CHECK(clock_age_at(&second, 2000) == 601);
}

static void takes_no_nonsense(void)
{
	static const char *const notes[] = {"", "a", "a x y", "a 1", "a 9223372036854775807 1", "a 1 9223372036854775807",
	                                    "a -9223372036854775808 1"};
	struct clock clock;

	for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
		CHECK(clock_start(&clock, "a", 100, notes[i], 50));
		CHECK(clock_age_at(&clock, 100) == 51);
	}
	CHECK(clock_start(&clock, "a", 100, NULL, INT64_MAX) && clock_age_at(&clock, 100) == 1);
	CHECK(clock_start(&clock, "a", 100, NULL, INT64_MIN) && clock_age_at(&clock, 100) == 1);
}

static void corrects_what_was_received_before_the_clock_was_set(void)
{
	struct clock clock;
	int64_t age, time = 12000; /* twelve seconds into 1970 */

	clock_start(&clock, "a", 30000, NULL, 0);
	age = clock_age_at(&clock, 31000);
	CHECK(clock_correct(&clock, Y2026, clock_age_at(&clock, 31000 + 5 * HOUR), age, &time));
	CHECK(time == Y2026 - 5 * HOUR);
	CHECK(clock_correct(&clock, Y2026 + HOUR, clock_age_at(&clock, 31000 + 6 * HOUR), age, &time));
	CHECK(time == Y2026 - 5 * HOUR);
}

static void keeps_a_time_when_the_clock_was_not_set(void)
{
	struct clock clock;
	int64_t time = Y2026 + 3;

	clock_start(&clock, "a", 0, NULL, 0);
	CHECK(clock_correct(&clock, Y2026 + HOUR, 1 + HOUR, 1, &time));
	CHECK(time == Y2026 + 3);
}

static void corrects_after_the_clock_was_put_back(void)
{
	struct clock clock;
	int64_t time = Y2026 + 20 * HOUR;

	clock_start(&clock, "a", 0, NULL, 0);
	CHECK(clock_correct(&clock, Y2026, 1 + HOUR, 1, &time));
	CHECK(time == Y2026 - HOUR);
}

static void flags_what_it_cannot_correct(void)
{
	struct clock clock;
	int64_t before = 12000, good = Y2026;

	clock_start(&clock, "b", 0, NULL, 5000);
	CHECK(!clock_correct(&clock, Y2026, 5001 + HOUR, 4000, &before)); /* of an earlier boot */
	CHECK(before == 12000);
	CHECK(!clock_correct(&clock, 50000, 5001 + HOUR, 5001, &before)); /* not set yet */
	CHECK(before == 12000);
	CHECK(clock_correct(&clock, Y2026 + HOUR, 5001, 4000, &good)); /* of an earlier boot, whose clock was set */
	CHECK(good == Y2026);
	good = INT64_MIN; /* a damaged row */
	CHECK(clock_correct(&clock, Y2026, 5001 + HOUR, 5001, &good) && good == Y2026 - HOUR);
	good = Y2026;
	CHECK(clock_correct(&clock, 50000, 5001 + HOUR, 5001, &good)); /* set to 1970 since: the time of then is better */
	CHECK(good == Y2026);
}

static void reads_the_system(void)
{
	struct clock clock;
	char boot[CLOCK_BOOT_ID];
	int64_t first;

	clock_read_boot(boot);
	CHECK(strlen(boot) == 36);
	CHECK(clock_wall_ms() > CLOCK_PLAUSIBLE_MS);
	first = clock_monotonic_ms(); /* one after the other */
	CHECK(clock_boot_ms() >= first);
	clock_start(&clock, boot, clock_boot_ms(), NULL, 0);
	first = clock_age_ms(&clock);
	CHECK(first >= 1 && first < 60000 && clock_age_ms(&clock) >= first);
}

/* 2106 is where 32 bits without a sign end. Last: the time stays simulated. */
static void goes_on_after_2106(void)
{
	int64_t wall_ms = INT64_C(4294967296123);

	CHECK(sizeof(time_t) == 8 && sizeof((struct timespec){0}.tv_sec) == 8);
	clock_simulate(wall_ms);
	CHECK(clock_wall_ms() == wall_ms && (int64_t)clock_wall_s() == wall_ms / 1000);
	clock_advance(clock_monotonic_ms() + 1000);
	CHECK(clock_wall_ms() == wall_ms + 1000);
}

int main(void)
{
	RUN(starts_at_one);
	RUN(goes_on_within_a_boot);
	RUN(goes_on_from_the_latest_in_a_new_boot);
	RUN(never_goes_back_in_a_boot_of_the_same_name);
	RUN(takes_a_boot_without_a_name_for_a_new_one);
	RUN(takes_no_nonsense);
	RUN(corrects_what_was_received_before_the_clock_was_set);
	RUN(keeps_a_time_when_the_clock_was_not_set);
	RUN(corrects_after_the_clock_was_put_back);
	RUN(flags_what_it_cannot_correct);
	RUN(reads_the_system);
	RUN(goes_on_after_2106);
	return test_end();
}
