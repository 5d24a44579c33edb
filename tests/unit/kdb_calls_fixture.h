/* A kdb+ link's calls without a connection: rows go in, time passes, the test answers. For one
 * source of each program.
 */
#ifndef TIDEGATE_KDB_CALLS_FIXTURE_H
#define TIDEGATE_KDB_CALLS_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "kdb_calls.h"
#include "kdb_ipc.h"
#include "test.h"

static struct link_config config;
static struct kdb_calls calls;
static int acknowledged[64], refused[64]; /* the first of them */
static size_t n_acknowledged, n_refused;
static char last_reason[200];
static uint64_t last_seq;
static int64_t now_ms;
static struct buffer out;

static inline void on_acknowledged(void *arg, int handle)
{
	CHECK(arg == &calls);
	acknowledged[n_acknowledged++] = handle;
}

static inline void on_refused(void *arg, int handle, enum refusal refusal, const char *reason)
{
	CHECK(arg == &calls && refusal == REFUSED_FOR_GOOD);
	refused[n_refused++] = handle;
	snprintf(last_reason, sizeof last_reason, "%s", reason);
}

static bool room = true;

static inline bool room_for_refused(void *arg, size_t messages, size_t bytes)
{
	(void)arg;
	CHECK(messages > 0 && bytes > 0);
	return room;
}

static const struct transport_events events = {
        .acknowledged = on_acknowledged, .refused = on_refused, .room_for_refused = room_for_refused};

static inline void begin(void)
{
	kdb_calls_release(&calls);
	memset(&calls, 0, sizeof calls);
	config = (struct link_config){
	        .name = (char *)"hist",
	        .kind = LINK_KDB,
	        .window = 1,
	        .reconnect_min_ms = 1000,
	        .reconnect_max_ms = 60000,
	        .kdb = {.call = (char *)".u.upd",
	                .batch_rows = 4,
	                .batch_bytes = 1 << 20,
	                .batch_delay_ms = 500,
	                .timeout_ms = 2000},
	};
	kdb_calls_init(&calls, &config, &events, &calls);
	n_acknowledged = n_refused = 0;
	last_seq = 0;
	now_ms = 100000;
	out.size = 0;
}

static inline enum send_result add_at(const char *table, int64_t value, int64_t time_ms)
{
	struct buffer payload = {0};
	struct message message = {.seq = ++last_seq, .topic = {table, strlen(table)}, .time_ms = time_ms};
	enum send_result result;
	char reason[200];
	int handle = 0;

	REQUIRE(kdb_put_list(&payload, 1) == 0 && kdb_put_integer(&payload, KDB_LONG, value) == 0);
	message.payload = (struct bytes){payload.data, payload.size};
	result = kdb_calls_add(&calls, &message, 5000000, &handle, reason, sizeof reason);
	if (result != SEND_OK)
		last_seq--;
	buffer_release(&payload);
	return result;
}

static inline void add(const char *table, int n)
{
	while (n-- > 0)
		CHECK(add_at(table, n, 5000000) == SEND_OK);
}

/* The rows of the next call, 0: there is none now. */
static inline size_t call(void)
{
	char *note = kdb_calls_settle(&calls, now_ms);
	size_t rows;

	if (note)
		kdb_calls_noted(&calls);
	free(note);
	out.size = 0;
	if (!kdb_calls_ready(&calls, now_ms))
		return 0;
	rows = calls.sealed.first->n;
	CHECK(kdb_calls_next(&calls, now_ms, &out) == 0);
	return rows;
}

/* Turns end, and time passes. */
static inline void pass(int64_t ms)
{
	free(kdb_calls_settle(&calls, now_ms));
	now_ms += ms;
}

static inline void answer(const char *error)
{
	struct bytes text = {error, error ? strlen(error) : 0};

	CHECK(kdb_calls_answered(&calls, error ? &text : NULL, now_ms));
}

/* The exit status. */
static inline int kdb_calls_fixture_end(void)
{
	kdb_calls_release(&calls);
	buffer_release(&out);
	return test_end();
}

#endif
