/* Where links, queues and scripts meet: what a link tells goes to the scripts, what
 * they queue for it goes out by its forward, and what became of it goes back. */
#include "route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ack_line.h"
#include "agent.h"
#include "dead.h"
#include "dead_letters.h"
#include "forward.h"
#include "kdb.h"
#include "link.h"
#include "log.h"
#include "losses.h"
#include "mqtt.h"
#include "observer.h"
#include "queue.h"
#include "store.h"

struct route *route_of(struct agent *agent, const struct link *link)
{
	struct route *route = agent->routes;

	while (route && route->link != link)
		route = route->next;
	return route;
}

struct route *route_named(struct agent *agent, const char *name)
{
	struct route *route = agent->routes;

	while (route && strcmp(link_name(route->link), name) != 0)
		route = route->next;
	return route;
}

/* ---- step "read": what links and forwards tell ---- */

static void on_message(void *arg, struct link *link, const struct inbound *message)
{
	struct agent *agent = arg;

	if (agent->custody.failing) { /* from a session that we did not know to bring any */
		link_refuse(link, "nothing can be taken while the store cannot be written");
		return;
	}
	if (link_repeats(link, message))
		return;
	if (agent->observer && agent->observer->message)
		agent->observer->message(agent->observer->arg, link, message);
	agent->out_of_memory = false;
	custody_begin(agent, route_of(agent, link));
	if (!dead_letters_handle(agent, link, message))
		agent->out_of_memory = true;
	custody_end(agent);
	if (agent->out_of_memory)
		link_refuse(link, "out of memory");
	else
		link_taken(link, message);
	scripts_settle(agent);
}

/* Reads an acknowledgement of the collector's. NULL, or why it is ignored; may be in `err`. */
static const char *take_receipt(struct route *route, const struct inbound *message, char *err, size_t err_size)
{
	struct agent *agent = route->agent;
	char instance[64];
	uint64_t seq;

	if (message->retain)
		return "it is retained";
	if (ack_line_read(message->payload, instance, sizeof instance, &seq, err, err_size) < 0)
		return err;
	if (strcmp(instance, store_instance(agent->store)) != 0)
		return "it is about another instance";
	if (forward_collected(route->forward, seq, loop_now_ms(agent->loop)) != RECEIPTS_NEVER_SENT)
		return NULL;
	snprintf(err, err_size, "message %llu was never sent", (unsigned long long)seq);
	return err;
}

static void on_receipt(void *arg, struct link *link, const struct inbound *message)
{
	struct agent *agent = arg;
	struct route *route = route_of(agent, link);
	uint64_t earlier = 0;
	char err[256];
	const char *problem = take_receipt(route, message, err, sizeof err);

	loop_again(agent->loop);
	if (!problem || !log_limit_allows(&route->receipts_logged, loop_now_ms(agent->loop), &earlier))
		return;
	log_warn("agent", "link %s: an acknowledgement on ack_topic is ignored: %s", link_name(link), problem);
	if (earlier > 0)
		log_warn("agent", "link %s: so were %llu more", link_name(link), (unsigned long long)earlier);
}

static void on_up(void *arg, struct link *link)
{
	struct agent *agent = arg;

	custody_up(agent, route_of(agent, link));
	if (agent->observer && agent->observer->up)
		agent->observer->up(agent->observer->arg, link);
	forward_up(route_of(agent, link)->forward, loop_now_ms(agent->loop));
	losses_report(agent, route_of(agent, link));
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_connect(agent->scripts[i].script, link_name(link));
}

static void on_down(void *arg, struct link *link, const char *reason)
{
	struct agent *agent = arg;

	if (agent->observer && agent->observer->down)
		agent->observer->down(agent->observer->arg, link, reason);
	forward_lost(route_of(agent, link)->forward, loop_now_ms(agent->loop));
	custody_lost(route_of(agent, link));
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_disconnect(agent->scripts[i].script, link_name(link), reason);
	loop_again(agent->loop); /* it may come from the last step: commit what the handlers did */
}

static bool on_acknowledged(void *arg, struct link *link, int handle)
{
	struct agent *agent = arg;
	struct route *route = route_of(agent, link);

	loop_again(agent->loop); /* QoS 0 is acknowledged in the last step: the window has room again */
	return forward_acknowledged(route->forward, handle);
}

static bool on_refused(void *arg, struct link *link, int handle, enum refusal refusal, const char *reason)
{
	struct agent *agent = arg;

	return forward_refused(route_of(agent, link)->forward, handle, refusal, reason, loop_now_ms(agent->loop));
}

