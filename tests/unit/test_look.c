/* Looking into queues, and taking out of them, compiled with a read-ahead of 4 messages or
 * 200 bytes so that what is looked for is in every place. Links SQLite and nothing of the agent. */
#include "look_fixture.h"
#include "store_internal.h"

static uint64_t take(struct queue *queue)
{
	bool failed;
	const struct message *message = queue_peek(queue, 1, false, &failed, err, sizeof err);
	uint64_t seq = message ? message->seq : 0;

	CHECK(!failed);
	if (message) {
		CHECK(queue_reserve(queue) == 0 && model[seq].fate == WAITS);
		queue_take(queue);
		model[seq].fate = FLIES;
	}
	return seq;
}

static void acknowledge(struct queue *queue, uint64_t seq)
{
	queue_acknowledged(queue, seq);
	model[seq].fate = GONE;
}

/* A number that is not known to be gone, or 0. */
static uint64_t next_in_model(uint64_t after, uint64_t to, const struct queue *only)
{
	for (uint64_t seq = after + 1; seq <= to; seq++)
		if ((model[seq].fate == WAITS || model[seq].fate == FLIES) && (!only || (only == hist) == model[seq].hist))
			return seq;
	return 0;
}

/* ---- looking ---- */

struct walk {
	uint64_t after, to;
	const struct queue *only;
	int most; /* in a step */
	bool wrong;
};

static bool see(void *arg, const struct look_item *item)
{
	struct walk *walk = arg;
	uint64_t seq = item->message->seq, expected = next_in_model(walk->after, walk->to, walk->only);
	char payload[32];
	size_t size = (size_t)snprintf(payload, sizeof payload, "payload %d", (int)seq);

	walk->wrong = walk->wrong || seq != expected || item->in_flight != (model[seq].fate == FLIES) ||
	              strcmp(item->link, model[seq].hist ? "hist" : "core") != 0 ||
	              item->message->priority != model[seq].priority || item->message->payload.size != size ||
	              memcmp(item->message->payload.data, payload, size) != 0;
	walk->after = seq;
	return --walk->most > 0;
}

/* The whole walk shows what the model has. */
static bool is_as_expected(const char *link, const struct queue *only)
{
	struct walk walk = {.to = newest, .only = only, .most = INT32_MAX};
	struct look *whole = look(link, 0, newest);
	int result = look_on(whole, see, &walk);

	look_close(whole);
	return result == 0 && !walk.wrong && next_in_model(walk.after, newest, only) == 0;
}

static void tells_all_in_order(void)
{
	begin();
	CHECK(is_as_expected(NULL, NULL));
	for (int i = 0; i < 40; i++) {
		push(i % 3 ? core : hist, (unsigned)(i * 7 % 11));
		if (i == 25)
			commit();
		if (i % 5 == 0)
			take(core);
	}
	CHECK(is_as_expected(NULL, NULL) && is_as_expected("core", core) && is_as_expected("hist", hist));
	acknowledge(core, take(core));
	CHECK(is_as_expected(NULL, NULL));
	commit();
	CHECK(is_as_expected(NULL, NULL));
	CHECK(look_open(store, "other", 0, newest, err, sizeof err) == NULL && strstr(err, "no link other"));
}

static bool count_saved(void *arg, const struct look_item *item)
{
	*(int *)arg += item->saved;
	return true;
}

static void knows_what_is_saved_and_finds_one(void)
{
	struct look *one;
	struct walk walk;
	int saved = 0;

	begin();
	for (int i = 0; i < 20; i++) {
		push(core, 0);
		if (i == 11)
			commit();
	}
	one = look(NULL, 0, UINT64_MAX);
	CHECK(look_on(one, count_saved, &saved) == 0 && saved == 12);
	look_close(one);
	for (uint64_t seq = newest - 19; seq <= newest; seq++) {
		walk = (struct walk){.after = seq - 1, .to = seq, .most = 2};
		one = look(NULL, seq, seq);
		CHECK(look_on(one, see, &walk) == 0 && !walk.wrong && walk.after == seq);
		look_close(one);
	}
	saved = 0;
	one = look(NULL, UINT64_MAX, UINT64_MAX);
	CHECK(look_on(one, count_saved, &saved) == 0 && saved == 0);
	look_close(one);
}

