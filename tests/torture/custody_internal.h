/* The record, which custody.c keeps and custody_check.c holds against a database. */
#ifndef TIDEGATE_TORTURE_CUSTODY_INTERNAL_H
#define TIDEGATE_TORTURE_CUSTODY_INTERNAL_H

#include "custody.h"
#include "dead.h"
#include "ledger.h"
#include "queue.h"
#include "state.h"

#define QUEUES 3
#define PRIORITIES (QUEUE_PRIORITY_REPORT + 1)
#define NAMES 8
#define PAYLOAD_MAX 4096

/* Where something is kept: a queue, or */
enum { DEAD_LETTERS = QUEUES, NOTE, LOSSES, STATE, PLACES };

enum item_state {
	PENDING,      /* pushed, no commit yet */
	COMMITTED,
	ACKNOWLEDGED, /* by the collector, or given up; the deletion is not committed */
	GONE,
};

struct item {
	uint64_t seq;
	uint8_t place;
	uint8_t state;
	bool handed_out;
	bool found; /* by the check that is going on */
};

/* What is in the store at one moment: how many messages and letters, and the sum of
 * their marks and of those of the note, the count of losses and the state. */
struct set {
	uint64_t messages, sum;
};

/* The store and what is in it. */
struct opened {
	struct store *store;
	struct queue *queues[QUEUES];
	struct dead *dead;
	struct ledger *ledger;
	struct state *state;
};

struct custody {
	char path[64], err[256], instance[33];
	enum store_durability durability, promised;
	bool quiet; /* it is known that something is wrong */
	uint64_t random;
	struct opened opened;
	struct item *items; /* in order of seq */
	size_t n_items, room;
	size_t settled;   /* all before are gone */
	struct set *sets; /* what may be found: the last is the newest */
	size_t n_sets, sets_room;
	size_t certain;   /* sets before this one cannot be found where each commit is synced, or after a kill */
	uint64_t note, committed_note; /* the note's text is this number, 0: there is none */
	uint64_t state, committed_state; /* all entries of the script's state follow from this number; 0: there are none */
	uint64_t losses;  /* that the ledger was told of */
	uint64_t exposed; /* the highest seq that the world may have seen */
	uint64_t newest;  /* the highest seq; also the clock that messages expire on */
	uint64_t last_handed_out[QUEUES][PRIORITIES][2]; /* of the backlog, of what is live */
	uint64_t live_after[QUEUES];
	bool counting[QUEUES];
	uint32_t names[NAMES];
	uint64_t commits, pushed;
	int phase, phase_left;
	bool dead; /* the check adopted what was found: what the store still says belongs to the past */
	struct findings findings;
};

/* Says on stderr what is wrong, unless that is known. */
void custody_say(const struct custody *custody, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Opens all at `path`; `custody` is told what is dropped. 0, or -1. */
int opened_open(struct opened *opened, struct custody *custody, const char *path);
void opened_close(struct opened *opened);

struct item *custody_find(const struct custody *custody, uint64_t seq);

/* What stands for something in a set. */
uint64_t custody_mark(unsigned place, uint64_t number);
void custody_add_set(struct custody *custody, struct set set);

/* It is as it was pushed. */
bool custody_knows(const struct message *message, unsigned queue);
bool custody_knows_letter(const struct dead_letter *letter);

/* custody_state.c: the number that a script's state as it is on disk follows from. */
enum found { STATE_RIGHT, STATE_WRONG, STATE_UNREADABLE };
enum found custody_read_state(struct state *state, uint64_t *number);
struct state_source custody_state_source(struct custody *custody);

/* The text of a name. */
void custody_name(unsigned n, char *text, size_t size);

#endif
