/* A link that is up and delivers nothing is told from one that is down, slow, or idle. */
#include "health.h"

#include <string.h>

#include "test.h"

static struct health_watch watch;
static struct health_look now;

/* Seconds pass, a look at each. */
static void pass(int seconds)
{
	for (int i = 0; i < seconds; i++) {
		now.now_ms += 1000;
		health_look(&watch, &now);
	}
}

static void begin(bool up, bool waiting)
{
	watch = (struct health_watch){0};
	now = (struct health_look){.up = up, .waiting = waiting, .now_ms = 1000};
	health_look(&watch, &now);
}

static const char *wrong(void)
{
	return health_of_link(&(struct health_facts){
	        .up = now.up, .undelivered_ms = watch.undelivered_ms, .ack_timeout_ms = 30000});
}

static void up_without_delivering_is_unhealthy(void)
{
	begin(true, true);
	pass(29);
	CHECK(!wrong());
	pass(1);
	CHECK(wrong() && strstr(wrong(), "delivers nothing"));
	now.done++;
	pass(1);
	CHECK(!wrong());
	pass(29);
	CHECK(!wrong());
	now.waiting = false;
	pass(100);
	CHECK(!wrong());
}

static void one_look_in_a_long_time_is_enough(void)
{
	begin(true, true);
	now.now_ms += 31000;
	health_look(&watch, &now);
	CHECK(wrong());
}

static void down_is_no_illness(void)
{
	begin(false, true);
	pass(100000);
	CHECK(!wrong());
	now.up = true;
	pass(30);
	CHECK(!wrong()); /* the first look at it was after a second */
	pass(1);
	CHECK(wrong());
}

static void idle_is_no_illness(void)
{
	begin(true, false);
	pass(100000);
	CHECK(!wrong());
	now.waiting = true; /* since when is not known: only from now on */
	pass(30);
	CHECK(!wrong());
}

static void slow_is_no_illness(void)
{
	begin(true, true);
	for (int i = 0; i < 100; i++) {
		pass(25);
		CHECK(!wrong());
		now.done++;
		pass(1);
	}
}

/* The watchdog reconnects after ack_timeout, and the next connection does no better. */
static void reconnecting_does_not_cure(void)
{
	begin(true, true);
	pass(20);
	now.up = false;
	pass(5);
	now.up = true;
	pass(15);
	CHECK(wrong());
	now.up = false;
	pass(100);
	CHECK(wrong()); /* it was no better when it was there */
	pass(30);
	CHECK(!wrong()); /* by now it is an outage */
}

static void other_troubles(void)
{
	struct health_facts facts = {.up = true, .ack_timeout_ms = 30000};

	CHECK(!health_of_link(&facts));
	facts.silent = true;
	CHECK(strstr(health_of_link(&facts), "collector"));
	facts.up = false; /* nobody can hear it */
	CHECK(!health_of_link(&facts));
	facts.full = true;
	CHECK(strstr(health_of_link(&facts), "is full"));
}

int main(void)
{
	RUN(up_without_delivering_is_unhealthy);
	RUN(one_look_in_a_long_time_is_enough);
	RUN(down_is_no_illness);
	RUN(idle_is_no_illness);
	RUN(slow_is_no_illness);
	RUN(reconnecting_does_not_cure);
	RUN(other_troubles);
	return test_end();
}
