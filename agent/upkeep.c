/* Shrinking waits until nothing was committed for a moment. A database that contradicts itself is not repaired under a running
 * agent: what is in memory came from brokers that still have it. */
#include "upkeep.h"

#include "agent.h"
#include "log.h"
#include "run.h"
#include "store.h"

#define QUIET_MS 1000 /* without a commit, before anything is given back */

static void shrink(void *arg)
{
	struct agent *agent = arg;

	if (!agent->custody.failing && !store_corrupt(agent->store))
		(void)store_shrink(agent->store);
}

void upkeep_init(struct agent *agent)
{
	agent->upkeep = (struct upkeep){.shrink = {.fire = shrink, .arg = agent}};
}

void upkeep_opened(struct agent *agent)
{
	const struct store_salvage *salvaged = store_salvaged(agent->store);

	upkeep_committed(agent); /* an earlier process may have left much room */
	if (!salvaged)
		return;
	log_error("store", "the database was damaged (%s) and is now %s; a new one has taken its place", salvaged->why,
	          salvaged->moved_to);
	log_error("store", "salvaged messages=%llu unreadable_places=%llu times=%llu", (unsigned long long)salvaged->messages,
	          (unsigned long long)salvaged->gaps, (unsigned long long)store_stats(agent->store).salvages);
}

void upkeep_committed(struct agent *agent)
{
	loop_timer_set(agent->loop, &agent->upkeep.shrink, loop_now_ms(agent->loop) + QUIET_MS);
}

bool upkeep_must_end(struct agent *agent)
{
	if (!store_corrupt(agent->store))
		return false;
	if (!agent->upkeep.told)
		log_error("store", "the database is corrupt; nothing more is acknowledged, starting anew with what can be salvaged");
	agent->upkeep.told = true;
	loop_stop(agent->loop);
	return true;
}

int upkeep_replace(const struct config *config)
{
	char err[512];

	if (store_set_aside(config->store_path, "found corrupt while it was in use", err, sizeof err) == 0)
		return RUN_AGAIN;
	log_error("store", "%s", err);
	return 1;
}
