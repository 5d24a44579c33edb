/* How `tidegate kdb listen` shows a call: a line and a table for people, or one line of
 * JSON with all rows. Written to stdout. */
#ifndef TIDEGATE_CLI_KDB_SHOW_H
#define TIDEGATE_CLI_KDB_SHOW_H

#include <stdbool.h>

#include "kdb_call.h"

/* Begins a line: the time of day, and who it is about. */
void show_head(const char *name);

/* `answer`: what the call gets, or "" for an asynchronous one. */
void show_call(const char *name, const struct kdb_call *call, const char *answer);
void show_call_json(const char *name, const struct kdb_call *call, const char *answer);

/* What is no call. */
void show_object(const char *name, struct kdb_input input, const char *answer);
void show_object_json(const char *name, struct kdb_input input, const char *answer);

/* What happens to a client. */
void show_event_json(const char *name, const char *event, const char *text);

#endif
