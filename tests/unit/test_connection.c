/* How a link gets its connection and loses it: attempts on their helper threads, fail-over,
 * starting and stopping as was asked last. */
#include "link_fixture.h"

#include "attempt.h"

static bool is_off(void)
{
	return link_off(subject);
}

static bool is_lost(void)
{
	return told.downs == 1;
}

static bool was_refused(void)
{
	return strcmp(link_report(subject).problem, "refused") == 0;
}

static bool is_settled(void)
{
	return strcmp(link_report(subject).state, "off") == 0;
}

static bool is_tried(void)
{
	return fake.connects == 1;
}

static void tries_the_urls_in_order(void)
{
	begin(3, 0);
	fake.fail_connects = 4;
	link_start(subject);
	CHECK(wait_until(is_up, 5000));
	CHECK(fake.connects == 5);
	CHECK(strcmp(fake.tried[0], "one") == 0 && strcmp(fake.tried[1], "two") == 0);
	CHECK(strcmp(fake.tried[2], "three") == 0 && strcmp(fake.tried[3], "one") == 0);
	CHECK(strcmp(fake.tried[4], "two") == 0);
	/* Lost as soon as it was there: the next one's turn. */
	shutdown(fake.peers, SHUT_RDWR);
	CHECK(wait_until(came_back, 5000));
	CHECK(strcmp(fake.tried[5], "three") == 0);
	CHECK(told.downs == 1 && strcmp(told.reason, "closed") == 0);
	CHECK(link_stats(subject).reconnects == 1);
	CHECK(link_window(subject) == 10);
	end();
}

static void reports_its_state(void)
{
	struct link_report report;
	int64_t up_since_ms;

	begin(2, 0);
	report = link_report(subject);
	CHECK(strcmp(report.state, "off") == 0 && strcmp(report.problem, "") == 0);
	fake.fail_connects = 1;
	link_start(subject);
	CHECK(wait_until(is_up, 5000));
	report = link_report(subject);
	up_since_ms = report.since_ms;
	CHECK(strcmp(report.state, "up") == 0 && strcmp(report.problem, "") == 0 && strcmp(report.url->host, "two") == 0);
	CHECK(up_since_ms > 0 && up_since_ms <= loop_now_ms(loop));
	CHECK(!wait_until(never, 20));
	fake.fail_connects = 1000;
	shutdown(fake.peers, SHUT_RDWR);
	CHECK(wait_until(is_lost, 5000));
	report = link_report(subject);
	CHECK(strcmp(report.state, "waiting") == 0 && strcmp(report.problem, "closed") == 0);
	CHECK(report.since_ms > up_since_ms && strcmp(report.url->host, "one") == 0);
	CHECK(wait_until(was_refused, 5000));
	CHECK(link_report(subject).since_ms == report.since_ms); /* since it was lost, not since the last attempt */
	link_stop(subject);
	CHECK(wait_until(is_off, 5000));
	CHECK(wait_until(is_settled, 5000));
	CHECK(strcmp(link_report(subject).problem, "") == 0);
	end();
}

static void does_not_block_while_connecting(void)
{
	begin(1, 0);
	fake.hangs = true;
	link_start(subject);
	CHECK(wait_until(is_tried, 5000));
	CHECK(!wait_until(never, 100)); /* turns go on meanwhile */
	CHECK(!link_connected(subject));
	fake.hangs = false;
	CHECK(wait_until(is_up, 5000));
	end();
}

static void closes_without_waiting_for_an_attempt(void)
{
	begin(1, 0);
	fake.hangs = true;
	link_start(subject);
	CHECK(!wait_until(never, 50));
	end();
	CHECK(fake.closes == 0 && attempt_outstanding());
	fake.hangs = false;
	for (int i = 0; i < 250 && attempt_outstanding(); i++)
		usleep(20000);
	CHECK(fake.closes == 1 && !attempt_outstanding());
}

static void says_goodbye_and_stays_off(void)
{
	begin(1, 0);
	link_start(subject);
	CHECK(wait_until(is_up, 5000));
	link_stop(subject);
	CHECK(!link_connected(subject));
	CHECK(wait_until(is_off, 5000));
	CHECK(fake.goodbyes == 1 && told.downs == 1);
	CHECK(!wait_until(never, 100));
	CHECK(fake.connects == 1);
	end();
}

/* What was asked last counts, whatever happens to be going on. */
static void starts_and_stops_as_asked_last(void)
{
	begin(1, 0);
	link_configure(subject, make_config(1, 0));
	link_stop(subject); /* while it is off */
	CHECK(!wait_until(never, 50));
	CHECK(link_unwanted(subject) && link_off(subject) && fake.connects == 0);
	link_stop(subject);
	link_configure(subject, make_config(1, 0));
	CHECK(!link_unwanted(subject) && wait_until(is_up, 5000));
	link_configure(subject, make_config(1, 0)); /* and while it is up */
	link_stop(subject);
	CHECK(wait_until(is_off, 5000));
	CHECK(!wait_until(never, 50));
	CHECK(link_off(subject) && fake.connects == 1 && told.downs == 1);
	link_configure(subject, make_config(1, 0));
	CHECK(wait_until(is_up, 5000));
	link_stop(subject);
	link_configure(subject, make_config(1, 0));
	CHECK(!wait_until(never, 50));
	CHECK(wait_until(is_up, 5000));
	link_stop(subject);
	link_start(subject);
	CHECK(!wait_until(never, 50));
	CHECK(wait_until(is_up, 5000));
	end();
}

int main(void)
{
	RUN(tries_the_urls_in_order);
	RUN(reports_its_state);
	RUN(does_not_block_while_connecting);
	RUN(closes_without_waiting_for_an_attempt);
	RUN(says_goodbye_and_stays_off);
	RUN(starts_and_stops_as_asked_last);
	return test_end();
}
