/* The dead letters, on request: "dead list", "dead show", "dead retry" and "dead purge".
 *
 * They work on a running agent and, for the command line, on one that only has the
 * store and the dead letters of it: then "dead retry" marks letters for the next agent
 * that runs. Lines, by their "kind":
 *
 *     list    dead_letter...
 *     show    dead_letter, payload...   base64; one after the other they are the payload
 *     retry   retried...                with how it went
 *     purge   purged                    with how many
 *
 * What they change is durable with the next commit.
 */
#ifndef TIDEGATE_DEAD_COMMANDS_H
#define TIDEGATE_DEAD_COMMANDS_H

#include "answer.h"

extern const struct answer_command dead_list_command, dead_show_command, dead_retry_command, dead_purge_command;

#endif