/* What a kdb+ collector refuses becomes a dead letter. */
static bool room_for_refused(void *arg, struct link *link, size_t messages, size_t bytes)
{
	(void)link;
	return dead_has_room(((struct agent *)arg)->dead, messages, bytes);
}

/* What was in flight at QoS 2 is sent as new, so the session that knows the old
 * packet ids must go; unless messages arrive on it too, which it keeps for us:
 * losing those would be worse. */
static void discard_session(struct route *route)
{
	if (link_brings(route->link))
		log_warn("agent", "link %s sends at QoS 2 and has subscriptions: its session is kept, and after a restart the "
		                  "broker may take an equal message for a duplicate; use two links",
		         link_name(route->link));
	else
		link_discard_session(route->link);
}

static enum in_flight on_in_flight(void *arg, struct link *link)
{
	const struct forward *forward = route_of(arg, link)->forward;

	if (forward_isolates(forward))
		return NOTHING_IN_FLIGHT;
	return forward_has_qos(forward, 2) ? QOS2_IN_FLIGHT : forward_has_qos(forward, 1) ? QOS1_IN_FLIGHT : NOTHING_IN_FLIGHT;
}

static size_t on_remembered(void *arg, struct link *link)
{
	return forward_restart_qos0(route_of(arg, link)->forward);
}

static void on_forgotten(void *arg, struct link *link)
{
	struct route *route = route_of(arg, link);

	if (forward_has_qos(route->forward, 2))
		discard_session(route);
	forward_restart(route->forward);
}

/* The name of a note about a link: "session core". */
static void note_name(const struct link *link, const char *what, char *name, size_t size)
{
	snprintf(name, size, "%s %s", what, link_name(link));
}

void route_note_qos2(struct agent *agent, struct route *route)
{
	char name[128];

	if (route->sent_qos2)
		return;
	note_name(route->link, "qos2", name, sizeof name);
	route->sent_qos2 = store_set_note(agent->store, name, "sent") == 0;
}

static void on_session(void *arg, struct link *link)
{
	struct agent *agent = arg;
	char *text = link_session(link), name[128];

	note_name(link, "session", name, sizeof name);
	if (!text || store_set_note(agent->store, name, text) < 0)
		log_warn("agent", "subscriptions of link %s not noted: out of memory", link_name(link));
	free(text);
}

static int on_note(void *arg, struct link *link, const char *text)
{
	char name[128];

	note_name(link, STORE_NOTE_SENDING, name, sizeof name);
	return store_set_note(((struct agent *)arg)->store, name, text);
}

static bool on_noted(void *arg, struct link *link)
{
	char name[128];

	note_name(link, STORE_NOTE_SENDING, name, sizeof name);
	return store_noted(((struct agent *)arg)->store, name);
}

static const struct link_events link_events = {
        .up = on_up,
        .down = on_down,
        .message = on_message,
        .receipt = on_receipt,
        .acknowledged = on_acknowledged,
        .refused = on_refused,
        .room_for_refused = room_for_refused,
        .in_flight = on_in_flight,
        .remembered = on_remembered,
        .forgotten = on_forgotten,
        .session = on_session,
        .note = on_note,
        .noted = on_noted,
};

/* ---- what became of a message ---- */

static bool wants_fate(void *arg, uint32_t origin)
{
	struct script *script = agent_script_of(arg, origin);

	return script && script_defines(script, "on_sent");
}

static void on_sent(void *arg, struct forward *forward, uint64_t seq, const struct message *message)
{
	struct script *script = message ? agent_script_of(arg, message->origin) : NULL;

	if (script)
		script_sent(script, seq, link_name(forward_link(forward)), message->context);
}

/* A row that a collector does not take is kept for the owner, who does not want what he purged. */
static void on_dropped(void *arg, struct forward *forward, uint64_t seq, const struct message *message,
                       const char *reason)
{
	struct script *script = message ? agent_script_of(arg, message->origin) : NULL;
	struct route *route = route_of(arg, forward_link(forward));

	bool purged = strcmp(reason, FORWARD_PURGED) == 0;

	if (route->kind != LINK_KDB || !message || purged || !dead_letters_keep_row(arg, route, message, reason))
		losses_add(arg, route, seq, message, reason);
	if (script)
		script_drop(script, seq, link_name(forward_link(forward)), reason, message->context);
	loop_again(((struct agent *)arg)->loop);
}

