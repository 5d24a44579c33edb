/* The policy of commits. A sender that waits for its acknowledgements is not let
 * wait for `linger`: when as many of its messages are unsafe as a broker keeps in
 * flight, the collector is waited for while it goes on acknowledging, which is cheaper
 * than a commit and as fast; a commit follows when it is silent, and at once while it
 * is known to be away or slow, or when the messages wait for their own link. */
#include "custody.h"

#include <stddef.h>
#include <string.h>

#include "agent.h"
#include "link.h"
#include "log.h"
#include "queue.h"
#include "store.h"

#define SENDER_WINDOW 20       /* what mosquitto keeps in flight to a client: max_inflight_messages */
#define WINDOW_MS 2000         /* a sender that was seen to keep less is taken to do so for so long */
#define AT_ONCE_MS 25          /* after its acknowledgements, one that waited for them goes on */
#define COMMIT_PACE_NS 1500000 /* strict: commits are so far apart for a sender that goes on meanwhile; */
#define PROBE_TURNS 128        /* after so many turns it is tried whether one does */
#define STUCK_MS 25            /* a stuck sender waits so long for a collector that is silent */
#define SLOW_MS 2000           /* a collector that was slow is taken to be slow for so long */
#define HURRY_MS 10000         /* after a link is back that was lost with messages that were not safe yet */
#define UNSAFE_BYTES 262144    /* of memory, at most, wait for a commit */
#define COMMIT_RETRY_MS 1000
#define MAKE_ROOM_MS 100 /* what was acknowledged meanwhile makes room: then sooner */
#define DELETIONS_MS 250 /* forgetting a deletion costs a duplicate, not a loss; */
#define DELETIONS 1000   /* but so many are as cheap to write */

/* ---- who brought what ---- */

void custody_begin(struct agent *agent, struct route *route)
{
	int64_t now_ms = loop_now_ms(agent->loop);

	if (route->stopped_at > 0 && (route->let_go_ms == 0 || now_ms - route->let_go_ms <= AT_ONCE_MS)) {
		route->window = route->stopped_at;
		route->window_until_ms = now_ms + WINDOW_MS;
	}
	route->stopped_at = 0;
	route->taken_ms = now_ms;
	route->waiting++;
	agent->custody.from = route;
}

void custody_brought(struct agent *agent, uint64_t seq)
{
	struct route *from = agent->custody.from;

	if (from && from->brought_to < seq)
		from->brought_to = seq;
}

void custody_end(struct agent *agent)
{
	agent->custody.from = NULL;
}

void custody_lost(struct route *route)
{
	route->hurries = route->hurries || route->waiting > 0 || route->released;
}

void custody_up(struct agent *agent, struct route *route)
{
	if (route->hurries)
		agent->custody.hurry_until_ms = loop_now_ms(agent->loop) + HURRY_MS;
	route->hurries = false;
}

static bool waits_for(const struct route *route, uint64_t first_unsafe)
{
	return route->brought_to >= first_unsafe;
}

/* ---- holding ---- */

bool custody_is_full(const struct route *route)
{
	return route->standing != ROUTE_FORGOTTEN && route->policy.overflow == QUEUE_HOLD && queue_full(route->queue);
}

/* A link that has something to carry must go on. */
static bool lacks_room(const struct agent *agent, const struct route *route)
{
	if (agent->custody.stopping || queue_messages(route->queue) > 0 || !link_brings(route->link))
		return false;
	for (const struct route *other = agent->routes; other; other = other->next)
		if (custody_is_full(other))
			return true;
	return false;
}

/* Something waits for a collector that does not answer, or for no collector at all. */
static bool only_a_commit_helps(const struct agent *agent)
{
	if (agent->custody.state_waits)
		return true;
	if (loop_now_ms(agent->loop) < agent->custody.slow_until_ms)
		return true;
	for (const struct route *route = agent->routes; route; route = route->next)
		if (queue_unsafe(route->queue) > 0 && !link_connected(route->link))
			return true;
	return false;
}

static void hold_links(struct agent *agent, uint64_t first_unsafe)
{
	enum link_hold hold = only_a_commit_helps(agent) ? LINK_GATHERS : LINK_HELD;

	for (struct route *route = agent->routes; route; route = route->next) {
		bool unsafe = waits_for(route, first_unsafe);

		/* What has become safe is acknowledged before it waits for room. */
		route->lacks_room = route->lacks_room && (unsafe || route->waiting == 0) && lacks_room(agent, route);
		if (route->released && route->let_go_ms == 0)
			route->let_go_ms = loop_now_ms(agent->loop);
		route->released = !unsafe && route->waiting > 0;
		if (!unsafe)
			route->waiting = route->stuck_since_ms = 0;
		if (route->lacks_room || (agent->custody.failing && link_brings(route->link)))
			link_hold(route->link, LINK_HELD);
		else
			link_hold(route->link, unsafe ? hold : LINK_FLOWS);
	}
}

