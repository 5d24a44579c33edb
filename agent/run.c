/* Wiring, and the steps of a turn:
 *
 *     read          links and timers run scripts, whose effects join the queues
 *     commit        one transaction makes durable what must be (custody.c)
 *     send          from the queues to the links that are up
 *     acknowledge   only now is anything written to a socket */
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "attempt.h"
#include "commands.h"
#include "control.h"
#include "forward.h"
#include "dead_letters.h"
#include "link.h"
#include "log.h"
#include "losses.h"
#include "mqtt.h"
#include "queue.h"
#include "store.h"

#define EXPIRE_MS 10000 /* what waits is looked through so often for what has expired */
#define DRAIN_MS 1000    /* stopping: for acknowledgements of what is in flight, */
#define LEAVE_MS 1000    /* and then for goodbyes to leave */
#define EXIT_CONFIG 78

/* ---- routes ---- */

struct route *agent_route_of(struct agent *agent, const struct link *link)
{
	struct route *route = agent->routes;

	while (route && route->link != link)
		route = route->next;
	return route;
}

struct route *agent_route_named(struct agent *agent, const char *name)
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
	agent->out_of_memory = false;
	custody_begin(agent, agent_route_of(agent, link));
	if (!dead_letters_handle(agent, link, message))
		agent->out_of_memory = true;
	custody_end(agent);
	if (agent->out_of_memory)
		link_refuse(link, "out of memory");
	else
		link_taken(link, message);
}

static void on_up(void *arg, struct link *link)
{
	struct agent *agent = arg;

	forward_up(agent_route_of(agent, link)->forward, loop_now_ms(agent->loop));
	losses_report(agent, agent_route_of(agent, link));
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_connect(agent->scripts[i], link_name(link));
}

static void on_down(void *arg, struct link *link, const char *reason)
{
	struct agent *agent = arg;

	forward_lost(agent_route_of(agent, link)->forward);
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_disconnect(agent->scripts[i], link_name(link), reason);
	loop_again(agent->loop); /* it may come from the last step: commit what the handlers did */
}

static bool on_acknowledged(void *arg, struct link *link, int handle)
{
	struct agent *agent = arg;
	struct route *route = agent_route_of(agent, link);

	loop_again(agent->loop); /* QoS 0 is acknowledged in the last step: the window has room again */
	return forward_acknowledged(route->forward, handle);
}

static bool on_refused(void *arg, struct link *link, int handle, enum refusal refusal, const char *reason)
{
	struct agent *agent = arg;

	return forward_refused(agent_route_of(agent, link)->forward, handle, refusal, reason, loop_now_ms(agent->loop));
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
	const struct forward *forward = agent_route_of(arg, link)->forward;

	return forward_has_qos(forward, 2) ? QOS2_IN_FLIGHT : forward_has_qos(forward, 1) ? QOS1_IN_FLIGHT : NOTHING_IN_FLIGHT;
}

static size_t on_remembered(void *arg, struct link *link)
{
	return forward_restart_qos0(agent_route_of(arg, link)->forward);
}

static void on_forgotten(void *arg, struct link *link)
{
	struct route *route = agent_route_of(arg, link);

	if (forward_has_qos(route->forward, 2))
		discard_session(route);
	forward_restart(route->forward);
}

/* The name of a note about a link: "session core". */
static void note_name(const struct link *link, const char *what, char *name, size_t size)
{
	snprintf(name, size, "%s %s", what, link_name(link));
}

void agent_note_qos2(struct agent *agent, struct route *route)
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

static const struct link_events link_events = {
        .up = on_up,
        .down = on_down,
        .message = on_message,
        .acknowledged = on_acknowledged,
        .refused = on_refused,
        .in_flight = on_in_flight,
        .remembered = on_remembered,
        .forgotten = on_forgotten,
        .session = on_session,
};

struct script *agent_script_of(const struct agent *agent, uint32_t origin)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		if (script_origin(agent->scripts[i]) == origin)
			return agent->scripts[i];
	return NULL;
}

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

