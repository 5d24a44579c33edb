/* /metrics: what the agent counts, in Prometheus' text format. */
#ifndef TIDEGATE_HTTP_METRICS_H
#define TIDEGATE_HTTP_METRICS_H

#include "buffer.h"

struct agent;

/* For struct http_page: `arg` is the struct agent. */
#define HTTP_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
int http_metrics(void *arg, struct buffer *body);

#endif
