/* A stopwatch that runs while a link is up, has something to deliver, and delivers nothing. Whatever
 * gets through, or nothing left to deliver, sets it back. While the link is down it stands still: the
 * watchdog ends a connection that stalls, and the next one is no sign of health by itself. */
#include "health.h"

#include <stddef.h>

static bool delivers(const struct health_look *before, const struct health_look *now)
{
	return !before->waiting || !now->waiting || now->done != before->done;
}

void health_look(struct health_watch *watch, const struct health_look *look)
{
	int64_t passed_ms = watch->last.now_ms > 0 ? look->now_ms - watch->last.now_ms : 0;

	watch->down_ms = look->up ? 0 : watch->down_ms + passed_ms;
	if (delivers(&watch->last, look) || watch->down_ms >= HEALTH_FORGET_MS)
		watch->undelivered_ms = 0;
	else if (watch->last.up && look->up)
		watch->undelivered_ms += passed_ms;
	watch->last = *look;
}

const char *health_of_link(const struct health_facts *facts)
{
	if (facts->full)
		return "its queue is full; links that bring messages are held until there is room";
	if (facts->up && facts->silent)
		return "connected, but the collector behind the broker acknowledges nothing";
	if (facts->undelivered_ms >= facts->ack_timeout_ms)
		return "connects, but delivers nothing of what waits";
	return NULL;
}