/* What is in the file of a link that has no queue open now. */
static void looks_into_what_is_not_open(void)
{
	uint64_t messages, bytes;
	uint32_t id = 0;
	char name[32];

	begin();
	for (int i = 0; i < 30; i++)
		push(i % 2 ? core : hist, (unsigned)i % 3);
	commit();
	queue_close(hist);
	CHECK(is_as_expected(NULL, NULL) && is_as_expected("hist", hist)); /* which only stands for itself */
	hist = NULL;
	CHECK(queue_named(store, "core") == core && queue_named(store, "hist") == NULL);
	CHECK(look_link(store, &id, name, sizeof name) == 1 && strcmp(name, "core") == 0);
	CHECK(look_link(store, &id, name, sizeof name) == 1 && strcmp(name, "hist") == 0);
	CHECK(look_count(store, id, &messages, &bytes) == 0 && messages == 15 && bytes > 15 * 12 && bytes < 15 * 14);
	CHECK(look_link(store, &id, name, sizeof name) == 0);
}

/* ---- purging ---- */

static void purges_what_waits(void)
{
	uint64_t report, to;

	begin();
	for (int i = 0; i < 60; i++) {
		push(core, (unsigned)i % 3);
		push(hist, 0);
		if (i == 30)
			commit();
	}
	to = push(core, 0);
	report = push(core, QUEUE_PRIORITY_REPORT);
	push(core, 0);
	CHECK(take(core) == report && take(core) > 0);
	CHECK(queue_purge(core, to, 7) == 7 && n_purged == 7 && is_as_expected(NULL, NULL));
	while (queue_purge(core, to, 7) > 0)
		;
	CHECK(n_purged == 60 && is_as_expected(NULL, NULL)); /* all but what flies, and what is newer */
	CHECK(queue_messages(core) == 3 && queue_messages(hist) == 60);
	commit();
	CHECK(is_as_expected(NULL, NULL));
	close_all();
	open_all();
	CHECK(queue_messages(core) == 3 && queue_messages(hist) == 60);
}

static int interrupt(void *arg)
{
	(void)arg;
	return 1;
}

static void tells_one_that_is_not_there_from_one_that_cannot_be_read(void)
{
	begin();
	for (int i = 0; i < 30; i++)
		push(core, 0);
	commit();
	close_all();
	open_all();
	sqlite3_progress_handler(store_database(store), 1, interrupt, NULL);
	CHECK(queue_purge_one(core, newest) == -1 && n_purged == 0);
	sqlite3_progress_handler(store_database(store), 0, NULL, NULL);
	CHECK(queue_purge_one(core, newest + 1) == 0 && queue_purge_one(core, newest) == 1 && n_purged == 1);
	commit();
	CHECK(is_as_expected(NULL, NULL));
}

static void keeps_the_reports(void)
{
	begin();
	push(core, QUEUE_PRIORITY_REPORT);
	push(core, 9);
	CHECK(queue_purge(core, newest, 10) == 1 && queue_messages(core) == 1);
	CHECK(queue_purge_one(core, newest - 1) == 0 && queue_has_reports(core) && is_as_expected(NULL, NULL));
	commit();
	close_all();
	open_all();
	CHECK(queue_purge_one(core, newest - 1) == 0 && queue_purge(core, newest, 10) == 0); /* on disk only as well */
}

/* From the front, from what is on disk only, from behind that; and its neighbours stay. */
static void purges_one_from_wherever_it_is(void)
{
	begin();
	for (int i = 0; i < 30; i++) {
		push(core, 0);
		if (i == 19)
			commit();
	}
	CHECK(take(core) == newest - 29);
	for (uint64_t seq = newest - 28; seq <= newest; seq += 3) {
		CHECK(queue_purge_one(core, seq) == 1 && model[seq].fate == GONE);
		CHECK(queue_purge_one(core, seq) == 0);
	}
	CHECK(queue_purge_one(core, newest - 29) == 0); /* it flies */
	CHECK(queue_purge_one(core, newest + 1) == 0 && queue_purge_one(hist, newest - 1) == 0);
	CHECK(n_purged == 10 && queue_messages(core) == 20 && is_as_expected(NULL, NULL));
	commit();
	CHECK(is_as_expected(NULL, NULL));
	for (uint64_t seq = newest - 27; seq <= newest; seq++)
		if (model[seq].fate == WAITS)
			CHECK(take(core) == seq);
	CHECK(take(core) == 0 && queue_bytes(core) > 0);
}

