/* Three queues of different limits, dead letters, a ledger, a script's state, a note and
 * names, in phases
 * in which the collector is away, slow or quick. What each message contains follows from
 * its number, so the record keeps numbers only; what was in the store at a commit is one
 * 64-bit sum over them. */
#include "custody.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "custody_internal.h"
#include "memory.h"
#include "random.h"

#define LETTERS_MAX 20

void custody_say(const struct custody *custody, const char *format, ...)
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

bool findings_bad(const struct findings *findings)
{
	return findings->lost || findings->invented || findings->out_of_order || findings->reused || findings->broken;
}

/* ---- messages that follow from their number ---- */

uint64_t custody_mark(unsigned place, uint64_t number)
{
	return mix(number * PLACES + place);
}

void custody_name(unsigned n, char *text, size_t size)
{
	snprintf(text, size, "name %u", n);
}

static unsigned priority_of(uint64_t *random)
{
	if (!random_chance(random, 20))
		return 0;
	return random_chance(random, 10) ? QUEUE_PRIORITY_REPORT : random_below(random, QUEUE_PRIORITY_MAX + 1);
}

static void make_message(struct message *message, unsigned place, uint64_t seq, char *payload, char *topic)
{
	uint64_t random = custody_mark(place, seq);
	size_t size = random_chance(&random, 5) ? random_below(&random, PAYLOAD_MAX) : random_below(&random, 120);

	for (size_t i = 0; i < size; i++)
		payload[i] = (char)(random + i * 7);
	memset(message, 0, sizeof *message);
	message->seq = seq;
	message->topic = (struct bytes){topic, (size_t)snprintf(topic, 40, "q%u/%llu", place, (unsigned long long)seq)};
	message->payload = (struct bytes){payload, size};
	message->context = (struct bytes){payload, size < 9 ? size : 9};
	message->properties = (struct bytes){payload, size < 5 ? 0 : 5};
	message->time_ms = (int64_t)(random >> 20);
	message->age_ms = (int64_t)seq;
	message->expires_ms = random_chance(&random, 10) ? (int64_t)seq + 100 + random_below(&random, 400) : 0;
	message->qos = (uint8_t)random_below(&random, 3);
	message->priority = (uint8_t)priority_of(&random);
	message->retain = random_chance(&random, 50);
}

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool custody_knows(const struct message *message, unsigned queue)
{
	char payload[PAYLOAD_MAX], topic[40];
	struct message expected;

	make_message(&expected, queue, message->seq, payload, topic);
	return same_bytes(message->topic, expected.topic) && same_bytes(message->payload, expected.payload) &&
	       same_bytes(message->properties, expected.properties) && same_bytes(message->context, expected.context) &&
	       message->time_ms == expected.time_ms && message->age_ms == expected.age_ms &&
	       message->expires_ms == expected.expires_ms && message->qos == expected.qos &&
	       message->priority == expected.priority && message->retain == expected.retain;
}

/* A letter does not know its number when it is written: it follows from its time. */
bool custody_knows_letter(const struct dead_letter *letter)
{
	char payload[PAYLOAD_MAX], topic[40];
	struct message expected;

	make_message(&expected, DEAD_LETTERS, (uint64_t)letter->time_ms, payload, topic);
	return same_bytes(letter->topic, expected.topic) && same_bytes(letter->payload, expected.payload) &&
	       same_bytes(letter->properties, expected.properties) && letter->qos == expected.qos &&
	       letter->retain == expected.retain && strcmp(letter->link, "field") == 0 &&
	       strcmp(letter->script, "rules.lua") == 0 && strcmp(letter->reason, "why not") == 0;
}

/* ---- the record ---- */

struct item *custody_find(const struct custody *custody, uint64_t seq)
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

static void add_item(struct custody *custody, unsigned place, uint64_t seq)
{
	if (custody->n_items == custody->room) {
		custody->room = custody->room ? custody->room * 2 : 1024;
		custody->items = memory_sure(custody->items, custody->room * sizeof *custody->items);
	}
	custody->items[custody->n_items++] = (struct item){.seq = seq, .place = (uint8_t)place, .state = PENDING};
}

/* It need not be kept any more; what never was on disk is forgotten at once. */
static void let_go(struct item *item)
{
	item->state = item->state == PENDING ? GONE : ACKNOWLEDGED;
}

