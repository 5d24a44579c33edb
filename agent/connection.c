/* How a link gets its connection and loses it: a small state machine on the loop's
 * clock. The transport is only told what to do; the only thread is agent/attempt.c's. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "link_internal.h"
#include "log.h"

#define NUDGE_MS 15000    /* a connect() that hangs is interrupted so often */
#define GREETING_MS 15000 /* for the TLS handshake and the CONNACK */
#define STABLE_MS 5000    /* up for so long: the next failure starts a new backoff */
#define TICK_MIN_MS 500
#define TICK_MAX_MS 10000
#define TURN_MESSAGES 200 /* read at most so many of one link in a turn, */
#define TURN_MS 20        /* and for so long: other links wait meanwhile */

/* ---- helpers ---- */

static const struct url *current_url(const struct link *link)
{
	return &link->config->urls[link->retry.url];
}

static void describe_peer(const struct link *link, char *text, size_t size)
{
	snprintf(text, size, "%s:%d", current_url(link)->host, current_url(link)->port);
}

/* How often pings and the stall watchdog are looked after. */
static int64_t tick_ms(const struct link *link)
{
	int64_t keepalive_ms = link->state >= UP ? link->greeting.keepalive_ms : link->config->keepalive_ms;
	int64_t tick = TICK_MAX_MS;

	if (keepalive_ms > 0 && keepalive_ms / 8 < tick)
		tick = keepalive_ms / 8;
	if (link->config->ack_timeout_ms / 4 < tick)
		tick = link->config->ack_timeout_ms / 4;
	return tick < TICK_MIN_MS ? TICK_MIN_MS : tick;
}

void connection_watch(struct link *link, bool on)
{
	loop_unwatch(link->loop, &link->socket);
	link->socket.fd = on ? link->ops->fd(link->transport) : -1;
	if (on && (link->socket.fd < 0 || loop_watch(link->loop, &link->socket) < 0))
		link->socket.fd = -1;
	if (on && link->unread)
		loop_timer_set(link->loop, &link->rest, loop_now_ms(link->loop));
}

void connection_off(struct link *link)
{
	link->state = OFF;
	link->stopping = false;
	link->problem[0] = 0;
	if (!link->unwanted)
		link_start(link);
}

static void end_connection(struct link *link)
{
	if (link->ops->abort(link->transport, link->events->in_flight(link->arg, link))) {
		link->in_flight -= link->events->remembered(link->arg, link);
	} else {
		link->in_flight = 0;
		link->events->forgotten(link->arg, link);
	}
}

/* ---- connecting ---- */

static void wait_for(struct link *link, int64_t delay_ms)
{
	link->state = WAITING;
	loop_timer_set(link->loop, &link->retry_timer, loop_now_ms(link->loop) + delay_ms);
}

static void retry_later(struct link *link, const char *problem)
{
	bool tell = retry_worth_telling(&link->retry, problem);
	char peer[160];
	int64_t delay_ms, patience_ms;

	describe_peer(link, peer, sizeof peer);
	snprintf(link->problem, sizeof link->problem, "%s", problem);
	patience_ms = link->ops->patience_ms ? link->ops->patience_ms(link->transport) : 0;
	delay_ms = retry_failed(&link->retry, link->config->n_urls, link->config->reconnect_min_ms,
	                        link->config->reconnect_max_ms);
	if (link->retry.url == 0 && delay_ms < patience_ms)
		delay_ms = patience_ms;
	if (tell)
		log_warn(link->component, "cannot connect to %s: %s; retry in %.1f s", peer, problem,
		         (double)delay_ms / 1000);
	else
		log_debug(link->component, "cannot connect to %s: %s; retry in %.1f s", peer, problem,
		          (double)delay_ms / 1000);
	wait_for(link, delay_ms);
}

static void on_retry(void *arg)
{
	struct link *link = arg;

	if (link->hold != LINK_FLOWS) { /* reconnecting would bring what is not safe yet once more */
		loop_timer_set(link->loop, &link->retry_timer, loop_now_ms(link->loop) + 1000);
		return;
	}
	link->attempt = attempt_start(link->ops, link->transport, current_url(link),
	                              link->discard_session && !link->discarded[link->retry.url], link->attempt_done.fd);
	if (!link->attempt) {
		retry_later(link, "no thread or no memory for the attempt");
		return;
	}
	link->state = CONNECTING;
	link->greeted = false;
	loop_timer_set(link->loop, &link->deadline, loop_now_ms(link->loop) + NUDGE_MS);
}

