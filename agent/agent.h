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
#include "log_limit.h"
#include "loop.h"
#include "script.h"

struct control;
struct dead;
struct forward;
struct ledger;
struct link;
struct poison;
struct queue;
struct store;

/* A link with its queue and what carries one to the other. */
struct route {
	struct link *link;
	struct queue *queue;
	struct forward *forward;
	struct agent *agent;
	struct queue_config policy;
	uint64_t brought_to;  /* the newest entry that its messages led to */
	unsigned waiting;     /* messages read and not acknowledged yet */
	bool lacks_room;      /* it is held because a queue is full */
	bool counting;        /* what an earlier process left in its queue */
	bool old_qos2;  /* an earlier process sent at QoS 2 */
	bool sent_qos2; /* noted in the store: see link_discard_session() */
	/* Of a link that a script opens: until its handler has returned, and if it failed. */
	enum { ROUTE_SETTLED, ROUTE_RESERVED, ROUTE_FORGOTTEN } standing;
	struct route *next;
};

struct agent {
	struct config *config;
	struct loop *loop;
	struct store *store;
	struct ledger *ledger;           /* what was given up */
	struct loop_timer report_losses; /* later, several together */
	struct dead *dead;               /* what could not be handled, */
	struct log_limit letters_logged; /* and what was logged of that, */
	struct log_limit room_logged;    /* and of those that made room */
	struct poison *poison;           /* what is being handled; NULL: no note is taken */
	struct control *control; /* NULL: not configured */
	struct route *routes; /* in the order of the configuration */
	struct route *default_route;
	struct script **scripts;
	size_t n_scripts;
	struct script_host host;

	int64_t started_ms; /* loop's clock */
	struct clock clock;
	struct custody custody;
	struct upkeep upkeep;
	struct drops drops;
	struct buffer properties; /* scratch */
	bool out_of_memory; /* what a script published could not be queued */
	struct loop_timer fill;   /* a forward wants to be asked again */
	struct loop_timer expire; /* queues are looked through for what has expired */
	struct loop_timer stop_deadline;
	enum { RUNNING, DRAINING, LEAVING } phase; /* stopping takes two steps, see run.c */
};

struct route *agent_route_of(struct agent *agent, const struct link *link);
struct route *agent_route_named(struct agent *agent, const char *name);

/* A message is lost for good: says and counts it. */
void agent_lost(struct route *route, const struct message *message, const char *reason);

/* Notes what is going to be acknowledged, for the transaction that makes its effects
 * durable. */
void agent_note_received(struct agent *agent);

struct script *agent_script_of(const struct agent *agent, uint32_t origin);

/* How the route's queue is limited and emptied from now on. */
void agent_set_policy(struct route *route, const struct queue_config *policy);

/* Brings the time of a queued message in line with the wall clock, which may have been
 * set since, or marks it as uncertain. */
void agent_correct_time(const struct agent *agent, struct message *message);

/* Makes a route; takes `config`. NULL with the reason in `err`. */
struct route *agent_add_route(struct agent *agent, struct link_config *config, char *err, size_t err_size);

/* Notes that QoS 2 leaves on this route, for the next process. */
void agent_note_qos2(struct agent *agent, struct route *route);

/* Fills agent->host (host.c). */
void agent_host_init(struct agent *agent);

#endif
