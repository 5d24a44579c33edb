/* One connection's policy as a small state machine on the loop's clock. The
 * transport is only told what to do; the only thread is agent/attempt.c's. */
#include "link.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "attempt.h"
#include "log.h"
#include "loop.h"
#include "retry.h"
#include "subscriptions.h"

#define NUDGE_MS 15000    /* a connect() that hangs is interrupted so often */
#define GREETING_MS 15000 /* for the TLS handshake and the CONNACK */
#define STABLE_MS 5000    /* up for so long: the next failure starts a new backoff */
#define TURN_MESSAGES 200  /* read at most so many of one link in a turn, */
#define TURN_MS 20         /* and for so long: other links wait meanwhile */

enum state { OFF, WAITING, CONNECTING, GREETING, UP, LEAVING };

struct link {
	struct loop *loop;
	char *name;
	struct link_config *config;
	struct link_config *next_config; /* link_configure(), not settled yet */
	const struct transport_ops *ops;
	void *transport; /* NULL without URLs; the attempt's while CONNECTING */
	const struct link_events *events;
	void *arg;

	enum state state;
	bool held, stopping;
	bool unwanted; /* told to stop, and not to start since; also what is configured meanwhile stays off */
	const char *refusing; /* link_refuse(): why, until the read is over */
	bool greeted; /* the CONNACK came in this read; links go up after it, not inside */
	struct greeting greeting;
	struct attempt *attempt;
	struct retry retry;
	bool discard_session; /* at every URL before it is connected to again, */
	bool *discarded;      /* where that is done, [i] for config->urls[i] */
	int64_t up_since_ms, progress_ms;
	size_t in_flight;

	struct loop_watch socket, attempt_done;
	struct loop_timer retry_timer, deadline, tick;
	struct subscriptions subscriptions;
	struct link_stats stats;
	char component[80];
};

/* ---- helpers ---- */

static const struct url *current_url(const struct link *link)
{
	return &link->config->urls[link->retry.url];
}

static void describe_peer(const struct link *link, char *text, size_t size)
{
	snprintf(text, size, "%s:%d", current_url(link)->host, current_url(link)->port);
}

static int64_t tick_ms(const struct link *link)
{
	int64_t keepalive_ms = link->state >= UP ? link->greeting.keepalive_ms : link->config->keepalive_ms;
	int64_t tick = keepalive_ms / 8;

	if (tick < 500)
		tick = 500;
	return tick > 10000 ? 10000 : tick;
}

static void watch_socket(struct link *link, bool on)
{
	loop_unwatch(link->loop, &link->socket);
	link->socket.fd = on ? link->ops->fd(link->transport) : -1;
	if (on && (link->socket.fd < 0 || loop_watch(link->loop, &link->socket) < 0))
		link->socket.fd = -1;
}

static void go_off(struct link *link)
{
	link->state = OFF;
	link->stopping = false;
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
	int64_t delay_ms;

	describe_peer(link, peer, sizeof peer);
	delay_ms = retry_failed(&link->retry, link->config->n_urls, link->config->reconnect_min_ms,
	                        link->config->reconnect_max_ms);
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

	if (link->held) { /* reconnecting would bring what is not safe yet once more */
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
		go_off(link);
		return;
	}
	if (failed) {
		retry_later(link, err);
		return;
	}
	link->state = GREETING;
	watch_socket(link, true);
	loop_timer_set(link->loop, &link->deadline, loop_now_ms(link->loop) + GREETING_MS);
	loop_timer_set(link->loop, &link->tick, loop_now_ms(link->loop) + tick_ms(link));
}

static void go_up(struct link *link)
{
	char peer[160];

	loop_timer_cancel(link->loop, &link->deadline);
	link->state = UP;
	loop_timer_set(link->loop, &link->tick, loop_now_ms(link->loop) + tick_ms(link));
	link->up_since_ms = link->progress_ms = loop_now_ms(link->loop);
	retry_up(&link->retry);
	describe_peer(link, peer, sizeof peer);
	subscriptions_greeted(&link->subscriptions, peer, link->greeting.session_present);
	log_info(link->component, "connected peer=%s session=%s", peer,
	         link->greeting.session_present ? "present" : "new");
	link->events->up(link->arg, link);
}

