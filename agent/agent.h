/* The running agent, as run.c builds it and host.c shows it to the scripts. */
#ifndef TIDEGATE_AGENT_H
#define TIDEGATE_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "config.h"
#include "custody.h"
#include "upkeep.h"
#include "drops.h"
#include "buffer.h"
#include "histogram.h"
#include "log_limit.h"
#include "loop.h"
#include "route.h"
#include "script.h"
#include "scripts.h"
#include "service.h"

struct control;
struct dead;
struct forward;
struct ledger;
struct link;
struct metrics;
struct monitor;
struct observer;
struct poison;
struct queue;
struct recorder;
struct rehearsal;
struct state;
struct store;
struct transport_ops;

struct agent {
	struct config *config;
	struct loop *loop;
	struct store *store;
	struct ledger *ledger;           /* what was given up */
	struct loop_timer report_losses; /* later, several together */
	struct dead *dead;               /* what could not be handled, */
	struct log_limit letters_logged; /* and what was logged of that, */
	struct log_limit room_logged;    /* and of those that made room */
	struct state *state;             /* what scripts keep */
	struct poison *poison;           /* what is being handled; NULL: no note is taken */
	struct control *control; /* NULL: not configured */
	struct route *routes; /* in the order of the configuration */
	struct route *default_routes[2]; /* of each enum link_kind; NULL: there is none */
	struct agent_script *scripts;
	size_t n_scripts;
	uint32_t running; /* the script whose handler runs, or whose effects are applied; 0: none */
	bool condemned;   /* a script has failed too often */
	bool verbose;
	struct metrics *metrics; /* the scripts' */
	struct histogram handler_times; /* while there is a monitor */
	struct monitor *monitor; /* NULL: not configured */
	struct script_host host;

	const struct transport_ops *transport; /* of all links, simulated; NULL: each its own */
	const struct rehearsal *rehearsal; /* NULL: this is for real */
	const struct observer *observer;   /* NULL: nobody looks on */
	struct recorder *recorder;         /* NULL: nothing is recorded */

	int64_t started_ms; /* loop's clock */
	struct clock clock;
	struct custody custody;
	struct upkeep upkeep;
	struct service service;
	struct drops drops;
	struct buffer properties; /* scratch */
	bool out_of_memory; /* what a script published could not be queued */
	struct loop_timer fill;   /* a forward wants to be asked again */
	struct loop_timer timers; /* the scripts' next is due */
	struct loop_timer expire; /* queues are looked through for what has expired */
	struct loop_timer stop_deadline;
	enum { RUNNING, DRAINING, LEAVING } phase; /* stopping takes two steps, see run.c */
};

struct script *agent_script_of(const struct agent *agent, uint32_t origin);

/* Stops in good order, as SIGTERM does. */
void agent_stop(struct agent *agent);

/* Brings the time of a queued message in line with the wall clock, which may have been
 * set since, or marks it as uncertain. */
void agent_correct_time(const struct agent *agent, struct message *message);

/* Fills agent->host (host.c). */
void agent_host_init(struct agent *agent);

#endif
