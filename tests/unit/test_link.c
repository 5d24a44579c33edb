/* A link's policy on the real loop, with a transport made of a socket pair. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attempt.h"
#include "clock.h"
#include "link.h"
#include "loop.h"
#include "subscriptions.h"
#include "test.h"

#define MAX 32

/* ---- a transport that does as it is told ---- */

static struct {
	const struct transport_events *events;
	void *arg;
	int ours, peers; /* the two ends of the connection */
	int connects, reads, goodbyes, closes;
	int fail_connects; /* so many attempts fail */
	int connect_ms;    /* how long an attempt takes */
	bool session_present, silent;
	char tried[MAX][32], asked[MAX][32];
	int n_asked;
	bool wants_write;
} fake;

static void *fake_open(const struct transport_ops *ops, const struct link_config *config,
                       const struct transport_events *events, void *arg, char *err, size_t err_size)
{
	(void)ops;
	(void)config;
	(void)err;
	(void)err_size;
	fake.events = events;
	fake.arg = arg;
	fake.ours = fake.peers = -1;
	return &fake;
}

static bool fake_abort(void *transport, enum in_flight in_flight)
{
	(void)transport;
	(void)in_flight;
	if (fake.ours >= 0)
		close(fake.ours);
	if (fake.peers >= 0)
		close(fake.peers);
	fake.ours = fake.peers = -1;
	return false;
}

static void fake_close(void *transport)
{
	fake_abort(transport, NOTHING_IN_FLIGHT);
	fake.closes++;
}

