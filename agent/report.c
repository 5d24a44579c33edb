/* Latencies are counted in buckets, 32 to each doubling: so they are exact to 3 %, and
 * millions cost nothing. */
#include "report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "cli_table.h"
#include "clock.h"
#include "jsonl.h"
#include "link.h"
#include "log.h"
#include "play.h"
#include "queue.h"
#include "run.h"

#define FINE 32
#define BUCKETS (FINE * 60)

struct span {
	int64_t first_ms, last_ms; /* wall clock */
};

/* Messages of one link that were lost for one reason. */
struct loss_account {
	struct loss_account *next;
	char *reason;
	uint64_t messages, bytes;
	struct span published, lost;
};

struct account {
	struct account *next;
	char *link;
	uint64_t received;
	uint64_t delivered, delivered_bytes, reports;
	uint64_t latencies[BUCKETS];
	int64_t longest_ms, last_ms; /* of latencies; of deliveries, wall clock */
	int64_t up_ms, drained_ms;   /* when it came up last, wall clock; how long the backlog took then, at most */
	uint64_t most_messages, most_bytes;
	int64_t most_messages_ms, most_bytes_ms; /* since the start */
	uint64_t waiting, waiting_bytes;
	unsigned outages; /* how often it went down */
	struct loss_account *losses;
};

/* ---- counting ---- */

/* A report that is wrong is worse than none. */
static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static struct account *account_of(struct report *report, const char *link)
{
	struct account **at = &report->accounts;

	while (*at && strcmp((*at)->link, link) != 0)
		at = &(*at)->next;
	if (!*at) {
		*at = must(calloc(1, sizeof **at));
		(*at)->link = must(strdup(link));
	}
	return *at;
}

static struct loss_account *loss_of(struct account *account, const char *reason)
{
	struct loss_account **at = &account->losses;

	while (*at && strcmp((*at)->reason, reason) != 0)
		at = &(*at)->next;
	if (!*at) {
		*at = must(calloc(1, sizeof **at));
		(*at)->reason = must(strdup(reason));
	}
	return *at;
}

/* Below 2 * FINE each its own. */
static size_t bucket_of(int64_t ms)
{
	size_t shift = 0;
	uint64_t value = ms > 0 ? (uint64_t)ms : 0;

	while (value >> shift >= 2 * FINE)
		shift++;
	return shift * FINE + (size_t)(value >> shift);
}

/* The largest value of a bucket. */
static int64_t bucket_ms(size_t bucket)
{
	size_t shift = bucket < 2 * FINE ? 0 : bucket / FINE - 1;

	return ((int64_t)(bucket - shift * FINE) << shift) + ((INT64_C(1) << shift) - 1);
}

static int64_t quantile_ms(const struct account *account, double share)
{
	uint64_t before = 0, wanted = (uint64_t)((double)account->delivered * share);
	size_t bucket = 0;
	int64_t ms;

	while (bucket < BUCKETS - 1 && before + account->latencies[bucket] <= wanted)
		before += account->latencies[bucket++];
	ms = bucket_ms(bucket);
	return ms < account->longest_ms ? ms : account->longest_ms;
}

static void extend(struct span *span, int64_t ms)
{
	if (span->first_ms == 0 || ms < span->first_ms)
		span->first_ms = ms;
	if (ms > span->last_ms)
		span->last_ms = ms;
}

static void on_message(void *arg, const struct link *link, const struct inbound *message)
{
	(void)message;
	account_of(arg, link_name(link))->received++;
}

static void on_up(void *arg, const struct link *link)
{
	account_of(arg, link_name(link))->up_ms = clock_wall_ms();
}

static void on_down(void *arg, const struct link *link, const char *reason)
{
	(void)reason;
	account_of(arg, link_name(link))->outages++;
}

static void on_lost(void *arg, const struct link *link, uint64_t seq, const struct message *message, const char *reason)
{
	struct loss_account *loss = loss_of(account_of(arg, link_name(link)), reason);

	(void)seq;
	loss->messages++;
	loss->bytes += message ? message->topic.size + message->payload.size : 0;
	extend(&loss->lost, clock_wall_ms());
	/* What was refused at once has no time yet. */
	extend(&loss->published, message && message->time_ms > 0 ? message->time_ms : clock_wall_ms());
}

static void on_delivered(void *arg, const struct delivery *delivery)
{
	struct account *account = account_of(arg, delivery->link);
	int64_t latency_ms = delivery->now_ms - delivery->time_ms;

	if (delivery->report) {
		account->reports++;
		return;
	}
	account->delivered++;
	account->delivered_bytes += delivery->bytes;
	account->latencies[bucket_of(latency_ms)]++;
	account->last_ms = delivery->now_ms;
	if (latency_ms > account->longest_ms)
		account->longest_ms = latency_ms;
	if (delivery->time_ms < account->up_ms && delivery->now_ms - account->up_ms > account->drained_ms)
		account->drained_ms = delivery->now_ms - account->up_ms;
}