void agent_correct_time(const struct agent *agent, struct message *message)
{
	message->time_uncertain = !clock_correct(&agent->clock, clock_wall_ms(), clock_age_ms(&agent->clock), message->age_ms,
	                                         &message->time_ms);
}

static void correct_time(void *arg, struct message *message)
{
	agent_correct_time(arg, message);
}

static const struct forward_events forward_events = {
        .sent = on_sent, .dropped = on_dropped, .correct_time = correct_time};

void route_lost(struct route *route, const struct message *message, const char *reason)
{
	forward_gave_up(route->forward, message, reason);
	losses_add(route->agent, route, message->seq, message, reason);
}

static void on_given_up(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	struct route *route = arg;

	(void)queue;
	route_lost(route, message, drops_reason(why));
	drops_add(&route->agent->drops, route, message, why);
	loop_again(route->agent->loop);
}

/* ---- what must be on disk before it is acknowledged ---- */

void route_note_received(struct agent *agent)
{
	for (struct route *route = agent->routes; route; route = route->next) {
		char *text = link_received(route->link), name[128];

		if (!text)
			continue;
		note_name(route->link, STORE_NOTE_RECEIVED, name, sizeof name);
		if (store_set_note(agent->store, name, text) < 0)
			log_warn("agent", "what link %s received is not noted: out of memory", link_name(route->link));
		free(text);
	}
}

bool route_received_due(const struct agent *agent)
{
	const struct route *route = agent->routes;

	while (route && !link_received_due(route->link))
		route = route->next;
	return route != NULL;
}

/* ---- making one ---- */

static void restore_session(struct agent *agent, struct link *link)
{
	char name[128], *text;

	note_name(link, "session", name, sizeof name);
	text = store_note(agent->store, name);
	if (text && link_set_session(link, text) < 0)
		log_warn("agent", "link %s: out of memory: its old subscriptions are not looked at", link_name(link));
	free(text);
}

/* Where the calls of an earlier process ended, of which it is not known whether they were applied. */
static void restore_note(struct agent *agent, struct link *link)
{
	char name[128], *text;

	note_name(link, STORE_NOTE_SENDING, name, sizeof name);
	text = store_note(agent->store, name);
	if (text && link_restore(link, text) < 0)
		log_warn("agent", "link %s: what was noted of its calls cannot be used: %s", link_name(link), text);
	free(text);
}

/* Strict mode: what is acknowledged is on disk, so what comes again can be told. */
static void recognise(struct agent *agent, struct link *link)
{
	char name[128], *text;

	note_name(link, STORE_NOTE_RECEIVED, name, sizeof name);
	text = store_note(agent->store, name);
	if (link_recognise(link, text) < 0)
		log_warn("agent", "link %s: out of memory: what comes again is run again", link_name(link));
	free(text);
}

static bool has_note(struct agent *agent, const struct link *link, const char *what)
{
	char name[128], *text;

	note_name(link, what, name, sizeof name);
	text = store_note(agent->store, name);
	if (!text)
		return false;
	free(text);
	return true;
}

/* Nobody shall forget what was meant for a test. */
static void warn_of_insecurity(const struct link_config *config)
{
	if (config->n_urls == 0 || !config->urls[0].tls)
		return;
	if (config->tls.insecure)
		log_warn("agent", "link %s: tls.insecure: whoever has any certificate that is trusted can pose as %s", config->name,
		         config->urls[0].host);
	else if (config->kind == LINK_KDB && !config->tls.verify_host)
		log_warn("agent", "link %s: tls.verify_host = false: whoever has any certificate that is trusted can pose as %s",
		         config->name, config->urls[0].host);
}

void route_start(struct route *route)
{
	warn_of_insecurity(link_config(route->link));
	if (link_unwanted(route->link)) /* on_start() said so */
		return;
	if (route->old_qos2) /* the last process sent at QoS 2 */
		discard_session(route);
	link_start(route->link);
}

/* ---- what changes ---- */

/* What a kdb+ collector knows us by. */
static int sign(const struct agent *agent, struct link_config *config)
{
	const char *instance = store_instance(agent->store);

	if (config->kind != LINK_KDB)
		return 0;
	free(config->kdb.agent);
	config->kdb.agent = strdup(agent->config->name);
	for (size_t i = 0; i < sizeof config->kdb.instance; i++) {
		const char digits[3] = {instance[2 * i], instance[2 * i + 1]};

		config->kdb.instance[i] = (unsigned char)strtoul(digits, NULL, 16);
	}
	return config->kdb.agent ? 0 : -1;
}

