/* One link: its configuration, and what it is asked to do, which is done in
 * link_flush(). How it connects is in connection.c. */
#include "link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link_internal.h"
#include "log.h"

/* Before MQTT 5 a broker cannot say how many messages at QoS 2 it takes in flight. mosquitto takes 20 unless told
 * otherwise; of what is beyond that it loses messages, and then hangs up. */
#define QOS2_WINDOW 20

/* ---- opening and closing ---- */

/* Acknowledgements are cumulative, and say nothing that is not said again: so QoS 0 will do, and none of
 * them pile up at the broker. */
static int add_subscriptions(struct link *link, const struct link_config *config, char *err, size_t err_size)
{
	struct subscription receipts = {.filter = config->ack_topic, .qos = 0};
	int result = 0;

	for (size_t i = 0; i < config->n_subscriptions && result == 0; i++)
		result = subscriptions_add(&link->subscriptions, &config->subscriptions[i], SUBSCRIPTION_OF_CONFIG);
	if (config->ack_topic && result == 0)
		result = subscriptions_add(&link->subscriptions, &receipts, SUBSCRIPTION_OF_AGENT);
	if (result < 0)
		snprintf(err, err_size, "link %s: out of memory", link->name);
	return result;
}

static void drop_subscriptions(struct link *link, const struct link_config *config)
{
	for (size_t i = 0; i < config->n_subscriptions; i++)
		subscriptions_drop(&link->subscriptions, config->subscriptions[i].filter, SUBSCRIPTION_OF_CONFIG);
	if (config->ack_topic)
		subscriptions_drop(&link->subscriptions, config->ack_topic, SUBSCRIPTION_OF_AGENT);
}

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
	if (add_subscriptions(link, config, err, err_size) < 0)
		return -1;
	if (config->n_urls == 0)
		return 0;
	link->transport = link->ops->open(link->ops, config, &connection_events, link, err, err_size);
	if (link->transport && link->note && link->ops->restore && link->ops->restore(link->transport, link->note) < 0)
		log_warn(link->component, "what was noted of its calls is lost: %s", link->note);
	return link->transport ? 0 : -1;
}

