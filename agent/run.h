/* The composition root: builds everything from a configuration, wires it, runs
 * the loop, tears it down. */
#ifndef TIDEGATE_RUN_H
#define TIDEGATE_RUN_H

#include <stdbool.h>

struct config;

/* Runs the agent until SIGTERM or SIGINT. `verbose` logs at debug level. Takes
 * the links out of `config`; the rest of it must live until the return.
 * Returns the exit status: 0 stopped cleanly, 1 it failed, 78 a script or the
 * configuration does not load (the log says why). */
int run_agent(struct config *config, bool verbose);

#endif