static void lose(struct link *link, const char *reason)
{
	bool stable = loop_now_ms(link->loop) - link->up_since_ms >= STABLE_MS;
	char peer[160];
	int64_t delay_ms;

	describe_peer(link, peer, sizeof peer);
	delay_ms = retry_lost(&link->retry, stable, link->config->reconnect_min_ms, link->config->reconnect_max_ms);
	log_warn(link->component, "lost %s: %s; retry in %.1f s", peer, reason, (double)delay_ms / 1000);
	link->stats.reconnects++;
	wait_for(link, delay_ms);
}

static void go_down(struct link *link, const char *reason)
{
	bool was_up = link->state == UP || link->state == LEAVING;

	watch_socket(link, false);
	loop_timer_cancel(link->loop, &link->deadline);
	loop_timer_cancel(link->loop, &link->tick);
	end_connection(link);
	if (link->stopping) {
		reason = "stopped";
		log_info(link->component, "disconnected");
		go_off(link);
	} else if (was_up) {
		lose(link, reason);
	} else {
		retry_later(link, reason);
	}
	if (was_up)
		link->events->down(link->arg, link, reason);
}

/* ---- the socket ---- */

static void on_socket(void *arg, short revents)
{
	struct link *link = arg;
	char err[256];
	int more;

	if (!(revents & (POLLIN | POLLHUP | POLLERR)))
		return; /* writable: the flush at the end of the turn writes */
	link->refusing = NULL;
	more = link->ops->read(link->transport, TURN_MESSAGES, TURN_MS, err, sizeof err);
	if (link->greeted && link->state == GREETING && more >= 0)
		go_up(link);
	if (more >= 0 && link->refusing)
		snprintf(err, sizeof err, "%s", link->refusing);
	if (more < 0 || link->refusing)
		go_down(link, err);
	else if (more > 0)
		loop_again(link->loop);
}

static void on_tick(void *arg)
{
	struct link *link = arg;
	char err[256];

	loop_timer_set(link->loop, &link->tick, loop_now_ms(link->loop) + tick_ms(link));
	if (link->held)
		return;
	if (link->ops->tick(link->transport, err, sizeof err) < 0) {
		go_down(link, err);
	} else if (link->state == UP && link->in_flight > 0 &&
	           loop_now_ms(link->loop) - link->progress_ms > link->config->ack_timeout_ms) {
		link->stats.stalls++;
		go_down(link, "no acknowledgement within ack_timeout");
	}
}

static void on_deadline(void *arg)
{
	struct link *link = arg;

	if (link->state == CONNECTING) {
		attempt_nudge(link->attempt);
		loop_timer_set(link->loop, &link->deadline, loop_now_ms(link->loop) + NUDGE_MS);
	} else if (link->state == GREETING) {
		go_down(link, "no answer to the connection request");
	}
}

/* ---- calls of the transport ---- */

static void on_greeted(void *arg, const struct greeting *greeting)
{
	struct link *link = arg;

	link->greeted = true;
	link->greeting = *greeting;
}

