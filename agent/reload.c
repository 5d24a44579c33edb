/* In this order: the new configuration; what can change of it; links, so that scripts find
 * them; scripts; and last, links connect that are new. */
#include "reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "config.h"
#include "link.h"
#include "log.h"
#include "script.h"
#include "service.h"

/* One reload, and what there is to tell of it. */
struct reloading {
	struct agent *agent;
	struct config *config; /* the new one, then the old one */
	json_t *lines;         /* NULL: nobody asked */
	size_t changes, failures;
};

/* ---- telling ---- */

static json_t *text(const char *string)
{
	return answer_text(string, strlen(string));
}

enum outcome { DONE, LATER, FAILED };

/* `result` in a word or two; `reason` may be NULL. */
static void tell(struct reloading *reloading, enum outcome outcome, const char *kind, const char *name,
                 const char *result, const char *reason)
{
	static void (*const loggers[])(const char *component, const char *format, ...) = {log_info, log_warn, log_error};

	reloading->changes++;
	reloading->failures += outcome == FAILED;
	loggers[outcome]("reload", "%s %s: %s%s%s", kind, name, result, reason ? ": " : "", reason ? reason : "");
	if (reloading->lines)
		json_array_append_new(reloading->lines, json_pack("{s:s, s:o, s:s, s:b, s:o*}",
		                                                  "kind", kind,
		                                                  "name", text(name),
		                                                  "result", result,
		                                                  "failed", outcome == FAILED,
		                                                  "reason", reason ? text(reason) : NULL));
}

static void tell_problems(struct reloading *reloading, const struct problems *problems)
{
	for (size_t i = 0; i < problems->n; i++) {
		log_error("config", "%s", problems->lines[i]);
		if (reloading->lines)
			json_array_append_new(reloading->lines, json_pack("{s:s, s:o}", "kind", "problem", "text",
			                                                  text(problems->lines[i])));
	}
}

/* ---- settings ---- */

/* The old value stays: it is put into the new configuration. */
static void keep_text(struct reloading *reloading, const char *name, char **fresh, char **old)
{
	char *wanted = *fresh;

	if (wanted && *old ? strcmp(wanted, *old) != 0 : wanted != *old)
		tell(reloading, LATER, "setting", name, "takes effect after a restart", NULL);
	*fresh = *old;
	*old = wanted;
}

static void keep_what_cannot_change(struct reloading *reloading)
{
	struct config *old = reloading->agent->config, *fresh = reloading->config;

	keep_text(reloading, "name", &fresh->name, &old->name);
	keep_text(reloading, "user", &fresh->user, &old->user);
	keep_text(reloading, "store.path", &fresh->store_path, &old->store_path);
	keep_text(reloading, "control", &fresh->control, &old->control);
	keep_text(reloading, "http", &fresh->http, &old->http);
	if (fresh->durability != old->durability)
		tell(reloading, LATER, "setting", "store.durability", "takes effect after a restart", NULL);
	fresh->durability = old->durability;
	if ((fresh->linger_ms == 0) != (old->linger_ms == 0)) {
		tell(reloading, LATER, "setting", "store.linger", "takes effect after a restart", "0 is another mode");
		fresh->linger_ms = old->linger_ms;
	}
}

static void apply_settings(struct reloading *reloading)
{
	struct agent *agent = reloading->agent;
	struct config *old = reloading->config, *fresh = agent->config;

	log_setup(agent->verbose ? LOG_LEVEL_DEBUG : fresh->log_level, fresh->log_target);
	agent->custody.linger_ms = fresh->linger_ms;
	if (fresh->log_level != old->log_level || fresh->log_target != old->log_target)
		tell(reloading, DONE, "setting", "log", "changed", NULL);
	if (fresh->linger_ms != old->linger_ms)
		tell(reloading, DONE, "setting", "store.linger", "changed", NULL);
	if (fresh->memory_bytes == old->memory_bytes && fresh->call_ms == old->call_ms &&
	    fresh->state_bytes == old->state_bytes)
		return;
	tell(reloading, DONE, "setting", "limits", "changed", NULL);
	scripts_set_limits(agent);
}

/* ---- links ---- */

/* Takes the link out of a configuration. */
static struct link_config *take_link(struct link_config *from)
{
	struct link_config *link = malloc(sizeof *link);

	if (link) {
		*link = *from;
		memset(from, 0, sizeof *from);
	}
	return link;
}

static void add_link(struct reloading *reloading, struct link_config *link)
{
	struct route *route;
	char name[200], err[512];

	snprintf(name, sizeof name, "%s", link->name);
	route = route_add(reloading->agent, link, err, sizeof err);
	if (!route) {
		tell(reloading, FAILED, "link", name, "not opened", err);
		return;
	}
	route->of_config = route->is_new = true;
	tell(reloading, DONE, "link", name, "added", NULL);
}

/* One that is there. A script that has it otherwise has the last word, as long as it is the same. */
static void change_link(struct reloading *reloading, struct route *route, struct link_config *link)
{
	const struct link_config *before = link_configured(route->link);
	bool was_there = route->of_config && route->standing == ROUTE_SETTLED;

	if (link->kind != route->kind) {
		tell(reloading, LATER, "link", link->name, "as before",
		     "a link for MQTT cannot become one for kdb+, nor the reverse, before a restart; use another name");
		config_link_free(link);
		return;
	}
	route->of_config = true;
	if (route->opener) {
		config_link_free(route->spare);
		route->spare = link;
	} else if (was_there && config_link_same(before, link)) {
		config_link_free(link);
	} else {
		tell(reloading, DONE, "link", link->name,
		     !was_there                                  ? "added"
		     : config_link_same_connection(before, link) ? "changed"
		                                                 : "connected anew",
		     NULL);
		route_configure(route, link);
		if (route->stopper)
			link_stop(route->link);
	}
}

