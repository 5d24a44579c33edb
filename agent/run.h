/* The composition root: builds everything from a configuration, wires it, runs
 * the loop, tears it down. */
#ifndef TIDEGATE_RUN_H
#define TIDEGATE_RUN_H

#include <stdbool.h>

struct config;

/* The database was corrupt and has been replaced: load the configuration and run again. */
#define RUN_AGAIN (-1)

/* Runs the agent until SIGTERM or SIGINT. `verbose` logs at debug level. Takes
 * the links out of `config`; the rest of it must live until the return.
 * Returns the exit status: 0 stopped cleanly, 1 it failed, 78 a script or the
 * configuration does not load (the log says why), or
 * RUN_AGAIN. */
int run_agent(struct config *config, bool verbose);

#endif