/* How much waits, as time is about to go on. */
static void on_wait(void *arg, struct agent *agent)
{
	for (const struct route *route = agent->routes; route; route = route->next) {
		struct account *account = account_of(arg, link_name(route->link));

		account->waiting = queue_messages(route->queue);
		account->waiting_bytes = queue_bytes(route->queue);
		if (account->waiting > account->most_messages) {
			account->most_messages = account->waiting;
			account->most_messages_ms = play_elapsed_ms();
		}
		if (account->waiting_bytes > account->most_bytes) {
			account->most_bytes = account->waiting_bytes;
			account->most_bytes_ms = play_elapsed_ms();
		}
	}
}

static void on_failed(void *arg, const struct script *script, const char *where, const char *error)
{
	const struct play *play = ((struct agent *)arg)->rehearsal->arg;
	struct report *report = play->arg;

	if (report->failures++ == 0)
		fprintf(stderr, "tidegate: %s: %s: %s\n", script_name(script), where, error);
}

static void on_begin(void *arg, struct agent *agent)
{
	(void)arg;
	agent->host.failed = on_failed;
}

static void on_log(void *arg, enum log_level level, const char *component, const char *text)
{
	(void)arg;
	if (level == LOG_LEVEL_ERROR)
		fprintf(stderr, "tidegate: %s: %s\n", component, text);
}

void report_attach(struct report *report, struct play *play)
{
	report->play = play;
	play->arg = report;
	play->begins = on_begin;
	play->waits = on_wait;
	play->delivered = on_delivered;
	play->observer = (struct observer){.arg = report, .message = on_message, .up = on_up, .down = on_down, .lost = on_lost};
	log_divert(on_log, report);
}

void report_release(struct report *report)
{
	while (report->accounts) {
		struct account *account = report->accounts;

		report->accounts = account->next;
		while (account->losses) {
			struct loss_account *loss = account->losses;

			account->losses = loss->next;
			free(loss->reason);
			free(loss);
		}
		free(account->link);
		free(account);
	}
}

/* ---- for people ---- */

/* "2d 03:04:05", "00:00:01.500"; the buffer is the caller's. */
static const char *duration(int64_t ms, char text[40])
{
	int64_t seconds = ms / 1000, days = seconds / 86400;
	int n = days > 0 ? snprintf(text, 40, "%" PRId64 "d ", days) : 0;

	n += snprintf(text + n, 40 - (size_t)n, "%02d:%02d:%02d", (int)(seconds / 3600 % 24), (int)(seconds / 60 % 60),
	              (int)(seconds % 60));
	if (ms % 1000 != 0 && days == 0)
		snprintf(text + n, 40 - (size_t)n, ".%03d", (int)(ms % 1000));
	return text;
}

/* "604,800" */
static const char *count(uint64_t n, char text[40])
{
	char digits[24];
	int length = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;

	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			text[at++] = ',';
		text[at++] = digits[i];
	}
	text[at] = '\0';
	return text;
}

static const char *messages(uint64_t n, char text[40])
{
	char number[40];

	snprintf(text, 40, "%s message%s", count(n, number), n == 1 ? "" : "s");
	return text;
}

static int64_t since_start(const struct report *report, int64_t wall_ms)
{
	return wall_ms - play_start_ms(report->play);
}

static void print_account(const struct report *report, const struct account *account, FILE *out)
{
	char a[40], b[40], c[40];

	fprintf(out, "\nlink %s\n", account->link);
	if (account->received > 0)
		fprintf(out, "  received   %s\n", messages(account->received, a));
	if (account->most_messages > 0 || account->losses)
		fprintf(out, "  delivered  %s, %s\n", messages(account->delivered, a), text_bytes((double)account->delivered_bytes).string);
	if (account->delivered > 0) {
		fprintf(out, "  latency    half within %s, 99 %% within %s, all within %s\n", duration(quantile_ms(account, 0.5), a),
		        duration(quantile_ms(account, 0.99), b), duration(account->longest_ms, c));
		fprintf(out, "  last       delivered at %s\n", duration(since_start(report, account->last_ms), a));
	}
	if (account->drained_ms > 0)
		fprintf(out, "  drained    within %s of the link's return\n", duration(account->drained_ms, a));
	if (account->most_messages > 0) {
		fprintf(out, "  backlog    at most %s at %s, ", messages(account->most_messages, a),
		        duration(account->most_messages_ms, b));
		fprintf(out, "%s at %s\n", text_bytes((double)account->most_bytes).string,
		        duration(account->most_bytes_ms, b));
	}
	for (const struct loss_account *loss = account->losses; loss; loss = loss->next) {
		fprintf(out, "  lost       %s, %s: %s\n", messages(loss->messages, a),
		        text_bytes((double)loss->bytes).string, loss->reason);
		fprintf(out, "             published from %s to %s, ", duration(since_start(report, loss->published.first_ms), a),
		        duration(since_start(report, loss->published.last_ms), b));
		fprintf(out, "given up from %s to %s\n", duration(since_start(report, loss->lost.first_ms), a),
		        duration(since_start(report, loss->lost.last_ms), b));
	}
	if (account->waiting > 0)
		fprintf(out, "  waiting    %s, %s, at the end\n", messages(account->waiting, a),
		        text_bytes((double)account->waiting_bytes).string);
}

