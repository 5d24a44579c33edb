/* poll(2), monotonic timers and a signalfd. The earliest timer is the timeout:
 * an idle agent sleeps. Watches and timers may be changed from any callback,
 * so a turn works on what it saw when it woke up and checks before each call. */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

struct loop {
	const struct loop_steps *steps;
	void *arg;
	struct loop_watch **watches; /* NULL where one was removed during a turn */
	struct pollfd *polled;       /* [i] belongs to watches[i] */
	size_t n_watches, watches_size;
	struct loop_timer **timers; /* armed ones; few, so not a heap */
	size_t n_timers, timers_size;
	struct loop_watch signals;
	int64_t now_ms;
	struct timespec woke_up; /* when the turn began, */
	int64_t pace_ns;         /* and how much later the next may */
	bool again, stopping;
};

static void on_signal(void *arg, short revents)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;

	(void)revents;
	while (read(loop->signals.fd, &info, sizeof info) == (ssize_t)sizeof info)
		loop->steps->signal(loop->arg, (int)info.ssi_signo);
}

/* Threads started later inherit the mask: signals come here only. */
static int open_signals(struct loop *loop)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	loop->signals = (struct loop_watch){.events = POLLIN, .ready = on_signal, .arg = loop};
	loop->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return loop->signals.fd < 0 ? -1 : loop_watch(loop, &loop->signals);
}

struct loop *loop_open(const struct loop_steps *steps, void *arg, char *err, size_t err_size)
{
	struct loop *loop = calloc(1, sizeof *loop);

	if (!loop) {
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	loop->steps = steps;
	loop->arg = arg;
	loop->now_ms = clock_monotonic_ms();
	loop->pace_ns = LOOP_PACE_NS;
	loop->signals.fd = -1;
	if (open_signals(loop) < 0) {
		snprintf(err, err_size, "cannot receive signals: %s", strerror(errno));
		loop_close(loop);
		return NULL;
	}
	return loop;
}

void loop_close(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->signals.fd >= 0)
		close(loop->signals.fd);
	free(loop->watches);
	free(loop->polled);
	free(loop->timers);
	free(loop);
}

int loop_watch(struct loop *loop, struct loop_watch *watch)
{
	if (loop->n_watches == loop->watches_size) {
		size_t size = loop->watches_size ? loop->watches_size * 2 : 8;
		struct loop_watch **watches = realloc(loop->watches, size * sizeof *watches);
		struct pollfd *polled;

		if (!watches)
			return -1;
		loop->watches = watches;
		polled = realloc(loop->polled, size * sizeof *polled);
		if (!polled)
			return -1;
		loop->polled = polled;
		loop->watches_size = size;
	}
	loop->watches[loop->n_watches++] = watch;
	return 0;
}

void loop_unwatch(struct loop *loop, struct loop_watch *watch)
{
	for (size_t i = 0; i < loop->n_watches; i++)
		if (loop->watches[i] == watch)
			loop->watches[i] = NULL;
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ms)
{
	timer->at_ms = at_ms;
	if (timer->armed)
		return 0;
	if (loop->n_timers == loop->timers_size) {
		size_t size = loop->timers_size ? loop->timers_size * 2 : 8;
		struct loop_timer **timers = realloc(loop->timers, size * sizeof *timers);

		if (!timers)
			return -1;
		loop->timers = timers;
		loop->timers_size = size;
	}
	loop->timers[loop->n_timers++] = timer;
	timer->armed = true;
	return 0;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	for (size_t i = 0; timer->armed && i < loop->n_timers; i++)
		if (loop->timers[i] == timer) {
			loop->timers[i] = loop->timers[--loop->n_timers];
			timer->armed = false;
		}
}

int64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
}

void loop_again(struct loop *loop)
{
	loop->again = true;
}

void loop_set_pace(struct loop *loop, int64_t pace_ns)
{
	loop->pace_ns = pace_ns;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

static struct loop_timer *earliest(const struct loop *loop)
{
	struct loop_timer *first = NULL;

	for (size_t i = 0; i < loop->n_timers; i++)
		if (!first || loop->timers[i]->at_ms < first->at_ms)
			first = loop->timers[i];
	return first;
}

/* In order of time; a timer that re-arms itself for now waits for the next turn. */
static void fire_timers(struct loop *loop)
{
	for (size_t left = loop->n_timers; left > 0; left--) {
		struct loop_timer *timer = earliest(loop);

		if (!timer || timer->at_ms > loop->now_ms)
			return;
		loop_timer_cancel(loop, timer);
		timer->fire(timer->arg);
	}
}

static int timeout_ms(const struct loop *loop)
{
	const struct loop_timer *timer = earliest(loop);
	int64_t wait;

	if (loop->again)
		return 0;
	if (!timer)
		return -1;
	wait = timer->at_ms - clock_monotonic_ms();
	if (wait < 0)
		return 0;
	return wait > 60000 ? 60000 : (int)wait;
}

static size_t collect(struct loop *loop)
{
	size_t n = 0;

	for (size_t i = 0; i < loop->n_watches; i++)
		if (loop->watches[i])
			loop->watches[n++] = loop->watches[i];
	loop->n_watches = n;
	for (size_t i = 0; i < n; i++)
		loop->polled[i] = (struct pollfd){.fd = loop->watches[i]->fd, .events = loop->watches[i]->events};
	return n;
}

static void keep_pace(const struct loop *loop)
{
	struct timespec next = loop->woke_up;

	next.tv_nsec += loop->pace_ns;
	if (next.tv_nsec >= 1000000000) {
		next.tv_sec++;
		next.tv_nsec -= 1000000000;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
}

static int wait_for_events(struct loop *loop, size_t n)
{
	int ready;

	keep_pace(loop);
	ready = poll(loop->polled, n, timeout_ms(loop));
	clock_gettime(CLOCK_MONOTONIC, &loop->woke_up);
	return ready;
}

static int simulate_wait(struct loop *loop, size_t n)
{
	int ready = poll(loop->polled, n, 0);
	const struct loop_timer *timer = earliest(loop);
	int64_t until_ms = timer ? timer->at_ms : INT64_MAX;

	if (ready != 0 || loop->again || until_ms <= clock_monotonic_ms())
		return ready;
	loop->steps->idle(loop->arg, until_ms);
	return poll(loop->polled, n, 0);
}

static int turn(struct loop *loop)
{
	size_t n = collect(loop);
	int ready = clock_simulated() ? simulate_wait(loop, n) : wait_for_events(loop, n);

	if (ready < 0 && errno != EINTR)
		return -1;
	loop->again = false;
	loop->now_ms = clock_monotonic_ms();
	for (size_t i = 0; ready > 0 && i < n; i++)
		if (loop->polled[i].revents && loop->watches[i])
			loop->watches[i]->ready(loop->watches[i]->arg, loop->polled[i].revents);
	fire_timers(loop);
	loop->steps->commit(loop->arg);
	loop->steps->send(loop->arg);
	loop->steps->acknowledge(loop->arg);
	return 0;
}

int loop_run(struct loop *loop)
{
	loop->stopping = false;
	while (!loop->stopping)
		if (turn(loop) < 0)
			return -1;
	return 0;
}
