/* The event loop: poll, monotonic timers, signals, and the five steps of a turn.
 *
 *     wait -> read -> commit -> send -> acknowledge
 *
 * The first two are the loop's own (watches and timers run in "read"), the last
 * three are hooks. The order is the product's promise: an acknowledgement
 * leaves only after the commit that covers it.
 */
#ifndef TIDEGATE_LOOP_H
#define TIDEGATE_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* Owned by the caller, who fills fd, events, ready and arg. May be changed or
 * unwatched from any callback. */
struct loop_watch {
	int fd;
	short events; /* POLLIN, POLLOUT */
	void (*ready)(void *arg, short revents);
	void *arg;
};

/* Owned by the caller, who fills fire and arg; zero otherwise. Fires once. */
struct loop_timer {
	void (*fire)(void *arg);
	void *arg;
	int64_t at_ms;
	bool armed;
};

/* The steps after reading, in order; each is called once every turn. */
struct loop_steps {
	void (*commit)(void *arg);
	void (*send)(void *arg);
	void (*acknowledge)(void *arg);
	void (*signal)(void *arg, int number); /* SIGTERM, SIGINT or SIGHUP arrived */
	/* In simulated time (agent/clock.h) the loop never sleeps: when there is nothing to do
	 * before `until_ms` (INT64_MAX: ever), this may make something happen, at a time up to
	 * then; else time goes on to then. NULL otherwise. */
	void (*idle)(void *arg, int64_t until_ms);
};

struct loop *loop_open(const struct loop_steps *steps, void *arg, char *err, size_t err_size);
void loop_close(struct loop *loop);

int loop_watch(struct loop *loop, struct loop_watch *watch); /* 0, or -1: no memory */
void loop_unwatch(struct loop *loop, struct loop_watch *watch);

/* Arms `timer` to fire in the first turn at or after `at_ms` on loop_now_ms()'s
 * clock; arming it again moves it. */
int loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ms);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* Monotonic milliseconds, taken once when the turn woke up. */
int64_t loop_now_ms(const struct loop *loop);

/* The next turn follows at once, without waiting. */
void loop_again(struct loop *loop);

/* Turns begin at least so far apart, less than a second. Under load a wake-up for every packet
 * costs more than the packet: together they share wake-ups, commits and segments. */
#define LOOP_PACE_NS 300000
void loop_set_pace(struct loop *loop, int64_t pace_ns);

/* Runs turns until loop_stop(); -1 if poll() itself fails. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
