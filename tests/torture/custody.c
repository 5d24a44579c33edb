/* Three queues, a few notes and names, in phases in which the collector is away, slow or
 * quick. What each message contains follows from its number, so the record keeps numbers
 * only; the set of messages as of a commit is one 64-bit sum over them. */
#include "custody.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue_calls.h"
#include "random.h"

#define QUEUES 3
#define PAYLOAD_MAX 4096
#define NAMES 8

enum state {
	PENDING,      /* pushed, no commit yet */
	COMMITTED,
	ACKNOWLEDGED, /* by the collector; the deletion is not committed */
	GONE,
};

struct item {
	uint64_t seq;
	uint8_t queue;
	uint8_t state;
	bool handed_out;
	bool found; /* by the check that is going on */
};

/* The messages in the store at one moment: how many, and the sum of their marks. */
struct set {
	uint64_t messages, sum;
};

struct custody {
	char path[64], err[256], instance[33];
	enum store_durability durability, promised;
	bool quiet; /* it is known that something is wrong */
	uint64_t random;
	struct store *store;
	struct queue *queues[QUEUES];
	struct item *items; /* in order of seq */
	size_t n_items, room;
	size_t settled;     /* all before are gone */
	struct set *sets;   /* what may be found: the last is the newest */
	size_t n_sets, sets_room;
	size_t certain;     /* sets before this one cannot be found after a kill or where each commit is synced */
	uint64_t note, committed_note; /* the note's text is this number, 0: there is none */
	uint64_t exposed;   /* the highest seq that the world may have seen */
	uint64_t last_handed_out[QUEUES];
	uint32_t names[NAMES];
	uint64_t commits, pushed;
	int phase, phase_left;
	bool dead; /* the check adopted what was found: what the store still says belongs to the past */
	struct findings findings;
};

static void *must(void *memory)
{
	if (!memory)
		abort(); /* of the test's own memory, there is enough */
	return memory;
}

bool findings_bad(const struct findings *findings)
{
	return findings->lost || findings->invented || findings->out_of_order || findings->reused || findings->broken;
}