static uint64_t received(const struct report *report)
{
	uint64_t n = 0;

	for (const struct account *account = report->accounts; account; account = account->next)
		n += account->received;
	return n;
}

static void print_plain(const struct report *report, FILE *out)
{
	char a[40], b[40], c[40];

	fprintf(out, "%s until %s; all was over at %s\n", messages(received(report), a), duration(report->play->last_ms, b),
	        duration(play_elapsed_ms(), c));
	if (report->play->unread > 0)
		fprintf(out, "%s not taken yet: they wait at their brokers\n", messages(report->play->unread, a));
	if (report->failures > 0)
		fprintf(out, "handlers failed %s times\n", count(report->failures, a));
	for (const struct account *account = report->accounts; account; account = account->next)
		print_account(report, account, out);
}

/* ---- JSON ---- */

static void put_count(json_t *object, const char *key, uint64_t n)
{
	json_object_set_new(object, key, json_integer((json_int_t)n));
}

/* Takes `object`. */
static void print_line(FILE *out, json_t *object)
{
	char *line = json_dumps(object, JSONL_DUMP);

	if (line)
		fprintf(out, "%s\n", line);
	free(line);
	json_decref(object);
}

static json_t *losses_json(const struct report *report, const struct account *account)
{
	json_t *list = json_array();

	for (const struct loss_account *loss = account->losses; loss; loss = loss->next) {
		json_t *object = json_object();

		jsonl_put_text(object, "reason", loss->reason);
		put_count(object, "messages", loss->messages);
		put_count(object, "bytes", loss->bytes);
		jsonl_put_seconds(object, "first_published", since_start(report, loss->published.first_ms));
		jsonl_put_seconds(object, "last_published", since_start(report, loss->published.last_ms));
		jsonl_put_seconds(object, "first_lost", since_start(report, loss->lost.first_ms));
		jsonl_put_seconds(object, "last_lost", since_start(report, loss->lost.last_ms));
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *account_json(const struct report *report, const struct account *account)
{
	json_t *object = json_object();

	jsonl_put_text(object, "kind", "link");
	jsonl_put_text(object, "link", account->link);
	put_count(object, "received", account->received);
	put_count(object, "delivered", account->delivered);
	put_count(object, "delivered_bytes", account->delivered_bytes);
	put_count(object, "reports", account->reports);
	if (account->delivered > 0) {
		jsonl_put_seconds(object, "latency_median", quantile_ms(account, 0.5));
		jsonl_put_seconds(object, "latency_99", quantile_ms(account, 0.99));
		jsonl_put_seconds(object, "latency_longest", account->longest_ms);
		jsonl_put_seconds(object, "last_delivered", since_start(report, account->last_ms));
	}
	if (account->drained_ms > 0)
		jsonl_put_seconds(object, "drained_within", account->drained_ms);
	put_count(object, "outages", account->outages);
	put_count(object, "backlog_messages", account->most_messages);
	jsonl_put_seconds(object, "backlog_messages_at", account->most_messages_ms);
	put_count(object, "backlog_bytes", account->most_bytes);
	jsonl_put_seconds(object, "backlog_bytes_at", account->most_bytes_ms);
	json_object_set_new(object, "lost", losses_json(report, account));
	put_count(object, "waiting", account->waiting);
	put_count(object, "waiting_bytes", account->waiting_bytes);
	return object;
}

static void print_json(const struct report *report, FILE *out)
{
	json_t *whole = json_object();

	jsonl_put_text(whole, "kind", "replay");
	put_count(whole, "received", received(report));
	jsonl_put_seconds(whole, "last_message", report->play->last_ms);
	jsonl_put_seconds(whole, "over", play_elapsed_ms());
	put_count(whole, "unread", report->play->unread);
	put_count(whole, "handler_errors", report->failures);
	print_line(out, whole);
	for (const struct account *account = report->accounts; account; account = account->next)
		print_line(out, account_json(report, account));
}

void report_print(const struct report *report, FILE *out, bool json)
{
	if (json)
		print_json(report, out);
	else
		print_plain(report, out);
}