static void on_dropped(void *arg, struct forward *forward, uint64_t seq, const struct message *message,
                       const char *reason)
{
	struct script *script = message ? agent_script_of(arg, message->origin) : NULL;

	losses_add(arg, agent_route_of(arg, forward_link(forward)), seq, message, reason);
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

/* ---- given up for want of room or time ---- */

void agent_lost(struct route *route, const struct message *message, const char *reason)
{
	forward_gave_up(route->forward, message, reason);
	losses_add(route->agent, route, message->seq, message, reason);
}

static void on_given_up(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	struct route *route = arg;
	const char *reason = why == QUEUE_EXPIRED ? "expired" : "overflow";

	(void)queue;
	agent_lost(route, message, reason);
	drops_add(&route->agent->drops, route, message, reason);
	loop_again(route->agent->loop);
}

static void expire(void *arg)
{
	struct agent *agent = arg;

	for (struct route *route = agent->routes; route; route = route->next)
		queue_expire(route->queue, clock_age_ms(&agent->clock));
}

void agent_note_received(struct agent *agent)
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

static bool received_due(const struct agent *agent)
{
	const struct route *route = agent->routes;

	while (route && !link_received_due(route->link))
		route = route->next;
	return route != NULL;
}

static bool may_expire(const struct agent *agent)
{
	const struct route *route = agent->routes;

	while (route && !queue_may_expire(route->queue))
		route = route->next;
	return route;
}

/* ---- step "commit" ---- */

static void step_commit(void *arg)
{
	struct agent *agent = arg;

	drops_tell(agent);
	if (received_due(agent))
		agent_note_received(agent);
	custody_step(agent);
	if (!agent->expire.armed && may_expire(agent))
		loop_timer_set(agent->loop, &agent->expire, loop_now_ms(agent->loop) + EXPIRE_MS);
}

/* ---- steps "send" and "acknowledge" ---- */

/* A large backlog is counted beside the work. */
static void count_backlog(struct agent *agent, struct route *route)
{
	if (!route->counting)
		return;
	route->counting = queue_count(route->queue);
	if (route->counting)
		loop_again(agent->loop);
	else if (queue_messages(route->queue) > 0)
		log_info("store", "link %s resumes with %llu messages queued", link_name(route->link),
		         (unsigned long long)queue_messages(route->queue));
}

static void step_send(void *arg)
{
	struct agent *agent = arg;
	int64_t next_ms = INT64_MAX, age_ms = clock_age_ms(&agent->clock);

	if (agent->phase != RUNNING)
		return;
	for (struct route *route = agent->routes; route; route = route->next) {
		int64_t at_ms = forward_fill(route->forward, loop_now_ms(agent->loop), age_ms);

		next_ms = at_ms < next_ms ? at_ms : next_ms;
		count_backlog(agent, route);
	}
	if (next_ms != INT64_MAX)
		loop_timer_set(agent->loop, &agent->fill, next_ms);
}

static void do_nothing(void *arg)
{
	(void)arg; /* waking up is enough: the steps follow */
}

static bool links_off(const struct agent *agent)
{
	const struct route *route = agent->routes;

	while (route && link_off(route->link))
		route = route->next;
	return !route;
}

static size_t in_flight(const struct agent *agent)
{
	size_t n = 0;

	for (const struct route *route = agent->routes; route; route = route->next)
		if (link_connected(route->link))
			n += forward_in_flight(route->forward);
	return n;
}

static void leave(struct agent *agent)
{
	agent->phase = LEAVING;
	for (struct route *route = agent->routes; route; route = route->next)
		link_stop(route->link);
	loop_timer_set(agent->loop, &agent->stop_deadline, loop_now_ms(agent->loop) + LEAVE_MS);
}

static void step_acknowledge(void *arg)
{
	struct agent *agent = arg;

	if (upkeep_must_end(agent))
		return;
	for (struct route *route = agent->routes; route; route = route->next)
		link_flush(route->link);
	custody_hold_for_room(agent);
	if (agent->phase == DRAINING && in_flight(agent) == 0)
		leave(agent);
	else if (agent->phase == LEAVING && links_off(agent))
		loop_stop(agent->loop);
}

/* ---- stopping ---- */

static void on_stop_deadline(void *arg)
{
	struct agent *agent = arg;

	if (agent->phase == DRAINING)
		leave(agent);
	else
		loop_stop(agent->loop);
}

/* First the links that bring messages say goodbye and the scripts their last
 * words; then acknowledgements of what is in flight are awaited, so that little
 * is sent twice after the next start; then the other links leave. */
static void stop(struct agent *agent)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_stop(agent->scripts[i]);
	agent->custody.stopping = true;
	step_commit(agent);
	step_send(agent);
	agent->phase = DRAINING;
	for (struct route *route = agent->routes; route; route = route->next)
		if (link_brings(route->link) && forward_in_flight(route->forward) == 0)
			link_stop(route->link);
	loop_timer_set(agent->loop, &agent->stop_deadline, loop_now_ms(agent->loop) + DRAIN_MS);
}

