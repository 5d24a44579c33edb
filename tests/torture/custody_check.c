/* Holds the record against a database: opens it beside, takes out everything there is,
 * and compares the set with those that may be there. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "custody_internal.h"
#include "memory.h"

/* One check: what is opened, and what it has found so far. */
struct check {
	struct custody *custody;
	struct opened opened;
	struct findings *findings;
	bool may_go_back; /* a power cut may undo commits */
	struct set set;
	uint64_t note, losses, state;
};

static void note_found(struct check *check, unsigned place, uint64_t seq, bool as_written)
{
	struct item *item = custody_find(check->custody, seq);

	if (!item || item->place != place || !as_written) {
		custody_say(check->custody, "%u has %llu, which was not put there so", place, (unsigned long long)seq);
		check->findings->invented++;
	} else {
		item->found = true;
	}
	check->findings->found++;
	check->set.messages++;
	check->set.sum += custody_mark(place, seq);
}

/* Hands out everything that a queue has: first what is of higher priority, then in order. */
static void drain(struct check *check, unsigned number)
{
	struct queue *queue = check->opened.queues[number];
	unsigned priority = QUEUE_PRIORITY_REPORT;
	const struct message *message;
	uint64_t last = 0;
	char err[256];
	bool failed;

	while ((message = queue_peek(queue, 0, false, &failed, err, sizeof err)) != NULL) {
		if (message->priority > priority || (message->priority == priority && message->seq <= last)) {
			custody_say(check->custody, "queue %u: %llu comes after %llu", number, (unsigned long long)message->seq,
			            (unsigned long long)last);
			check->findings->out_of_order++;
		}
		priority = message->priority;
		last = message->seq;
		note_found(check, number, message->seq, custody_knows(message, number));
		if (queue_reserve(queue) < 0) {
			custody_say(check->custody, "no more can be handed out");
			check->findings->broken++;
			return;
		}
		queue_take(queue);
	}
	if (failed) {
		custody_say(check->custody, "a queue cannot be read: %s", err);
		check->findings->broken++;
	}
}

static void visit_letter(void *arg, const struct dead_letter *letter)
{
	note_found(arg, DEAD_LETTERS, letter->id, custody_knows_letter(letter));
}

static uint64_t find_note(struct store *store)
{
	char *text = store_note(store, "note");
	uint64_t note = text ? strtoull(text, NULL, 10) : 0;

	free(text);
	return note;
}

static void find_all(struct check *check)
{
	for (size_t i = 0; i < check->custody->n_items; i++)
		check->custody->items[i].found = false;
	for (unsigned i = 0; i < QUEUES; i++)
		drain(check, i);
	dead_visit(check->opened.dead, visit_letter, check);
	check->note = find_note(check->opened.store);
	check->losses = ledger_total(check->opened.ledger, "q", NULL);
	if (custody_read_state(check->opened.state, &check->state) != STATE_RIGHT) {
		custody_say(check->custody, "state %llu is not what it should be", (unsigned long long)check->state);
		check->findings->invented++;
	}
	check->set.sum += custody_mark(NOTE, check->note) + custody_mark(LOSSES, check->losses) +
	                  custody_mark(STATE, check->state);
}

static bool is_known(const struct custody *custody, struct set set, size_t first, size_t *which)
{
	for (size_t i = custody->n_sets; i > first; i--)
		if (custody->sets[i - 1].messages == set.messages && custody->sets[i - 1].sum == set.sum) {
			*which = i - 1;
			return true;
		}
	return false;
}

/* How what was found differs from what had to be there. */
static void compare(struct check *check)
{
	struct custody *custody = check->custody;
	size_t which = 0;
	bool known = is_known(custody, check->set, check->may_go_back ? 0 : custody->certain, &which);

	if (known && which < custody->certain)
		check->findings->taken_back++;
	for (size_t i = custody->settled; i < custody->n_items; i++) {
		const struct item *item = &custody->items[i];

		if (item->state == COMMITTED) {
			check->findings->promised++;
			if (!item->found && !check->may_go_back) {
				custody_say(custody, "%u has lost %llu", item->place, (unsigned long long)item->seq);
				check->findings->lost++;
			}
		}
		if (item->found && item->state == ACKNOWLEDGED)
			check->findings->duplicates++;
	}
	if (!known) {
		custody_say(custody, "%llu messages, note %llu, %llu losses and state %llu were found, which never were together",
		            (unsigned long long)check->set.messages, (unsigned long long)check->note,
		            (unsigned long long)check->losses, (unsigned long long)check->state);
		check->findings->invented++;
	}
}

