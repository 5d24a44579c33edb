/* The composition root: builds everything from a configuration, wires it, runs
 * the loop, tears it down. */
#ifndef TIDEGATE_RUN_H
#define TIDEGATE_RUN_H

#include <stdbool.h>

#include <stdint.h>

struct agent;
struct config;
struct transport_ops;

/* The agent, whole, in simulated time (clock_simulate() first) and on a network that is
 * simulated, too. */
struct rehearsal {
	void *arg;
	const struct transport_ops *transport;
	/* What scripts can reach is there, nothing is open yet: it may be changed, and
	 * agent->observer set. */
	void (*begins)(void *arg, struct agent *agent);
	void (*idle)(void *arg, int64_t until_ms); /* as in agent/loop.h */
	void (*ends)(void *arg, struct agent *agent); /* the loop is over, everything is still there */
};

struct run_options {
	bool verbose;                      /* log at debug level */
	const char *record;                /* what happens goes into this file, see agent/recorder.h; NULL: it does not */
	const struct rehearsal *rehearsal; /* NULL: for real */
};

/* The database was corrupt and has been replaced: load the configuration and run again. */
#define RUN_AGAIN (-1)

/* Runs the agent until SIGTERM or SIGINT. Takes the links out of `config`; the rest of it must live until the return.
 * Returns the exit status: 0 stopped cleanly, 1 it failed, 78 a script or the
 * configuration does not load (the log says why), or
 * RUN_AGAIN. */
int run_agent(struct config *config, const struct run_options *options);

#endif