void custody_add_set(struct custody *custody, struct set set)
{
	if (custody->n_sets == custody->sets_room) {
		custody->sets_room = custody->sets_room ? custody->sets_room * 2 : 256;
		custody->sets = memory_sure(custody->sets, custody->sets_room * sizeof *custody->sets);
	}
	custody->sets[custody->n_sets++] = set;
}

/* What a commit now makes of the store: with what is pending, or only without what was
 * let go. */
static struct set set_of(const struct custody *custody, bool additions)
{
	uint64_t note = additions ? custody->note : custody->committed_note;
	uint64_t state = additions ? custody->state : custody->committed_state;
	struct set set = {.sum = custody_mark(NOTE, note) + custody_mark(LOSSES, custody->losses) + custody_mark(STATE, state)};

	for (size_t i = custody->settled; i < custody->n_items; i++) {
		const struct item *item = &custody->items[i];

		if (item->state == COMMITTED || (additions && item->state == PENDING)) {
			set.messages++;
			set.sum += custody_mark(item->place, item->seq);
		}
	}
	return set;
}

/* Where each commit is synced, nothing older may be found from now on. */
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
	custody->committed_state = custody->state;
	custody->commits++;
	if (custody->newest > custody->exposed)
		custody->exposed = custody->newest;
}

/* ---- a turn ---- */

/* Numbers leave the process at once, unless the store says that they may not yet. */
static void expose(struct custody *custody, uint64_t seq)
{
	struct store_unsafe unsafe;

	custody->newest = seq;
	if (store_pending(custody->opened.store, &unsafe) != STORE_URGENT)
		custody->exposed = seq;
}

static void on_dropped(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	struct custody *custody = arg;
	struct item *item = custody_find(custody, message->seq);
	struct loss loss = {.link = "q", .topic = message->topic.data, .reason = why == QUEUE_EXPIRED ? "expired" : "overflow",
	                    .first_seq = message->seq, .last_seq = message->seq, .count = 1};

	(void)queue;
	if (item && (item->state > COMMITTED || item->handed_out)) {
		custody_say(custody, "%llu is given up, which was not there any more", (unsigned long long)message->seq);
		custody->findings.invented++;
	}
	if (item)
		let_go(item);
	ledger_add(custody->opened.ledger, &loss); /* without memory it may count or not */
	custody->losses = ledger_total(custody->opened.ledger, "q", NULL);
}

/* As a handler does that counts what it publishes. */
static void change_state(struct custody *custody)
{
	custody->state++;
	expose(custody, state_changed(custody->opened.state, 1, PAYLOAD_MAX));
}

static bool push_one(struct custody *custody)
{
	unsigned queue = random_below(&custody->random, QUEUES);
	uint64_t seq = store_next_seq(custody->opened.store);
	char payload[PAYLOAD_MAX], topic[40];
	enum queue_result result;
	struct message message;

	make_message(&message, queue, seq, payload, topic);
	result = queue_push(custody->opened.queues[queue], &message);
	if (result == QUEUE_OK)
		add_item(custody, queue, seq);
	expose(custody, seq);
	custody->pushed++;
	if (random_chance(&custody->random, 30))
		change_state(custody);
	return result != QUEUE_ERROR;
}

static void write_a_letter(struct custody *custody)
{
	uint64_t number = random_next(&custody->random) >> 1, id;
	char payload[PAYLOAD_MAX], topic[40];
	struct message like;
	struct dead_letter letter = {.link = "field", .script = "rules.lua", .reason = "why not"};

	if (dead_count(custody->opened.dead) >= LETTERS_MAX)
		return;
	make_message(&like, DEAD_LETTERS, number, payload, topic);
	letter.time_ms = (int64_t)number;
	letter.topic = like.topic;
	letter.payload = like.payload;
	letter.properties = like.properties;
	letter.qos = like.qos;
	letter.retain = like.retain;
	id = dead_add(custody->opened.dead, &letter, NULL);
	if (id != 0) {
		add_item(custody, DEAD_LETTERS, id);
		expose(custody, id);
	}
}

/* What is handed out is in order of its lane: of the backlog, or of what is live. */
static void check_order(struct custody *custody, unsigned queue, const struct message *message)
{
	bool live = custody->live_after[queue] && message->seq > custody->live_after[queue];
	uint64_t *last = &custody->last_handed_out[queue][message->priority][live];

	if (message->seq <= *last) {
		custody_say(custody, "queue %u hands out %llu after %llu", queue, (unsigned long long)message->seq,
		            (unsigned long long)*last);
		custody->findings.out_of_order++;
	}
	*last = message->seq;
}

