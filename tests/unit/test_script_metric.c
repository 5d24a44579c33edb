/* metric: what Prometheus would take, once, by its kind, and not too many. */
#include <string.h>

#include "metrics.h"
#include "script_fixture.h"
#include "test.h"

static const struct metric *metric_named(const char *name)
{
	const struct metric *metric = NULL;

	for (size_t i = 0; (metric = metrics_at(host.metrics, i)) && strcmp(metric->name, name) != 0; i++)
		;
	return metric;
}

static double value_of(const char *name)
{
	const struct metric *metric = metric_named(name);

	return metric ? metric->value : -1;
}

static void counters_count(void)
{
	run("local c = metric.counter('opened_total') c:add() c:inc() c:add(2.5) c:add(0) c:inc(10)");
	CHECK(silent() && value_of("opened_total") == 14.5);
	CHECK(metric_named("opened_total")->kind == METRIC_COUNTER);
	CHECK(raises("metric.counter('opened_total'):add(-1)", "a counter never goes down"));
	CHECK(raises("metric.counter('opened_total'):add(0/0)", "a counter never goes down"));
	CHECK(raises("metric.counter('opened_total'):add(math.huge)", "a counter never goes down"));
	CHECK(raises("metric.counter('opened_total'):add('x')", "number expected, got string"));
	CHECK(raises("metric.counter('opened_total'):add(json.null)", "number expected, got json.null"));
	CHECK(raises("metric.counter('opened_total'):set(1)", "attempt to call a nil value (method 'set')"));
	CHECK(value_of("opened_total") == 14.5);
}

static void gauges_measure(void)
{
	run("local g = metric.gauge('level') g:set(3) g:add(-4.5) g:add(1)");
	CHECK(silent() && value_of("level") == -0.5);
	run("metric.gauge('level'):set(0/0)");
	CHECK(silent() && value_of("level") != value_of("level"));
	CHECK(raises("metric.gauge('level'):add()", "number expected, got no value"));
	CHECK(raises("metric.gauge('level').set(metric.counter('opened_total'), 1)", "gauge expected, got counter"));
	CHECK(raises("metric.gauge('level').set({}, 1)", "gauge expected, got table"));
}

static void the_same_is_the_same(void)
{
	size_t before = metrics_count(host.metrics);

	run("metric.counter('same'):inc()"
	    " metric.counter('same', {}):inc()"
	    " metric.counter('same', { a = '1', b = '2' }):inc()"
	    " metric.counter('same', { b = '2', a = '1' }):inc()"
	    " metric.counter('same', { a = '2', b = '1' }):inc(7)"
	    " metric.counter('same', { a = '1' }):inc(9)");
	CHECK(silent() && metrics_count(host.metrics) == before + 4);
	run("state.labels = { a = '1' } metric.counter('same', state.labels):inc()");
	CHECK(silent() && metrics_count(host.metrics) == before + 4);
	for (size_t i = 0; i + 1 < metrics_count(host.metrics); i++)
		CHECK(strcmp(metrics_at(host.metrics, i)->name, metrics_at(host.metrics, i + 1)->name) <= 0);
	CHECK(value_of("same") == 2);
	for (size_t i = 0; i < metrics_count(host.metrics); i++) {
		const struct metric *metric = metrics_at(host.metrics, i);

		if (metric->n_labels == 2 && strcmp(metric->labels[0].value, "1") == 0)
			CHECK(metric->value == 2 && !strcmp(metric->labels[1].name, "b") && !strcmp(metric->labels[1].value, "2"));
	}
	CHECK(raises("metric.gauge('same')", "metric.gauge: 'same' is a counter"));
	CHECK(raises("metric.gauge('same', { c = '3' })", "metric.gauge: 'same' is a counter"));
}

