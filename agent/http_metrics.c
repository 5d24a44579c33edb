/* Family by family, as the format wants it: a name, its help and type, then every sample of it. */
#include "http_metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "dead.h"
#include "disk.h"
#include "forward.h"
#include "ledger.h"
#include "metrics.h"
#include "queue.h"
#include "utf8.h"

struct page {
	const struct agent *agent;
	struct buffer *body;
	bool failed; /* memory is exhausted */
};

/* ---- the format ---- */

static void put(struct page *page, const char *text, size_t size)
{
	if (buffer_append(page->body, text, size) < 0)
		page->failed = true;
}

static void print(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct page *page, const char *format, ...)
{
	char text[512];
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (size < 0 || (size_t)size >= sizeof text)
		page->failed = true;
	else
		put(page, text, (size_t)size);
}

static void begin_family(struct page *page, const char *prefix, const char *name, const char *type, const char *help)
{
	print(page, "# HELP %s", prefix);
	put(page, name, strlen(name));
	print(page, " %s\n# TYPE %s", help, prefix);
	put(page, name, strlen(name));
	print(page, " %s\n", type);
}

/* Escaped; what is no UTF-8, as in the name of a file, or cannot be shown becomes "?". */
static void put_value(struct page *page, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t size = utf8_printable(text, left);

		if (size == 0)
			put(page, "?", 1);
		else if (*text == '"' || *text == '\\')
			put(page, "\\", 1);
		put(page, text, size);
		text += size > 0 ? size : 1;
		left -= size > 0 ? size : 1;
	}
}

static void put_label(struct page *page, const char *before, const char *name, const char *value)
{
	put(page, before, strlen(before));
	put(page, name, strlen(name));
	put(page, "=\"", 2);
	put_value(page, value);
	put(page, "\"", 1);
}

static void put_number(struct page *page, double value)
{
	if (isnan(value))
		print(page, " NaN\n");
	else if (isinf(value))
		print(page, " %sInf\n", value > 0 ? "+" : "-");
	else if (value == floor(value) && fabs(value) < 9e15)
		print(page, " %" PRId64 "\n", (int64_t)value);
	else
		print(page, " %.17g\n", value);
}

/* With up to two labels, of which either may be NULL. */
static void sample(struct page *page, const char *name, const char *label, const char *value, const char *label2,
                   const char *value2, double number)
{
	print(page, "%s", name);
	if (label)
		put_label(page, "{", label, value);
	if (label2)
		put_label(page, label ? "," : "{", label2, value2);
	if (label || label2)
		put(page, "}", 1);
	put_number(page, number);
}

static void single(struct page *page, const char *name, const char *type, const char *help, double number)
{
	begin_family(page, "", name, type, help);
	sample(page, name, NULL, NULL, NULL, NULL, number);
}

/* ---- links and queues ---- */

static double up(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return link_connected(route->link);
}

static double messages(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)queue_messages(route->queue);
}

static double bytes(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)queue_bytes(route->queue);
}

static double oldest(const struct agent *agent, const struct route *route)
{
	int64_t age_ms = queue_messages(route->queue) > 0 ? queue_oldest_age(route->queue) : 0;
	int64_t now_ms = clock_age_ms(&agent->clock);

	return age_ms > 0 && now_ms > age_ms ? (double)(now_ms - age_ms) / 1000 : 0;
}

static double received(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)link_stats(route->link).received;
}

static double sent(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)link_stats(route->link).sent;
}

static double acknowledged(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)link_stats(route->link).acknowledged;
}

static double reconnects(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)link_stats(route->link).reconnects;
}

static double stalls(const struct agent *agent, const struct route *route)
{
	(void)agent;
	return (double)link_stats(route->link).stalls;
}

static const struct link_family {
	const char *name, *type, *help;
	double (*value)(const struct agent *agent, const struct route *route);
} link_families[] = {
        {"tidegate_link_up", "gauge", "Whether the link is connected.", up},
        {"tidegate_queue_messages", "gauge", "Messages waiting or in flight.", messages},
        {"tidegate_queue_bytes", "gauge", "Bytes of topics and payloads, waiting or in flight.", bytes},
        {"tidegate_queue_oldest_seconds", "gauge", "How long the oldest message has been queued.", oldest},
        {"tidegate_received_total", "counter", "Messages that arrived on the link.", received},
        {"tidegate_sent_total", "counter", "Messages sent on the link, repetitions included.", sent},
        {"tidegate_acknowledged_total", "counter", "Messages that the other side acknowledged.", acknowledged},
        {"tidegate_reconnects_total", "counter", "Connections lost.", reconnects},
        {"tidegate_stalls_total", "counter", "Connections ended as nothing was acknowledged in time.", stalls},
};

static bool is_shown(const struct route *route)
{
	return route->standing != ROUTE_FORGOTTEN;
}

static void put_links(struct page *page)
{
	for (size_t i = 0; i < sizeof link_families / sizeof *link_families; i++) {
		const struct link_family *family = &link_families[i];

		begin_family(page, "", family->name, family->type, family->help);
		for (const struct route *route = page->agent->routes; route; route = route->next)
			if (is_shown(route))
				sample(page, family->name, "link", link_name(route->link), NULL, NULL,
				       family->value(page->agent, route));
	}
}

