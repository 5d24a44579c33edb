/* The scripts of a running agent, and how one takes the place of another.
 *
 * Between two turns the old one stops, as it would with the agent, and the new one
 * starts: so whatever a script relies on at a start holds after a reload, too. Before
 * that the new one has been loaded on trial; if that fails, nothing has happened to the
 * old one. Until the new one has proved itself, the old one's text is kept, and takes
 * its place again if it fails too often.
 */
#ifndef TIDEGATE_SCRIPTS_H
#define TIDEGATE_SCRIPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sources.h"

struct agent;
struct route;
struct script;
struct subscription;
struct want;

#define SCRIPT_TRIAL 20 /* messages, of which a new one may fail on half */

/* The place of one script. */
struct agent_script {
	struct script *script;
	char *path;
	struct want *wants; /* what it has subscribed to */
	struct sources before; /* what it was until it was replaced; while on trial */
	bool on_trial, condemned;
	unsigned messages, failures; /* on trial */
	uint64_t rollbacks;
	char *trouble; /* why it is not what its file says; NULL: it is, as of the last reload */
};

/* Opens and starts all that are configured. 0, or the exit status after it was logged. */
int scripts_open(struct agent *agent);
void scripts_stop(struct agent *agent); /* on_stop() */
void scripts_close(struct agent *agent);

struct agent_script *scripts_find(const struct agent *agent, uint32_t origin); /* or NULL */

/* ---- events ---- */

/* A message was given to a script; `handled` if it had a handler for it. */
void scripts_judge(struct agent *agent, struct agent_script *place, bool handled, bool failed);

/* Not from inside a handler: replaces those that have failed too often. */
void scripts_settle(struct agent *agent);

/* Calls the timers that are due, and says to the loop when the next is. */
void scripts_fire(struct agent *agent);
void scripts_arm(struct agent *agent);

/* The script that runs has subscribed, or no longer wants that. */
void scripts_want(struct agent *agent, struct route *route, const struct subscription *subscription);
void scripts_unwant(struct agent *agent, struct route *route, const char *filter);

/* ---- reloading ---- */

/* Those of agent->config, from the next call on. */
void scripts_set_limits(struct agent *agent);

enum script_replaced {
	SCRIPT_REPLACED,
	SCRIPT_KEPT, /* the old one runs: `err` says why */
};

/* Loads what is in its files now, and lets it take the script's place. */
enum script_replaced scripts_replace(struct agent *agent, struct agent_script *place, char *err, size_t err_size);

/* Makes the scripts those of agent->config: adds, removes, orders; those that stay are
 * left alone. `tell` is called for each that was added or removed; `problem` is NULL or
 * what went wrong. */
typedef void scripts_tell(void *arg, const char *path, const char *what, const char *problem);
void scripts_rearrange(struct agent *agent, scripts_tell *tell, void *arg);

#endif
