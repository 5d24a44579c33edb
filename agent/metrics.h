/* What scripts count and measure: counters and gauges by name and labels, for whoever
 * shows them. One registry for all scripts; it outlives them, so that a script that
 * is loaded anew goes on counting where it was.
 */
#ifndef TIDEGATE_METRICS_H
#define TIDEGATE_METRICS_H

#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric_label {
	const char *name, *value;
};

enum {
	METRICS_MAX = 1000,       /* that one script may make */
	METRIC_LABELS_MAX = 10,
	METRIC_BYTES_MAX = 1000,  /* of the name and all labels together */
};

struct metric {
	enum metric_kind kind;
	uint32_t owner; /* whoever asked for it first */
	const char *name;
	const struct metric_label *labels; /* in the order of their names */
	size_t n_labels;
	double value;
};

struct metrics;

struct metrics *metrics_open(void); /* NULL: no memory */
void metrics_close(struct metrics *metrics);

/* The metric with this name and these labels, which it puts in order; made with the
 * value 0 if there was none. Valid until metrics_close(). NULL with the reason in
 * `err`: a name or value that Prometheus would not take, a name that is of another
 * kind, more than the owner may have. */
struct metric *metrics_get(struct metrics *metrics, uint32_t owner, enum metric_kind kind, const char *name,
                           struct metric_label *labels, size_t n_labels, char *err, size_t err_size);

/* The metric at that place in the order of name and labels, NULL behind the last: all
 * of one name are together. */
const struct metric *metrics_at(const struct metrics *metrics, size_t index);
size_t metrics_count(const struct metrics *metrics);

const char *metric_kind_name(enum metric_kind kind); /* as Prometheus calls it */

#endif
