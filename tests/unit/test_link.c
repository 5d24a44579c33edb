/* When a link that is up does not read or write: it is held, it gathers, what it has to note is
 * not durable yet; and when it stalls. */
#include "link_fixture.h"

static bool got_message(void)
{
	return told.messages > 0;
}

static void reads_nothing_while_held(void)
{
	begin(1, 0);
	link_start(subject);
	CHECK(wait_until(is_up, 5000));
	link_hold(subject, LINK_HELD);
	CHECK(write(fake.peers, "m", 1) == 1);
	CHECK(!wait_until(got_message, 60));
	link_hold(subject, LINK_FLOWS);
	CHECK(wait_until(got_message, 5000));
	end();
}

static void reads_and_does_not_write_while_it_gathers(void)
{
	struct message message = {.seq = 1, .qos = 1};
	char reason[64];
	int handle;

	begin(1, 0);
	link_start(subject);
	CHECK(wait_until(is_up, 5000));
	link_hold(subject, LINK_GATHERS);
	CHECK(write(fake.peers, "m", 1) == 1);
	CHECK(wait_until(got_message, 5000));
	CHECK(link_send(subject, &message, &handle, reason, sizeof reason) == SEND_LATER);
	link_hold(subject, LINK_FLOWS);
	CHECK(link_send(subject, &message, &handle, reason, sizeof reason) == SEND_OK);
	end();
}

static bool lost(void)
{
	return told.downs > 0;
}

static void stalls_only_while_acknowledgements_could_be_read(void)
{
	struct link_config *config = make_config(1, 0);
	struct message message = {.seq = 1, .qos = 1};
	char reason[64];
	int64_t flows_ms;
	int handle;

	begin(1, 0);
	config->ack_timeout_ms = 1500;
	link_configure(subject, config);
	CHECK(wait_until(is_up, 5000));
	CHECK(link_send(subject, &message, &handle, reason, sizeof reason) == SEND_OK);
	link_hold(subject, LINK_HELD);
	CHECK(!wait_until(never, 1550));
	link_hold(subject, LINK_FLOWS);
	flows_ms = loop_now_ms(loop);
	CHECK(wait_until(lost, 5000));
	CHECK(loop_now_ms(loop) - flows_ms > 1500);
	CHECK(link_stats(subject).stalls == 1 && strcmp(told.reason, "no acknowledgement within ack_timeout") == 0);
	end();
}

/* ---- a transport that must not write before its note is durable ---- */

static struct {
	const char *next; /* what it has to note */
	int noted;
	char taken[32];
	bool durable;
} notes;

static char *fake_note(void *transport)
{
	(void)transport;
	return notes.next ? strdup(notes.next) : NULL;
}

static void fake_noted(void *transport)
{
	(void)transport;
	CHECK(notes.durable);
	notes.next = NULL;
	notes.noted++;
}

static int on_note(void *arg, struct link *link, const char *text)
{
	(void)arg;
	(void)link;
	CHECK(strcmp(notes.taken, text) != 0); /* once is enough */
	snprintf(notes.taken, sizeof notes.taken, "%s", text);
	notes.durable = false;
	return 0;
}

static bool is_durable(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
	return notes.durable;
}

static bool note_taken(void)
{
	return notes.taken[0] != 0;
}

static bool note_settled(void)
{
	return notes.noted == 1;
}

static void acts_on_a_note_when_it_is_durable(void)
{
	struct transport_ops noting = ops;
	struct link_events noted = events;

	noting.note = fake_note;
	noting.noted = fake_noted;
	noted.note = on_note;
	noted.noted = is_durable;
	begin(1, 0);
	link_close(subject);
	subject = link_open(loop, make_config(1, 0), &noting, &noted, NULL, err, sizeof err);
	REQUIRE(subject != NULL);
	link_start(subject);
	notes.next = "sensor 17";
	CHECK(wait_until(note_taken, 5000));
	CHECK(!wait_until(note_settled, 50)); /* the disk does not take it */
	notes.durable = true;
	CHECK(wait_until(note_settled, 5000));
	end();
}

int main(void)
{
	RUN(reads_nothing_while_held);
	RUN(reads_and_does_not_write_while_it_gathers);
	RUN(stalls_only_while_acknowledgements_could_be_read);
	RUN(acts_on_a_note_when_it_is_durable);
	return test_end();
}