static void take_one(struct custody *custody, unsigned number)
{
	struct queue *queue = custody->opened.queues[number];
	bool failed, committed = random_chance(&custody->random, 50);
	const struct message *message =
	        queue_peek(queue, (int64_t)custody->newest, committed, &failed, custody->err, sizeof custody->err);
	struct item *item;

	if (!message || queue_reserve(queue) < 0)
		return;
	item = custody_find(custody, message->seq);
	if (!item || item->place != number || item->handed_out || item->state > COMMITTED ||
	    (committed && item->state != COMMITTED) || !custody_knows(message, number)) {
		custody_say(custody, "queue %u hands out %llu, which it should not", number, (unsigned long long)message->seq);
		custody->findings.invented++;
	}
	check_order(custody, number, message);
	if (item)
		item->handed_out = true;
	queue_take(queue);
}

static void acknowledge_some(struct custody *custody, unsigned percent)
{
	for (size_t i = custody->settled; i < custody->n_items; i++) {
		struct item *item = &custody->items[i];

		if (item->state > COMMITTED || !random_chance(&custody->random, percent))
			continue;
		if (item->place == DEAD_LETTERS) {
			if (!dead_remove(custody->opened.dead, item->seq))
				custody->findings.lost++;
		} else if (item->handed_out) {
			queue_acknowledged(custody->opened.queues[item->place], item->seq);
		} else {
			continue;
		}
		let_go(item);
	}
}

/* The collector is away, comes back, keeps up. */
static void choose_phase(struct custody *custody)
{
	if (custody->phase_left-- > 0)
		return;
	custody->phase = (custody->phase + 1) % 3;
	custody->phase_left = 2 + (int)random_below(&custody->random, 16);
}

static bool commit(struct custody *custody)
{
	char text[24];

	if (random_chance(&custody->random, 20)) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)custody->note + 1);
		if (store_set_note(custody->opened.store, "note", text) == 0)
			custody->note++;
	}
	custody_add_set(custody, set_of(custody, false));
	custody_add_set(custody, set_of(custody, true));
	if (store_commit(custody->opened.store, custody->err, sizeof custody->err) != STORE_OK || custody->dead)
		return false;
	commit_succeeded(custody);
	return true;
}

static void use_a_name(struct custody *custody)
{
	unsigned n = random_below(&custody->random, NAMES);
	char text[16];
	uint32_t id;

	custody_name(n, text, sizeof text);
	id = store_name_id(custody->opened.store, text);
	if (custody->dead)
		return;
	if (id != 0 && custody->names[n] != 0 && custody->names[n] != id)
		custody->findings.invented++;
	if (id != 0)
		custody->names[n] = id;
}

/* After an outage what is new may go first, for a while. */
static void change_lanes(struct custody *custody)
{
	unsigned number = random_below(&custody->random, QUEUES);
	struct queue *queue = custody->opened.queues[number];

	for (unsigned i = 0; i < PRIORITIES; i++)
		custody->last_handed_out[number][i][1] = 0;
	if (random_chance(&custody->random, 50)) {
		queue_go_live(queue);
		custody->live_after[number] = queue_newest(queue);
	} else {
		queue_line_up(queue);
		custody->live_after[number] = 0;
	}
}

/* What else an agent does from time to time. */
static void look_after(struct custody *custody)
{
	unsigned number = random_below(&custody->random, QUEUES);

	if (random_chance(&custody->random, 10))
		use_a_name(custody);
	if (!custody->dead && random_chance(&custody->random, 10))
		store_shrink(custody->opened.store);
	if (custody->dead)
		return;
	if (random_chance(&custody->random, 10))
		write_a_letter(custody);
	if (random_chance(&custody->random, 5))
		change_lanes(custody);
	if (random_chance(&custody->random, 10))
		queue_expire(custody->opened.queues[number], (int64_t)custody->newest);
	if (custody->counting[number])
		custody->counting[number] = queue_count(custody->opened.queues[number]) != 0;
}

static void check_counts(struct custody *custody)
{
	uint64_t counts[PLACES] = {0};

	for (size_t i = custody->settled; i < custody->n_items; i++)
		counts[custody->items[i].place] += custody->items[i].state <= COMMITTED;
	for (unsigned i = 0; i < QUEUES; i++)
		if (!custody->counting[i] && counts[i] != queue_messages(custody->opened.queues[i])) {
			custody_say(custody, "queue %u says that it has %llu messages, it has %llu", i,
			            (unsigned long long)queue_messages(custody->opened.queues[i]), (unsigned long long)counts[i]);
			custody->findings.invented++;
		}
}