static void say(const struct custody *custody, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const struct custody *custody, const char *format, ...)
{
	va_list args;

	if (custody->quiet)
		return;
	va_start(args, format);
	fputs("custody: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* ---- messages that follow from their number ---- */

static uint64_t mark(unsigned queue, uint64_t seq)
{
	return mix(seq * QUEUES + queue);
}

static uint64_t note_mark(uint64_t note)
{
	return mix(~note);
}

static void make_message(struct message *message, unsigned queue, uint64_t seq, char *payload, char *topic)
{
	uint64_t random = mark(queue, seq);
	size_t size = random_chance(&random, 5) ? random_below(&random, PAYLOAD_MAX) : random_below(&random, 120);

	for (size_t i = 0; i < size; i++)
		payload[i] = (char)(random + i * 7);
	memset(message, 0, sizeof *message);
	message->seq = seq;
	message->topic = (struct bytes){topic, (size_t)snprintf(topic, 40, "q%u/%llu", queue, (unsigned long long)seq)};
	message->payload = (struct bytes){payload, size};
	message->context = (struct bytes){payload, size < 9 ? size : 9};
	message->properties = (struct bytes){payload, size < 5 ? 0 : 5};
	message->time_ms = (int64_t)(random >> 20);
	message->qos = (uint8_t)random_below(&random, 3);
	message->retain = random_chance(&random, 50);
}

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static bool as_pushed(const struct message *message, unsigned queue)
{
	char payload[PAYLOAD_MAX], topic[40];
	struct message expected;

	make_message(&expected, queue, message->seq, payload, topic);
	return same_bytes(message->topic, expected.topic) && same_bytes(message->payload, expected.payload) &&
	       same_bytes(message->properties, expected.properties) && same_bytes(message->context, expected.context) &&
	       message->time_ms == expected.time_ms && message->qos == expected.qos && message->retain == expected.retain;
}

/* ---- the record ---- */

static struct item *find_item(struct custody *custody, uint64_t seq)
{
	size_t low = 0, high = custody->n_items;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (custody->items[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low < custody->n_items && custody->items[low].seq == seq ? &custody->items[low] : NULL;
}

static void add_item(struct custody *custody, unsigned queue, uint64_t seq)
{
	if (custody->n_items == custody->room) {
		custody->room = custody->room ? custody->room * 2 : 1024;
		custody->items = must(realloc(custody->items, custody->room * sizeof *custody->items));
	}
	custody->items[custody->n_items++] = (struct item){.seq = seq, .queue = (uint8_t)queue, .state = PENDING};
}

static void add_set(struct custody *custody, struct set set)
{
	if (custody->n_sets == custody->sets_room) {
		custody->sets_room = custody->sets_room ? custody->sets_room * 2 : 256;
		custody->sets = must(realloc(custody->sets, custody->sets_room * sizeof *custody->sets));
	}
	custody->sets[custody->n_sets++] = set;
}

/* What a commit now makes of the store: with what is pending, or only without what was
 * acknowledged. */
static struct set set_of(const struct custody *custody, bool additions, uint64_t note)
{
	struct set set = {.sum = note_mark(note)};

	for (size_t i = custody->settled; i < custody->n_items; i++) {
		const struct item *item = &custody->items[i];

		if (item->state == COMMITTED || (additions && item->state == PENDING)) {
			set.messages++;
			set.sum += mark(item->queue, item->seq);
		}
	}
	return set;
}

/* Once a commit has succeeded, nothing older may be found by whoever trusts it. */
static void commit_succeeded(struct custody *custody)
{
	for (size_t i = custody->settled; i < custody->n_items; i++) {
		struct item *item = &custody->items[i];

		item->state = item->state == PENDING ? COMMITTED : item->state == ACKNOWLEDGED ? GONE : item->state;
		if (item->state == GONE && i == custody->settled)
			custody->settled++;
	}
	custody->certain = custody->n_sets - 1;
	custody->committed_note = custody->note;
	custody->commits++;
	if (custody->n_items > 0 && custody->items[custody->n_items - 1].seq > custody->exposed)
		custody->exposed = custody->items[custody->n_items - 1].seq;
}

/* ---- a turn ---- */

static bool push_some(struct custody *custody, unsigned most)
{
	bool well = true;

	for (unsigned n = random_below(&custody->random, most + 1); n > 0; n--) {
		unsigned queue = random_below(&custody->random, QUEUES);
		uint64_t seq = store_next_seq(custody->store);
		char payload[PAYLOAD_MAX], topic[40];
		struct store_unsafe unsafe;
		struct message message;

		make_message(&message, queue, seq, payload, topic);
		if (call_push(custody->queues[queue], &message))
			add_item(custody, queue, seq);
		else
			well = false;
		custody->pushed++;
		if (store_pending(custody->store, &unsafe) != STORE_URGENT)
			custody->exposed = seq;
	}
	return well;
}

static bool take_one(struct custody *custody, unsigned queue)
{
	bool failed;
	const struct message *message = call_peek(custody->queues[queue], random_chance(&custody->random, 50), &failed);
	struct item *item;

	if (!message || queue_reserve(custody->queues[queue]) < 0)
		return false;
	item = find_item(custody, message->seq);
	if (!item || item->queue != queue || item->handed_out || item->state == GONE || !as_pushed(message, queue)) {
		say(custody, "queue %u hands out %llu, which it should not", queue, (unsigned long long)message->seq);
		custody->findings.invented++;
	}
	if (message->seq <= custody->last_handed_out[queue])
		custody->findings.out_of_order++;
	custody->last_handed_out[queue] = message->seq;
	if (item)
		item->handed_out = true;
	queue_take(custody->queues[queue]);
	return true;
}

static void acknowledge_some(struct custody *custody, unsigned percent)
{
	for (size_t i = custody->settled; i < custody->n_items; i++) {
		struct item *item = &custody->items[i];

		if (item->handed_out && item->state <= COMMITTED && random_chance(&custody->random, percent)) {
			/* In memory only, it is forgotten at once and never was on disk. */
			item->state = item->state == PENDING ? GONE : ACKNOWLEDGED;
			queue_acknowledged(custody->queues[item->queue], item->seq);
		}
	}
}

/* The collector is away, comes back, keeps up. */
static void choose_phase(struct custody *custody)
{
	if (custody->phase_left-- > 0)
		return;
	custody->phase = (custody->phase + 1) % 3;
	custody->phase_left = (int)random_below(&custody->random, 40);
}

static bool commit(struct custody *custody)
{
	char text[24];

	if (random_chance(&custody->random, 20)) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)custody->note + 1);
		if (store_set_note(custody->store, "note", text) == 0)
			custody->note++;
	}
	add_set(custody, set_of(custody, false, custody->committed_note));
	add_set(custody, set_of(custody, true, custody->note));
	if (store_commit(custody->store, custody->err, sizeof custody->err) != STORE_OK || custody->dead)
		return false;
	commit_succeeded(custody);
	return true;
}

static void use_a_name(struct custody *custody)
{
	unsigned n = random_below(&custody->random, NAMES);
	char text[16];
	uint32_t id;

	snprintf(text, sizeof text, "name %u", n);
	id = store_name_id(custody->store, text);
	if (custody->dead)
		return;
	if (id != 0 && custody->names[n] != 0 && custody->names[n] != id)
		custody->findings.invented++;
	if (id != 0)
		custody->names[n] = id;
}

bool custody_turn(struct custody *custody)
{
	static const unsigned pushes[] = {12, 4, 8}, takes[] = {0, 30, 12}, percents[] = {20, 80, 60};
	struct store_unsafe unsafe;
	bool well;

	choose_phase(custody);
	well = push_some(custody, pushes[custody->phase]);
	if (random_chance(&custody->random, 10))
		use_a_name(custody);
	if (custody->dead)
		return false;
	for (unsigned n = takes[custody->phase]; n > 0; n--)
		take_one(custody, random_below(&custody->random, QUEUES));
	acknowledge_some(custody, percents[custody->phase]);
	switch (store_pending(custody->store, &unsafe)) {
	case STORE_CLEAN:
		return well;
	case STORE_URGENT:
		return commit(custody) && well;
	default:
		return (random_chance(&custody->random, 30) || commit(custody)) && well;
	}
}

bool custody_settle(struct custody *custody, int tries)
{
	while (tries-- > 0)
		if (commit(custody))
			return true;
	return false;
}

/* ---- opening and closing ---- */

struct custody *custody_new(const char *path, enum store_durability durability, enum store_durability promised,
                            uint64_t seed)
{
	struct custody *custody = must(calloc(1, sizeof *custody));

	snprintf(custody->path, sizeof custody->path, "%s", path);
	custody->durability = durability;
	custody->promised = promised;
	custody->quiet = durability != promised;
	custody->random = seed;
	add_set(custody, (struct set){.sum = note_mark(0)});
	return custody;
}

void custody_free(struct custody *custody)
{
	custody_close(custody);
	free(custody->items);
	free(custody->sets);
	free(custody);
}

static void close_queues(struct store *store, struct queue **queues)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		queue_close(queues[i]);
		queues[i] = NULL;
	}
	store_close(store);
}

