/* A route: a link, the queue of what goes out on it, and the forward that carries one to
 * the other. Links bring messages to the scripts, whose effects join the queues. */
#ifndef TIDEGATE_ROUTE_H
#define TIDEGATE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "health.h"
#include "log_limit.h"

struct agent;
struct forward;
struct history;
struct link;
struct message;
struct queue;

struct route {
	enum link_kind kind; /* for ever: what is in the queue is for links of that kind */
	struct link *link;
	struct queue *queue;
	struct forward *forward;
	struct agent *agent;
	struct queue_config policy;
	struct log_limit receipts_logged; /* those that were ignored */
	uint64_t brought_to;  /* the newest entry that its messages led to */
	int64_t waiting;        /* messages read and not acknowledged yet */
	int64_t stuck_since_ms; /* its sender can send no more until they are; 0: it can */
	int64_t taken_ms;       /* when the last of them was read */
	int64_t stopped_at;     /* so many were waiting when linger ended, and no more had come; 0: they had */
	int64_t let_go_ms;      /* and then they were acknowledged; 0: not yet */
	int64_t window;         /* as many its sender lets wait, */
	int64_t window_until_ms; /* as far as is known for now */
	struct health_watch watch; /* whether it delivers; while there is a monitor */
	struct history *history; /* the last hour; while there is a monitor */
	bool released;          /* they were acknowledged in the last turn: the link may have been dead by then */
	bool hurries;           /* it was lost before that, and has not been back since */
	bool lacks_room;      /* it is held because a queue is full */
	bool counting;        /* what an earlier process left in its queue */
	bool old_qos2;  /* an earlier process sent at QoS 2 */
	bool sent_qos2; /* noted in the store: see link_discard_session() */
	/* Of a link that a script opens: until its handler has returned, and if it failed. */
	enum { ROUTE_SETTLED, ROUTE_RESERVED, ROUTE_FORGOTTEN } standing;
	bool of_config;           /* it is in agent.lua */
	bool is_new;              /* a reload has added it: it is started last */
	bool abandoned;           /* and nobody else wants it any more */
	struct link_config *spare; /* as agent.lua has it, while a script has it otherwise */
	uint32_t opener, stopper; /* the script that configured it last, or stopped it; 0: none */
	struct route *next;
};

/* Makes a route and appends it; takes `config`. NULL with the reason in `err`. */
struct route *route_add(struct agent *agent, struct link_config *config, char *err, size_t err_size);
void route_close(struct route *route);

/* Connects, unless a script said that it should not. */
void route_start(struct route *route);

struct route *route_of(struct agent *agent, const struct link *link);
struct route *route_named(struct agent *agent, const char *name); /* NULL: there is none */

/* Takes `config`: what differs changes with the end of the turn. `config` is what agent.lua says. */
void route_configure(struct route *route, struct link_config *config);

/* That script wants nothing of it any more: it is as agent.lua has it, or abandoned. */
void route_let_go(struct route *route, uint32_t script);

/* Says goodbye on it; scripts do not find it any more. Its queue stays. */
void route_remove(struct route *route);
void routes_remove_abandoned(struct agent *agent);

/* How its queue is limited and emptied from now on. */
void route_set_policy(struct route *route, const struct link_config *config);

/* A message for it is lost for good: logs it, counts it, and puts it on record. */
void route_lost(struct route *route, const struct message *message, const char *reason);

/* Notes what the links are going to acknowledge, for the transaction that makes its
 * effects durable; and whether a commit should be made for that alone. */
void route_note_received(struct agent *agent);
bool route_received_due(const struct agent *agent);

/* Notes that QoS 2 leaves on it, for the next process. */
void route_note_qos2(struct agent *agent, struct route *route);

#endif