static bool names_link(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_links; i++)
		if (config->links[i].name && strcmp(config->links[i].name, name) == 0)
			return true;
	return false;
}

static void remove_links(struct reloading *reloading)
{
	for (struct route *route = reloading->agent->routes; route; route = route->next) {
		if (!route->of_config || names_link(reloading->agent->config, link_name(route->link)))
			continue;
		route->of_config = false;
		config_link_free(route->spare);
		route->spare = NULL;
		if (route->opener)
			continue; /* now it is the script's alone */
		tell(reloading, DONE, "link", link_name(route->link), "removed", NULL);
		route_remove(route);
	}
}

/* A script that has claimed this for a link of its own keeps it. */
static void choose_default(struct agent *agent, enum link_kind kind, const char *name)
{
	struct route **chosen = &agent->default_routes[kind];
	struct route *route = *name ? route_named(agent, name) : NULL;

	if (!*chosen || !(*chosen)->opener)
		*chosen = route && route->kind == kind ? route : NULL;
}

static void apply_links(struct reloading *reloading)
{
	struct agent *agent = reloading->agent;
	struct config *config = agent->config;
	char by_default[2][200] = {"", ""}; /* of each kind */

	remove_links(reloading);
	for (size_t i = 0; i < config->n_links; i++) {
		struct route *route = route_named(agent, config->links[i].name);
		struct link_config *link;

		if (config->links[i].is_default)
			snprintf(by_default[config->links[i].kind], sizeof *by_default, "%s", config->links[i].name);
		link = take_link(&config->links[i]);
		if (!link)
			tell(reloading, FAILED, "link", config->links[i].name, "as before", "out of memory");
		else if (route)
			change_link(reloading, route, link);
		else
			add_link(reloading, link);
	}
	choose_default(agent, LINK_MQTT, by_default[LINK_MQTT]);
	choose_default(agent, LINK_KDB, by_default[LINK_KDB]);
}

static void start_new_links(struct agent *agent)
{
	for (struct route *route = agent->routes; route; route = route->next) {
		if (route->is_new)
			route_start(route);
		route->is_new = false;
	}
}

/* ---- scripts ---- */

static bool names_script(const struct config *config, const char *path)
{
	for (size_t i = 0; i < config->n_scripts; i++)
		if (strcmp(config->scripts[i], path) == 0)
			return true;
	return false;
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void tell_script(void *arg, const char *path, const char *what, const char *problem)
{
	tell(arg, problem ? FAILED : DONE, "script", name_of(path), what, problem);
}

static void apply_scripts(struct reloading *reloading)
{
	struct agent *agent = reloading->agent;
	char err[2048];

	for (size_t i = 0; i < agent->n_scripts; i++) {
		struct agent_script *place = &agent->scripts[i];

		if (!names_script(agent->config, place->path) || !script_sources_changed(place->script))
			continue;
		if (scripts_replace(agent, place, err, sizeof err) == SCRIPT_REPLACED)
			tell(reloading, DONE, "script", name_of(place->path), "reloaded", NULL);
		else
			tell(reloading, FAILED, "script", name_of(place->path), "the old one goes on", err);
	}
	scripts_rearrange(agent, tell_script, reloading);
}

/* ---- all of it ---- */

static void apply(struct reloading *reloading)
{
	struct config *fresh = reloading->config, old;

	keep_what_cannot_change(reloading);
	old = *reloading->agent->config;
	*reloading->agent->config = *fresh; /* in place: others point to it */
	*fresh = old;
	apply_settings(reloading);
	apply_links(reloading);
	apply_scripts(reloading);
	start_new_links(reloading->agent);
	loop_again(reloading->agent->loop);
}

/* NULL, or why nothing was changed. */
static const char *load_and_apply(struct reloading *reloading)
{
	struct agent *agent = reloading->agent;
	struct problems problems = {0};

	if (agent->custody.failing)
		return "the store cannot be written now: nothing is changed";
	reloading->config = config_load_as(agent->config->path, agent->config->name, &problems);
	tell_problems(reloading, &problems);
	problems_release(&problems);
	if (!reloading->config)
		return "the configuration is wrong: nothing is changed";
	for (size_t i = 0; i < reloading->config->warnings.n; i++)
		log_warn("config", "%s", reloading->config->warnings.lines[i]);
	apply(reloading);
	config_free(reloading->config);
	if (reloading->changes == 0)
		log_info("reload", "nothing has changed");
	return NULL;
}

static const char *run(struct reloading *reloading)
{
	struct agent *agent = reloading->agent;
	const char *problem;

	if (agent->phase != RUNNING)
		return "the agent is stopping";
	service_reloading(agent);
	problem = load_and_apply(reloading);
	service_ready(agent);
	return problem;
}

void reload(struct agent *agent)
{
	struct reloading reloading = {.agent = agent};
	const char *problem = run(&reloading);

	if (problem)
		log_error("reload", "%s", problem);
}

/* ---- the command ---- */

static bool next(void *arg, void *state, struct answer *answer)
{
	struct reloading reloading = {.agent = arg, .lines = json_array()};
	const char *problem = run(&reloading);

	(void)state;
	for (size_t i = 0; i < json_array_size(reloading.lines); i++)
		answer_line(answer, json_incref(json_array_get(reloading.lines, i)));
	if (problem)
		answer_fail(answer, "%s", problem);
	else if (reloading.failures > 0)
		answer_fail(answer, "%zu of them failed", reloading.failures);
	json_decref(reloading.lines);
	return false;
}

const struct answer_command reload_command = {.name = "reload", .changes = true, .next = next};
