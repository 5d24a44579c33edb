/* The thread and the loop settle who cleans up with one atomic exchange: the
 * thread announces "done", the loop "abandoned"; whoever comes second frees. */
#include "attempt.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "link.h"

#define STACK_BYTES (256 * 1024) /* TLS and the resolver need well under half of it */

enum { RUNNING, DONE, ABANDONED };

static atomic_int outstanding; /* threads abandoned that have not come back */

struct attempt {
	pthread_t thread;
	atomic_int state;
	const struct transport_ops *ops;
	void *transport;
	const struct url *url;
	bool discard_session;
	struct link_config *config; /* set by attempt_abandon() only */
	int done_fd;                /* our own duplicate */
	bool threadless;            /* it was over at once */
	int result;
	char err[256];
};

static void attempt_free(struct attempt *attempt)
{
	close(attempt->done_fd);
	free(attempt);
}

static void clean_up(struct attempt *attempt)
{
	attempt->ops->close(attempt->transport);
	config_link_free(attempt->config);
	attempt_free(attempt);
}

static void *run(void *arg)
{
	struct attempt *attempt = arg;
	const uint64_t one = 1;
	int running = RUNNING;

	attempt->result = attempt->ops->connect(attempt->transport, attempt->url, attempt->discard_session, attempt->err,
	                                        sizeof attempt->err);
	if (!atomic_compare_exchange_strong(&attempt->state, &running, DONE)) {
		clean_up(attempt);
		atomic_fetch_sub(&outstanding, 1);
		return NULL;
	}
	/* From here the loop may wait for this thread in attempt_finish(), and frees after it ended. */
	if (write(attempt->done_fd, &one, sizeof one) != (ssize_t)sizeof one)
		fprintf(stderr, "a connection attempt could not report back\n");
	return NULL;
}

static void ignore(int number)
{
	(void)number;
}

/* Without SA_RESTART, so that the signal makes a blocked connect() return. */
static void install_nudge(void)
{
	struct sigaction action = {.sa_handler = ignore};

	sigemptyset(&action.sa_mask);
	sigaction(SIGUSR1, &action, NULL);
}

struct attempt *attempt_start(const struct transport_ops *ops, void *transport, const struct url *url, bool discard_session,
                              int done_fd)
{
	struct attempt *attempt = calloc(1, sizeof *attempt);
	pthread_attr_t attributes;
	int failed;

	if (!attempt)
		return NULL;
	attempt->ops = ops;
	attempt->transport = transport;
	attempt->url = url;
	attempt->discard_session = discard_session;
	attempt->done_fd = dup(done_fd);
	if (attempt->done_fd < 0) {
		free(attempt);
		return NULL;
	}
	if (ops->instant) {
		attempt->threadless = true;
		run(attempt);
		return attempt;
	}
	install_nudge();
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	failed = pthread_create(&attempt->thread, &attributes, run, attempt);
	pthread_attr_destroy(&attributes);
	if (failed) {
		attempt_free(attempt);
		return NULL;
	}
	return attempt;
}

int attempt_finish(struct attempt *attempt, char *err, size_t err_size)
{
	int result;

	if (!attempt->threadless)
		pthread_join(attempt->thread, NULL);
	result = attempt->result;
	snprintf(err, err_size, "%s", attempt->err);
	attempt_free(attempt);
	return result;
}

void attempt_nudge(struct attempt *attempt)
{
	if (!attempt->threadless)
		pthread_kill(attempt->thread, SIGUSR1);
}

void attempt_abandon(struct attempt *attempt, struct link_config *config)
{
	int running = RUNNING;
	pthread_t thread = attempt->thread;

	attempt->config = config;
	if (attempt->threadless) {
		clean_up(attempt);
		return;
	}
	atomic_fetch_add(&outstanding, 1);
	if (atomic_compare_exchange_strong(&attempt->state, &running, ABANDONED)) {
		pthread_detach(thread);
	} else {
		pthread_join(thread, NULL);
		clean_up(attempt);
		atomic_fetch_sub(&outstanding, 1);
	}
}

bool attempt_outstanding(void)
{
	return atomic_load(&outstanding) > 0;
}
