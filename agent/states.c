/* The store asks for what has changed by the script's number; whichever script has that
 * number then is asked. */
#include "states.h"

#include <inttypes.h>

#include "agent.h"
#include "log.h"
#include "state.h"
#include "store.h"

struct writing {
	struct state *state;
	uint32_t script;
};

static int put(void *arg, struct bytes key, struct bytes value)
{
	const struct writing *writing = arg;

	return state_put(writing->state, writing->script, key, value);
}

static int write_script(void *arg, uint32_t origin, struct state *state)
{
	struct script *script = agent_script_of(arg, origin);
	struct writing writing = {state, origin};

	return script ? script_state_write(script, put, &writing) : 0;
}

static void script_written(void *arg, uint32_t origin)
{
	struct script *script = agent_script_of(arg, origin);

	if (script)
		script_state_written(script);
}

int states_open(struct agent *agent, char *err, size_t err_size)
{
	struct state_source source = {.arg = agent, .write = write_script, .written = script_written};

	agent->state = state_open(agent->store, &source, err, err_size);
	return agent->state ? 0 : -1;
}

void states_close(struct agent *agent)
{
	state_close(agent->state);
	agent->state = NULL;
}

static void tell_orphan(void *arg, uint32_t origin, uint64_t entries)
{
	struct agent *agent = arg;
	const char *name = agent_script_of(agent, origin) ? NULL : store_name(agent->store, origin);

	if (name)
		log_info("store", "%" PRIu64 " entries of state are kept for script %s, which is not configured", entries, name);
}

void states_tell_orphans(struct agent *agent)
{
	state_visit(agent->state, tell_orphan, agent);
}

int states_load(void *arg, uint32_t origin, int (*row)(void *to, struct bytes key, struct bytes value), void *to)
{
	struct agent *agent = arg;

	return state_load(agent->state, origin, row, to);
}

void states_changed(void *arg, struct script *script)
{
	struct agent *agent = arg;

	custody_brought(agent, state_changed(agent->state, script_origin(script), script_stats(script).state_bytes));
}
