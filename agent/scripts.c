/* Replacing is stop, close, open, start: the steps of a restart, for one script. What it
 * has subscribed to, opened and stopped goes with it; what the new one wants again within
 * the same turn has never been gone, as links look only at the end of the turn. */
#include "scripts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "link.h"
#include "log.h"
#include "poison.h"
#include "script.h"
#include "store.h"

#define EXIT_CONFIG 78

/* A subscription that a script has asked for. */
struct want {
	struct want *next;
	struct route *route;
	char filter[];
};

struct agent_script *scripts_find(const struct agent *agent, uint32_t origin)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		if (agent->scripts[i].script && script_origin(agent->scripts[i].script) == origin)
			return &agent->scripts[i];
	return NULL;
}

struct script *agent_script_of(const struct agent *agent, uint32_t origin)
{
	struct agent_script *place = scripts_find(agent, origin);

	return place ? place->script : NULL;
}

/* ---- what a script holds ---- */

static struct want **find_want(struct agent_script *place, const struct route *route, const char *filter)
{
	struct want **at = &place->wants;

	while (*at && ((*at)->route != route || strcmp((*at)->filter, filter) != 0))
		at = &(*at)->next;
	return at;
}

void scripts_want(struct agent *agent, struct route *route, const struct subscription *subscription)
{
	struct agent_script *place = scripts_find(agent, agent->running);
	struct want **at = place ? find_want(place, route, subscription->filter) : NULL;
	size_t size = strlen(subscription->filter) + 1;

	if (!at || *at || !(*at = malloc(sizeof **at + size)))
		return;
	**at = (struct want){.route = route};
	memcpy((*at)->filter, subscription->filter, size);
}

static void forget_want(struct want **at)
{
	struct want *want = *at;

	*at = want->next;
	free(want);
}

void scripts_unwant(struct agent *agent, struct route *route, const char *filter)
{
	for (size_t i = 0; i < agent->n_scripts; i++) {
		struct want **at = find_want(&agent->scripts[i], route, filter);

		if (*at)
			forget_want(at);
	}
}

static bool is_wanted(const struct agent *agent, const struct route *route, const char *filter)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		if (*find_want(&agent->scripts[i], route, filter))
			return true;
	return false;
}

/* What it has subscribed to, and links that it opened or stopped, are not wanted any more,
 * unless they are by somebody else. */
static void let_go(struct agent *agent, struct agent_script *place, uint32_t origin)
{
	while (place->wants) {
		struct want *want = place->wants;

		place->wants = want->next;
		if (!is_wanted(agent, want->route, want->filter))
			link_unsubscribe_script(want->route->link, want->filter);
		free(want);
	}
	for (struct route *route = agent->routes; route; route = route->next)
		route_let_go(route, origin);
}

/* ---- opening ---- */

/* The name that stands for a script in the queue: its path as seen from the
 * configuration, so that it stays the same when both move. */
static uint32_t origin_of(struct agent *agent, const char *path)
{
	const char *directory = agent->config->directory;
	size_t length = strlen(directory);
	bool below = strncmp(path, directory, length) == 0 && path[length] == '/';

	return store_name_id(agent->store, below ? path + length + 1 : path);
}

static struct script_limits limits_of(const struct agent *agent)
{
	const struct config *config = agent->config;

	return (struct script_limits){
	        .memory_bytes = config->memory_bytes, .call_ms = config->call_ms, .state_bytes = config->state_bytes};
}

void scripts_set_limits(struct agent *agent)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_set_limits(agent->scripts[i].script, limits_of(agent));
}

/* Opens one in a place that is empty; it must be started then. */
static int open_one(struct agent *agent, struct agent_script *place, const char *path, char *err, size_t err_size)
{
	*place = (struct agent_script){.path = strdup(path)};
	if (place->path)
		place->script = script_open(path, origin_of(agent, path), limits_of(agent), &agent->host, err, err_size);
	else
		snprintf(err, err_size, "%s: out of memory", path);
	if (place->script)
		return 0;
	free(place->path);
	return -1;
}

/* What a script sees when the agent starts, whenever that was. */
static void meet_links(struct agent *agent, struct script *script)
{
	for (const struct route *route = agent->routes; route; route = route->next)
		if (route->standing == ROUTE_SETTLED && link_connected(route->link))
			script_connect(script, link_name(route->link));
}

static void release_trial(struct agent_script *place)
{
	sources_release(&place->before);
	place->on_trial = place->condemned = false;
	place->messages = place->failures = 0;
}

static void close_one(struct agent_script *place)
{
	script_close(place->script);
	release_trial(place);
	while (place->wants)
		forget_want(&place->wants);
	free(place->trouble);
	free(place->path);
}