static void arguments_are_checked(void)
{
	size_t before = metrics_count(host.metrics);

	CHECK(raises("metric.counter()", "name: string expected, got no value"));
	CHECK(raises("metric.counter(12)", "name: string expected, got number"));
	CHECK(raises("metric.counter('a\\0b')", "name contains a NUL byte"));
	CHECK(raises("metric.counter('')", "name: letters, digits, _ and : expected"));
	CHECK(raises("metric.counter('doors open')", "with no digit in front, got 'doors open'"));
	CHECK(raises("metric.counter('1st')", "with no digit in front, got '1st'"));
	CHECK(raises("metric.counter('caf\xc3\xa9')", "name: letters, digits, _ and : expected"));
	CHECK(raises("metric.counter('n', 5)", "table of labels expected, got number"));
	CHECK(raises("metric.counter('n', { 'x' })", "the name of a label: string expected, got number"));
	CHECK(raises("metric.counter('n', { site = 4 })", "labels.site: string expected, got number"));
	CHECK(raises("metric.counter('n', { site = '' })", "labels.site: is empty"));
	CHECK(raises("metric.counter('n', { site = '\\xff' })", "labels.site: is not valid UTF-8"));
	CHECK(raises("metric.counter('n', { site = 'a\\nb' })", "labels.site: contains a control character"));
	CHECK(raises("metric.counter('n', { site = 'a\\0b' })", "labels.site: contains a NUL byte"));
	CHECK(raises("metric.counter('n', { ['a:b'] = 'x' })", "labels.a:b: label names are made of"));
	CHECK(raises("metric.counter('n', { __a = 'x' })", "labels.__a: label names are made of"));
	CHECK(raises("local t = {} for i = 1, 11 do t['l' .. i] = 'x' end metric.counter('n', t)", "labels: more than 10"));
	CHECK(raises("metric.counter('n', { a = ('x'):rep(1000) })", "longer than 1000 bytes"));
	CHECK(metrics_count(host.metrics) == before);
	run("local t = {} for i = 1, 10 do t['l' .. i] = 'x' end metric.counter('a:B_9', t)");
	CHECK(silent() && metrics_count(host.metrics) == before + 1);
}

static void not_too_many(void)
{
	size_t before = metrics_count(host.metrics);
	struct script_limits limits = { .memory_bytes = 8 << 20, .call_ms = 60000 };
	struct script *other;

	CHECK(raises("for i = 1, 2000 do metric.gauge('many', { i = ('%d'):format(i * 7919 % 2000) }):set(i) end",
	             "more than 1000 different metrics"));
	CHECK(metrics_count(host.metrics) <= before + METRICS_MAX && metrics_count(host.metrics) >= METRICS_MAX);
	run("metric.counter('opened_total'):inc()"); /* what is there can go on */
	CHECK(silent());
	write_file("rules.lua", "metric.gauge('of_another')", strlen("metric.gauge('of_another')"));
	other = script_open(path_in("rules.lua"), 43, limits, &host, load_error, sizeof load_error);
	CHECK(other && metric_named("of_another")->owner == 43);
	script_close(other);
}

/* Not an effect: what was counted stays, also of a handler that fails. */
static void are_not_undone(void)
{
	double before = value_of("opened_total");

	CHECK(raises("metric.counter('opened_total'):inc() mqtt.pub('t', 1) error('undo')", "undo"));
	CHECK(value_of("opened_total") == before + 1);
}

static void their_type_is_out_of_reach(void)
{
	CHECK(holds("getmetatable(metric.counter('opened_total')) == 'counter'"));
	CHECK(holds("getmetatable(metric.gauge('level')) == 'gauge'"));
	CHECK(holds("metric.gauge('level').__gc == nil"));
}

int main(void)
{
	if (!open_directory())
		return 1;
	RUN(counters_count);
	RUN(gauges_measure);
	RUN(the_same_is_the_same);
	RUN(arguments_are_checked);
	RUN(are_not_undone);
	RUN(their_type_is_out_of_reach);
	RUN(not_too_many);
	metrics_close(host.metrics);
	return test_end();
}