static void on_signal(void *arg, int number)
{
	struct agent *agent = arg;

	if (number == SIGHUP) {
		log_warn("agent", "SIGHUP: reloading is not supported by this version; restart instead");
		return;
	}
	log_info("agent", "%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
	if (agent->phase == RUNNING)
		stop(agent);
	else
		loop_stop(agent->loop);
}

static const struct loop_steps steps = {
        .commit = step_commit,
        .send = step_send,
        .acknowledge = step_acknowledge,
        .signal = on_signal,
};

/* ---- building ---- */

static void restore_session(struct agent *agent, struct link *link)
{
	char name[128], *text;

	note_name(link, "session", name, sizeof name);
	text = store_note(agent->store, name);
	if (text && link_set_session(link, text) < 0)
		log_warn("agent", "link %s: out of memory: its old subscriptions are not looked at", link_name(link));
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

static void start_link(struct route *route)
{
	if (link_unwanted(route->link)) /* on_start() said so */
		return;
	if (route->old_qos2) /* the last process sent at QoS 2 */
		discard_session(route);
	link_start(route->link);
}

static void close_route(struct route *route)
{
	forward_close(route->forward);
	queue_close(route->queue);
	link_close(route->link);
	free(route);
}

void agent_set_policy(struct route *route, const struct queue_config *policy)
{
	route->policy = *policy;
	queue_set_limits(route->queue, (struct queue_limits){.max_messages = (uint64_t)policy->max_messages,
	                                                     .max_bytes = (uint64_t)policy->max_bytes,
	                                                     .overflow = policy->overflow});
	forward_set_policy(route->forward, (struct forward_policy){.strict = route->agent->custody.strict,
	                                                           .live_first = policy->live_first,
	                                                           .rate = policy->rate});
}

struct route *agent_add_route(struct agent *agent, struct link_config *config, char *err, size_t err_size)
{
	struct route *route = calloc(1, sizeof *route), **at = &agent->routes;
	struct queue_config policy = config->queue;
	bool is_default = config->is_default;

	if (!route) {
		config_link_free(config);
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	route->link = link_open(agent->loop, config, &mqtt_transport, &link_events, agent, err, err_size);
	route->agent = agent;
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
		close_route(route);
		return NULL;
	}
	agent_set_policy(route, &policy);
	restore_session(agent, route->link);
	if (agent->config->linger_ms == 0)
		recognise(agent, route->link);
	route->old_qos2 = has_note(agent, route->link, "qos2");
	while (*at)
		at = &(*at)->next;
	*at = route;
	if (is_default)
		agent->default_route = route;
	return route;
}

static int open_links(struct agent *agent)
{
	char err[512];

	for (size_t i = 0; i < agent->config->n_links; i++) {
		struct link_config *config = malloc(sizeof *config);
		struct route *route = NULL;

		if (config) {
			*config = agent->config->links[i];
			memset(&agent->config->links[i], 0, sizeof agent->config->links[i]);
			route = agent_add_route(agent, config, err, sizeof err);
		} else {
			snprintf(err, sizeof err, "out of memory");
		}
		if (!route) {
			log_error("agent", "%s", err);
			return -1;
		}
	}
	return 0;
}

/* After the queues are open: they know how late it was when the last process ended. */
static int start_clock(struct agent *agent)
{
	char boot[CLOCK_BOOT_ID], text[CLOCK_NOTE], *note = store_note(agent->store, "clock");
	int64_t latest_ms = 0;
	bool changed;

	for (struct route *route = agent->routes; route; route = route->next)
		if (queue_latest_age(route->queue) > latest_ms)
			latest_ms = queue_latest_age(route->queue);
	clock_read_boot(boot);
	changed = clock_start(&agent->clock, boot, clock_boot_ms(), note, latest_ms);
	free(note);
	if (!changed)
		return 0;
	clock_note(&agent->clock, text, sizeof text);
	return store_set_note(agent->store, "clock", text);
}

static void warn_of_orphan(void *arg, const char *name, uint64_t messages)
{
	if (messages > 0 && !agent_route_named(arg, name))
		log_warn("store", "%llu messages wait for link %s, which is not configured any more",
		         (unsigned long long)messages, name);
}

/* The name that stands for a script in the queue: its path as seen from the
 * configuration, so that it stays the same when both move. */
static const char *origin_name(const struct config *config, const char *path)
{
	size_t length = strlen(config->directory);

	return strncmp(path, config->directory, length) == 0 && path[length] == '/' ? path + length + 1 : path;
}

/* Each is loaded and started before the next, so that what they publish meanwhile is in order. */
static int start_scripts(struct agent *agent)
{
	const struct config *config = agent->config;
	struct script_limits limits = {.memory_bytes = config->memory_bytes, .call_ms = config->call_ms};
	char err[2048];

	agent->scripts = calloc(config->n_scripts + 1, sizeof *agent->scripts);
	if (!agent->scripts)
		return 1;
	for (size_t i = 0; i < config->n_scripts; i++) {
		const char *path = config->scripts[i];
		uint32_t origin = store_name_id(agent->store, origin_name(config, path));
		struct script *script = script_open(path, origin, limits, &agent->host, err, sizeof err);

		if (!script) {
			log_error("agent", "%s", err);
			return EXIT_CONFIG;
		}
		agent->scripts[agent->n_scripts++] = script;
		script_start(script);
	}
	return 0;
}

static int open_everything(struct agent *agent)
{
	const struct config *config = agent->config;
	char err[512];
	int status;

	agent->loop = loop_open(&steps, agent, err, sizeof err);
	if (agent->loop)
		agent->store = store_open(config->store_path, config->durability, err, sizeof err);
	if (!agent->store) {
		log_error(agent->loop ? "store" : "agent", "%s", err);
		return 1;
	}
	agent->started_ms = loop_now_ms(agent->loop);
	upkeep_opened(agent);
	if (config->control) {
		agent->control = control_open(agent->loop, config->control, agent_commands, agent, err, sizeof err);
		if (!agent->control) {
			log_error("control", "%s", err);
			return 1;
		}
	}
	if (dead_letters_open(agent, err, sizeof err) < 0 || losses_open(agent, err, sizeof err) < 0) {
		log_error("store", "%s", err);
		return 1;
	}
	if (open_links(agent) < 0 || start_clock(agent) < 0)
		return 1;
	status = start_scripts(agent);
	if (status != 0)
		return status;
	dead_letters_retry_marked(agent);
	queue_visit(agent->store, warn_of_orphan, agent);
	for (struct route *route = agent->routes; route; route = route->next)
		start_link(route);
	return 0;
}

static void commit_the_rest(struct store *store)
{
	char err[256];
	struct store_unsafe unsafe;

	if (!store_corrupt(store) && store_pending(store, &unsafe) != STORE_CLEAN &&
	    store_commit(store, err, sizeof err) != STORE_OK)
		log_error("store", "last commit failed: %s", err);
}

static void close_everything(struct agent *agent)
{
	control_close(agent->control);
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_close(agent->scripts[i]);
	free(agent->scripts);
	while (agent->routes) {
		struct route *route = agent->routes;

		agent->routes = route->next;
		close_route(route);
	}
	drops_release(&agent->drops);
	buffer_release(&agent->properties);
	losses_close(agent);
	dead_letters_close(agent);
	store_close(agent->store);
	loop_close(agent->loop);
}

static void warn_of_unbuilt(const struct config *config)
{
	if (config->http)
		log_warn("agent", "http: not served by this version");
}

int run_agent(struct config *config, bool verbose)
{
	struct agent agent = {
	        .config = config,
	        .fill = {.fire = do_nothing},
	        .expire = {.fire = expire, .arg = &agent},
	        .stop_deadline = {.fire = on_stop_deadline, .arg = &agent},
	};
	bool corrupt;
	int status;

	log_setup(verbose ? LOG_LEVEL_DEBUG : config->log_level, config->log_target);
	warn_of_unbuilt(config);
	mqtt_setup();
	agent_host_init(&agent);
	custody_init(&agent, config->linger_ms);
	upkeep_init(&agent);
	status = open_everything(&agent);
	if (status == 0) {
		log_info("agent", "running name=%s version=%s instance=%s", config->name, VERSION,
		         store_instance(agent.store));
		if (loop_run(agent.loop) < 0) {
			log_error("agent", "poll: %s", strerror(errno));
			status = 1;
		}
	}
	if (agent.store)
		commit_the_rest(agent.store);
	corrupt = agent.store && store_corrupt(agent.store);
	close_everything(&agent);
	if (corrupt && (status = upkeep_replace(config)) == RUN_AGAIN && agent.phase == RUNNING)
		return status;
	if (status == RUN_AGAIN) /* the next start finds it replaced */
		status = 0;
	if (status == 0)
		log_info("agent", "stopped");
	if (attempt_outstanding())
		_exit(status); /* the libraries must stay up under it */
	mqtt_teardown();
	return status;
}
