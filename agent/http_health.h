/* /healthz: 200 while the agent does its work, else 503, with the reasons as JSON. agent/health.h says
 * what is wrong with a link. */
#ifndef TIDEGATE_HTTP_HEALTH_H
#define TIDEGATE_HTTP_HEALTH_H

#include "buffer.h"

struct agent;

/* Looks at every link; every few seconds. */
void http_health_look(struct agent *agent);

/* For struct http_page: `arg` is the struct agent. */
int http_health(void *arg, struct buffer *body);

#endif