static void put_dropped(struct page *page)
{
	static const char name[] = "tidegate_dropped_total";
	static const char *const reasons[] = {"overflow", "expired", "rejected", "purged"};
	const struct ledger *ledger = page->agent->ledger;

	begin_family(page, "", name, "counter", "Messages given up since the database was made.");
	for (const struct route *route = page->agent->routes; route; route = route->next) {
		const char *link = link_name(route->link);
		uint64_t others = ledger_total(ledger, link, NULL);

		if (!is_shown(route))
			continue;
		for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
			uint64_t count = ledger_total(ledger, link, reasons[i]);

			sample(page, name, "link", link, "reason", reasons[i], (double)count);
			others -= count;
		}
		sample(page, name, "link", link, "reason", "other", (double)others);
	}
}

/* ---- scripts ---- */

/* Its name; its path if another script has the same name. */
static const char *label_of(const struct agent *agent, const struct agent_script *place)
{
	const char *name = script_name(place->script);

	for (size_t i = 0; i < agent->n_scripts; i++)
		if (&agent->scripts[i] != place && strcmp(script_name(agent->scripts[i].script), name) == 0)
			return script_path(place->script);
	return name;
}

static void put_script_calls(struct page *page, const struct agent_script *place)
{
	struct script_stats stats = script_stats(place->script);

	for (size_t i = 0; i < SCRIPT_HANDLERS; i++)
		if (stats.calls_of[i] > 0)
			sample(page, "tidegate_handler_calls_total", "script", label_of(page->agent, place), "handler",
			       script_handlers[i], (double)stats.calls_of[i]);
}

static void put_scripts(struct page *page)
{
	const struct agent *agent = page->agent;

	begin_family(page, "", "tidegate_handler_calls_total", "counter", "Calls of handlers, since the script was loaded.");
	for (size_t i = 0; i < agent->n_scripts; i++)
		put_script_calls(page, &agent->scripts[i]);
	begin_family(page, "", "tidegate_handler_errors_total", "counter", "Calls that failed, since the script was loaded.");
	for (size_t i = 0; i < agent->n_scripts; i++)
		sample(page, "tidegate_handler_errors_total", "script", label_of(agent, &agent->scripts[i]), NULL, NULL,
		       (double)script_stats(agent->scripts[i].script).errors);
	begin_family(page, "", "tidegate_script_memory_bytes", "gauge", "Memory that the script uses.");
	for (size_t i = 0; i < agent->n_scripts; i++)
		sample(page, "tidegate_script_memory_bytes", "script", label_of(agent, &agent->scripts[i]), NULL, NULL,
		       (double)script_stats(agent->scripts[i].script).memory_bytes);
}

static void put_times(struct page *page)
{
	const struct histogram *times = &page->agent->handler_times;
	uint64_t count = 0;
	char bound[32];

	begin_family(page, "", "tidegate_handler_seconds", "histogram", "How long calls of handlers took, of all scripts.");
	for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
		count += times->counts[i];
		snprintf(bound, sizeof bound, "%g", histogram_bounds[i]);
		sample(page, "tidegate_handler_seconds_bucket", "le", bound, NULL, NULL, (double)count);
	}
	count += times->counts[HISTOGRAM_BOUNDS];
	sample(page, "tidegate_handler_seconds_bucket", "le", "+Inf", NULL, NULL, (double)count);
	sample(page, "tidegate_handler_seconds_sum", NULL, NULL, NULL, NULL, times->sum);
	sample(page, "tidegate_handler_seconds_count", NULL, NULL, NULL, NULL, (double)count);
}

/* What they count themselves: those of one name are together. */
static void put_metrics(struct page *page)
{
	const char *family = "";

	for (size_t i = 0; i < metrics_count(page->agent->metrics); i++) {
		const struct metric *metric = metrics_at(page->agent->metrics, i);

		if (strcmp(metric->name, family) != 0)
			begin_family(page, "script_", metric->name, metric_kind_name(metric->kind), "Of a script.");
		family = metric->name;
		put(page, "script_", strlen("script_"));
		put(page, metric->name, strlen(metric->name));
		for (size_t j = 0; j < metric->n_labels; j++)
			put_label(page, j == 0 ? "{" : ",", metric->labels[j].name, metric->labels[j].value);
		if (metric->n_labels > 0)
			put(page, "}", 1);
		put_number(page, metric->value);
	}
}

/* ---- the store ---- */

static void put_store(struct page *page)
{
	const struct agent *agent = page->agent;
	const char *path = agent->config->store_path;
	int64_t written = disk_written_bytes();

	single(page, "tidegate_dead_letters", "gauge", "Messages that no rule could handle.",
	       (double)dead_count(agent->dead));
	single(page, "tidegate_commits_total", "counter", "Transactions that wrote something.",
	       (double)store_stats(agent->store).commits);
	if (written >= 0)
		single(page, "tidegate_store_bytes_written_total", "counter",
		       "Bytes this process has had written to disks, as the kernel counts them.", (double)written);
	single(page, "tidegate_store_bytes", "gauge", "Size of the database with its write-ahead log.",
	       (double)(disk_file_bytes(path, "") + disk_file_bytes(path, "-wal")));
}

int http_metrics(void *arg, struct buffer *body)
{
	struct page page = {.agent = arg, .body = body};

	put_links(&page);
	put_dropped(&page);
	put_scripts(&page);
	put_times(&page);
	put_store(&page);
	put_metrics(&page);
	return page.failed ? -1 : 200;
}
