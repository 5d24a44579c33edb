/* What script_load.c (opening and closing), script_call.c (the way into Lua) and
 * script.c (events and their handlers) share. Nothing else includes it. */
#ifndef TIDEGATE_SCRIPT_INTERNAL_H
#define TIDEGATE_SCRIPT_INTERNAL_H

#include <lua.h>

#include "api.h"

/* One event on its way to one handler. */
struct call {
	const char *handler;  /* the global's name; NULL: a function given to on() or to a timer */
	const struct timer *timer;
	size_t registration;  /* which one of on() */
	int (*push)(lua_State *L, const struct call *call); /* its arguments; returns how many */
	bool ran;                                           /* there was a handler */
	bool failed;                                        /* one of those that were called */
	const struct inbound *message;
	const char *link, *reason;
	uint64_t token;
	struct bytes context;
};

/* Calls function(arg) in the script's state. 0, or -1 with script_error() saying what
 * happened. */
int script_enter(struct script *script, lua_CFunction function, void *arg);
const char *script_error(const struct script *script);

/* Runs the handler, if there is one: all of its effects, or none. */
void script_call(struct script *script, struct call *call);

/* Pushes a global and returns its type. */
int script_push_global(lua_State *L, const char *name);

void script_log_unlogged(const struct script *script, uint64_t count);

#endif
