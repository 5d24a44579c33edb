/* Messages meet scripts here. A letter is added in the turn that took the message, so
 * it is on disk before the message is acknowledged. */
#include "dead_letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "dead.h"
#include "link.h"
#include "log.h"
#include "log_limit.h"
#include "poison.h"
#include "queue.h"
#include "script.h"
#include "store.h"

/* By which a script is known in the store. */
static const char *stored_name(struct agent *agent, uint32_t origin)
{
	const char *name = store_name(agent->store, origin);

	return name ? name : "?";
}

/* ---- opening ---- */

static void tell_death(struct agent *agent, const struct poison_death *death)
{
	const char *script = stored_name(agent, death->script);

	if (!death->link)
		log_warn("agent", "the last process ended in %s of script %s", death->handler, script);
	else if (death->deaths < POISON_DEATHS)
		log_warn("agent", "the last process ended in %s of script %s, with a message of link %s, topic %s; if that "
		                  "happens again, the message goes to the dead letters",
		         death->handler, script, death->link, death->topic);
	else
		log_error("agent", "the last process ended in %s of script %s, with a message of link %s, topic %s: %u times now; "
		                   "the message goes to the dead letters when it comes again",
		          death->handler, script, death->link, death->topic, death->deaths);
}

int dead_letters_open(struct agent *agent, char *err, size_t err_size)
{
	const struct poison_death *death;

	agent->dead = dead_open(agent->store, err, err_size);
	if (!agent->dead)
		return -1;
	if (agent->rehearsal) /* nobody is to find it */
		return 0;
	agent->poison = poison_open(agent->config->store_path, store_instance(agent->store), err, err_size);
	if (!agent->poison)
		log_warn("agent", "%s: a message that ends the process will not be recognised", err);
	death = poison_death(agent->poison);
	if (death)
		tell_death(agent, death);
	return 0;
}

void dead_letters_close(struct agent *agent)
{
	poison_close(agent->poison);
	dead_close(agent->dead);
	agent->poison = NULL;
	agent->dead = NULL;
}

void dead_letters_running(void *arg, const struct script *script, const char *handler)
{
	struct agent *agent = arg;

	agent->running = handler ? script_origin(script) : 0;
	poison_running(agent->poison, script_origin(script), handler);
}

/* ---- messages ---- */

static void log_letter(struct agent *agent, const char *component, uint64_t id, unsigned lost)
{
	uint64_t earlier;

	if (log_limit_allows(&agent->letters_logged, clock_monotonic_ms(), &earlier))
		log_warn(component, "the message is dead letter %" PRIu64, id);
	if (earlier > 0)
		log_warn("agent", "%" PRIu64 " more messages went to the dead letters meanwhile", earlier);
	if (lost > 0 && log_limit_allows(&agent->room_logged, clock_monotonic_ms(), &earlier))
		log_warn("agent", "too many dead letters: the oldest make room");
}

/* `kind` and `name` tell who could not do anything with it. False: no memory. */
static bool add(struct agent *agent, const struct dead_letter *letter, const char *kind, const char *name)
{
	char component[120];
	unsigned lost;
	uint64_t id = dead_add(agent->dead, letter, &lost);

	if (id == 0)
		return false;
	custody_brought(agent, id);
	snprintf(component, sizeof component, "%s %s", kind, name);
	log_letter(agent, component, id, lost);
	return true;
}

static bool keep(struct agent *agent, const struct script *script, const char *link, const struct inbound *message,
                 const char *reason)
{
	struct dead_letter letter = {
	        .link = link,
	        .script = stored_name(agent, script_origin(script)),
	        .reason = reason,
	        .topic = {message->topic, strlen(message->topic)},
	        .payload = message->payload,
	        .properties = message->properties,
	        .time_ms = message->time_ms,
	        .qos = message->qos,
	        .retain = message->retain,
	};

	return add(agent, &letter, "script", script_name(script));
}

bool dead_letters_keep_row(struct agent *agent, const struct route *route, const struct message *message,
                           const char *reason)
{
	struct dead_letter letter = {
	        .link = link_name(route->link),
	        .script = "",
	        .reason = reason,
	        .topic = message->topic,
	        .payload = message->payload,
	        .time_ms = message->time_ms,
	        .qos = message->qos,
	};

	return add(agent, &letter, "link", letter.link);
}

/* NULL, or why it could not be handled. */
static const char *run(struct agent *agent, struct agent_script *place, const char *link, const struct inbound *message)
{
	struct script *script = place->script;
	uint64_t calls = script_stats(script).calls;
	const char *reason = script_message(script, link, message);

	poison_survived(agent->poison, script_origin(script));
	scripts_judge(agent, place, script_stats(script).calls > calls, reason != NULL);
	return reason;
}