void custody_hold_for_room(struct agent *agent)
{
	for (struct route *route = agent->routes; route; route = route->next)
		if (!route->lacks_room && lacks_room(agent, route)) {
			route->lacks_room = true;
			link_hold(route->link, LINK_HELD);
		}
}

/* ---- committing ---- */

static void commit(struct agent *agent)
{
	struct custody *custody = &agent->custody;
	char err[256];

	loop_timer_cancel(agent->loop, &custody->deletions);
	loop_timer_cancel(agent->loop, &custody->linger);
	route_note_received(agent);
	if (store_commit(agent->store, err, sizeof err) == STORE_OK) {
		if (custody->failing)
			log_info("store", "the store can be written again; links released");
		custody->failing = false;
		upkeep_committed(agent);
		return;
	}
	if (!custody->failing)
		log_error("store", "cannot commit: %s; nothing is acknowledged until it can", err);
	custody->failing = true;
	loop_timer_set(agent->loop, &custody->retry, loop_now_ms(agent->loop) + COMMIT_RETRY_MS);
}

bool custody_commit(struct agent *agent)
{
	struct store_unsafe unsafe;

	if (store_pending(agent->store, &unsafe) != STORE_CLEAN)
		commit(agent);
	return !agent->custody.failing;
}

static void commit_on_timer(void *arg)
{
	commit(arg);
}

static void wake_up(void *arg)
{
	(void)arg; /* the step follows */
}

/* More has come already, or as many messages wait for their acknowledgement as brokers,
 * or this one, send without any. */
static bool is_stuck(const struct agent *agent, const struct route *route)
{
	bool stopped = loop_now_ms(agent->loop) < route->window_until_ms && route->waiting >= route->window;

	return stopped || link_unread(route->link) || route->waiting >= SENDER_WINDOW;
}

/* The end of linger. A sender that was read all the time and has sent nothing since the
 * middle of it has nothing to say; or it keeps fewer in flight than most, and goes on
 * as soon as it has its acknowledgements: custody_begin() will tell. */
static void watch_senders(struct agent *agent, uint64_t first_unsafe)
{
	int64_t since_ms = loop_now_ms(agent->loop) - agent->custody.linger_ms / 2;

	for (struct route *route = agent->routes; route && only_a_commit_helps(agent); route = route->next)
		if (waits_for(route, first_unsafe) && route->taken_ms <= since_ms) {
			route->stopped_at = route->waiting;
			route->let_go_ms = 0;
		}
}

/* Some link brought what only itself can carry away. */
static bool one_waits_for_itself(const struct agent *agent, uint64_t first_unsafe)
{
	for (const struct route *route = agent->routes; route; route = route->next)
		if (waits_for(route, first_unsafe) && queue_unsafe(route->queue) > 0)
			return true;
	return false;
}

/* How long a sender has been stuck, at most, without the collector acknowledging
 * anything. */
static int64_t longest_stuck_ms(struct agent *agent, uint64_t first_unsafe)
{
	int64_t now_ms = loop_now_ms(agent->loop), silent_ms = now_ms - agent->custody.moved_ms, longest_ms = -1;

	for (struct route *route = agent->routes; route; route = route->next) {
		if (!waits_for(route, first_unsafe) || !is_stuck(agent, route))
			continue;
		if (route->stuck_since_ms == 0)
			route->stuck_since_ms = now_ms;
		if (now_ms - route->stuck_since_ms > longest_ms)
			longest_ms = now_ms - route->stuck_since_ms;
	}
	return silent_ms < longest_ms ? silent_ms : longest_ms;
}

/* A sender has waited long enough. */
static bool one_is_impatient(struct agent *agent, uint64_t first_unsafe)
{
	struct custody *custody = &agent->custody;
	int64_t stuck_ms = longest_stuck_ms(agent, first_unsafe), now_ms = loop_now_ms(agent->loop);

	if (stuck_ms < 0 || only_a_commit_helps(agent))
		return stuck_ms >= 0;
	if (stuck_ms < STUCK_MS) {
		if (!custody->stuck.armed)
			loop_timer_set(agent->loop, &custody->stuck, now_ms + STUCK_MS - stuck_ms);
		return false;
	}
	custody->slow_until_ms = now_ms + SLOW_MS;
	return true;
}

