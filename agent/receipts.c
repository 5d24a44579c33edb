/* An array of which the front goes; `next` walks through it. A message whose number the
 * collector has acknowledged, and which is in flight all the same, is finished when
 * the broker has it. */
#include "receipts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void receipts_configure(struct receipts *receipts, size_t window, int64_t timeout_ms, uint64_t earlier_to)
{
	receipts->window = window;
	receipts->timeout_ms = timeout_ms;
	if (receipts->sent_to < earlier_to)
		receipts->sent_to = earlier_to;
}

void receipts_release(struct receipts *receipts)
{
	free(receipts->items);
	*receipts = (struct receipts){0};
}

/* ---- what is there ---- */

/* Where it is, or would be. */
static size_t place_of(const struct receipts *receipts, uint64_t seq)
{
	size_t low = receipts->first, high = receipts->end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (receipts->items[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool receipts_has(const struct receipts *receipts, uint64_t seq)
{
	size_t at = place_of(receipts, seq);

	return at < receipts->end && receipts->items[at].seq == seq;
}

size_t receipts_awaited(const struct receipts *receipts)
{
	return receipts->end - receipts->first;
}

size_t receipts_again(const struct receipts *receipts)
{
	return receipts->end - receipts->next;
}

uint64_t receipts_next(const struct receipts *receipts)
{
	return receipts->next < receipts->end ? receipts->items[receipts->next].seq : 0;
}

uint64_t receipts_last(const struct receipts *receipts)
{
	return receipts->next < receipts->end ? receipts->items[receipts->end - 1].seq : 0;
}

static void remove_at(struct receipts *receipts, size_t at)
{
	if (at == receipts->first) {
		receipts->first++;
		if (receipts->next < receipts->first)
			receipts->next = receipts->first;
		return;
	}
	receipts->end--;
	memmove(&receipts->items[at], &receipts->items[at + 1], (receipts->end - at) * sizeof receipts->items[0]);
	if (receipts->next > at)
		receipts->next--;
}

/* ---- sending ---- */

bool receipts_may_send(const struct receipts *receipts)
{
	size_t limit = receipts->silences > 0 ? 1 : receipts->window;

	return receipts->again_from == 0 && receipts->next - receipts->first < limit;
}

int receipts_reserve(struct receipts *receipts)
{
	size_t n = receipts->end - receipts->first, size = receipts->size ? receipts->size * 2 : 64;
	struct receipt *items;

	if (receipts->end < receipts->size)
		return 0;
	if (receipts->first >= receipts->size / 2 && receipts->first > 0) {
		memmove(receipts->items, &receipts->items[receipts->first], n * sizeof receipts->items[0]);
		receipts->next -= receipts->first;
		receipts->end = n;
		receipts->first = 0;
		return 0;
	}
	items = realloc(receipts->items, size * sizeof *items);
	if (!items)
		return -1;
	receipts->items = items;
	receipts->size = size;
	return 0;
}

uint64_t receipts_after(const struct receipts *receipts)
{
	uint64_t before = receipts->next > receipts->first ? receipts->items[receipts->next - 1].seq : 0;

	return before > receipts->held_to ? before : 0;
}

void receipts_sent(struct receipts *receipts, uint64_t seq, bool wants_fate, int64_t now_ms)
{
	if (receipts->next == receipts->first)
		receipts->since_ms = now_ms;
	if (receipts->end == receipts->first)
		receipts->heard_ms = now_ms;
	if (receipts->next < receipts->end) {
		assert(receipts->items[receipts->next].seq == seq);
		receipts->items[receipts->next++].taken = false;
		receipts->resent++;
		return;
	}
	assert(receipts->end < receipts->size);
	receipts->items[receipts->end++] = (struct receipt){.seq = seq, .wants_fate = wants_fate};
	receipts->next = receipts->end;
	if (receipts->sent_to < seq)
		receipts->sent_to = seq;
}

void receipts_skip(struct receipts *receipts)
{
	if (receipts->next < receipts->end)
		receipts->next++;
	receipts->silences = 0; /* this is why, and others must show that it is */
}

/* ---- what became of it ---- */

bool receipts_taken(struct receipts *receipts, uint64_t seq)
{
	size_t at = place_of(receipts, seq);

	if (at == receipts->end || receipts->items[at].seq != seq)
		return false;
	if (seq <= receipts->held_to) {
		remove_at(receipts, at);
		return false;
	}
	receipts->items[at].taken = true;
	return true;
}

void receipts_repeat(struct receipts *receipts, uint64_t seq)
{
	if (receipts->again_from == 0 || seq < receipts->again_from)
		receipts->again_from = seq;
}

void receipts_forget(struct receipts *receipts, uint64_t seq)
{
	size_t at = place_of(receipts, seq);

	if (at == receipts->end || receipts->items[at].seq != seq)
		return;
	remove_at(receipts, at);
	if (at < receipts->next)
		receipts_repeat(receipts, seq);
}

enum receipts_news receipts_acknowledged(struct receipts *receipts, uint64_t seq, int64_t now_ms)
{
	if (seq > receipts->sent_to)
		return RECEIPTS_NEVER_SENT;
	if (seq <= receipts->held_to)
		return RECEIPTS_KNOWN;
	receipts->held_to = seq;
	receipts->since_ms = receipts->heard_ms = now_ms;
	receipts->silences = 0;
	return RECEIPTS_PROGRESS;
}

/* In flight are those before `next` that the broker has not taken. */
bool receipts_finish(struct receipts *receipts, struct receipt *finished)
{
	for (size_t at = receipts->first; at < receipts->end && receipts->items[at].seq <= receipts->held_to; at++)
		if (receipts->items[at].taken || at >= receipts->next) {
			*finished = receipts->items[at];
			remove_at(receipts, at);
			return true;
		}
	return false;
}

/* ---- silence ---- */

void receipts_up(struct receipts *receipts, int64_t now_ms)
{
	receipts->since_ms = now_ms;
}

int64_t receipts_due_ms(const struct receipts *receipts)
{
	int64_t most_ms = receipts->timeout_ms > RECEIPTS_QUIET_MAX_MS ? receipts->timeout_ms : RECEIPTS_QUIET_MAX_MS;
	int64_t quiet_ms = receipts->timeout_ms;

	if (receipts->next == receipts->first || receipts->again_from > 0)
		return INT64_MAX;
	for (unsigned i = 0; i < receipts->silences && quiet_ms < most_ms; i++)
		quiet_ms *= 2;
	return receipts->since_ms + (quiet_ms < most_ms ? quiet_ms : most_ms);
}

void receipts_go_back(struct receipts *receipts)
{
	size_t at = place_of(receipts, receipts->again_from);

	if (receipts->again_from > 0 && at < receipts->next)
		receipts->next = at;
	receipts->again_from = 0;
}

bool receipts_step(struct receipts *receipts, size_t in_flight, int64_t now_ms)
{
	bool silent = now_ms >= receipts_due_ms(receipts);

	if (silent) {
		receipts->silences++;
		receipts_repeat(receipts, 1);
	}
	if (in_flight == 0)
		receipts_go_back(receipts);
	return silent;
}