static struct store *open_queues(struct custody *custody, const char *path, struct queue **queues)
{
	struct store *store = store_open(path, custody->durability, custody->err, sizeof custody->err);
	char name[8];

	for (unsigned i = 0; store && i < QUEUES; i++) {
		snprintf(name, sizeof name, "q%u", i);
		queues[i] = call_open(store, name, custody->err, sizeof custody->err);
		if (!queues[i]) {
			close_queues(store, queues);
			return NULL;
		}
	}
	return store;
}

int custody_open(struct custody *custody)
{
	custody->dead = false;
	custody->store = open_queues(custody, custody->path, custody->queues);
	if (!custody->store)
		return -1;
	if (!custody->instance[0] && !custody->dead)
		snprintf(custody->instance, sizeof custody->instance, "%s", store_instance(custody->store));
	return 0;
}

void custody_close(struct custody *custody)
{
	if (custody->store)
		close_queues(custody->store, custody->queues);
	custody->store = NULL;
}

const char *custody_error(const struct custody *custody)
{
	return custody->err;
}

/* ---- checking ---- */


/* Hands out everything that a queue has, and marks it as found. */
static void drain(struct custody *custody, struct queue *queue, unsigned number, struct set *set, struct findings *findings)
{
	const struct message *message;
	uint64_t last = 0;
	bool failed;

	while ((message = call_peek(queue, false, &failed)) != NULL) {
		struct item *item = find_item(custody, message->seq);

		if (message->seq <= last)
			findings->out_of_order++;
		last = message->seq;
		if (!item || item->queue != number || !as_pushed(message, number)) {
			say(custody, "queue %u has %llu, which was not pushed so", number, (unsigned long long)message->seq);
			findings->invented++;
		} else {
			item->found = true;
		}
		findings->found++;
		set->messages++;
		set->sum += mark(number, message->seq);
		if (queue_reserve(queue) < 0) {
			say(custody, "no more can be handed out");
			findings->broken++;
			return;
		}
		queue_take(queue);
	}
	if (failed) {
		say(custody, "a queue cannot be read");
		findings->broken++;
	}
}

