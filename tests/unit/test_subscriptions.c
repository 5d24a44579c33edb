/* What a link subscribes to and what it leaves, by what the session it finds was told before:
 * by this process or by an earlier one. */
#include "link_fixture.h"

static bool asked_one(void)
{
	return fake.n_asked >= 1;
}

static bool asked_two(void)
{
	return fake.n_asked >= 2;
}

static void subscribes_anew_only_if_the_session_is_lost(void)
{
	begin(1, 2);
	link_start(subject);
	CHECK(wait_until(asked_two, 5000));
	CHECK(strcmp(fake.asked[0], "sub a/#") == 0 && strcmp(fake.asked[1], "sub b") == 0);
	CHECK(strcmp(told.session, "one:1883\n?1 0 0 0 a/#\n?1 0 0 0 b") == 0); /* before it was asked for */
	fake.events->subscribed(fake.arg, 1, 1);
	fake.events->subscribed(fake.arg, 2, -1); /* refused: asked again next time */
	CHECK(strcmp(told.session, "one:1883\n+1 0 0 0 a/#") == 0);
	fake.session_present = true;
	shutdown(fake.peers, SHUT_RDWR);
	CHECK(wait_until(came_back, 5000));
	CHECK(!wait_until(never, 30));
	CHECK(fake.n_asked == 3 && strcmp(fake.asked[2], "sub b") == 0);
	end();
}

static void brings_an_old_session_in_line(void)
{
	begin(1, 2);
	fake.session_present = true;
	/* The last process had a/# and old/+ with us, and b with other options. */
	link_set_session(subject, "one:1883\n+1 0 0 0 a/#\n+0 0 0 0 b\n?1 0 0 0 old/+ with blanks");
	link_start(subject);
	CHECK(wait_until(asked_two, 5000));
	CHECK(fake.n_asked == 2);
	CHECK(strcmp(fake.asked[0], "sub b") == 0 && strcmp(fake.asked[1], "unsub old/+ with blanks") == 0);
	fake.events->subscribed(fake.arg, 1, 1);
	CHECK(strcmp(told.session, "one:1883\n+1 0 0 0 a/#\n+1 0 0 0 b\n?1 0 0 0 old/+ with blanks") == 0);
	fake.events->unsubscribed(fake.arg, 2);
	CHECK(strcmp(told.session, "one:1883\n+1 0 0 0 a/#\n+1 0 0 0 b") == 0);
	end();
	/* Another broker's session says nothing about this one's. */
	begin(1, 1);
	fake.session_present = true;
	link_set_session(subject, "elsewhere:1883\n+1 0 0 0 a/#");
	link_start(subject);
	CHECK(wait_until(is_up, 5000));
	CHECK(!wait_until(never, 30));
	CHECK(fake.n_asked == 1 && strcmp(fake.asked[0], "sub a/#") == 0);
	end();
}

static void hears_receipts_on_its_own(void)
{
	static char acks[] = "acks";
	struct inbound receipt = {.topic = acks}, reading = {.topic = "acks/b"};
	struct link_config *config = make_config(1, 0);

	begin(1, 0);
	link_close(subject);
	config->ack_topic = acks;
	subject = link_open(loop, config, &ops, &events, NULL, err, sizeof err);
	REQUIRE(subject != NULL);
	link_set_session(subject, "one:1883\n+0 0 0 0 acks");
	CHECK(!link_brings(subject) && !link_hears_receipts(subject));
	link_start(subject);
	CHECK(wait_until(asked_one, 5000));
	CHECK(strcmp(fake.asked[0], "sub acks") == 0 && link_hears_receipts(subject));
	fake.events->message(fake.arg, &receipt);
	CHECK(told.receipts == 1 && told.messages == 0 && link_stats(subject).received == 0 && !link_brings(subject));
	link_unsubscribe(subject, "acks"); /* as scripts may ask */
	CHECK(!wait_until(never, 30));
	CHECK(fake.n_asked == 1 && link_hears_receipts(subject));
	fake.events->message(fake.arg, &reading);
	CHECK(told.receipts == 1 && told.messages == 1 && link_brings(subject));
	end();
	/* An earlier process's session may bring more. */
	begin(1, 0);
	link_close(subject);
	config = make_config(1, 0);
	config->ack_topic = acks;
	subject = link_open(loop, config, &ops, &events, NULL, err, sizeof err);
	REQUIRE(subject != NULL);
	link_set_session(subject, "one:1883\n+0 0 0 0 acks\n+1 0 0 0 old acks");
	CHECK(link_brings(subject));
	end();
}

int main(void)
{
	RUN(subscribes_anew_only_if_the_session_is_lost);
	RUN(brings_an_old_session_in_line);
	RUN(hears_receipts_on_its_own);
	return test_end();
}
