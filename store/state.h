/* What scripts keep across restarts: for each script a set of entries, key and value,
 * both bytes that the store does not look into.
 *
 * The entries are the caller's, in memory. state_changed() says that a script has some
 * that are not on disk: from then on its number is unsafe, and no acknowledgement of a
 * collector makes it safe, only a commit; which asks the caller for all that changed
 * and writes it with the messages that were queued meanwhile.
 */
#ifndef TIDEGATE_STATE_H
#define TIDEGATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h" /* struct bytes */

struct state;
struct store;

/* Who has the entries. Called by store_commit(), inside its transaction. */
struct state_source {
	void *arg;
	/* Calls state_put() for each entry of the script that changed since the last written().
	 * 0; or -1 for want of memory, or if that said so: then the commit fails and is tried again. */
	int (*write)(void *arg, uint32_t script, struct state *state);
	void (*written)(void *arg, uint32_t script); /* all of that is durable */
};

/* `source` is copied. NULL on failure with the reason in `err`. Close before the store. */
struct state *state_open(struct store *store, const struct state_source *source, char *err, size_t err_size);
void state_close(struct state *state);

/* Calls `visit` for each saved entry of the script, and prepares for its changes. 0; or -1:
 * they cannot be read, there is no memory, or `visit` returned so. */
int state_load(struct state *state, uint32_t script, int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg);

/* Entries of the script, which was loaded, have changed; altogether they take about so
 * many bytes. Returns the sequence number that is unsafe until the next commit. */
uint64_t state_changed(struct state *state, uint32_t script, size_t bytes);

/* From write(): the entry is now this; a value of no bytes: it is gone. 0, or -1. */
int state_put(struct state *state, uint32_t script, struct bytes key, struct bytes value);

/* Calls `visit` for each script that has entries on disk. */
void state_visit(struct state *state, void (*visit)(void *arg, uint32_t script, uint64_t entries), void *arg);

#endif
