/* A link over the fake transport on the real loop, which turns until a condition holds; what the
 * link tells. For one source of each program.
 */
#ifndef TIDEGATE_LINK_FIXTURE_H
#define TIDEGATE_LINK_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "fake_transport.h"
#include "link.h"
#include "loop.h"
#include "test.h"

/* ---- what the link tells ---- */

static struct {
	int ups, downs, messages, receipts;
	char *session;
	char reason[64];
} told;

static inline void on_up(void *arg, struct link *link)
{
	(void)arg;
	CHECK(link_connected(link));
	told.ups++;
}

static inline void on_down(void *arg, struct link *link, const char *reason)
{
	(void)arg;
	CHECK(!link_connected(link));
	snprintf(told.reason, sizeof told.reason, "%s", reason);
	told.downs++;
}

static inline void on_message(void *arg, struct link *link, const struct inbound *message)
{
	(void)arg;
	(void)link;
	(void)message;
	told.messages++;
}

static inline void on_receipt(void *arg, struct link *link, const struct inbound *message)
{
	(void)arg;
	(void)link;
	CHECK(strcmp(message->topic, "acks") == 0);
	told.receipts++;
}

static inline void on_session(void *arg, struct link *link)
{
	(void)arg;
	free(told.session);
	told.session = link_session(link);
}

static inline enum in_flight on_in_flight(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
	return NOTHING_IN_FLIGHT;
}

static inline size_t on_remembered(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
	return 0;
}

static inline void on_forgotten(void *arg, struct link *link)
{
	(void)arg;
	(void)link;
}

static const struct link_events events = {
        .up = on_up, .down = on_down, .message = on_message, .receipt = on_receipt, .in_flight = on_in_flight,
        .remembered = on_remembered, .forgotten = on_forgotten, .session = on_session};

/* ---- the loop, until a condition holds ---- */

static struct loop *loop;
static struct link *subject;
static bool (*wanted)(void);
static int64_t give_up_ms;

static inline void nothing(void *arg)
{
	(void)arg;
}

static inline void on_signal(void *arg, int number)
{
	(void)arg;
	(void)number;
}

static struct loop_timer poke;

static inline void flush(void *arg)
{
	(void)arg;
	link_flush(subject);
	if (wanted() || loop_now_ms(loop) > give_up_ms)
		loop_stop(loop);
}

static inline void on_poke(void *arg)
{
	(void)arg;
	loop_timer_set(loop, &poke, loop_now_ms(loop) + 5);
}

static const struct loop_steps steps = {
        .commit = nothing, .send = nothing, .acknowledge = flush, .signal = on_signal};

static char err[256];

/* Turns go on until `condition`; false if that takes longer than `ms`. */
static inline bool wait_until(bool (*condition)(void), int ms)
{
	wanted = condition;
	give_up_ms = clock_monotonic_ms() + ms;
	CHECK(loop_run(loop) == 0);
	return condition();
}

/* ---- a link ---- */

/* config.c's, which would bring Lua along. */
void config_link_free(struct link_config *config)
{
	if (!config)
		return;
	free(config->name);
	free(config->urls);
	free(config->subscriptions);
	free(config);
}

/* link_open() and link_configure() take it. */
static inline struct link_config *make_config(int n_urls, int n_subscriptions)
{
	static char hosts[][8] = {"one", "two", "three"}, filters[][8] = {"a/#", "b", "c"};
	struct link_config *config = calloc(1, sizeof *config);

	config->name = strdup("core");
	config->urls = calloc((size_t)n_urls, sizeof *config->urls);
	config->n_urls = (size_t)n_urls;
	for (int i = 0; i < n_urls; i++)
		config->urls[i] = (struct url){.host = hosts[i], .port = 1883};
	config->subscriptions = calloc((size_t)n_subscriptions + 1, sizeof *config->subscriptions);
	config->n_subscriptions = (size_t)n_subscriptions;
	for (int i = 0; i < n_subscriptions; i++)
		config->subscriptions[i] = (struct subscription){.filter = filters[i], .qos = 1};
	config->window = 100;
	config->reconnect_min_ms = 10;
	config->reconnect_max_ms = 40;
	config->ack_timeout_ms = 30000;
	config->keepalive_ms = 60000;
	return config;
}

static inline void begin(int n_urls, int n_subscriptions)
{
	memset(&fake, 0, sizeof fake);
	memset(&told, 0, sizeof told);
	loop = loop_open(&steps, NULL, err, sizeof err);
	REQUIRE(loop != NULL);
	memset(&poke, 0, sizeof poke);
	poke.fire = on_poke;
	loop_timer_set(loop, &poke, 0);
	subject = link_open(loop, make_config(n_urls, n_subscriptions), &ops, &events, NULL, err, sizeof err);
	REQUIRE(subject != NULL);
}

static inline void end(void)
{
	link_close(subject);
	loop_close(loop);
	free(told.session);
}

/* ---- conditions ---- */

static inline bool is_up(void)
{
	return link_connected(subject);
}

static inline bool came_back(void)
{
	return told.ups == 2;
}

static inline bool never(void)
{
	return false;
}

#endif
