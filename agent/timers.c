/* A binary heap in which each timer knows its place, so that any can be taken out. */
#include "timers.h"

#define NS_PER_MS 1000000

void timers_release(struct timers *timers, struct quota *quota)
{
	quota_realloc(quota, timers->heap, timers->max * sizeof *timers->heap, 0);
	*timers = (struct timers){ 0 };
}

/* ---- the heap ---- */

static bool before(const struct timer *a, const struct timer *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void put(struct timers *timers, size_t place, struct timer *timer)
{
	timers->heap[place] = timer;
	timer->place = place;
}

/* Finds the place of a timer, from one that is free. */
static void sift(struct timers *timers, size_t place, struct timer *timer)
{
	while (place > 0 && before(timer, timers->heap[(place - 1) / 2])) {
		put(timers, place, timers->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	for (size_t child; (child = 2 * place + 1) < timers->n; place = child) {
		if (child + 1 < timers->n && before(timers->heap[child + 1], timers->heap[child]))
			child++;
		if (!before(timers->heap[child], timer))
			break;
		put(timers, place, timers->heap[child]);
	}
	put(timers, place, timer);
}

static void insert(struct timers *timers, struct timer *timer)
{
	timer->armed = true;
	timers->n++;
	sift(timers, timers->n - 1, timer);
}

static void take_out(struct timers *timers, struct timer *timer)
{
	struct timer *last = timers->heap[--timers->n];

	timer->armed = false;
	if (last != timer)
		sift(timers, timer->place, last);
}

/* ---- what changes when the handler returns ---- */

static void note(struct timers *timers, struct timer *timer)
{
	if (timer->noted)
		return;
	if (!timers->first)
		timers->end = &timers->first;
	timer->noted = true;
	timer->next = NULL;
	*timers->end = timer;
	timers->end = &timer->next;
}

/* Room for one more; so that nothing can fail once the handler has returned. */
static int reserve(struct timers *timers, struct quota *quota)
{
	size_t more = 2 * timers->max + 8;
	struct timer **heap;

	if (timers->n + timers->reserved == timers->max) {
		heap = quota_realloc(quota, timers->heap, timers->max * sizeof *heap, more * sizeof *heap);
		if (!heap)
			return -1;
		timers->heap = heap;
		timers->max = more;
	}
	timers->reserved++;
	return 0;
}

int timers_set(struct timers *timers, struct timer *timer, struct quota *quota)
{
	if (reserve(timers, quota))
		return -1;
	timer->wanted = true;
	timer->number = ++timers->last_number;
	note(timers, timer);
	return 0;
}

bool timers_cancel(struct timers *timers, struct timer *timer)
{
	if (!timer->wanted)
		return false;
	timer->wanted = false;
	note(timers, timer);
	return true;
}

void timers_settle(struct timers *timers, bool happens, int64_t now_ms,
                   void (*over)(void *arg, struct timer *timer), void *arg)
{
	struct timer *timer = timers->first;

	timers->first = NULL;
	timers->reserved = 0;
	while (timer) {
		struct timer *next = timer->next;

		timer->noted = false;
		if (!happens)
			timer->wanted = timer->armed;
		if (timer->armed && !timer->wanted) {
			take_out(timers, timer);
		} else if (!timer->armed && timer->wanted) {
			timer->due_ns = now_ms * NS_PER_MS + timer->delay_ns;
			insert(timers, timer);
		}
		if (!timer->wanted)
			over(arg, timer);
		timer = next;
	}
}

/* ---- what is due ---- */

/* The first millisecond at which it has come. */
static int64_t due_ms(const struct timer *timer)
{
	return (timer->due_ns + NS_PER_MS - 1) / NS_PER_MS;
}

int64_t timers_due_ms(const struct timers *timers)
{
	return timers->n > 0 ? due_ms(timers->heap[0]) : INT64_MAX;
}

struct timer *timers_take(struct timers *timers, int64_t now_ms)
{
	struct timer *timer = timers->n > 0 ? timers->heap[0] : NULL;

	if (!timer || due_ms(timer) > now_ms)
		return NULL;
	if (!timer->repeats) {
		take_out(timers, timer);
		timer->wanted = false;
		return timer;
	}
	timer->due_ns += ((now_ms * NS_PER_MS - timer->due_ns) / timer->delay_ns + 1) * timer->delay_ns;
	sift(timers, 0, timer);
	return timer;
}
