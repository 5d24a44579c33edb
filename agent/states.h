/* What scripts keep in `state`, between them and the store: loaded when a script is
 * opened, written in the commit that has what the same handler published. */
#ifndef TIDEGATE_STATES_H
#define TIDEGATE_STATES_H

#include <stddef.h>
#include <stdint.h>

#include "queue.h"

struct agent;
struct script;

/* Before scripts are opened. 0, or -1 with the reason in `err`. */
int states_open(struct agent *agent, char *err, size_t err_size);
void states_close(struct agent *agent);

/* Logs whose state is on disk although no such script is configured any more. */
void states_tell_orphans(struct agent *agent);

/* For struct script_host; `arg` is the agent. */
int states_load(void *arg, uint32_t origin, int (*row)(void *to, struct bytes key, struct bytes value), void *to);
void states_changed(void *arg, struct script *script);

#endif
