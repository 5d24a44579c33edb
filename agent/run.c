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
#include "metrics.h"
#include "monitor.h"
#include "mqtt.h"
#include "privileges.h"
#include "queue.h"
#include "recorder.h"
#include "reload.h"
#include "service.h"
#include "states.h"
#include "store.h"

#define EXPIRE_MS 10000 /* what waits is looked through so often for what has expired */
#define DRAIN_MS 1000    /* stopping: for acknowledgements of what is in flight, */
#define LEAVE_MS 1000    /* and then for goodbyes to leave */

/* ---- step "read" ---- */

static void fire_timers(void *arg)
{
	scripts_fire(arg);
}

/* ---- step "commit" ---- */

static void expire(void *arg)
{
	struct agent *agent = arg;

	for (struct route *route = agent->routes; route; route = route->next)
		queue_expire(route->queue, clock_age_ms(&agent->clock));
}

static bool may_expire(const struct agent *agent)
{
	const struct route *route = agent->routes;

	while (route && !queue_may_expire(route->queue))
		route = route->next;
	return route;
}

static void step_commit(void *arg)
{
	struct agent *agent = arg;

	scripts_settle(agent);
	drops_tell(agent);
	if (route_received_due(agent))
		route_note_received(agent);
	custody_step(agent);
	scripts_arm(agent);
	if (!agent->expire.armed && may_expire(agent))
		loop_timer_set(agent->loop, &agent->expire, loop_now_ms(agent->loop) + EXPIRE_MS);
}

/* ---- steps "send" and "acknowledge" ---- */