static void on_attempt_done(void *arg, short revents)
{
	struct link *link = arg;
	uint64_t count;
	char err[256];
	bool failed;

	(void)revents;
	if (read(link->attempt_done.fd, &count, sizeof count) < 0 || !link->attempt)
		return;
	loop_timer_cancel(link->loop, &link->deadline);
	failed = attempt_finish(link->attempt, err, sizeof err) < 0;
	link->attempt = NULL;
	if (!failed)
		link->discarded[link->retry.url] = true;
	if (link->stopping) {
		end_connection(link);
		connection_off(link);
		return;
	}
	if (failed) {
		retry_later(link, err);
		return;
	}
	link->state = GREETING;
	connection_watch(link, true);
	loop_timer_set(link->loop, &link->deadline, loop_now_ms(link->loop) + GREETING_MS);
	loop_timer_set(link->loop, &link->tick, loop_now_ms(link->loop) + tick_ms(link));
}

static void go_up(struct link *link)
{
	char peer[160];

	loop_timer_cancel(link->loop, &link->deadline);
	link->state = UP;
	loop_timer_set(link->loop, &link->tick, loop_now_ms(link->loop) + tick_ms(link));
	link->since_ms = link->progress_ms = loop_now_ms(link->loop);
	retry_up(&link->retry);
	describe_peer(link, peer, sizeof peer);
	subscriptions_greeted(&link->subscriptions, peer, link->greeting.session_present);
	if (link->config->kind == LINK_KDB)
		log_info(link->component, "connected peer=%s", peer);
	else
		log_info(link->component, "connected peer=%s session=%s", peer,
		         link->greeting.session_present ? "present" : "new");
	link->events->up(link->arg, link);
}

static void lose(struct link *link, const char *reason)
{
	bool stable = loop_now_ms(link->loop) - link->since_ms >= STABLE_MS;
	char peer[160];
	int64_t delay_ms;

	describe_peer(link, peer, sizeof peer);
	delay_ms = retry_lost(&link->retry, link->config->n_urls, stable, link->config->reconnect_min_ms,
	                      link->config->reconnect_max_ms);
	log_warn(link->component, "lost %s: %s; retry in %.1f s", peer, reason, (double)delay_ms / 1000);
	snprintf(link->problem, sizeof link->problem, "%s", reason);
	link->stats.reconnects++;
	wait_for(link, delay_ms);
}

void connection_down(struct link *link, const char *reason)
{
	bool was_up = link->state == UP || link->state == LEAVING;

	connection_watch(link, false);
	loop_timer_cancel(link->loop, &link->deadline);
	loop_timer_cancel(link->loop, &link->tick);
	loop_timer_cancel(link->loop, &link->rest);
	loop_timer_cancel(link->loop, &link->due);
	link->unread = false;
	end_connection(link);
	if (link->stopping) {
		reason = "stopped";
		log_info(link->component, "disconnected");
		connection_off(link);
	} else if (was_up) {
		lose(link, reason);
	} else {
		retry_later(link, reason);
	}
	if (was_up) {
		link->since_ms = loop_now_ms(link->loop);
		link->events->down(link->arg, link, reason);
	}
}

/* ---- the socket ---- */

/* What is left for the next turn may be decrypted already: then the socket knows
 * nothing of it, and only the timer gets it. */
static void read_some(struct link *link)
{
	char err[256];
	int more;

	loop_timer_cancel(link->loop, &link->rest);
	link->refusing = NULL;
	more = link->ops->read(link->transport, TURN_MESSAGES, TURN_MS, err, sizeof err);
	link->unread = more > 0;
	if (link->greeted && link->state == GREETING && more >= 0) {
		go_up(link);
		connection_watch(link, link->hold != LINK_HELD);
	}
	if (more >= 0 && link->refusing)
		snprintf(err, sizeof err, "%s", link->refusing);
	if (more < 0 || link->refusing)
		connection_down(link, err);
	else if (more > 0)
		loop_timer_set(link->loop, &link->rest, loop_now_ms(link->loop) + 1);
}

static void on_socket(void *arg, short revents)
{
	if (revents & (POLLIN | POLLHUP | POLLERR)) /* writable: the flush at the end of the turn writes */
		read_some(arg);
}

static void on_rest(void *arg)
{
	struct link *link = arg;

	if (link->hold != LINK_HELD) /* else connection_watch() comes back to it */
		read_some(link);
}

