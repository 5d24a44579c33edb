/* In which order a queue hands out: as it came, whether from memory or from disk, by priority,
 * what is live first; at last against a plain list of what must be there. */
#include "queue_fixture.h"

static void keeps_order_from_memory_and_disk(void)
{
	uint64_t expected[300], got = 0;
	size_t pushed = 0;

	begin();
	/* Bursts larger and smaller than the read-ahead, taken at another pace. */
	for (int turn = 0; pushed < 300; turn++) {
		for (int i = 0; i < turn % 9 && pushed < 300; i++)
			expected[pushed++] = push("0123456789");
		commit();
		for (int i = 0; i < turn % 5; i++) {
			uint64_t seq = take();

			if (seq) {
				CHECK(seq == expected[got]);
				got++;
			}
		}
	}
	for (uint64_t seq; (seq = take()) != 0; got++)
		CHECK(seq == expected[got]);
	CHECK(got == 300);
}

/* Whatever the priority, from memory and from disk. */
static void goes_in_order_if_asked(void)
{
	uint64_t expected = 0;

	begin();
	for (int i = 0; i < 40; i++) {
		uint64_t seq = push_as(i % 3 == 0 ? QUEUE_PRIORITY_REPORT : (unsigned)i % 4, 0);

		expected = expected ? expected : seq;
		if (i == 20)
			commit();
	}
	queue_set_in_order(queue, true);
	for (int i = 0; i < 40; i++) {
		const struct message *message = peek();

		CHECK(message && message->seq == expected + (uint64_t)i);
		if (message && queue_reserve(queue) == 0)
			queue_take(queue);
		if (i == 30)
			commit();
	}
	CHECK(peek() == NULL && queue_messages(queue) == 40);
	for (int i = 0; i < 40; i++)
		queue_acknowledged(queue, expected + (uint64_t)i);
	commit();
	CHECK(queue_messages(queue) == 0);
	open_again();
	CHECK(peek() == NULL);
}

static void what_is_live_goes_first(void)
{
	uint64_t backlog[12], live[12];

	begin();
	for (int i = 0; i < 12; i++)
		backlog[i] = push("backlog");
	commit();
	queue_go_live(queue);
	for (int i = 0; i < 12; i++) {
		live[i] = push("live");
		if (i == 5)
			commit();
	}
	for (int i = 0; i < 7; i++)
		CHECK(take() == live[i]);
	queue_acknowledged(queue, live[0]);
	queue_line_up(queue); /* the link is down: in order again */
	commit();
	queue_acknowledged(queue, live[1]);
	CHECK(take() == backlog[0]);
	queue_acknowledged(queue, backlog[0]);
	commit();
	for (int i = 1; i < 12; i++)
		CHECK(take() == backlog[i]);
	for (int i = 7; i < 12; i++)
		CHECK(take() == live[i]);
	CHECK(take() == 0 && queue_messages(queue) == 21);
	open_again();
	for (int i = 1; i < 12; i++)
		CHECK(take() == backlog[i]);
	for (int i = 2; i < 12; i++)
		CHECK(take() == live[i]);
}

/* Else a disk that takes nothing more would never be emptied. */
static void what_may_not_leave_keeps_nothing_back(void)
{
	uint64_t first;

	begin();
	first = push_as(0, 0);
	commit();
	queue_go_live(queue);
	push_as(0, 0);
	push_as(QUEUE_PRIORITY_REPORT, 0);
	committed_only = true;
	CHECK(take() == first && take() == 0);
	committed_only = false;
	CHECK(take() == first + 2 && take() == first + 1);
}

/* ---- against a model ---- */

/* Random pushes, takes, acknowledgements, commits, restarts and switches of order
 * against a plain list of what must be there. */
struct model {
	uint64_t seq;
	unsigned priority;
	bool taken, acknowledged, committed;
};

static unsigned random_state;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 1103515245u + 12345u;
	return (random_state >> 16) % n;
}

static int expected_next(const struct model *model, int n, uint64_t live_after)
{
	int best = -1;

	for (int i = 0; i < n; i++) {
		bool live = live_after && model[i].seq > live_after;
		bool best_live = best >= 0 && live_after && model[best].seq > live_after;

		if (model[i].taken || model[i].acknowledged)
			continue;
		if (best < 0 || model[i].priority > model[best].priority ||
		    (model[i].priority == model[best].priority && live && !best_live))
			best = i;
	}
	return best;
}

/* What a queue should do, and how far it has been driven. */
static struct {
	struct model messages[4000];
	int n;
	uint64_t live_after, newest;
} reference;

static void model_push(void)
{
	struct model *message = &reference.messages[reference.n++];

	*message = (struct model){.priority = random_below(4) ? 0 : random_below(10)};
	message->seq = reference.newest = push_as(message->priority, 0);
}

static void model_take(void)
{
	int next = expected_next(reference.messages, reference.n, reference.live_after);
	uint64_t seq = take();

	CHECK(seq == (next < 0 ? 0 : reference.messages[next].seq));
	if (next >= 0)
		reference.messages[next].taken = true;
}

static void model_acknowledge(void)
{
	struct model *message = &reference.messages[reference.n ? random_below((unsigned)reference.n) : 0];

	if (reference.n == 0 || !message->taken || message->acknowledged)
		return;
	queue_acknowledged(queue, message->seq);
	message->acknowledged = true;
}

static void model_commit(void)
{
	commit();
	for (int i = 0; i < reference.n; i++)
		reference.messages[i].committed = true;
}

static void model_open_again(void)
{
	int kept = 0;

	commit();
	open_again();
	for (int i = 0; i < reference.n; i++)
		if (!reference.messages[i].acknowledged) {
			reference.messages[kept] = reference.messages[i];
			reference.messages[kept++].taken = false;
		}
	reference.n = kept;
	reference.live_after = 0;
}

static void model_step(unsigned what)
{
	if (what < 40 && reference.n < 4000) {
		model_push();
	} else if (what < 65) {
		model_take();
	} else if (what < 90) {
		model_acknowledge();
	} else if (what < 96) {
		model_commit();
	} else if (what == 96) {
		queue_go_live(queue);
		reference.live_after = reference.newest;
	} else if (what == 97) {
		queue_line_up(queue);
		reference.live_after = 0;
	} else if (what == 98 && random_below(4) == 0) {
		model_open_again();
	}
}

static void agrees_with_a_model(void)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		uint64_t left = 0;

		begin();
		random_state = seed;
		reference.n = 0;
		reference.live_after = reference.newest = 0;
		for (int step = 0; step < 1500; step++)
			model_step(random_below(100));
		for (int i = 0; i < reference.n; i++)
			left += !reference.messages[i].acknowledged;
		CHECK(queue_messages(queue) == left && queue_bytes(queue) == 10 * left);
	}
}

int main(void)
{
	queue_fixture_begin();
	RUN(keeps_order_from_memory_and_disk);
	RUN(agrees_with_a_model);
	RUN(what_may_not_leave_keeps_nothing_back);
	RUN(goes_in_order_if_asked);
	RUN(what_is_live_goes_first);
	return queue_fixture_end();
}