/* Each is loaded and started before the next, so that what they publish meanwhile is in order. */
int scripts_open(struct agent *agent)
{
	const struct config *config = agent->config;
	char err[2048];

	agent->scripts = calloc(config->n_scripts + 1, sizeof *agent->scripts);
	if (!agent->scripts)
		return 1;
	for (size_t i = 0; i < config->n_scripts; i++) {
		if (open_one(agent, &agent->scripts[i], config->scripts[i], err, sizeof err) < 0) {
			log_error("agent", "%s", err);
			return EXIT_CONFIG;
		}
		agent->n_scripts++;
		(void)script_start(agent->scripts[i].script); /* an error is logged, and that is all */
	}
	return 0;
}

void scripts_stop(struct agent *agent)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		script_stop(agent->scripts[i].script);
}

void scripts_close(struct agent *agent)
{
	for (size_t i = 0; i < agent->n_scripts; i++)
		close_one(&agent->scripts[i]);
	free(agent->scripts);
	agent->scripts = NULL;
	agent->n_scripts = 0;
}

/* ---- timers ---- */

void scripts_fire(struct agent *agent)
{
	for (size_t i = 0; agent->phase == RUNNING && i < agent->n_scripts; i++)
		script_fire(agent->scripts[i].script, loop_now_ms(agent->loop));
}

void scripts_arm(struct agent *agent)
{
	int64_t next_ms = INT64_MAX;

	for (size_t i = 0; agent->phase == RUNNING && i < agent->n_scripts; i++) {
		int64_t due_ms = script_due_ms(agent->scripts[i].script);

		next_ms = due_ms < next_ms ? due_ms : next_ms;
	}
	if (next_ms == INT64_MAX)
		loop_timer_cancel(agent->loop, &agent->timers);
	else
		loop_timer_set(agent->loop, &agent->timers, next_ms);
}

/* ---- replacing ---- */

enum swapped {
	SWAPPED,
	NOT_LOADED,  /* the old one goes on */
	NOT_STARTED, /* on_start() failed; it runs all the same */
};

/* What the old one keeps in `state` must be where the new one finds it. */
static bool save_state(struct agent *agent, char *err, size_t err_size)
{
	if (custody_commit(agent))
		return true;
	snprintf(err, err_size, "the store cannot be written now");
	return false;
}

static int load_on_trial(struct agent *agent, const struct agent_script *place, struct sources *texts, char *err,
                         size_t err_size)
{
	uint32_t origin = script_origin(place->script);
	struct script *trial =
	        texts->first ? script_open_again(place->path, texts, origin, limits_of(agent), &agent->host, err, err_size)
	                     : script_open(place->path, origin, limits_of(agent), &agent->host, err, err_size);

	if (!trial)
		return -1;
	script_take_sources(trial, texts);
	script_close(trial);
	return 0;
}

/* Lets a script of these texts, or if there are none of the files, take the place of the old
 * one, whose texts are in `texts` then. */
static enum swapped swap(struct agent *agent, struct agent_script *place, struct sources *texts, char *err,
                         size_t err_size)
{
	struct script *old = place->script, *fresh = NULL;
	uint32_t origin = script_origin(old);
	const char *failure;

	if (!save_state(agent, err, err_size) || load_on_trial(agent, place, texts, err, err_size) < 0)
		return NOT_LOADED;
	script_stop(old);
	if (save_state(agent, err, err_size))
		fresh = script_open_again(place->path, texts, origin, limits_of(agent), &agent->host, err, err_size);
	if (fresh) {
		let_go(agent, place, origin);
		script_take_sources(old, texts);
		place->script = fresh;
		script_close(old);
	}
	failure = script_start(place->script);
	if (fresh && failure)
		snprintf(err, err_size, "on_start: %s", failure);
	meet_links(agent, place->script);
	routes_remove_abandoned(agent);
	loop_again(agent->loop);
	return !fresh ? NOT_LOADED : failure ? NOT_STARTED : SWAPPED;
}

/* NULL: there is none. */
static void set_trouble(struct agent_script *place, const char *what, const char *why)
{
	free(place->trouble);
	place->trouble = NULL;
	if (what && asprintf(&place->trouble, "%s%s", what, why) < 0)
		place->trouble = NULL;
}

static void roll_back(struct agent *agent, struct agent_script *place, const char *why)
{
	struct sources texts = place->before;
	char err[2048], name[300];

	place->before = (struct sources){0};
	release_trial(place);
	snprintf(name, sizeof name, "script %s", script_name(place->script));
	if (swap(agent, place, &texts, err, sizeof err) == NOT_LOADED) {
		log_error(name, "the new version %s, but the one before cannot take its place: %s", why, err);
		set_trouble(place, "cannot be rolled back, though what is in its file ", why);
	} else {
		place->rollbacks++;
		log_error(name, "rolled back to the version before, as the new one %s", why);
		set_trouble(place, "rolled back, as what is in its file ", why);
	}
	sources_release(&texts);
}

/* Of what was replaced, to go back to; unless that was on trial itself and did no good. */
static void keep_texts(struct agent_script *place, struct sources *texts)
{
	if (place->on_trial && place->failures >= place->messages - place->failures) {
		sources_release(texts);
		return;
	}
	sources_release(&place->before);
	place->before = *texts;
	*texts = (struct sources){0};
}

