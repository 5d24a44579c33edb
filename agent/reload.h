/* Reloading: agent.lua and the scripts are read anew, and the agent becomes what they say
 * without losing its connections, its queues, or a message.
 *
 * A configuration that does not check changes nothing. A script that does not load leaves
 * the one that runs in its place.
 */
#ifndef TIDEGATE_RELOAD_H
#define TIDEGATE_RELOAD_H

#include "answer.h"

struct agent;

/* On SIGHUP; what happens is in the log. */
void reload(struct agent *agent);

/* The same, asked for: tells in lines of kind "script", "link", "setting" and "problem"
 * what happened, and ends with an error if something did not load. */
extern const struct answer_command reload_command;

#endif