/* A database that is found empty may be a new one, where commits may be undone. */
static void check_identity(struct check *check)
{
	struct custody *custody = check->custody;
	bool empty = check->may_go_back && check->note == 0 && check->set.messages == 0;

	if (custody->instance[0] && !empty && strcmp(custody->instance, store_instance(check->opened.store)) != 0) {
		custody_say(custody, "the database has another identity");
		check->findings->broken++;
	}
	if (store_salvaged(check->opened.store)) {
		custody_say(custody, "the database was damaged");
		check->findings->broken++;
	}
}

static void check_names(struct check *check)
{
	struct custody *custody = check->custody;

	for (unsigned i = 0; i < NAMES; i++) {
		char text[16];
		const char *name = custody->names[i] ? store_name(check->opened.store, custody->names[i]) : NULL;

		custody_name(i, text, sizeof text);
		if (custody->names[i] && !name && !check->may_go_back) {
			custody_say(custody, "%s is not known any more", text);
			check->findings->lost++;
		} else if (name && strcmp(name, text) != 0) {
			custody_say(custody, "%s has become %s", text, name);
			check->findings->invented++;
		}
	}
}

/* Numbers that the world has seen must not come again. Where a power cut may undo
 * commits, it may undo that of their reservation, too. */
static void check_numbers(struct check *check, uint64_t next_seq)
{
	if (next_seq <= check->custody->exposed) {
		custody_say(check->custody, "sequence numbers are used again: %llu was seen",
		            (unsigned long long)check->custody->exposed);
		check->findings->reused++;
	}
}

/* What was found is all there is, from now on. */
static void adopt(struct check *check, uint64_t next_seq)
{
	struct custody *custody = check->custody;

	for (size_t i = 0; i < custody->n_items; i++) {
		struct item *item = &custody->items[i];

		item->state = item->found ? COMMITTED : GONE;
		item->handed_out = false;
	}
	/* Numbers that nobody has seen may come again; and where commits were undone, others. */
	while (custody->n_items > 0 && custody->items[custody->n_items - 1].seq >= next_seq)
		custody->n_items--;
	if (custody->exposed >= next_seq)
		custody->exposed = next_seq - 1;
	custody->newest = next_seq - 1;
	custody->settled = 0;
	custody->n_sets = custody->certain = 0;
	custody_add_set(custody, check->set);
	custody->note = custody->committed_note = check->note;
	custody->losses = check->losses;
	custody->state = custody->committed_state = check->state;
	if (strcmp(custody->instance, store_instance(check->opened.store)) != 0)
		custody->instance[0] = '\0'; /* all was undone: there will be another */
	for (unsigned i = 0; i < NAMES; i++)
		if (custody->names[i] && !store_name(check->opened.store, custody->names[i]))
			custody->names[i] = 0;
	custody->dead = true;
}

/* Whether SQLite itself finds the file well, after the store has been at it. */
static void check_integrity(struct check *check, const char *path)
{
	sqlite3 *database = NULL;
	sqlite3_stmt *statement = NULL;
	const char *answer = "cannot be asked";

	if (sqlite3_open(path, &database) == SQLITE_OK &&
	    sqlite3_exec(database, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(database, "PRAGMA integrity_check", -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		answer = (const char *)sqlite3_column_text(statement, 0);
	if (strcmp(answer, "ok") != 0) {
		custody_say(check->custody, "integrity_check: %s", answer);
		check->findings->broken++;
	}
	sqlite3_finalize(statement);
	sqlite3_close(database);
}

static void check_all(struct custody *custody, const char *path, bool power_cut, bool adopted,
                      struct findings *findings)
{
	struct check check = {.custody = custody, .findings = findings};
	uint64_t next_seq;

	check.may_go_back = power_cut && custody->promised != STORE_FULL;
	findings->checks++;
	if (opened_open(&check.opened, custody, path) < 0) {
		custody_say(custody, "cannot be opened: %s", custody->err);
		findings->broken++;
		return;
	}
	next_seq = store_next_seq(check.opened.store);
	find_all(&check);
	compare(&check);
	check_identity(&check);
	check_names(&check);
	check_numbers(&check, next_seq);
	if (adopted)
		adopt(&check, next_seq);
	opened_close(&check.opened);
	check_integrity(&check, path);
}

void custody_check(struct custody *custody, const char *path, bool power_cut, bool adopted, struct findings *findings)
{
	memory_ours();
	check_all(custody, path, power_cut, adopted, findings);
	memory_theirs();
}
