/* queue purge: some messages in a turn, then they are on record and their deletion is
 * committed. The queue of a link that nobody has open is opened for that moment. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "drops.h"
#include "forward.h"
#include "link.h"
#include "look.h"
#include "losses.h"
#include "queue.h"
#include "queue_commands.h"
#include "store.h"

#define NAME_BYTES   256
#define STEP_RUNNING 1000  /* messages in a turn, */
#define STEP_RESTING 20000 /* and where there are no turns */
#define PROGRESS     10000 /* a sign of life after so many: whoever asked does not wait for ever */

struct purge {
	uint32_t id; /* of the link */
	char name[NAME_BYTES];
	char wanted[NAME_BYTES]; /* "": all */
	uint64_t seq;            /* 0: not one message only */
	uint64_t to, count, in_flight;
	bool begun; /* with that link */
};

/* ---- arguments ---- */

struct found {
	struct purge *purge;
	bool report;
};

static bool take(void *arg, const struct look_item *item)
{
	struct found *found = arg;

	snprintf(found->purge->wanted, sizeof found->purge->wanted, "%s", item->link);
	found->report = item->message->priority == QUEUE_PRIORITY_REPORT;
	return true;
}

/* Which link has it. */
static int find(const struct agent *agent, struct purge *purge, char *err, size_t err_size)
{
	struct found found = {.purge = purge};
	struct look *look = look_open(agent->store, NULL, purge->seq, purge->seq, err, err_size);
	int looked = look ? look_on(look, take, &found) : -1;

	look_close(look);
	if (look && looked < 0)
		snprintf(err, err_size, "the queue cannot be read now");
	else if (look && !*purge->wanted)
		snprintf(err, err_size, "there is no message %" PRIu64 " in any queue; it may be delivered", purge->seq);
	else if (look && found.report)
		snprintf(err, err_size, "message %" PRIu64 " is the agent's own report of losses, which is kept", purge->seq);
	return looked < 0 || !*purge->wanted || found.report ? -1 : 0;
}

static int begin(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	const struct agent *agent = arg;
	struct purge *purge = state;
	const char *command, *link = NULL;
	json_int_t seq = 0;
	json_error_t wrong;
	struct look *look;
	int all = 0;

	if (json_unpack_ex(request, &wrong, JSON_STRICT, "{s:s, s?s, s?I, s?b}", "command", &command, "link", &link, "seq",
	                   &seq, "all", &all) < 0) {
		snprintf(err, err_size, "%s", wrong.text);
		return -1;
	}
	if ((link != NULL) + (seq > 0) + (all != 0) != 1) {
		snprintf(err, err_size, "expected a \"seq\", a \"link\" or \"all\"");
		return -1;
	}
	*purge = (struct purge){.seq = seq > 0 ? (uint64_t)seq : 0, .to = store_newest_seq(agent->store)};
	if (purge->seq)
		return find(agent, purge, err, err_size);
	look = look_open(agent->store, link, 0, 0, err, err_size); /* is there such a link? */
	look_close(look);
	snprintf(purge->wanted, sizeof purge->wanted, "%s", link ? link : "");
	return look ? 0 : -1;
}

/* ---- a step ---- */

static bool commit(struct agent *agent)
{
	char err[256];

	return agent->loop ? custody_commit(agent) : store_commit(agent->store, err, sizeof err) == STORE_OK;
}

struct record {
	struct agent *agent;
	const char *link;
};

static void on_purged(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	const struct record *record = arg;

	(void)queue;
	(void)losses_record(record->agent->ledger, record->link, message, drops_reason(why)); /* counted all the same */
}

/* As many as go in a step: 0 if there are no more, -1. */
static int drop_some(const struct purge *purge, struct queue *queue, int most)
{
	if (purge->seq)
		return queue_purge_one(queue, purge->seq);
	return queue_purge(queue, purge->to, most);
}

static int drop_of_route(struct purge *purge, struct route *route)
{
	int n = drop_some(purge, route->queue, STEP_RUNNING);

	if (n == 0) /* what is left is in flight */
		purge->count += forward_purge(route->forward, purge->seq, purge->seq ? purge->seq : purge->to, &purge->in_flight);
	return n;
}

/* What is deleted in it must be committed before it is closed. */
static int drop_of_closed(const struct purge *purge, struct agent *agent)
{
	struct record record = {.agent = agent, .link = purge->name};
	char err[256];
	struct queue *queue =
		queue_open(agent->store, purge->name, (struct queue_limits){0}, on_purged, &record, err, sizeof err);
	int n = queue ? drop_some(purge, queue, agent->loop ? STEP_RUNNING : STEP_RESTING) : -1;

	if (n > 0 && !commit(agent))
		n = -1;
	queue_close(queue);
	return n;
}

static void tell(const struct purge *purge, struct answer *answer, const char *kind)
{
	answer_line(answer, json_pack("{s:s, s:o, s:I, s:I}",
	                              "kind", kind,
	                              "link", answer_text(purge->name, strlen(purge->name)),
	                              "count", (json_int_t)purge->count,
	                              "in_flight", (json_int_t)purge->in_flight));
}

/* Turns to the next link that is wanted. 1; 0: there are no more; -1. */
static int next_link(const struct agent *agent, struct purge *purge)
{
	int found;

	while ((found = look_link(agent->store, &purge->id, purge->name, sizeof purge->name)) > 0)
		if (!*purge->wanted || strcmp(purge->wanted, purge->name) == 0)
			break;
	purge->begun = found > 0;
	purge->count = purge->in_flight = 0;
	return found;
}

static bool next(void *arg, void *state, struct answer *answer)
{
	struct agent *agent = arg;
	struct purge *purge = state;
	struct route *route;
	int n;

	if (agent->loop && (agent->phase != RUNNING || agent->custody.failing)) {
		answer_fail(answer, agent->phase != RUNNING ? "the agent is stopping" : "the store cannot be written now");
		return false;
	}
	n = purge->begun ? 1 : next_link(agent, purge);
	if (n <= 0) {
		if (n < 0)
			answer_fail(answer, "the queue cannot be read now");
		return false;
	}
	route = route_named(agent, purge->name);
	n = route ? drop_of_route(purge, route) : drop_of_closed(purge, agent);
	purge->count += n > 0 ? (uint64_t)n : 0;
	if (n > 0 && purge->count / PROGRESS > (purge->count - (uint64_t)n) / PROGRESS)
		tell(purge, answer, "purging");
	if (n == 0 && commit(agent)) {
		tell(purge, answer, "purged");
		purge->begun = false;
	} else if (n <= 0) {
		answer_fail(answer, "the store cannot be read or written now; %" PRIu64 " messages of link %s are purged",
		            purge->count, purge->name);
	}
	answer_pause(answer);
	return true;
}

const struct answer_command queue_purge_command = {
        .name = "queue purge", .state_size = sizeof(struct purge), .changes = true, .begin = begin, .next = next};
