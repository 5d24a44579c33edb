/* Preloaded into the agents: their dice (agent/retry.c) always show the same, so
 * that a fleet that loses its broker comes back in step. What jitter is for shows
 * only without it, and the agent has no setting that takes it away. */
#include <stdlib.h>

int rand_r(unsigned int *seed)
{
	(void)seed;
	return RAND_MAX;
}
