/* What links lose goes into the ledger (store/ledger.h), and from there to the
 * collector: one JSON message for each record, on `tidegate/NAME/loss` or the link's `loss_topic`,
 * through the queue of the link that lost it, ahead of everything else. What was lost while the link was down is
 * reported when it is up; what is lost while it is up, some seconds later, so that many
 * losses make one report.
 */
#ifndef TIDEGATE_LOSSES_H
#define TIDEGATE_LOSSES_H

#include <stddef.h>
#include <stdint.h>

struct agent;
struct ledger;
struct message;
struct route;

/* Opens the ledger. 0, or -1 with the reason in `err`. Close before the store. */
int losses_open(struct agent *agent, char *err, size_t err_size);
void losses_close(struct agent *agent);

/* A message was given up: "overflow", "expired", "rejected: ...". `message` is NULL if it
 * cannot be read any more. A report that is given up is not a loss. May be called from
 * inside the queue. */
void losses_add(struct agent *agent, struct route *route, uint64_t seq, const struct message *message,
                const char *reason);

/* The same for a link that has no route: no more than the record. 0, or -1: no memory. */
int losses_record(struct ledger *ledger, const char *link, const struct message *message, const char *reason);

/* Queues a report of each record that has none. */
void losses_report(struct agent *agent, struct route *route);

#endif