static void knows_what_is_unwanted(void)
{
	uint64_t first, second;

	begin();
	push(core, 0);
	push(core, 0);
	push(core, QUEUE_PRIORITY_REPORT);
	CHECK(take(core) == newest);
	first = take(core);
	CHECK(queue_unwant(core, 0, newest) == 1 && queue_unwanted(core, first) && !queue_unwanted(core, newest));
	second = take(core);
	CHECK(!queue_unwanted(core, second) && queue_lookup(core, first) != NULL);
	commit(); /* it stays in flight, and what it was marked */
	CHECK(queue_unwanted(core, first) && queue_unwant(core, second, second) == 1);
	acknowledge(core, first);
	CHECK(!queue_unwanted(core, newest + 5) && queue_unwant(core, 0, newest) == 1);
}

/* ---- all of it at once ---- */

static uint64_t random_state = 1;

static unsigned pick(unsigned below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % below;
}

static uint64_t flying(const struct queue *queue)
{
	uint64_t seq = newest > 0 ? 1 + pick((unsigned)newest) : 0;

	while (seq > 0 && (model[seq].fate != FLIES || model[seq].hist != (queue == hist)))
		seq--;
	return seq;
}

/* What was in flight waits again. */
static void restart(void)
{
	commit();
	close_all();
	for (uint64_t seq = 1; seq <= newest; seq++)
		if (model[seq].fate == FLIES)
			model[seq].fate = WAITS;
	open_all();
}

static void do_anything(void)
{
	struct queue *queue = pick(4) ? core : hist;
	uint64_t seq;
	bool waits;

	switch (pick(newest < 100 ? 2 : 9)) {
	case 0:
	case 1:
	case 2:
		for (unsigned i = pick(6); i > 0; i--)
			push(queue, pick(3) ? 0 : pick(10));
		break;
	case 3:
	case 4:
		take(queue);
		break;
	case 5:
		seq = flying(queue);
		if (seq > 0)
			acknowledge(queue, seq);
		break;
	case 6:
		seq = 1 + pick((unsigned)newest);
		waits = model[seq].fate == WAITS && model[seq].hist == (queue == hist);
		CHECK(queue_purge_one(queue, seq) == (waits ? 1 : 0));
		break;
	case 7:
		queue_purge(queue, pick((unsigned)newest), (int)pick(4));
		break;
	default:
		commit();
	}
	if (pick(40) == 0)
		pick(2) ? queue_go_live(queue) : queue_line_up(queue);
}

/* A walk in small steps, while the queues change, sees what is there at each. */
static void agrees_with_a_model_whatever_happens(void)
{
	struct walk walk = {0};
	struct look *slow = NULL;

	for (int round = 0; round < 3; round++) {
		begin();
		for (int i = 0; i < 1500 && newest < SEQS - 100; i++) {
			int result;

			do_anything();
			if (i % 10 == 0)
				CHECK(is_as_expected(NULL, NULL) && is_as_expected("core", core));
			if (!slow) {
				slow = look(NULL, 0, newest);
				walk = (struct walk){.to = newest};
			}
			walk.most = 3;
			result = look_on(slow, see, &walk);
			CHECK(result >= 0 && !walk.wrong);
			if (result > 0)
				continue;
			CHECK(next_in_model(walk.after, walk.to, NULL) == 0);
			look_close(slow);
			slow = NULL;
		}
		look_close(slow);
		slow = NULL;
		commit();
		CHECK(is_as_expected(NULL, NULL));
		restart();
		CHECK(is_as_expected(NULL, NULL));
		CHECK(n_purged > 100);
	}
}

int main(void)
{
	look_fixture_begin();
	RUN(tells_all_in_order);
	RUN(knows_what_is_saved_and_finds_one);
	RUN(looks_into_what_is_not_open);
	RUN(purges_what_waits);
	RUN(tells_one_that_is_not_there_from_one_that_cannot_be_read);
	RUN(keeps_the_reports);
	RUN(purges_one_from_wherever_it_is);
	RUN(knows_what_is_unwanted);
	RUN(agrees_with_a_model_whatever_happens);
	return look_fixture_end();
}