/* Leaves the link OFF without a transport; `config` goes with a hanging attempt. */
static void discard_transport(struct link *link)
{
	loop_timer_cancel(link->loop, &link->retry_timer);
	loop_timer_cancel(link->loop, &link->deadline);
	loop_timer_cancel(link->loop, &link->tick);
	loop_timer_cancel(link->loop, &link->rest);
	loop_timer_cancel(link->loop, &link->due);
	link->unread = false;
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
	link->since_ms = loop_now_ms(loop);
	connection_init(link);
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
	redelivery_close(link->redelivery);
	free(link->note);
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

/* The connection is to be what it was. */
static int reconfigure_live(struct link *link, struct link_config *config, char *err, size_t err_size)
{
	int result = add_subscriptions(link, config, err, err_size);

	if (!link->unwanted && link->state != LEAVING)
		link->stopping = false; /* it was told to stop, and to go on, before it did */
	config_link_merge(link->config, config);
	return result;
}

static int reconnect(struct link *link, struct link_config *config, char *err, size_t err_size)
{
	bool was_up = link->state == UP || link->state == LEAVING;

	discard_transport(link);
	link->stopping = false;
	link->problem[0] = 0;
	if (was_up) {
		link->since_ms = loop_now_ms(link->loop);
		link->events->down(link->arg, link, "reconfigured");
	}
	link->events->forgotten(link->arg, link);
	return adopt(link, config, err, err_size);
}

static void reconfigure(struct link *link)
{
	struct link_config *config = link->next_config;
	char err[256];
	int result;

	link->next_config = NULL;
	/* What the old configuration subscribed to is not the new one's business. */
	if (link->config)
		drop_subscriptions(link, link->config);
	if (link->transport && config_link_same_connection(link->config, config))
		result = reconfigure_live(link, config, err, sizeof err);
	else
		result = reconnect(link, config, err, sizeof err);
	if (result < 0)
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

const struct link_config *link_configured(const struct link *link)
{
	return link->next_config ? link->next_config : link->config;
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
	const char *own = link->config ? link->config->ack_topic : NULL;

	return subscriptions_bring(&link->subscriptions, own) || link->stats.received > 0;
}

bool link_hears_receipts(const struct link *link)
{
	return link->config->ack_topic && subscriptions_asked(&link->subscriptions, link->config->ack_topic);
}

enum hang_up link_hung_up(const struct link *link)
{
	return link->transport ? link->ops->hung_up(link->transport) : NO_HANG_UP;
}

bool link_unread(const struct link *link)
{
	return link->unread;
}

int link_window(const struct link *link)
{
	int window = link->config->window;

	if (link->config->kind == LINK_KDB) /* of batches, and one is filled meanwhile */
		return (window + 1) * (int)link->config->kdb.batch_rows;
	return link->greeting.receive_maximum > 0 && link->greeting.receive_maximum < window
	               ? link->greeting.receive_maximum
	               : window;
}

int link_window_qos2(const struct link *link)
{
	int window = link_window(link);

	return link->config->version < 5 && link->config->max_qos == 2 && window > QOS2_WINDOW ? QOS2_WINDOW : window;
}

struct link_stats link_stats(const struct link *link)
{
	return link->stats;
}

struct link_report link_report(const struct link *link)
{
	static const char *const states[] = {"off", "waiting", "connecting", "greeting", "up", "leaving"};

	return (struct link_report){
	        .state = states[link->state],
	        .held = link->hold != LINK_FLOWS,
	        .since_ms = link->since_ms,
	        .problem = link->state == UP ? "" : link->problem,
	        .url = link->config && link->config->n_urls > 0 ? &link->config->urls[link->retry.url] : NULL,
	};
}

char *link_session(struct link *link)
{
	return subscriptions_text(&link->subscriptions);
}

int link_set_session(struct link *link, const char *session)
{
	return subscriptions_keep(&link->subscriptions, session);
}

/* ---- what was taken ---- */

int link_recognise(struct link *link, const char *note)
{
	link->redelivery = redelivery_open();
	if (link->redelivery && note)
		redelivery_restore(link->redelivery, note);
	return link->redelivery ? 0 : -1;
}

bool link_repeats(struct link *link, const struct inbound *message)
{
	if (!link->redelivery || !redelivery_repeats(link->redelivery, message))
		return false;
	link->stats.redelivered++;
	return true;
}

void link_taken(struct link *link, const struct inbound *message)
{
	if (link->redelivery)
		redelivery_taken(link->redelivery, message);
}

char *link_received(struct link *link)
{
	return link->redelivery ? redelivery_note(link->redelivery) : NULL;
}

bool link_received_due(const struct link *link)
{
	return link->redelivery && redelivery_note_due(link->redelivery);
}

const char *link_redelivery(const struct link *link)
{
	return link->redelivery ? redelivery_state(link->redelivery) : "off: store.linger is not 0";
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

void link_hurry(struct link *link)
{
	if (link->state == WAITING)
		loop_timer_set(link->loop, &link->retry_timer, loop_now_ms(link->loop));
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
		connection_down(link, "stopped");
		break;
	case WAITING:
		loop_timer_cancel(link->loop, &link->retry_timer);
		connection_off(link);
		break;
	case CONNECTING: /* an attempt cannot be called back; when it returns the link goes off */
	case LEAVING:
	case OFF:
		break;
	}
}

void link_hold(struct link *link, enum link_hold hold)
{
	enum link_hold before = link->hold;

	if (hold == before)
		return;
	link->hold = hold;
	if (before == LINK_FLOWS)
		link->held_since_ms = loop_now_ms(link->loop);
	else if (hold == LINK_FLOWS) /* acknowledgements could not be seen meanwhile: that is no stall */
		link->progress_ms += loop_now_ms(link->loop) - link->held_since_ms;
	link->socket.events = POLLIN; /* the next flush sees what is to be written */
	if (link->state >= GREETING && (hold == LINK_HELD) != (before == LINK_HELD))
		connection_watch(link, hold != LINK_HELD);
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

	if (!link_connected(link) || link->hold != LINK_FLOWS)
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
	return subscriptions_add(&link->subscriptions, subscription, SUBSCRIPTION_OF_SCRIPT);
}

bool link_subscriptions_full(const struct link *link, const char *filter)
{
	return subscriptions_full(&link->subscriptions, filter);
}

void link_unsubscribe(struct link *link, const char *filter)
{
	subscriptions_remove(&link->subscriptions, filter);
}

void link_unsubscribe_script(struct link *link, const char *filter)
{
	subscriptions_drop(&link->subscriptions, filter, SUBSCRIPTION_OF_SCRIPT);
	loop_again(link->loop);
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

int link_restore(struct link *link, const char *note)
{
	free(link->note);
	link->note = strdup(note);
	if (!link->note)
		return -1;
	return link->transport && link->ops->restore ? link->ops->restore(link->transport, note) : 0;
}

static void take_note(struct link *link, char *note)
{
	if (link->events->note(link->arg, link, note) < 0) {
		log_warn(link->component, "out of memory: a call waits");
		free(note);
		return;
	}
	free(link->note);
	link->note = note;
	link->unnoted = true;
	loop_again(link->loop);
}

/* A note is made in one turn, committed in the next, and then it may be acted upon. */
static void settle_note(struct link *link)
{
	char *note;

	if (link->unnoted && link->events->noted(link->arg, link)) {
		link->unnoted = false;
		link->ops->noted(link->transport);
	}
	note = link->ops->note(link->transport);
	if (note && link->unnoted && strcmp(note, link->note) == 0)
		free(note);
	else if (note)
		take_note(link, note);
}

/* When the transport wants to be asked again. */
static void arm_due(struct link *link)
{
	int64_t due_ms = link->ops->due_ms(link->transport);

	if (due_ms == INT64_MAX)
		loop_timer_cancel(link->loop, &link->due);
	else
		loop_timer_set(link->loop, &link->due, due_ms);
}

void link_flush(struct link *link)
{
	char err[256];

	if (link->hold != LINK_FLOWS && link->state != GREETING) /* what greets has brought nothing yet */
		return;
	if (link->next_config)
		reconfigure(link);
	if (link->state == UP && !link->stopping)
		settle_subscriptions(link);
	if (link->state == UP && link->ops->note)
		settle_note(link);
	if (link->stopping)
		settle_stop(link);
	if (link->state < GREETING)
		return;
	if (link->ops->wants_write(link->transport) && link->ops->write(link->transport, err, sizeof err) < 0) {
		connection_down(link, err);
		return;
	}
	link->socket.events = link->ops->wants_write(link->transport) ? POLLIN | POLLOUT : POLLIN;
	if (link->ops->due_ms)
		arm_due(link);
}