static bool is_among(const struct custody *custody, struct set set, size_t first, size_t *which)
{
	for (size_t i = custody->n_sets; i > first; i--)
		if (custody->sets[i - 1].messages == set.messages && custody->sets[i - 1].sum == set.sum) {
			*which = i - 1;
			return true;
		}
	return false;
}

/* Whether a power cut may undo commits. */
static bool goes_back(const struct custody *custody, bool power_cut)
{
	return power_cut && custody->promised != STORE_FULL;
}

/* Counts how what was found differs from what had to be there. */
static void compare(struct custody *custody, struct set set, bool power_cut, struct findings *findings)
{
	bool may_go_back = goes_back(custody, power_cut);
	size_t which = 0;
	bool known = is_among(custody, set, may_go_back ? 0 : custody->certain, &which);

	if (may_go_back && known && which < custody->certain)
		findings->taken_back++;
	for (size_t i = custody->settled; i < custody->n_items; i++) {
		const struct item *item = &custody->items[i];

		if (item->state == COMMITTED) {
			findings->promised++;
			if (!item->found && !may_go_back) {
				say(custody, "queue %u has lost %llu", item->queue, (unsigned long long)item->seq);
				findings->lost++;
			}
		}
		if (item->found && item->state == ACKNOWLEDGED)
			findings->duplicates++;
	}
	if (!known) {
		say(custody, "%llu messages were found, which is no state that the store may be in",
		    (unsigned long long)set.messages);
		findings->invented++;
	}
}

static uint64_t find_note(struct store *store)
{
	char *text = store_note(store, "note");
	uint64_t note = text ? strtoull(text, NULL, 10) : 0;

	free(text);
	return note;
}

/* A database that is found `empty` may be a new one. */
static void check_instance(struct custody *custody, struct store *store, bool empty, struct findings *findings)
{
	if (!custody->instance[0] || empty || strcmp(custody->instance, store_instance(store)) == 0)
		return;
	say(custody, "the database has another identity");
	findings->broken++;
}

static void check_names(struct custody *custody, struct store *store, bool power_cut, struct findings *findings)
{
	for (unsigned i = 0; i < NAMES; i++) {
		char text[16];
		const char *name = custody->names[i] ? store_name(store, custody->names[i]) : NULL;

		snprintf(text, sizeof text, "name %u", i);
		if (custody->names[i] && !name && !goes_back(custody, power_cut)) {
			say(custody, "%s is not known any more", text);
			findings->lost++;
		} else if (name && strcmp(name, text) != 0) {
			say(custody, "%s has become %s", text, name);
			findings->invented++;
		}
	}
}

/* Numbers that the world has seen must not come again. Where a power cut may undo
 * commits, it may undo that of their reservation, too. */
