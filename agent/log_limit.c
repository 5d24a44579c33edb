/* Ten lines, then silence until a minute after the first of them. */
#include "log_limit.h"

bool log_limit_allows(struct log_limit *limit, int64_t now_ms, uint64_t *earlier)
{
	*earlier = 0;
	if (limit->logged == 0 || now_ms - limit->since_ms >= LOG_LIMIT_MS) {
		*earlier = limit->unlogged;
		*limit = (struct log_limit){ .since_ms = now_ms };
	}
	if (limit->logged == LOG_LIMIT_LINES) {
		limit->unlogged++;
		return false;
	}
	limit->logged++;
	return true;
}