/* A large backlog is counted beside the work; while it cannot be read, whenever a turn comes. */
static void count_backlog(struct agent *agent, struct route *route)
{
	int left = route->counting ? queue_count(route->queue) : 0;

	if (left > 0)
		loop_again(agent->loop);
	else if (left == 0 && route->counting && queue_messages(route->queue) > 0)
		log_info("store", "link %s resumes with %llu messages queued", link_name(route->link),
		         (unsigned long long)queue_messages(route->queue));
	route->counting = left != 0;
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

/* A collector that is silent is not waited for. */
static size_t waits_for_answers(const struct route *route)
{
	const struct receipts *receipts = forward_receipts(route->forward);

	return forward_in_flight(route->forward) + (receipts->silences > 0 ? 0 : receipts_awaited(receipts));
}

static size_t in_flight(const struct agent *agent)
{
	size_t n = 0;

	for (const struct route *route = agent->routes; route; route = route->next)
		if (link_connected(route->link))
			n += waits_for_answers(route);
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
void agent_stop(struct agent *agent)
{
	service_stopping(agent);
	scripts_stop(agent);
	agent->custody.stopping = true;
	step_commit(agent);
	step_send(agent);
	agent->phase = DRAINING;
	for (struct route *route = agent->routes; route; route = route->next)
		if (link_brings(route->link) && waits_for_answers(route) == 0)
			link_stop(route->link);
	loop_timer_set(agent->loop, &agent->stop_deadline, loop_now_ms(agent->loop) + DRAIN_MS);
}

static void on_signal(void *arg, int number)
{
	struct agent *agent = arg;

	if (number == SIGHUP) {
		log_info("agent", "SIGHUP: reloading");
		reload(agent);
		return;
	}
	log_info("agent", "%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
	if (agent->phase == RUNNING)
		agent_stop(agent);
	else
		loop_stop(agent->loop);
}

static void on_idle(void *arg, int64_t until_ms)
{
	const struct rehearsal *rehearsal = ((struct agent *)arg)->rehearsal;

	rehearsal->idle(rehearsal->arg, until_ms);
}

static const struct loop_steps steps = {
        .commit = step_commit,
        .send = step_send,
        .acknowledge = step_acknowledge,
        .signal = on_signal,
        .idle = on_idle,
};

/* ---- building ---- */

static int open_links(struct agent *agent)
{
	char err[512];

	for (size_t i = 0; i < agent->config->n_links; i++) {
		struct link_config *config = malloc(sizeof *config);
		struct route *route = NULL;

		if (config) {
			*config = agent->config->links[i];
			memset(&agent->config->links[i], 0, sizeof agent->config->links[i]);
			route = route_add(agent, config, err, sizeof err);
		} else {
			snprintf(err, sizeof err, "out of memory");
		}
		if (!route) {
			log_error("agent", "%s", err);
			return -1;
		}
		route->of_config = true;
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
	if (messages > 0 && !route_named(arg, name))
		log_warn("store", "%llu messages wait for link %s, which is not configured any more",
		         (unsigned long long)messages, name);
}

static int open_everything(struct agent *agent, const char *record)
{
	const struct config *config = agent->config;
	char err[512];
	int status;

	if (!agent->metrics) {
		log_error("agent", "not enough memory");
		return 1;
	}
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
	if (dead_letters_open(agent, err, sizeof err) < 0 || losses_open(agent, err, sizeof err) < 0 ||
	    states_open(agent, err, sizeof err) < 0) {
		log_error("store", "%s", err);
		return 1;
	}
	if (open_links(agent) < 0 || start_clock(agent) < 0)
		return 1;
	status = scripts_open(agent);
	if (status != 0)
		return status;
	states_tell_orphans(agent);
	dead_letters_retry_marked(agent);
	queue_visit(agent->store, warn_of_orphan, agent);
	if (record) {
		agent->recorder = recorder_open(agent, record, err, sizeof err);
		if (!agent->recorder)
			log_error("agent", "%s; nothing is recorded", err);
	}
	for (struct route *route = agent->routes; route; route = route->next)
		route_start(route);
	monitor_open(agent);
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
	recorder_close(agent->recorder);
	monitor_close(agent->monitor);
	control_close(agent->control);
	scripts_close(agent);
	service_release(agent);
	metrics_close(agent->metrics);
	while (agent->routes) {
		struct route *route = agent->routes;

		agent->routes = route->next;
		route_close(route);
	}
	drops_release(&agent->drops);
	buffer_release(&agent->properties);
	losses_close(agent);
	states_close(agent);
	dead_letters_close(agent);
	store_close(agent->store);
	loop_close(agent->loop);
}

static void tell_of_strictness(const struct config *config)
{
	for (size_t i = 0; i < config->n_links; i++)
		if (config->links[i].kdb.exactly_once) {
			log_info("agent", "link %s is exactly_once: every turn is committed before anything is sent, as with "
			                  "store.linger = 0",
			         config->links[i].name);
			return;
		}
}

int run_agent(struct config *config, const struct run_options *options)
{
	const struct rehearsal *rehearsal = options->rehearsal;
	struct agent agent = {
	        .config = config,
	        .rehearsal = rehearsal,
	        .transport = rehearsal ? rehearsal->transport : NULL,
	        .verbose = options->verbose,
	        .fill = {.fire = do_nothing},
	        .timers = {.fire = fire_timers, .arg = &agent},
	        .expire = {.fire = expire, .arg = &agent},
	        .stop_deadline = {.fire = on_stop_deadline, .arg = &agent},
	};
	bool corrupt;
	int status;

	log_setup(options->verbose ? LOG_LEVEL_DEBUG : config->log_level, config->log_target);
	if (!rehearsal)
		privileges_settle(config->user);
	tell_of_strictness(config);
	mqtt_setup();
	agent.metrics = metrics_open();
	agent_host_init(&agent);
	custody_init(&agent, config->linger_ms);
	upkeep_init(&agent);
	service_init(&agent);
	if (rehearsal)
		rehearsal->begins(rehearsal->arg, &agent);
	status = open_everything(&agent, options->record);
	if (status == 0) {
		log_info("agent", "running name=%s version=%s instance=%s", config->name, VERSION,
		         store_instance(agent.store));
		service_ready(&agent);
		if (loop_run(agent.loop) < 0) {
			log_error("agent", "poll: %s", strerror(errno));
			status = 1;
		}
		if (rehearsal)
			rehearsal->ends(rehearsal->arg, &agent);
	}
	if (agent.store)
		commit_the_rest(agent.store);
	corrupt = agent.store && store_corrupt(agent.store);
	if (corrupt)
		service_repairing(&agent);
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