/* A kdb+ link waits for replies to calls, not to rows, and knows itself for how long. */
static void on_tick(void *arg)
{
	struct link *link = arg;
	bool is_kdb = link->config->kind == LINK_KDB;
	char err[256];

	loop_timer_set(link->loop, &link->tick, loop_now_ms(link->loop) + tick_ms(link));
	if (link->hold != LINK_FLOWS)
		return;
	if (link->ops->tick(link->transport, err, sizeof err) < 0) {
		link->stats.stalls += is_kdb;
		connection_down(link, err);
	} else if (link->state == UP && link->in_flight > 0 && !is_kdb &&
	           loop_now_ms(link->loop) - link->progress_ms > link->config->ack_timeout_ms) {
		link->stats.stalls++;
		connection_down(link, "no acknowledgement within ack_timeout");
	}
}

static void on_deadline(void *arg)
{
	struct link *link = arg;

	if (link->state == CONNECTING) {
		attempt_nudge(link->attempt);
		loop_timer_set(link->loop, &link->deadline, loop_now_ms(link->loop) + NUDGE_MS);
	} else if (link->state == GREETING) {
		connection_down(link, "no answer to the connection request");
	}
}

void connection_init(struct link *link)
{
	link->socket = (struct loop_watch){.fd = -1, .events = POLLIN, .ready = on_socket, .arg = link};
	link->attempt_done = (struct loop_watch){.fd = -1, .events = POLLIN, .ready = on_attempt_done, .arg = link};
	link->retry_timer = (struct loop_timer){.fire = on_retry, .arg = link};
	link->deadline = (struct loop_timer){.fire = on_deadline, .arg = link};
	link->tick = (struct loop_timer){.fire = on_tick, .arg = link};
	link->rest = (struct loop_timer){.fire = on_rest, .arg = link};
	link->due = (struct loop_timer){.fire = on_tick, .arg = link}; /* and the flush at the end of the turn writes */
	if (!clock_simulated())
		link->retry.random = (unsigned)clock_monotonic_ms() ^ (unsigned)getpid() ^ (unsigned)(uintptr_t)link;
}

/* ---- calls of the transport ---- */

/* Stands for the session at that broker under our client id. */
static uint64_t session_hash(const struct link *link)
{
	const char *client = link->config->client_id ? link->config->client_id : "";
	char peer[160];

	describe_peer(link, peer, sizeof peer);
	return redelivery_hash(peer, (struct bytes){client, strlen(client)});
}

static void on_greeted(void *arg, const struct greeting *greeting)
{
	struct link *link = arg;

	link->greeted = true;
	link->greeting = *greeting;
	if (link->redelivery)
		redelivery_session(link->redelivery, session_hash(link), greeting->session_present,
		                   (unsigned)link->config->receive_maximum);
}

static void on_message(void *arg, const struct inbound *message)
{
	struct link *link = arg;

	if (link->config->ack_topic && strcmp(message->topic, link->config->ack_topic) == 0) {
		link->events->receipt(link->arg, link, message);
		return;
	}
	link->stats.received++;
	link->events->message(link->arg, link, message);
}

static void note_progress(struct link *link)
{
	link->progress_ms = loop_now_ms(link->loop);
	if (link->in_flight > 0)
		link->in_flight--;
}

static void on_acknowledged(void *arg, int handle)
{
	struct link *link = arg;

	if (!link->events->acknowledged(link->arg, link, handle))
		return;
	note_progress(link);
	link->stats.acknowledged++;
}

static void on_refused(void *arg, int handle, enum refusal refusal, const char *reason)
{
	struct link *link = arg;

	if (link->events->refused(link->arg, link, handle, refusal, reason))
		note_progress(link);
}

static bool room_for_refused(void *arg, size_t messages, size_t bytes)
{
	struct link *link = arg;

	return link->events->room_for_refused(link->arg, link, messages, bytes);
}

static void on_subscribed(void *arg, int handle, int qos)
{
	struct link *link = arg;
	const struct subscription *subscription = subscriptions_answered(&link->subscriptions, handle, qos >= 0);

	if (!subscription)
		return;
	if (qos < 0)
		log_error(link->component, "the broker refuses the subscription to %s", subscription->filter);
	else if (qos == 0 && subscription->qos > 0)
		log_warn(link->component, "the broker grants QoS 0 only for %s", subscription->filter);
	else
		log_debug(link->component, "subscribed to %s", subscription->filter);
	link->events->session(link->arg, link);
}

static void on_unsubscribed(void *arg, int handle)
{
	struct link *link = arg;

	if (subscriptions_ended(&link->subscriptions, handle))
		link->events->session(link->arg, link);
}

const struct transport_events connection_events = {
        .greeted = on_greeted,
        .message = on_message,
        .acknowledged = on_acknowledged,
        .refused = on_refused,
        .room_for_refused = room_for_refused,
        .subscribed = on_subscribed,
        .unsubscribed = on_unsubscribed,
};
