/* Each goes from letter to letter by number, so that letters may come and go while
 * the answer is on its way. */
#include "dead_commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "agent.h"
#include "dead.h"
#include "dead_letters.h"

#define PIECE_BYTES 98304 /* of a payload in a line; divisible by three, as base64 wants */

struct walk {
	uint64_t id;   /* the letter that was asked for; 0: all */
	uint64_t at;   /* the last one that was done, */
	uint64_t last; /* and the newest to do */
	size_t offset; /* of what is left of its payload */
	size_t count;
};

/* ---- arguments ---- */

static int no_such(uint64_t id, char *err, size_t err_size)
{
	snprintf(err, err_size, "there is no dead letter %" PRIu64, id);
	return -1;
}

/* With or without "id": one letter, or all there are now. */
static int begin(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	const struct agent *agent = arg;
	struct walk *walk = state;
	json_error_t wrong;
	json_int_t id = 0;
	const char *command;
	uint64_t next;

	if (json_unpack_ex(request, &wrong, JSON_STRICT, "{s:s, s?I}", "command", &command, "id", &id) < 0) {
		snprintf(err, err_size, "%s", wrong.text);
		return -1;
	}
	walk->id = (uint64_t)id;
	if (json_object_get(request, "id") && (id <= 0 || !dead_known(agent->dead, walk->id)))
		return no_such(walk->id, err, err_size);
	walk->at = walk->id > 0 ? walk->id - 1 : 0;
	walk->last = walk->id;
	for (next = dead_next(agent->dead, 0); walk->id == 0 && next > 0; next = dead_next(agent->dead, next))
		walk->last = next;
	return 0;
}

static int begin_one(void *arg, void *state, json_t *request, char *err, size_t err_size)
{
	if (json_object_get(request, "id"))
		return begin(arg, state, request, err, err_size);
	snprintf(err, err_size, "expected an \"id\"");
	return -1;
}

/* The next letter to do, or 0. */
static uint64_t step(const struct agent *agent, struct walk *walk)
{
	uint64_t id = dead_next(agent->dead, walk->at);

	if (id == 0 || id > walk->last)
		return 0;
	walk->at = id;
	return id;
}

/* ---- list and show ---- */

static json_t *text(const char *string)
{
	return answer_text(string, strlen(string));
}

static json_t *describe(const struct dead_letter *letter)
{
	return json_pack("{s:s, s:I, s:f, s:o, s:o, s:o, s:o, s:I, s:i, s:b, s:I, s:b}",
	                 "kind", "dead_letter",
	                 "id", (json_int_t)letter->id,
	                 "time", (double)letter->time_ms / 1000,
	                 "link", text(letter->link),
	                 "script", text(letter->script),
	                 "reason", text(letter->reason),
	                 "topic", answer_text(letter->topic.data, letter->topic.size),
	                 "bytes", (json_int_t)letter->payload.size,
	                 "qos", letter->qos,
	                 "retain", letter->retain,
	                 "tries", (json_int_t)letter->tries,
	                 "retry", letter->retry);
}

static bool list_next(void *arg, void *state, struct answer *answer)
{
	const struct agent *agent = arg;
	uint64_t id = step(agent, state);
	const struct dead_letter *letter = id > 0 ? dead_get(agent->dead, id) : NULL;

	if (letter)
		answer_line(answer, describe(letter));
	return id > 0;
}

static json_t *base64(const char *data, size_t size)
{
	unsigned char code[PIECE_BYTES / 3 * 4 + 1];
	int length = EVP_EncodeBlock(code, (const unsigned char *)data, (int)size);

	return json_pack("{s:s, s:s#}", "kind", "payload", "base64", (const char *)code, length);
}

static bool show_next(void *arg, void *state, struct answer *answer)
{
	const struct agent *agent = arg;
	struct walk *walk = state;
	const struct dead_letter *letter = dead_get(agent->dead, walk->id);
	size_t size;

	if (!letter) {
		answer_fail(answer, "dead letter %" PRIu64 " %s", walk->id,
		            dead_known(agent->dead, walk->id) ? "cannot be read now" : "is gone");
		return false;
	}
	if (walk->at < walk->id) {
		walk->at = walk->id;
		answer_line(answer, describe(letter));
		return true;
	}
	size = letter->payload.size - walk->offset;
	size = size > PIECE_BYTES ? PIECE_BYTES : size;
	if (size > 0)
		answer_line(answer, base64((const char *)letter->payload.data + walk->offset, size));
	walk->offset += size;
	return size > 0;
}

/* ---- retry ---- */

static void retry_now(struct agent *agent, uint64_t id, struct answer *answer)
{
	char why[600] = "";
	bool handled = dead_letters_retry(agent, id, why, sizeof why) == DEAD_HANDLED;

	answer_line(answer, json_pack("{s:s, s:I, s:b, s:o*}",
	                              "kind", "retried",
	                              "id", (json_int_t)id,
	                              "handled", handled,
	                              "reason", handled ? NULL : text(why)));
}

static bool retry_next(void *arg, void *state, struct answer *answer)
{
	struct agent *agent = arg;
	uint64_t id;

	if (agent->loop && (agent->phase != RUNNING || agent->custody.failing)) {
		answer_fail(answer, agent->phase != RUNNING ? "the agent is stopping" : "the store cannot be written now");
		return false;
	}
	id = step(agent, state);
	if (id > 0 && agent->loop) {
		retry_now(agent, id, answer);
		answer_pause(answer); /* a handler may take its time: one in a turn */
	} else if (id > 0 && dead_retry_later(agent->dead, id, true)) {
		answer_line(answer, json_pack("{s:s, s:I, s:b}", "kind", "retried", "id", (json_int_t)id, "later", 1));
	}
	return id > 0;
}

/* ---- purge ---- */

static bool purge_next(void *arg, void *state, struct answer *answer)
{
	struct agent *agent = arg;
	struct walk *walk = state;
	uint64_t id;

	while ((id = step(agent, walk)) > 0)
		walk->count += dead_remove(agent->dead, id);
	answer_line(answer, json_pack("{s:s, s:I}", "kind", "purged", "count", (json_int_t)walk->count));
	return false;
}

#define STATE .state_size = sizeof(struct walk)

const struct answer_command dead_list_command = {.name = "dead list", STATE, .begin = begin, .next = list_next};
const struct answer_command dead_show_command = {.name = "dead show", STATE, .begin = begin_one, .next = show_next};
const struct answer_command dead_retry_command = {
        .name = "dead retry", STATE, .changes = true, .begin = begin, .next = retry_next};
const struct answer_command dead_purge_command = {
        .name = "dead purge", STATE, .changes = true, .begin = begin, .next = purge_next};
