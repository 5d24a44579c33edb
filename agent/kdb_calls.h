/* What a kdb+ link has been given to send, until the collector's reply: rows collect in
 * open batches, one for each table (and types, and function), which are sealed when they are
 * full or old, called in that order, and answered in that order:
 *
 *     rows ──> open ──> sealed ──> called ──> acknowledged, row by row
 *                         ^           │
 *                         └───────────┘ an error: again later, or in halves
 *
 * Rows are told of as acknowledged or refused, never as refused for now: what the collector
 * cannot take now waits here, in its batch. An error is definite: nothing was applied. A
 * connection that ends is not, so batches that were called end at the same row when they
 * are sent again (agent/kdb_cuts.h).
 *
 * No sockets; is told the time.
 */
#ifndef TIDEGATE_KDB_CALLS_H
#define TIDEGATE_KDB_CALLS_H

#include "kdb_batch.h"
#include "kdb_cuts.h"
#include "link.h"

struct kdb_calls {
	const struct link_config *config;
	const struct transport_events *events;
	void *arg;
	struct kdb_calls_list {
		struct kdb_batch *first, **end;
	} open, sealed, called; /* open: the oldest first */
	size_t n_called;
	size_t rows, bytes; /* in all of these */
	unsigned last_handle;
	struct kdb_cells row; /* scratch */
	struct kdb_cuts cuts;
	bool unnoted; /* cuts were added that are not known to be durable */
	int64_t paused_until_ms;
	unsigned pauses; /* in a row */
	int64_t since_ms; /* when the first of `called` became that, or was still being taken */
	struct {
		char *table; /* the batch that was unanswered when the collector hung up; NULL: none */
		uint64_t first, last;
		unsigned times;
	} suspect;
	char component[80];
};

/* Zero-initialised before; never fails. */
void kdb_calls_init(struct kdb_calls *calls, const struct link_config *config, const struct transport_events *events,
                    void *arg);
void kdb_calls_release(struct kdb_calls *calls);

/* A row, for a batch. As transport_ops.send; SEND_LATER also while there is no room. `wall_ms`: the time
 * against which rows are late, if any are. */
enum send_result kdb_calls_add(struct kdb_calls *calls, const struct message *message, int64_t wall_ms, int *handle,
                               char *reason, size_t reason_size);

/* What is due is sealed, and what is new begins to wait. With exactly_once, what is to be called next is noted first: returns
 * a text to free() that must be durable before, or NULL. kdb_calls_noted() tells when it is. */
char *kdb_calls_settle(struct kdb_calls *calls, int64_t now_ms);
void kdb_calls_noted(struct kdb_calls *calls);
/* What an earlier one noted. -1: out of memory, or it is none. */
int kdb_calls_restore(struct kdb_calls *calls, const char *note);

/* Whether there is something to call now, after kdb_calls_settle(). */
bool kdb_calls_ready(const struct kdb_calls *calls, int64_t now_ms);

/* Appends the next call to `out`; only if kdb_calls_ready(). 0, or -1: no memory, later then. */
int kdb_calls_next(struct kdb_calls *calls, int64_t now_ms, struct buffer *out);

/* The reply to the first that was called; `error` NULL: it was taken. False: nothing was called. */
bool kdb_calls_answered(struct kdb_calls *calls, const struct bytes *error, int64_t now_ms);

/* The connection is lost, `hung_up`: the collector closed it when it had all that was called. All is
 * forgotten but where batches ended. */
void kdb_calls_lost(struct kdb_calls *calls, bool hung_up);

/* When something is to be done without anything having happened, or INT64_MAX. */
int64_t kdb_calls_due_ms(const struct kdb_calls *calls, int64_t now_ms);

/* The collector is still taking what was called: the first reply is waited for from now on. */
void kdb_calls_move(struct kdb_calls *calls, int64_t now_ms);
/* How long the first reply has been waited for; 0: none is. */
int64_t kdb_calls_waited_ms(const struct kdb_calls *calls, int64_t now_ms);

/* "Slowly": so often at most, the longest reconnect interval. */
int64_t kdb_slow_ms(const struct link_config *config);

#endif
