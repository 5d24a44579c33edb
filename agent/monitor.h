/* What the agent shows over HTTP, while `http` is configured. */
#ifndef TIDEGATE_MONITOR_H
#define TIDEGATE_MONITOR_H

struct agent;
struct monitor;

/* Serves it, and begins to time handlers and to look at links. If the address cannot be listened on, that
 * is logged and nothing is served: the agent's work does not depend on it. */
void monitor_open(struct agent *agent);
void monitor_close(struct monitor *monitor);

#endif
