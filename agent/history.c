/* Differences are taken when a point is added; what does not fit is the largest that does. */
#include "history.h"

static uint32_t fitting(uint64_t value)
{
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static uint32_t since(uint64_t before, uint64_t now)
{
	return fitting(now > before ? now - before : 0);
}

void history_add(struct history *history, uint64_t messages, uint64_t received, uint64_t acknowledged)
{
	history->points[history->next] = (struct history_point){
	        .messages = fitting(messages),
	        .received = since(history->received, received),
	        .acknowledged = since(history->acknowledged, acknowledged),
	};
	history->received = received;
	history->acknowledged = acknowledged;
	history->next = (history->next + 1) % HISTORY_POINTS;
	if (history->n < HISTORY_POINTS)
		history->n++;
}

const struct history_point *history_at(const struct history *history, size_t index)
{
	return &history->points[(history->next + HISTORY_POINTS - history->n + index) % HISTORY_POINTS];
}
