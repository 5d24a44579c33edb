/* What only looks goes on from the number that it told last, so that messages may come and
 * go while the answer is on its way; a piece is some messages, or one that is large. */
#include "queue_commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "agent.h"
#include "jsonl.h"
#include "link.h"
#include "look.h"
#include "queue.h"
#include "row_text.h"
#include "store.h"

#define NAME_BYTES    256
#define STEP_MESSAGES 64
#define STEP_BYTES    32768
#define SHORT_BYTES   24576 /* a payload that is in the message's own line */
#define PIECE_BYTES   49152 /* of one that is not; divisible by three, as base64 wants */

struct view {
	const struct agent *agent;
	struct answer *answer; /* during a step */
	struct look *look;
	bool payloads;
	int messages;          /* in this step, */
	size_t bytes;
	uint64_t told;         /* and in all, */
	uint64_t limit;        /* which may be so many */
	char *rest;            /* of a payload: pieces to come */
	size_t rest_bytes, rest_at;
	/* Of a list: */
	uint32_t id; /* of the link that is being listed */
	char name[NAME_BYTES], wanted[NAME_BYTES];
	uint64_t to, each;
};

static json_t *text(const char *string)
{
	return answer_text(string, strlen(string));
}

/* ---- what a message is ---- */

static const struct link_config *config_of(const struct agent *agent, const char *name)
{
	for (const struct route *route = agent->routes; route; route = route->next)
		if (strcmp(link_name(route->link), name) == 0)
			return link_config(route->link);
	for (size_t i = 0; !agent->loop && i < agent->config->n_links; i++)
		if (strcmp(agent->config->links[i].name, name) == 0)
			return &agent->config->links[i];
	return NULL;
}

/* A row by the names of its columns, as far as they are declared. NULL: it is none. */
static json_t *row_of(const struct agent *agent, const struct look_item *item)
{
	const struct link_config *config = config_of(agent, item->link);

	if (!config || config->kind != LINK_KDB || item->message->priority == QUEUE_PRIORITY_REPORT)
		return NULL;
	return row_json(item->message->payload, kdb_table_named(&config->kdb, item->message->topic.data));
}

static json_t *describe(const struct agent *agent, const struct look_item *item)
{
	struct message message = *item->message;
	json_t *line, *row = row_of(agent, item);

	if (agent->loop)
		agent_correct_time(agent, &message);
	line = json_pack("{s:s, s:o, s:I, s:f, s:o, s:I, s:i, s:b, s:i, s:b, s:b}",
	                 "kind", "message",
	                 "link", text(item->link),
	                 "seq", (json_int_t)message.seq,
	                 "time", (double)message.time_ms / 1000,
	                 "topic", answer_text(message.topic.data, message.topic.size),
	                 "bytes", (json_int_t)message.payload.size,
	                 "qos", message.qos,
	                 "retain", message.retain,
	                 "priority", message.priority,
	                 "in_flight", item->in_flight,
	                 "saved", item->saved);
	if (line && message.expires_ms > 0)
		json_object_set_new(line, "expires",
		                    json_real((double)(message.time_ms + message.expires_ms - message.age_ms) / 1000));
	if (line && row)
		json_object_set_new(line, "table", answer_text(message.topic.data, message.topic.size));
	if (line && row)
		json_object_set(line, "row", row);
	json_decref(row);
	return line;
}

/* ---- lines ---- */

/* Keeps what is too long for one line. False: no memory. */
static bool keep_rest(struct view *view, struct bytes payload)
{
	view->rest = malloc(payload.size);
	if (!view->rest)
		return false;
	memcpy(view->rest, payload.data, payload.size);
	view->rest_bytes = payload.size;
	view->rest_at = 0;
	return true;
}

static bool tell(void *arg, const struct look_item *item)
{
	struct view *view = arg;
	struct bytes payload = item->message->payload;
	json_t *line = describe(view->agent, item);
	bool whole = !view->payloads || payload.size <= SHORT_BYTES;

	if (line && view->payloads && whole)
		jsonl_put_bytes(line, "payload", payload);
	if (line && view->payloads)
		jsonl_put_properties(line, item->message->properties);
	if (!whole && !keep_rest(view, payload)) {
		json_decref(line);
		line = NULL;
	}
	answer_line(view->answer, line);
	view->told++;
	view->bytes += payload.size;
	return whole && line && ++view->messages < STEP_MESSAGES && view->bytes < STEP_BYTES && view->told < view->limit;
}

static void tell_piece(struct view *view)
{
	unsigned char code[PIECE_BYTES / 3 * 4 + 1];
	size_t size = view->rest_bytes - view->rest_at;
	int length;

	size = size > PIECE_BYTES ? PIECE_BYTES : size;
	length = EVP_EncodeBlock(code, (const unsigned char *)view->rest + view->rest_at, (int)size);
	answer_line(view->answer, json_pack("{s:s, s:s#}", "kind", "payload", "base64", (const char *)code, length));
	view->rest_at += size;
	if (view->rest_at < view->rest_bytes)
		return;
	free(view->rest);
	view->rest = NULL;
}