void route_configure(struct route *route, struct link_config *config)
{
	route->standing = ROUTE_SETTLED;
	route->abandoned = false;
	warn_of_insecurity(config);
	route_set_policy(route, config);
	if (sign(route->agent, config) < 0)
		log_error("agent", "link %s: out of memory: the collector will not know who sends", link_name(route->link));
	link_configure(route->link, config);
}

void route_let_go(struct route *route, uint32_t script)
{
	if (route->stopper == script) {
		route->stopper = 0;
		link_start(route->link);
	}
	if (route->opener != script)
		return;
	route->opener = 0;
	route->abandoned = !route->of_config;
	if (route->spare) {
		route_configure(route, route->spare);
		route->spare = NULL;
	}
}

void route_remove(struct route *route)
{
	struct agent *agent = route->agent;
	uint64_t waiting = queue_messages(route->queue);

	route->standing = ROUTE_FORGOTTEN;
	route->abandoned = route->of_config = false;
	route->opener = route->stopper = 0;
	if (agent->default_routes[route->kind] == route)
		agent->default_routes[route->kind] = NULL;
	link_stop(route->link);
	if (waiting > 0)
		log_warn("agent", "link %s is removed; %llu messages stay in its queue until there is one of that name again",
		         link_name(route->link), (unsigned long long)waiting);
	else
		log_info("agent", "link %s is removed", link_name(route->link));
}

void routes_remove_abandoned(struct agent *agent)
{
	for (struct route *route = agent->routes; route; route = route->next)
		if (route->abandoned)
			route_remove(route);
}

void route_close(struct route *route)
{
	config_link_free(route->spare);
	forward_close(route->forward);
	queue_close(route->queue);
	link_close(route->link);
	free(route->history);
	free(route);
}

/* In a rehearsal there is no collector that could acknowledge. */
void route_set_policy(struct route *route, const struct link_config *config)
{
	const struct queue_config *policy = &config->queue;
	const char *instance =
		config->ack_topic && !route->agent->rehearsal ? store_instance(route->agent->store) : NULL;
	bool strict = route->agent->custody.strict || config->kdb.exactly_once;

	route->policy = *policy;
	queue_set_limits(route->queue, (struct queue_limits){.max_messages = (uint64_t)policy->max_messages,
	                                                     .max_bytes = (uint64_t)policy->max_bytes,
	                                                     .overflow = policy->overflow});
	forward_set_policy(route->forward, (struct forward_policy){.strict = strict,
	                                                           .live_first = policy->live_first,
	                                                           .rate = policy->rate,
	                                                           .no_qos2 = config->max_qos == 1,
	                                                           .finds_guilty = route->kind == LINK_KDB,
	                                                           .instance = instance,
	                                                           .ack_window = (size_t)config->ack_window,
	                                                           .ack_timeout_ms = config->ack_timeout_ms});
}

static const struct transport_ops *transport_for(const struct agent *agent, const struct link_config *config)
{
	if (agent->transport)
		return agent->transport;
	return config->kind == LINK_KDB ? &kdb_transport : &mqtt_transport;
}

struct route *route_add(struct agent *agent, struct link_config *config, char *err, size_t err_size)
{
	struct route *route = calloc(1, sizeof *route), **at = &agent->routes;
	bool is_default = config->is_default;

	if (!route) {
		config_link_free(config);
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	route->kind = config->kind;
	route->agent = agent;
	if (sign(agent, config) < 0) {
		config_link_free(config);
		snprintf(err, err_size, "out of memory");
	} else {
		route->link = link_open(agent->loop, config, transport_for(agent, config), &link_events, agent, err, err_size);
	}
	if (route->link)
		route->queue = queue_open(agent->store, link_name(route->link), (struct queue_limits){0}, on_given_up, route, err,
		                          err_size);
	if (route->queue) {
		route->counting = true;
		route->forward = forward_open(route->queue, route->link, &forward_events, wants_fate, agent);
		if (!route->forward)
			snprintf(err, err_size, "out of memory");
	}
	if (!route->forward) {
		route_close(route);
		return NULL;
	}
	route_set_policy(route, link_config(route->link));
	restore_session(agent, route->link);
	restore_note(agent, route->link);
	if (agent->config->linger_ms == 0)
		recognise(agent, route->link);
	route->old_qos2 = has_note(agent, route->link, "qos2");
	while (*at)
		at = &(*at)->next;
	*at = route;
	if (is_default)
		agent->default_routes[route->kind] = route;
	return route;
}