static bool is_due(struct agent *agent, enum store_pending pending, const struct store_unsafe *unsafe)
{
	const struct custody *custody = &agent->custody;

	if (pending < STORE_UNSAFE || unsafe->deletions >= DELETIONS)
		return unsafe->deletions >= DELETIONS;
	return pending == STORE_URGENT || custody->strict || custody->stopping || unsafe->bytes >= UNSAFE_BYTES ||
	       loop_now_ms(agent->loop) < custody->hurry_until_ms ||
	       one_waits_for_itself(agent, unsafe->first) || one_is_impatient(agent, unsafe->first);
}

/* Without a clock in the store: what was there `linger` ago and is still unsafe has a
 * number up to the oldest mark. */
static void on_linger(void *arg)
{
	struct agent *agent = arg;
	struct custody *custody = &agent->custody;
	struct store_unsafe unsafe;

	if (store_pending(agent->store, &unsafe) < STORE_UNSAFE || custody->failing)
		return;
	if (unsafe.first <= custody->marks[0]) {
		watch_senders(agent, unsafe.first);
		if (unsafe.states == 0)
			custody->slow_until_ms = loop_now_ms(agent->loop) + SLOW_MS;
		commit(agent);
		return;
	}
	memmove(&custody->marks[0], &custody->marks[1], sizeof custody->marks - sizeof custody->marks[0]);
	custody->marks[CUSTODY_MARKS - 1] = store_newest_seq(agent->store);
	loop_timer_set(agent->loop, &custody->linger, loop_now_ms(agent->loop) + custody->linger_ms / CUSTODY_MARKS);
}

static void start_lingering(struct agent *agent)
{
	struct custody *custody = &agent->custody;

	memset(custody->marks, 0, sizeof custody->marks);
	custody->marks[CUSTODY_MARKS - 1] = store_newest_seq(agent->store);
	loop_timer_set(agent->loop, &custody->linger, loop_now_ms(agent->loop) + custody->linger_ms / CUSTODY_MARKS);
}

/* A commit costs much the same for one message as for fifty, and so does what the brokers do to
 * wake up for it: who keeps more in flight than most is better served by fewer. Who does not
 * would only wait. */
static void set_pace(struct agent *agent)
{
	struct custody *custody = &agent->custody;
	int64_t most = 0;

	if (!custody->strict)
		return;
	for (const struct route *route = agent->routes; route; route = route->next)
		most = route->waiting > most ? route->waiting : most;
	custody->turns = most > SENDER_WINDOW ? PROBE_TURNS : most > 0 && custody->turns < PROBE_TURNS ? custody->turns + 1 : 0;
	loop_set_pace(agent->loop, custody->turns == PROBE_TURNS ? COMMIT_PACE_NS : LOOP_PACE_NS);
}

void custody_step(struct agent *agent)
{
	struct custody *custody = &agent->custody;
	struct store_unsafe unsafe;
	enum store_pending pending = store_pending(agent->store, &unsafe);

	set_pace(agent);
	custody->state_waits = unsafe.states > 0;
	if (unsafe.first != custody->first_unsafe)
		custody->moved_ms = loop_now_ms(agent->loop);
	custody->first_unsafe = unsafe.first;
	if (!custody->failing && is_due(agent, pending, &unsafe)) {
		commit(agent);
		pending = store_pending(agent->store, &unsafe);
		custody->state_waits = unsafe.states > 0;
	}
	if (custody->failing && unsafe.deletions && custody->retry.at_ms > loop_now_ms(agent->loop) + MAKE_ROOM_MS)
		loop_timer_set(agent->loop, &custody->retry, loop_now_ms(agent->loop) + MAKE_ROOM_MS);
	if (!custody->failing && pending >= STORE_UNSAFE && !custody->linger.armed)
		start_lingering(agent);
	if (!custody->failing && unsafe.deletions && !custody->deletions.armed)
		loop_timer_set(agent->loop, &custody->deletions, loop_now_ms(agent->loop) + DELETIONS_MS);
	hold_links(agent, unsafe.first);
}

void custody_init(struct agent *agent, int64_t linger_ms)
{
	agent->custody = (struct custody){
	        .strict = linger_ms == 0,
	        .linger_ms = linger_ms,
	        .linger = {.fire = on_linger, .arg = agent},
	        .stuck = {.fire = wake_up},
	        .retry = {.fire = commit_on_timer, .arg = agent},
	        .deletions = {.fire = commit_on_timer, .arg = agent},
	};
}