enum script_replaced scripts_replace(struct agent *agent, struct agent_script *place, char *err, size_t err_size)
{
	struct sources texts = {0};
	char why[300];
	enum swapped swapped = swap(agent, place, &texts, err, err_size);

	if (swapped == NOT_LOADED) {
		sources_release(&texts);
		set_trouble(place, "what is in its file does not load: ", err);
		return SCRIPT_KEPT;
	}
	set_trouble(place, NULL, NULL);
	keep_texts(place, &texts);
	place->on_trial = true;
	place->condemned = false;
	place->messages = place->failures = 0;
	poison_mended(agent->poison, script_origin(place->script));
	if (swapped == SWAPPED)
		return SCRIPT_REPLACED;
	snprintf(why, sizeof why, "fails at its start (%.*s)", (int)strcspn(err, "\n"), err);
	roll_back(agent, place, why);
	return SCRIPT_KEPT;
}

/* ---- on trial ---- */

void scripts_judge(struct agent *agent, struct agent_script *place, bool handled, bool failed)
{
	if (!place->on_trial || place->condemned || !(handled || failed))
		return;
	place->messages++;
	place->failures += failed;
	if (place->failures > SCRIPT_TRIAL / 2)
		agent->condemned = place->condemned = true;
	else if (place->messages >= SCRIPT_TRIAL)
		release_trial(place);
}

void scripts_settle(struct agent *agent)
{
	char why[100];

	if (!agent->condemned)
		return;
	agent->condemned = false;
	for (size_t i = 0; i < agent->n_scripts; i++) {
		struct agent_script *place = &agent->scripts[i];

		if (!place->condemned)
			continue;
		snprintf(why, sizeof why, "failed on %u of its first %u messages, which are dead letters", place->failures,
		         place->messages);
		roll_back(agent, place, why);
	}
}

/* ---- which there are ---- */

/* False: it goes on, as what it keeps in `state`, and has been acknowledged with that,
 * would be lost. */
static bool remove_last(struct agent *agent, scripts_tell *tell, void *arg)
{
	struct agent_script *place = &agent->scripts[agent->n_scripts - 1];
	uint32_t origin = script_origin(place->script);
	char err[100];

	script_stop(place->script);
	if (!save_state(agent, err, sizeof err)) {
		tell(arg, place->path, "goes on", err);
		(void)script_start(place->script);
		meet_links(agent, place->script);
		return false;
	}
	tell(arg, place->path, "stopped", NULL);
	let_go(agent, place, origin);
	close_one(place);
	agent->n_scripts--;
	routes_remove_abandoned(agent);
	return true;
}

/* Puts those that stay into the order of the configuration, and behind them the others. Returns
 * how many stay. */
static size_t sort_places(const struct agent *agent, struct agent_script *to)
{
	const struct config *config = agent->config;
	size_t n = 0, stay;

	for (size_t i = 0; i < config->n_scripts; i++)
		for (size_t j = 0; j < agent->n_scripts; j++)
			if (agent->scripts[j].script && strcmp(agent->scripts[j].path, config->scripts[i]) == 0) {
				to[n++] = agent->scripts[j];
				agent->scripts[j].script = NULL;
			}
	stay = n;
	for (size_t j = 0; j < agent->n_scripts; j++)
		if (agent->scripts[j].script)
			to[n++] = agent->scripts[j];
	return stay;
}

static bool add_at(struct agent *agent, size_t at, const char *path, scripts_tell *tell, void *arg)
{
	struct agent_script *places = agent->scripts, fresh;
	char err[2048];

	if (open_one(agent, &fresh, path, err, sizeof err) < 0) {
		tell(arg, path, "not started", err);
		return false;
	}
	memmove(&places[at + 1], &places[at], (agent->n_scripts - at) * sizeof *places);
	places[at] = fresh;
	agent->n_scripts++;
	tell(arg, path, "started", script_start(fresh.script));
	meet_links(agent, fresh.script);
	return true;
}

void scripts_rearrange(struct agent *agent, scripts_tell *tell, void *arg)
{
	const struct config *config = agent->config;
	struct agent_script *places = calloc(config->n_scripts + agent->n_scripts + 1, sizeof *places);
	size_t stay;

	if (!places) {
		tell(arg, "scripts", "as before", "out of memory");
		return;
	}
	stay = sort_places(agent, places);
	free(agent->scripts);
	agent->scripts = places;
	while (agent->n_scripts > stay && remove_last(agent, tell, arg))
		;
	for (size_t i = 0, at = 0; i < config->n_scripts; i++)
		if ((at < agent->n_scripts && strcmp(places[at].path, config->scripts[i]) == 0) ||
		    add_at(agent, at, config->scripts[i], tell, arg))
			at++;
	loop_again(agent->loop);
}
