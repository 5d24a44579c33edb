/* How long a connection has to stand is measured, not guessed: four times as long as
 * the last ones took to end once the message was out. So neither a line that is cut at a
 * fixed interval nor one that is cut at random looks like a broker that hangs up. */
#include "hangup.h"

#include <string.h>

#define LOSSES_SUSPECT 4
#define HANGUPS 4
#define STAND_MIN_MS 5000 /* and by then the link takes the connection for stable: it does not back off */
#define STAND_TIMES 4
#define WITHIN_MS 10000 /* shorter than what a broker's keepalive, or our ack_timeout, takes */
#define WITHIN_HALFWAY_MS 1000 /* it has seen the length, no more: too large; a slow line is cut later */

void hangup_up(struct hangup *hangup, int64_t now_ms)
{
	hangup->up_ms = now_ms;
	hangup->alone = 0;
}

bool hangup_alone(const struct hangup *hangup, uint64_t seq)
{
	return seq <= hangup->alone_to;
}

int64_t hangup_due_ms(const struct hangup *hangup, uint64_t seq)
{
	return hangup->up_ms + (seq == hangup->suspect ? hangup->quiet_ms : 0);
}

void hangup_sent(struct hangup *hangup, uint64_t seq, int64_t now_ms)
{
	if (!hangup_alone(hangup, seq))
		return;
	hangup->alone = seq;
	hangup->sent_ms = now_ms;
}

static void suspect(struct hangup *hangup, uint64_t seq)
{
	hangup->suspect = seq;
	hangup->losses = hangup->hangups = 0;
	hangup->quiet_ms = hangup->longest_ms = 0;
}

static bool is_back(const struct hangup *hangup, uint64_t seq)
{
	return hangup->back && hangup->passed[0] == seq;
}

/* It is settled. */
static void forget(struct hangup *hangup, uint64_t seq)
{
	if (hangup->alone == seq)
		hangup->alone = 0;
	if (hangup->suspect == seq)
		suspect(hangup, 0);
	if (!is_back(hangup, seq))
		return;
	hangup->back = false;
	memmove(&hangup->passed[0], &hangup->passed[1], --hangup->n_passed * sizeof hangup->passed[0]);
}

void hangup_refused(struct hangup *hangup, uint64_t seq)
{
	forget(hangup, seq);
}

uint64_t hangup_acknowledged(struct hangup *hangup, uint64_t seq)
{
	forget(hangup, seq);
	hangup->losses = 0;
	if (hangup->back || hangup->n_passed == 0)
		return 0;
	suspect(hangup, 0);
	hangup->back = true;
	return hangup->passed[0];
}

bool hangup_isolates(const struct hangup *hangup, uint64_t first)
{
	return hangup_alone(hangup, first) || (first == hangup->suspect && hangup->losses + 1 >= LOSSES_SUSPECT);
}

/* How long it lasted the longest, lately: one that lasts long now and then is not hung up on. */
static void measure(struct hangup *hangup, int64_t lasted_ms)
{
	hangup->longest_ms -= hangup->longest_ms / 8;
	if (lasted_ms > hangup->longest_ms)
		hangup->longest_ms = lasted_ms;
}

static void weigh(struct hangup *hangup, bool closed, bool arrived, int64_t now_ms)
{
	int64_t stood_ms = hangup->sent_ms - hangup->up_ms, needed_ms = STAND_MIN_MS;
	bool hung_up = hangup->alone == hangup->suspect && closed;

	if (hung_up) {
		measure(hangup, now_ms - hangup->sent_ms);
		hung_up = hangup->longest_ms <= (arrived ? WITHIN_MS : WITHIN_HALFWAY_MS);
	}
	if (hangup->longest_ms * STAND_TIMES > needed_ms)
		needed_ms = hangup->longest_ms * STAND_TIMES;
	if (hung_up && stood_ms >= needed_ms) {
		hangup->hangups++;
	} else {
		hangup->hangups = 0;
		hangup->quiet_ms = hung_up ? needed_ms : 0;
	}
}

static enum verdict judge(struct hangup *hangup, uint64_t seq)
{
	if (hangup->hangups > 0 && is_back(hangup, seq)) {
		forget(hangup, seq);
		return HANGUP_GIVE_UP;
	}
	if (hangup->hangups < HANGUPS || hangup->n_passed == HANGUP_PASSED_MAX)
		return HANGUP_UNPROVED;
	hangup->passed[hangup->n_passed++] = seq;
	return HANGUP_PASS_OVER;
}

enum verdict hangup_lost(struct hangup *hangup, uint64_t first, uint64_t last, bool closed, bool arrived,
                         int64_t now_ms)
{
	if (first != hangup->suspect)
		suspect(hangup, first);
	hangup->losses++;
	if (hangup->losses >= LOSSES_SUSPECT && last > hangup->alone_to)
		hangup->alone_to = last;
	weigh(hangup, closed, arrived, now_ms);
	hangup->alone = 0;
	return judge(hangup, first);
}
