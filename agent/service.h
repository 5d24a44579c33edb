/* The agent as a service: what whoever supervises it (systemd) is told, and when.
 *
 * "Ready" means that the queue is open, the scripts are loaded, and messages are taken;
 * links may still be down. Its watchdog is answered by a timer of the loop, so that a loop
 * that is stuck is noticed. */
#ifndef TIDEGATE_SERVICE_H
#define TIDEGATE_SERVICE_H

#include <stdbool.h>

#include "loop.h"
#include "notify.h"

struct agent;

struct service {
	struct notify notify;
	struct loop_timer tick;
	char status[160]; /* as it was last told */
	bool silent;      /* it was logged that nothing can be told */
};

/* Before the loop exists. */
void service_init(struct agent *agent);
void service_release(struct agent *agent);

/* Everything is there; again after a reload, whatever came of it. */
void service_ready(struct agent *agent);
void service_reloading(struct agent *agent);
void service_stopping(struct agent *agent);

/* The loop ends for a while, however long it takes: the watchdog must not bite. */
void service_repairing(struct agent *agent);

#endif