static void check_numbers(struct custody *custody, struct store *store, bool power_cut, struct findings *findings)
{
	if (!goes_back(custody, power_cut) && store_next_seq(store) <= custody->exposed) {
		say(custody, "sequence numbers are used again: %llu was seen", (unsigned long long)custody->exposed);
		findings->reused++;
	}
}

/* What was found is all there is, from now on. */
static void adopt(struct custody *custody, struct set set, uint64_t note, struct store *store)
{
	uint64_t next_seq = store_next_seq(store);

	for (size_t i = 0; i < custody->n_items; i++) {
		struct item *item = &custody->items[i];

		item->state = item->found ? COMMITTED : GONE;
		item->handed_out = false;
	}
	/* Numbers that nobody has seen may come again. */
	while (custody->n_items > 0 && custody->items[custody->n_items - 1].seq >= next_seq)
		custody->n_items--;
	custody->settled = 0;
	custody->n_sets = custody->certain = 0;
	add_set(custody, set);
	custody->note = custody->committed_note = note;
	/* Where commits were undone, numbers are; where all were, there will be a new identity. */
	if (custody->exposed >= next_seq)
		custody->exposed = next_seq - 1;
	if (strcmp(custody->instance, store_instance(store)) != 0)
		custody->instance[0] = '\0';
	memset(custody->last_handed_out, 0, sizeof custody->last_handed_out);
	for (unsigned i = 0; i < NAMES; i++)
		if (custody->names[i] && !store_name(store, custody->names[i]))
			custody->names[i] = 0;
}

/* Whether SQLite itself finds the file well, after the store has been at it. */
static void check_integrity(struct custody *custody, const char *path, struct findings *findings)
{
	sqlite3 *database = NULL;
	sqlite3_stmt *statement = NULL;
	const char *answer = "?";

	if (sqlite3_open(path, &database) == SQLITE_OK &&
	    sqlite3_prepare_v2(database, "PRAGMA locking_mode = EXCLUSIVE", -1, &statement, NULL) == SQLITE_OK) {
		sqlite3_step(statement);
		sqlite3_finalize(statement);
		if (sqlite3_prepare_v2(database, "PRAGMA integrity_check", -1, &statement, NULL) == SQLITE_OK &&
		    sqlite3_step(statement) == SQLITE_ROW)
			answer = (const char *)sqlite3_column_text(statement, 0);
	}
	if (strcmp(answer, "ok") != 0) {
		say(custody, "integrity_check: %s", answer);
		findings->broken++;
	}
	sqlite3_finalize(statement);
	sqlite3_close(database);
}

void custody_check(struct custody *custody, const char *path, bool power_cut, bool adopted, struct findings *findings)
{
	struct queue *queues[QUEUES] = {NULL};
	struct store *store = open_queues(custody, path, queues);
	struct set set = {0};
	uint64_t note;

	findings->checks++;
	if (!store) {
		say(custody, "cannot open: %s", custody->err);
		findings->broken++;
		return;
	}
	for (size_t i = 0; i < custody->n_items; i++)
		custody->items[i].found = false;
	note = find_note(store);
	set.sum = note_mark(note);
	for (unsigned i = 0; i < QUEUES; i++)
		drain(custody, queues[i], i, &set, findings);
	compare(custody, set, power_cut, findings);
	check_instance(custody, store, goes_back(custody, power_cut) && note == 0 && set.messages == 0, findings);
	check_names(custody, store, power_cut, findings);
	check_numbers(custody, store, power_cut, findings);
	if (adopted) {
		adopt(custody, set, note, store);
		custody->dead = true;
	}
	close_queues(store, queues);
	check_integrity(custody, path, findings);
}

void custody_take_findings(struct custody *custody, struct findings *findings)
{
	findings->invented += custody->findings.invented;
	findings->out_of_order += custody->findings.out_of_order;
	custody->findings = (struct findings){0};
}

uint64_t custody_messages(const struct custody *custody)
{
	return custody->pushed;
}

uint64_t custody_commits(const struct custody *custody)
{
	return custody->commits;
}
