/* A sorted list of pointers: looking up is a binary search, and listing gives what
 * Prometheus wants, each name's metrics in a row. A metric is one block of memory:
 * the struct, its labels, their text.
 */
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topic.h"

struct metrics {
	struct metric **list;
	size_t n, max;
};

struct metrics *metrics_open(void)
{
	return calloc(1, sizeof(struct metrics));
}

void metrics_close(struct metrics *metrics)
{
	if (!metrics)
		return;
	for (size_t i = 0; i < metrics->n; i++)
		free(metrics->list[i]);
	free(metrics->list);
	free(metrics);
}

const char *metric_kind_name(enum metric_kind kind)
{
	return kind == METRIC_COUNTER ? "counter" : "gauge";
}

/* ---- what Prometheus takes ---- */

/* Letters, digits, `_`, and `more`; no digit in front. */
static int is_name(const char *name, const char *more)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	size_t first = strspn(name, letters) + strspn(name, more);
	char all[sizeof letters + 16];

	(void)snprintf(all, sizeof all, "%s0123456789%s", letters, more);
	return first > 0 && name[strspn(name, all)] == 0;
}

static int check_label(const struct metric_label *label, char *err, size_t err_size)
{
	const char *problem = topic_text_problem(label->value, strlen(label->value));

	if (!is_name(label->name, "") || strncmp(label->name, "__", 2) == 0) {
		(void)snprintf(err, err_size, "labels.%.100s: label names are made of letters, digits and _, with no digit "
		               "and no __ in front", label->name);
		return -1;
	}
	if (problem)
		(void)snprintf(err, err_size, "labels.%.100s: %s", label->name, problem);
	return problem ? -1 : 0;
}

static int check(const char *name, const struct metric_label *labels, size_t n_labels, char *err, size_t err_size)
{
	size_t bytes = strlen(name);

	if (!is_name(name, ":")) {
		(void)snprintf(err, err_size, "name: letters, digits, _ and : expected, with no digit in front, got '%.100s'",
		               name);
		return -1;
	}
	for (size_t i = 0; i < n_labels; i++) {
		if (check_label(&labels[i], err, err_size))
			return -1;
		bytes += strlen(labels[i].name) + strlen(labels[i].value);
	}
	if (bytes > METRIC_BYTES_MAX)
		(void)snprintf(err, err_size, "name and labels are longer than %d bytes", METRIC_BYTES_MAX);
	return bytes > METRIC_BYTES_MAX ? -1 : 0;
}

/* ---- the order ---- */

static int compare_labels(const void *left, const void *right)
{
	const struct metric_label *a = left, *b = right;
	int order = strcmp(a->name, b->name);

	return order ? order : strcmp(a->value, b->value);
}

static int compare(const struct metric *metric, const char *name, const struct metric_label *labels, size_t n_labels)
{
	int order = strcmp(metric->name, name);

	for (size_t i = 0; !order && i < metric->n_labels && i < n_labels; i++)
		order = compare_labels(&metric->labels[i], &labels[i]);
	return order ? order : (metric->n_labels > n_labels) - (metric->n_labels < n_labels);
}

/* Of the first that does not come before what is asked for. */
static size_t find(const struct metrics *metrics, const char *name, const struct metric_label *labels, size_t n_labels)
{
	size_t low = 0, high = metrics->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(metrics->list[middle], name, labels, n_labels) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- making one ---- */

/* Copies a text behind those that are there already. */
static const char *add_text(char **end, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = memcpy(*end, text, size);

	*end += size;
	return copy;
}

static struct metric *make(const char *name, const struct metric_label *labels, size_t n_labels)
{
	size_t size = sizeof(struct metric) + n_labels * sizeof *labels + strlen(name) + 1;
	struct metric_label *copies;
	struct metric *metric;
	char *end;

	for (size_t i = 0; i < n_labels; i++)
		size += strlen(labels[i].name) + strlen(labels[i].value) + 2;
	metric = calloc(1, size);
	if (!metric)
		return NULL;
	copies = (struct metric_label *)(metric + 1);
	end = (char *)(copies + n_labels);
	metric->name = add_text(&end, name);
	metric->labels = copies;
	metric->n_labels = n_labels;
	for (size_t i = 0; i < n_labels; i++) {
		copies[i].name = add_text(&end, labels[i].name);
		copies[i].value = add_text(&end, labels[i].value);
	}
	return metric;
}

static size_t count_of(const struct metrics *metrics, uint32_t owner)
{
	size_t count = 0;

	for (size_t i = 0; i < metrics->n; i++)
		count += metrics->list[i]->owner == owner;
	return count;
}

static int insert(struct metrics *metrics, size_t at, struct metric *metric)
{
	if (metrics->n == metrics->max) {
		size_t max = 2 * metrics->max + 16;
		struct metric **list = realloc(metrics->list, max * sizeof *list);

		if (!list)
			return -1;
		metrics->list = list;
		metrics->max = max;
	}
	memmove(metrics->list + at + 1, metrics->list + at, (metrics->n - at) * sizeof *metrics->list);
	metrics->list[at] = metric;
	metrics->n++;
	return 0;
}

static struct metric *add(struct metrics *metrics, size_t at, uint32_t owner, enum metric_kind kind,
                          struct metric *metric, char *err, size_t err_size)
{
	if (metric && count_of(metrics, owner) >= METRICS_MAX) {
		(void)snprintf(err, err_size, "more than %d different metrics; is there a label with ever new values?",
		               METRICS_MAX);
	} else if (!metric || insert(metrics, at, metric)) {
		(void)snprintf(err, err_size, "not enough memory");
	} else {
		metric->owner = owner;
		metric->kind = kind;
		return metric;
	}
	free(metric);
	return NULL;
}

struct metric *metrics_get(struct metrics *metrics, uint32_t owner, enum metric_kind kind, const char *name,
                           struct metric_label *labels, size_t n_labels, char *err, size_t err_size)
{
	const struct metric *family;
	struct metric *metric;
	size_t at;

	if (check(name, labels, n_labels, err, err_size))
		return NULL;
	qsort(labels, n_labels, sizeof *labels, compare_labels);
	family = metrics_at(metrics, find(metrics, name, NULL, 0));
	if (family && strcmp(family->name, name) == 0 && family->kind != kind) {
		(void)snprintf(err, err_size, "'%s' is a %s", name, metric_kind_name(family->kind));
		return NULL;
	}
	at = find(metrics, name, labels, n_labels);
	metric = at < metrics->n ? metrics->list[at] : NULL;
	if (metric && compare(metric, name, labels, n_labels) == 0)
		return metric;
	return add(metrics, at, owner, kind, make(name, labels, n_labels), err, err_size);
}

const struct metric *metrics_at(const struct metrics *metrics, size_t index)
{
	return index < metrics->n ? metrics->list[index] : NULL;
}

size_t metrics_count(const struct metrics *metrics)
{
	return metrics->n;
}