/* The next lines of a walk. False: there are no more. */
static bool walk(struct view *view, struct answer *answer)
{
	int more;

	view->answer = answer;
	if (view->rest) {
		tell_piece(view);
		return true;
	}
	if (view->told >= view->limit)
		return false;
	view->messages = 0;
	view->bytes = 0;
	more = look_on(view->look, tell, view);
	if (more < 0)
		answer_fail(answer, "the queue cannot be read now");
	return more > 0 || view->rest;
}

static void end_view(void *state)
{
	struct view *view = state;

	look_close(view->look);
	free(view->rest);
}

/* ---- show ---- */

static int begin_show(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	struct view *view = state;
	const struct agent *agent = arg;
	json_error_t wrong;
	const char *command;
	json_int_t seq;

	if (json_unpack_ex(request, &wrong, JSON_STRICT, "{s:s, s:I}", "command", &command, "seq", &seq) < 0) {
		snprintf(err, err_size, "%s", wrong.text);
		return -1;
	}
	*view = (struct view){.agent = agent, .payloads = true, .limit = 1, .to = seq > 0 ? (uint64_t)seq : 0};
	view->look = look_open(agent->store, NULL, view->to, view->to, err, err_size);
	return view->look ? 0 : -1;
}

static bool show_next(void *arg, void *state, struct answer *answer)
{
	struct view *view = state;
	bool more = walk(view, answer);

	(void)arg;
	if (!more && view->told == 0)
		answer_fail(answer, "there is no message %" PRIu64 " in any queue; it may be delivered", view->to);
	return more;
}

/* ---- export ---- */

static int begin_export(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	struct view *view = state;
	const struct agent *agent = arg;
	json_error_t wrong;
	const char *command, *link = NULL;

	if (json_unpack_ex(request, &wrong, JSON_STRICT, "{s:s, s?s}", "command", &command, "link", &link) < 0) {
		snprintf(err, err_size, "%s", wrong.text);
		return -1;
	}
	*view = (struct view){.agent = agent, .payloads = true, .limit = UINT64_MAX};
	view->look = look_open(agent->store, link, 0, store_newest_seq(agent->store), err, err_size);
	return view->look ? 0 : -1;
}

static bool export_next(void *arg, void *state, struct answer *answer)
{
	(void)arg;
	return walk(state, answer);
}

/* ---- list ---- */

static int begin_list(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	struct view *view = state;
	const struct agent *agent = arg;
	json_error_t wrong;
	const char *command, *link = "";
	json_int_t limit = QUEUE_LIST_LIMIT;

	if (json_unpack_ex(request, &wrong, JSON_STRICT, "{s:s, s?s, s?I}", "command", &command, "link", &link, "limit",
	                   &limit) < 0) {
		snprintf(err, err_size, "%s", wrong.text);
		return -1;
	}
	*view = (struct view){.agent = agent, .to = store_newest_seq(agent->store), .each = limit > 0 ? (uint64_t)limit : 0};
	snprintf(view->wanted, sizeof view->wanted, "%s", link);
	view->look = *link ? look_open(agent->store, link, 0, 0, err, err_size) : NULL; /* is there such a link? */
	if (*link && !view->look)
		return -1;
	look_close(view->look);
	view->look = NULL;
	return 0;
}

/* How much there is of it; it takes too long to count what is on disk only while messages flow. */
static void tell_queue(const struct view *view, struct answer *answer)
{
	struct queue *queue = queue_named(view->agent->store, view->name);
	uint64_t messages = queue ? queue_messages(queue) : 0, bytes = queue ? queue_bytes(queue) : 0;
	bool known = queue || (!view->agent->loop && look_count(view->agent->store, view->id, &messages, &bytes) == 0);

	answer_line(answer, json_pack("{s:s, s:o, s:o*, s:o*}",
	                              "kind", "queue",
	                              "link", text(view->name),
	                              "messages", known ? json_integer((json_int_t)messages) : NULL,
	                              "bytes", known ? json_integer((json_int_t)bytes) : NULL));
}

/* Turns to the next link that is wanted. False: there are no more. */
static bool next_link(struct view *view, struct answer *answer)
{
	char err[256];
	int found;

	while ((found = look_link(view->agent->store, &view->id, view->name, sizeof view->name)) > 0)
		if (!*view->wanted || strcmp(view->wanted, view->name) == 0)
			break;
	view->told = 0;
	view->limit = view->each;
	if (found > 0)
		view->look = look_open(view->agent->store, view->name, 0, view->to, err, sizeof err);
	if (found < 0 || (found > 0 && !view->look))
		answer_fail(answer, "the queue cannot be read now");
	else if (found > 0)
		tell_queue(view, answer);
	return found > 0;
}

static bool list_next(void *arg, void *state, struct answer *answer)
{
	struct view *view = state;

	(void)arg;
	if (!view->look)
		return next_link(view, answer);
	if (walk(view, answer))
		return true;
	look_close(view->look);
	view->look = NULL;
	return true;
}

#define VIEW .state_size = sizeof(struct view), .end = end_view

const struct answer_command queue_list_command = {.name = "queue list", VIEW, .begin = begin_list, .next = list_next};
const struct answer_command queue_show_command = {.name = "queue show", VIEW, .begin = begin_show, .next = show_next};
const struct answer_command queue_export_command = {
        .name = "queue export", VIEW, .begin = begin_export, .next = export_next};
