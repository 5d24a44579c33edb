/* The queues, on request: "queue list", "queue show", "queue export" and "queue purge".
 *
 * They work on a running agent and, for the command line, on one that only has its store,
 * its ledger and its configuration: the first three also if that is open to read only. They
 * see the queues of all links that the store knows, configured or not. Lines, by their "kind":
 *
 *     list    queue, message...          for each link; of each up to "limit" messages, the oldest first
 *     show    message, payload...
 *     export  (message, payload...)...   in the order of their numbers
 *     purge   (purging..., purged)...    for each link, with how many as yet and in all; durable by then
 *
 * A message has its payload in "payload" or "payload_base64" if it is short; else pieces of it follow, each in
 * "base64". A row for a kdb+ link has it in "row" as well, as JSON.
 */
#ifndef TIDEGATE_QUEUE_COMMANDS_H
#define TIDEGATE_QUEUE_COMMANDS_H

#include "answer.h"

#define QUEUE_LIST_LIMIT 100 /* if none is given */

extern const struct answer_command queue_list_command, queue_show_command, queue_export_command, queue_purge_command;

#endif