static void on_message(void *arg, const struct inbound *message)
{
	struct link *link = arg;

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

static const struct transport_events transport_events = {
        .greeted = on_greeted,
        .message = on_message,
        .acknowledged = on_acknowledged,
        .refused = on_refused,
        .subscribed = on_subscribed,
        .unsubscribed = on_unsubscribed,
};

/* ---- opening and closing ---- */

/* Takes `config` in any case; the old transport is gone already. */
static int adopt(struct link *link, struct link_config *config, char *err, size_t err_size)
{
	config_link_free(link->config);
	link->config = config;
	link->retry.url = 0;
	link->retry.rounds = 0;
	free(link->discarded);
	link->discarded = calloc(config->n_urls + 1, sizeof *link->discarded);
	if (!link->discarded) {
		snprintf(err, err_size, "link %s: out of memory", link->name);
		return -1;
	}
	for (size_t i = 0; i < config->n_subscriptions; i++)
		if (subscriptions_add(&link->subscriptions, &config->subscriptions[i]) < 0) {
			snprintf(err, err_size, "link %s: out of memory", link->name);
			return -1;
		}
	if (config->n_urls == 0)
		return 0;
	link->transport = link->ops->open(config, &transport_events, link, err, err_size);
	return link->transport ? 0 : -1;
}

/* Leaves the link OFF without a transport; `config` goes with a hanging attempt. */
static void discard_transport(struct link *link)
{
	loop_timer_cancel(link->loop, &link->retry_timer);
	loop_timer_cancel(link->loop, &link->deadline);
	loop_timer_cancel(link->loop, &link->tick);
	loop_unwatch(link->loop, &link->socket);
	if (link->attempt) {
		attempt_abandon(link->attempt, link->config);
		link->attempt = NULL;
		link->config = NULL;
	} else if (link->transport) {
		link->ops->abort(link->transport, NOTHING_IN_FLIGHT);
		link->ops->close(link->transport);
	}
	link->transport = NULL;
	link->in_flight = 0;
	link->state = OFF;
}

struct link *link_open(struct loop *loop, struct link_config *config, const struct transport_ops *ops,
                       const struct link_events *events, void *arg, char *err, size_t err_size)
{
	struct link *link = calloc(1, sizeof *link);

	if (!link || !(link->name = strdup(config->name))) {
		snprintf(err, err_size, "link %s: out of memory", config->name);
		config_link_free(config);
		free(link);
		return NULL;
	}
	link->loop = loop;
	link->ops = ops;
	link->events = events;
	link->arg = arg;
	link->socket = (struct loop_watch){.fd = -1, .events = POLLIN, .ready = on_socket, .arg = link};
	link->attempt_done = (struct loop_watch){.events = POLLIN, .ready = on_attempt_done, .arg = link};
	link->retry_timer = (struct loop_timer){.fire = on_retry, .arg = link};
	link->deadline = (struct loop_timer){.fire = on_deadline, .arg = link};
	link->tick = (struct loop_timer){.fire = on_tick, .arg = link};
	link->retry.random = (unsigned)clock_monotonic_ms() ^ (unsigned)getpid() ^ (unsigned)(uintptr_t)link;
	snprintf(link->component, sizeof link->component, "link %s", config->name);
	link->attempt_done.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (adopt(link, config, err, err_size) < 0) {
		link_close(link);
		return NULL;
	}
	if (link->attempt_done.fd < 0 || loop_watch(loop, &link->attempt_done) < 0) {
		snprintf(err, err_size, "link %s: out of memory or file descriptors", link->name);
		link_close(link);
		return NULL;
	}
	return link;
}

void link_close(struct link *link)
{
	if (!link)
		return;
	discard_transport(link);
	loop_unwatch(link->loop, &link->attempt_done);
	if (link->attempt_done.fd >= 0)
		close(link->attempt_done.fd);
	config_link_free(link->config);
	config_link_free(link->next_config);
	free(link->discarded);
	subscriptions_release(&link->subscriptions);
	free(link->name);
	free(link);
}

void link_configure(struct link *link, struct link_config *config)
{
	config_link_free(link->next_config);
	link->next_config = config;
	link->unwanted = false;
	loop_again(link->loop);
}

static void reconfigure(struct link *link)
{
	struct link_config *config = link->next_config;
	bool was_up = link->state == UP || link->state == LEAVING;
	char err[256];

	link->next_config = NULL;
	/* What the old configuration subscribed to is not the new one's business. */
	for (size_t i = 0; link->config && i < link->config->n_subscriptions; i++)
		subscriptions_remove(&link->subscriptions, link->config->subscriptions[i].filter);
	discard_transport(link);
	link->stopping = false;
	if (was_up)
		link->events->down(link->arg, link, "reconfigured");
	link->events->forgotten(link->arg, link);
	if (adopt(link, config, err, sizeof err) < 0)
		log_error(link->component, "%s", err);
	else if (!link->unwanted)
		link_start(link);
}

/* ---- what is known ---- */

const char *link_name(const struct link *link)
{
	return link->name;
}

const struct link_config *link_config(const struct link *link)
{
	return link->config;
}

bool link_connected(const struct link *link)
{
	return link->state == UP && !link->stopping;
}

bool link_off(const struct link *link)
{
	return link->state == OFF || (link->stopping && link->state == CONNECTING);
}

bool link_unwanted(const struct link *link)
{
	return link->unwanted;
}

bool link_brings(const struct link *link)
{
	return link->subscriptions.n > 0 || subscriptions_kept(&link->subscriptions) || link->stats.received > 0;
}

int link_window(const struct link *link)
{
	int window = link->config->window;

	return link->greeting.receive_maximum > 0 && link->greeting.receive_maximum < window
	               ? link->greeting.receive_maximum
	               : window;
}

struct link_stats link_stats(const struct link *link)
{
	return link->stats;
}

char *link_session(struct link *link)
{
	return subscriptions_text(&link->subscriptions);
}

int link_set_session(struct link *link, const char *session)
{
	return subscriptions_keep(&link->subscriptions, session);
}

/* ---- what is asked ---- */

void link_start(struct link *link)
{
	link->unwanted = false;
	if (link->transport && link->state == OFF) {
		link->state = WAITING;
		loop_timer_set(link->loop, &link->retry_timer, loop_now_ms(link->loop));
	}
}

void link_discard_session(struct link *link)
{
	link->discard_session = true;
	for (size_t i = 0; link->config && i < link->config->n_urls; i++)
		link->discarded[i] = false;
}

void link_stop(struct link *link)
{
	link->unwanted = true;
	link->stopping = link->state != OFF;
	loop_again(link->loop);
}

/* link_stop(), at a time when the transport may be touched. */
static void settle_stop(struct link *link)
{
	switch (link->state) {
	case UP:
		link->ops->goodbye(link->transport);
		link->state = LEAVING;
		break;
	case GREETING:
		go_down(link, "stopped");
		break;
	case WAITING:
		loop_timer_cancel(link->loop, &link->retry_timer);
		go_off(link);
		break;
	case CONNECTING: /* an attempt cannot be called back; when it returns the link goes off */
	case LEAVING:
	case OFF:
		break;
	}
}

void link_hold(struct link *link, bool held)
{
	if (link->held == held)
		return;
	link->held = held;
	if (link->state >= GREETING)
		watch_socket(link, !held);
	loop_again(link->loop);
}

void link_refuse(struct link *link, const char *why)
{
	link->refusing = why;
}

enum send_result link_send(struct link *link, const struct message *message, int *handle, char *reason,
                           size_t reason_size)
{
	enum send_result result;

	if (!link_connected(link) || link->held)
		return SEND_LATER;
	result = link->ops->send(link->transport, message, handle, reason, reason_size);
	if (result == SEND_OK) {
		if (link->in_flight++ == 0)
			link->progress_ms = loop_now_ms(link->loop);
		link->stats.sent++;
	}
	return result;
}

int link_subscribe(struct link *link, const struct subscription *subscription)
{
	return subscriptions_add(&link->subscriptions, subscription);
}

int link_unsubscribe(struct link *link, const char *filter)
{
	subscriptions_remove(&link->subscriptions, filter);
	return 0;
}

/* What is new is noted first: the turn after has it on disk. */
static void settle_subscriptions(struct link *link)
{
	if (subscriptions_unnoted(&link->subscriptions)) {
		link->events->session(link->arg, link);
		loop_again(link->loop);
		return;
	}
	for (size_t i = 0; i < link->subscriptions.n; i++) {
		struct subscription_entry *entry = &link->subscriptions.entries[i];

		if (entry->state == SUBSCRIPTION_NEW &&
		    link->ops->subscribe(link->transport, &entry->subscription, &entry->handle) == 0)
			entry->state = SUBSCRIPTION_ASKED;
		else if (entry->state == SUBSCRIPTION_LEAVING &&
		         link->ops->unsubscribe(link->transport, entry->subscription.filter, &entry->handle) == 0)
			entry->state = SUBSCRIPTION_LEFT;
	}
}

void link_flush(struct link *link)
{
	char err[256];

	if (link->held)
		return;
	if (link->next_config)
		reconfigure(link);
	if (link->state == UP && !link->stopping)
		settle_subscriptions(link);
	if (link->stopping)
		settle_stop(link);
	if (link->state < GREETING)
		return;
	if (link->ops->wants_write(link->transport) && link->ops->write(link->transport, err, sizeof err) < 0) {
		go_down(link, err);
		return;
	}
	link->socket.events = link->ops->wants_write(link->transport) ? POLLIN | POLLOUT : POLLIN;
}