static int fake_connect(void *transport, const struct url *url, bool discard_session, char *err, size_t err_size)
{
	int ends[2];

	(void)transport;
	(void)discard_session;
	if (fake.connects < MAX)
		snprintf(fake.tried[fake.connects], sizeof fake.tried[0], "%s", url->host);
	fake.connects++;
	usleep((useconds_t)fake.connect_ms * 1000);
	if (fake.fail_connects > 0) {
		fake.fail_connects--;
		snprintf(err, err_size, "refused");
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -1;
	fake.ours = ends[0];
	fake.peers = ends[1];
	return fake.silent || write(fake.peers, "h", 1) == 1 ? 0 : -1; /* hello */
}

static int fake_fd(void *transport)
{
	(void)transport;
	return fake.ours;
}

static bool fake_wants_write(void *transport)
{
	(void)transport;
	return fake.wants_write;
}

static int fake_read(void *transport, size_t max_messages, int64_t max_ms, char *err, size_t err_size)
{
	struct greeting greeting = {.session_present = fake.session_present, .receive_maximum = 10};
	struct inbound inbound = {.topic = "t"};
	char byte;

	(void)transport;
	(void)max_messages;
	(void)max_ms;
	fake.reads++;
	if (read(fake.ours, &byte, 1) != 1) {
		snprintf(err, err_size, "closed");
		return -1;
	}
	if (byte == 'h')
		fake.events->greeted(fake.arg, &greeting);
	else
		fake.events->message(fake.arg, &inbound);
	return 0;
}

static int fake_write(void *transport, char *err, size_t err_size)
{
	(void)transport;
	fake.wants_write = false;
	if (fake.goodbyes == 0)
		return 0;
	snprintf(err, err_size, "left");
	return -1;
}

static int fake_tick(void *transport, char *err, size_t err_size)
{
	(void)transport;
	(void)err;
	(void)err_size;
	return 0;
}

static enum send_result fake_send(void *transport, const struct message *message, int *handle, char *reason,
                                  size_t reason_size)
{
	(void)transport;
	(void)message;
	(void)reason;
	(void)reason_size;
	*handle = 1;
	return SEND_OK;
}

static void note(const char *verb, const char *filter)
{
	if (fake.n_asked < MAX)
		snprintf(fake.asked[fake.n_asked++], sizeof fake.asked[0], "%s %s", verb, filter);
}

static int fake_subscribe(void *transport, const struct subscription *subscription, int *handle)
{
	(void)transport;
	note("sub", subscription->filter);
	*handle = fake.n_asked;
	return 0;
}

static int fake_unsubscribe(void *transport, const char *filter, int *handle)
{
	(void)transport;
	note("unsub", filter);
	*handle = fake.n_asked;
	return 0;
}

static void fake_goodbye(void *transport)
{
	(void)transport;
	fake.goodbyes++;
	fake.wants_write = true;
}

static enum hang_up fake_hung_up(void *transport)
{
	(void)transport;
	return NO_HANG_UP;
}

static const struct transport_ops ops = {
        .open = fake_open,
        .close = fake_close,
        .connect = fake_connect,
        .fd = fake_fd,
        .wants_write = fake_wants_write,
        .read = fake_read,
        .write = fake_write,
        .tick = fake_tick,
        .send = fake_send,
        .subscribe = fake_subscribe,
        .unsubscribe = fake_unsubscribe,
        .goodbye = fake_goodbye,
        .abort = fake_abort,
        .hung_up = fake_hung_up,
};

/* ---- what the link tells ---- */

static struct {
	int ups, downs, messages, receipts;
	char *session;
	char reason[64];
} told;

static void on_up(void *arg, struct link *link)
{
	(void)arg;
	CHECK(link_connected(link));
	told.ups++;
}

static void on_down(void *arg, struct link *link, const char *reason)
{
	(void)arg;
	CHECK(!link_connected(link));
	snprintf(told.reason, sizeof told.reason, "%s", reason);
	told.downs++;
}

static void on_message(void *arg, struct link *link, const struct inbound *message)
{
	(void)arg;
	(void)link;
	(void)message;
	told.messages++;
}

static void on_receipt(void *arg, struct link *link, const struct inbound *message)
{
	(void)arg;
	(void)link;
	CHECK(strcmp(message->topic, "acks") == 0);
	told.receipts++;
}

static void on_session(void *arg, struct link *link)
{
	(void)arg;
	free(told.session);
	told.session = link_session(link);
}

static enum in_flight on_in_flight(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
	return NOTHING_IN_FLIGHT;
}

static size_t on_remembered(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
	return 0;
}

static void on_forgotten(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
}

static const struct link_events events = {
        .up = on_up, .down = on_down, .message = on_message, .receipt = on_receipt, .in_flight = on_in_flight, .remembered = on_remembered,
        .forgotten = on_forgotten, .session = on_session};

/* ---- the loop, until a condition holds ---- */

static struct loop *loop;
static struct link *subject;
static bool (*wanted)(void);
static int64_t give_up_ms;

static void nothing(void *arg)
{
	(void)arg;
}

static void on_signal(void *arg, int number)
{
	(void)arg;
	(void)number;
}

static struct loop_timer poke;

static void flush(void *arg)
{
	(void)arg;
	link_flush(subject);
	if (wanted() || loop_now_ms(loop) > give_up_ms)
		loop_stop(loop);
}

static void on_poke(void *arg)
{
	(void)arg;
	loop_timer_set(loop, &poke, loop_now_ms(loop) + 5);
}

static const struct loop_steps steps = {
        .commit = nothing, .send = nothing, .acknowledge = flush, .signal = on_signal};

static char err[256];

/* Turns go on until `condition`; false if that takes longer than `ms`. */
static bool wait_until(bool (*condition)(void), int ms)
{
	wanted = condition;
	give_up_ms = clock_monotonic_ms() + ms;
	CHECK(loop_run(loop) == 0);
	return condition();
}

/* config.c's, which would bring Lua along. */
void config_link_free(struct link_config *config)
{
	if (!config)
		return;
	free(config->name);
	free(config->urls);
	free(config->subscriptions);
	free(config);
}

static struct link_config *make_config(int n_urls, int n_subscriptions)
{
	static char hosts[][8] = {"one", "two", "three"}, filters[][8] = {"a/#", "b", "c"};
	struct link_config *config = calloc(1, sizeof *config);

	config->name = strdup("core");
	config->urls = calloc((size_t)n_urls, sizeof *config->urls);
	config->n_urls = (size_t)n_urls;
	for (int i = 0; i < n_urls; i++)
		config->urls[i] = (struct url){.host = hosts[i], .port = 1883};
	config->subscriptions = calloc((size_t)n_subscriptions + 1, sizeof *config->subscriptions);
	config->n_subscriptions = (size_t)n_subscriptions;
	for (int i = 0; i < n_subscriptions; i++)
		config->subscriptions[i] = (struct subscription){.filter = filters[i], .qos = 1};
	config->window = 100;
	config->reconnect_min_ms = 10;
	config->reconnect_max_ms = 40;
	config->ack_timeout_ms = 30000;
	config->keepalive_ms = 60000;
	return config;
}

static void begin(int n_urls, int n_subscriptions)
{
	memset(&fake, 0, sizeof fake);
	memset(&told, 0, sizeof told);
	loop = loop_open(&steps, NULL, err, sizeof err);
	REQUIRE(loop != NULL);
	memset(&poke, 0, sizeof poke);
	poke.fire = on_poke;
	loop_timer_set(loop, &poke, 0);
	subject = link_open(loop, make_config(n_urls, n_subscriptions), &ops, &events, NULL, err, sizeof err);
	REQUIRE(subject != NULL);
}

static void end(void)
{
	link_close(subject);
	loop_close(loop);
	free(told.session);
}

/* ---- conditions ---- */

static bool is_up(void)
{
	return link_connected(subject);
}

static bool is_off(void)
{
	return link_off(subject);
}

static bool came_back(void)
{
	return told.ups == 2;
}

static bool got_message(void)
{
	return told.messages > 0;
}

static bool asked_two(void)
{
	return fake.n_asked >= 2;
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

static bool never(void)
{
	return false;
}

/* ---- tests ---- */

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
	int64_t before;

	begin(1, 0);
	fake.connect_ms = 400;
	link_start(subject);
	before = clock_monotonic_ms();
	CHECK(!wait_until(never, 100)); /* turns go on meanwhile */
	CHECK(clock_monotonic_ms() - before < 300);
	CHECK(fake.connects == 1 && !link_connected(subject));
	CHECK(wait_until(is_up, 5000));
	end();
}

static void closes_without_waiting_for_an_attempt(void)
{
	int64_t before;

	begin(1, 0);
	fake.connect_ms = 300;
	link_start(subject);
	CHECK(!wait_until(never, 50));
	before = clock_monotonic_ms();
	end();
	CHECK(clock_monotonic_ms() - before < 200);
	CHECK(fake.closes == 0 && attempt_outstanding());
	for (int i = 0; i < 100 && attempt_outstanding(); i++)
		usleep(20000);
	CHECK(fake.closes == 1 && !attempt_outstanding());
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
	int handle;

	begin(1, 0);
	config->ack_timeout_ms = 1500;
	link_configure(subject, config);
	CHECK(wait_until(is_up, 5000));
	CHECK(link_send(subject, &message, &handle, reason, sizeof reason) == SEND_OK);
	link_hold(subject, LINK_HELD);
	CHECK(!wait_until(never, 1550));
	link_hold(subject, LINK_FLOWS);
	CHECK(!wait_until(never, 600)); /* it was looked at in that time */
	CHECK(told.downs == 0 && link_stats(subject).stalls == 0);
	CHECK(wait_until(lost, 5000));
	CHECK(link_stats(subject).stalls == 1 && strcmp(told.reason, "no acknowledgement within ack_timeout") == 0);
	end();
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

static bool asked_one(void)
{
	return fake.n_asked >= 1;
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
	RUN(tries_the_urls_in_order);
	RUN(reports_its_state);
	RUN(does_not_block_while_connecting);
	RUN(closes_without_waiting_for_an_attempt);
	RUN(reads_nothing_while_held);
	RUN(reads_and_does_not_write_while_it_gathers);
	RUN(stalls_only_while_acknowledgements_could_be_read);
	RUN(says_goodbye_and_stays_off);
	RUN(starts_and_stops_as_asked_last);
	RUN(subscribes_anew_only_if_the_session_is_lost);
	RUN(brings_an_old_session_in_line);
	RUN(hears_receipts_on_its_own);
	RUN(acts_on_a_note_when_it_is_durable);
	return test_end();
}