bool custody_turn(struct custody *custody)
{
	static const unsigned pushes[] = {12, 4, 8}, takes[] = {0, 30, 12}, percents[] = {20, 80, 60};
	struct store_unsafe unsafe;
	bool well = true;

	choose_phase(custody);
	for (unsigned n = random_below(&custody->random, pushes[custody->phase] + 1); n > 0; n--)
		well = push_one(custody) && well;
	look_after(custody);
	if (custody->dead)
		return false;
	for (unsigned n = takes[custody->phase]; n > 0; n--)
		take_one(custody, random_below(&custody->random, QUEUES));
	acknowledge_some(custody, percents[custody->phase]);
	check_counts(custody);
	if (store_corrupt(custody->opened.store)) {
		custody_say(custody, "the store takes its database for corrupt");
		custody->findings.broken++;
	}
	switch (store_pending(custody->opened.store, &unsafe)) {
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
	struct custody *custody = memory_zeroed(sizeof *custody);

	snprintf(custody->path, sizeof custody->path, "%s", path);
	custody->durability = durability;
	custody->promised = promised;
	custody->quiet = durability != promised;
	custody->random = seed;
	custody->phase = 2; /* the first is an outage */
	custody_add_set(custody, (struct set){.sum = custody_mark(NOTE, 0) + custody_mark(LOSSES, 0) + custody_mark(STATE, 0)});
	return custody;
}

void custody_free(struct custody *custody)
{
	custody_close(custody);
	free(custody->items);
	free(custody->sets);
	free(custody);
}

void opened_close(struct opened *opened)
{
	if (!opened->store)
		return;
	for (unsigned i = 0; i < QUEUES; i++)
		queue_close(opened->queues[i]);
	dead_close(opened->dead);
	ledger_close(opened->ledger);
	state_close(opened->state);
	store_close(opened->store);
	*opened = (struct opened){0};
}

int opened_open(struct opened *opened, struct custody *custody, const char *path)
{
	static const struct queue_limits limits[QUEUES] = {
	        {0}, {.max_messages = 150, .overflow = QUEUE_DROP_NEWEST}, {.max_bytes = 8000, .overflow = QUEUE_DROP_OLDEST}};
	struct state_source source = custody_state_source(custody);
	uint64_t number;
	char name[8];

	*opened = (struct opened){0};
	opened->store = store_open(path, custody->durability, custody->err, sizeof custody->err);
	if (!opened->store)
		return -1;
	opened->ledger = ledger_open(opened->store, custody->err, sizeof custody->err);
	opened->dead = opened->ledger ? dead_open(opened->store, custody->err, sizeof custody->err) : NULL;
	opened->state = opened->dead ? state_open(opened->store, &source, custody->err, sizeof custody->err) : NULL;
	for (unsigned i = 0; opened->state && i < QUEUES; i++) {
		snprintf(name, sizeof name, "q%u", i);
		opened->queues[i] =
		        queue_open(opened->store, name, limits[i], on_dropped, custody, custody->err, sizeof custody->err);
		if (!opened->queues[i])
			break;
	}
	/* Read also because the store must know the script before its state changes. */
	if (opened->queues[QUEUES - 1] && custody_read_state(opened->state, &number) != STATE_UNREADABLE)
		return 0;
	opened_close(opened);
	return -1;
}

int custody_open(struct custody *custody)
{
	custody->dead = false;
	if (opened_open(&custody->opened, custody, custody->path) < 0)
		return -1;
	if (custody->dead)
		return 0;
	if (!custody->instance[0])
		snprintf(custody->instance, sizeof custody->instance, "%s", store_instance(custody->opened.store));
	memset(custody->last_handed_out, 0, sizeof custody->last_handed_out);
	memset(custody->live_after, 0, sizeof custody->live_after);
	memset(custody->counting, true, sizeof custody->counting);
	for (size_t i = 0; i < custody->n_items; i++)
		custody->items[i].handed_out = false;
	return 0;
}

void custody_close(struct custody *custody)
{
	opened_close(&custody->opened);
}

const char *custody_error(const struct custody *custody)
{
	return custody->err;
}

void custody_take_findings(struct custody *custody, struct findings *findings)
{
	findings->lost += custody->findings.lost;
	findings->invented += custody->findings.invented;
	findings->broken += custody->findings.broken;
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