bool dead_letters_handle(struct agent *agent, const struct link *link, const struct inbound *message)
{
	const char *name = link_name(link);
	bool kept = true;

	poison_begin(agent->poison, name, message->topic, message->payload);
	for (size_t i = 0; i < agent->n_scripts; i++) {
		struct agent_script *place = &agent->scripts[i];
		bool poisonous = poison_suspected(agent->poison, script_origin(place->script));
		const char *reason = poisonous ? "it ended the process twice" : run(agent, place, name, message);

		if (reason)
			kept = keep(agent, place->script, name, message, reason) && kept;
	}
	poison_end(agent->poison);
	return kept;
}

/* ---- trying again ---- */

static struct agent_script *place_named(struct agent *agent, const char *name)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		if (strcmp(stored_name(agent, script_origin(agent->scripts[i].script)), name) == 0)
			return &agent->scripts[i];
	return NULL;
}

static const char *run_letter(struct agent *agent, struct agent_script *place, const struct dead_letter *letter)
{
	struct inbound message = {
	        .topic = letter->topic.data,
	        .payload = letter->payload,
	        .properties = letter->properties,
	        .qos = letter->qos,
	        .retain = letter->retain,
	        .time_ms = letter->time_ms,
	};
	const char *reason;

	agent->out_of_memory = false;
	poison_begin(agent->poison, letter->link, message.topic, message.payload);
	reason = run(agent, place, letter->link, &message);
	poison_end(agent->poison);
	return !reason && agent->out_of_memory ? "out of memory" : reason;
}

/* As new, but of the time it was made. */
static enum dead_retry queue_row(struct agent *agent, const struct dead_letter *letter, char *why, size_t why_size)
{
	struct route *route = route_named(agent, letter->link);
	int64_t age_ms = clock_age_ms(&agent->clock), since_ms = clock_wall_ms() - letter->time_ms;
	struct message message = {
	        .topic = letter->topic,
	        .payload = letter->payload,
	        .time_ms = letter->time_ms,
	        .age_ms = since_ms >= 0 && since_ms < age_ms ? age_ms - since_ms : 0,
	        .qos = 1,
	};

	if (!route || route->kind != LINK_KDB || route->standing == ROUTE_FORGOTTEN) {
		snprintf(why, why_size, "there is no kdb+ link %s", letter->link);
		return DEAD_NO_SCRIPT;
	}
	message.seq = store_next_seq(agent->store);
	if (queue_push(route->queue, &message) != QUEUE_OK) {
		snprintf(why, why_size, "the queue of link %s is full", letter->link);
		return DEAD_FAILED;
	}
	loop_again(agent->loop);
	dead_remove(agent->dead, letter->id);
	return DEAD_HANDLED;
}

enum dead_retry dead_letters_retry(struct agent *agent, uint64_t id, char *why, size_t why_size)
{
	const struct dead_letter *letter = dead_get(agent->dead, id);
	struct agent_script *place = letter ? place_named(agent, letter->script) : NULL;
	const char *reason;

	if (!letter) {
		snprintf(why, why_size, dead_known(agent->dead, id) ? "cannot be read now" : "no such dead letter");
		return DEAD_UNKNOWN;
	}
	if (!*letter->script)
		return queue_row(agent, letter, why, why_size);
	if (!place) {
		snprintf(why, why_size, "script %s is not loaded", letter->script);
		return DEAD_NO_SCRIPT;
	}
	reason = run_letter(agent, place, letter);
	loop_again(agent->loop); /* commit and send what it did */
	if (reason) {
		snprintf(why, why_size, "%s", reason);
		dead_failed_again(agent->dead, id, reason);
		return DEAD_FAILED;
	}
	dead_remove(agent->dead, id);
	return DEAD_HANDLED;
}

/* A list of ids. */
struct marked {
	struct dead *dead;
	uint64_t ids[DEAD_LETTERS_MAX];
	size_t n;
};

static void add_marked(void *arg, const struct dead_letter *letter)
{
	struct marked *marked = arg;

	if (!letter->retry || marked->n == DEAD_LETTERS_MAX)
		return;
	marked->ids[marked->n++] = letter->id;
	dead_retry_later(marked->dead, letter->id, false);
}

static void retry_all(struct agent *agent, const struct marked *marked)
{
	size_t handled = 0;
	char why[600];

	for (size_t i = 0; i < marked->n; i++)
		if (dead_letters_retry(agent, marked->ids[i], why, sizeof why) == DEAD_HANDLED)
			handled++;
		else
			log_warn("agent", "dead letter %" PRIu64 " retried: %s", marked->ids[i], why);
	log_info("agent", "%zu of %zu dead letters that were to be retried are handled", handled, marked->n);
}

void dead_letters_retry_marked(struct agent *agent)
{
	struct marked *marked = calloc(1, sizeof *marked);
	char err[256] = "out of memory";

	if (marked) {
		marked->dead = agent->dead;
		dead_visit(agent->dead, add_marked, marked);
	}
	/* The marks must be gone before: else a letter that ends the process ends the next one, too. */
	if (marked && marked->n > 0 && store_commit(agent->store, err, sizeof err) == STORE_OK)
		retry_all(agent, marked);
	else if (!marked || marked->n > 0)
		log_warn("agent", "dead letters are not retried: %s", err);
	free(marked);
}
