/* What a call of a handler costs through script_message(), with all that makes it safe (limits of memory and CPU
 * time, effects set aside, a traceback if it fails), and what the same chunk costs in a lua_State of its own,
 * called with lua_pcall() and nothing around it. The network, the queue and the disk have no part in either.
 *
 *	handler_cost ROUNDS CALLS
 *
 * prints a line for each round of each handler: its name, nanoseconds of CPU time a call, and bare ("-": this
 * handler needs more than a bare state has). Within a round both have their turns, in small portions.
 */
#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "metrics.h"
#include "script.h"

#define MESSAGES    64 /* different ones, so that not every string is there already */
#define PORTION     1000
#define MEMORY_MAX  (8 << 20) /* the agent's defaults */
#define CALL_MS_MAX 250
#define STATE_MAX   (1 << 20)

/* ---- the handlers and their messages ---- */

struct candidate {
	const char *name;
	bool bare; /* needs nothing but mqtt.pub() */
	bool json; /* of payloads that are objects */
	const char *chunk;
};

static const struct candidate candidates[] = {
	{ "convert", true, false,
	  "function on_message(topic, payload)\n"
	  "	local line, sensor = topic:match('^plant/(%w+)/(%w+)/raw$')\n"
	  "	local fahrenheit = tonumber(payload)\n"
	  "	if line and fahrenheit then\n"
	  "		local celsius = (fahrenheit - 32) / 1.8\n"
	  "		mqtt.pub('plant/' .. line .. '/' .. sensor .. '/celsius', string.format('%.2f', celsius))\n"
	  "	end\n"
	  "end\n" },
	{ "forward", true, false,
	  "function on_message(topic, payload)\n"
	  "	mqtt.pub(topic, payload)\n"
	  "end\n" },
	{ "on", false, false,
	  "on('plant/+/+/raw', function(topic, payload)\n"
	  "	mqtt.pub(topic, payload)\n"
	  "end)\n" },
	{ "details", false, false,
	  "function on_message(topic, payload, msg)\n"
	  "	mqtt.pub(topic, payload, { qos = msg.qos })\n"
	  "end\n" },
	{ "state", false, false,
	  "function on_message(topic, payload)\n"
	  "	state[topic] = (state[topic] or 0) + 1\n"
	  "	mqtt.pub(topic, payload)\n"
	  "end\n" },
	{ "json", false, true,
	  "function on_message(topic, payload)\n"
	  "	mqtt.pub(topic, json.decode(payload).value)\n"
	  "end\n" },
};

struct messages {
	struct inbound list[MESSAGES];
	char topics[MESSAGES][64], payloads[MESSAGES][64];
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "handler_cost: %s\n", what);
	exit(1);
}

static void make_messages(struct messages *messages, bool json)
{
	for (int i = 0; i < MESSAGES; i++) {
		char *topic = messages->topics[i], *payload = messages->payloads[i];

		(void)snprintf(topic, sizeof *messages->topics, "plant/line%d/sensor%d/raw", i % 4, i);
		(void)snprintf(payload, sizeof *messages->payloads, json ? "{\"value\":%.1f,\"unit\":\"F\"}" : "%.1f",
		               60 + 0.7 * i);
		messages->list[i] = (struct inbound){
			.topic = topic, .payload = { payload, strlen(payload) }, .qos = 1, .time_ms = 1700000000000
		};
	}
}

/* ---- through script_message(), with a host that only counts ---- */

struct link {
	uint64_t seq, published;
};

static struct link *default_link(void *arg, enum link_kind kind)
{
	(void)kind;
	return arg;
}

static const struct link_config *config_of(void *arg, const struct link *link)
{
	static const struct link_config config = { .version = 5 };

	(void)arg;
	(void)link;
	return &config;
}

static bool knows(void *arg, const struct link *link)
{
	return arg == link;
}

static uint64_t next_seq(void *arg)
{
	return ++((struct link *)arg)->seq;
}

static const char *refuses(void *arg, struct link *link, bool *lost)
{
	(void)arg;
	(void)link;
	*lost = false;
	return NULL;
}

static void publish(void *arg, struct link *link, const struct message *message)
{
	(void)arg;
	(void)message;
	link->published++;
}

static void write_chunk(const char *path, const char *chunk)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs(chunk, file) == EOF || fclose(file))
		fail("cannot write the script's file");
}

static struct script *open_script(const struct candidate *candidate, const struct script_host *host)
{
	static const struct script_limits limits = { MEMORY_MAX, CALL_MS_MAX, STATE_MAX };
	char directory[] = "/tmp/handler_cost.XXXXXX", path[100], err[500];
	struct script *script;

	if (!mkdtemp(directory))
		fail("no directory for the script");
	(void)snprintf(path, sizeof path, "%s/rules.lua", directory);
	write_chunk(path, candidate->chunk);
	script = script_open(path, 1, limits, host, err, sizeof err);
	if (!script)
		fail(err);
	if (remove(path) || rmdir(directory))
		fail("cannot remove the script's file");
	script_start(script);
	return script;
}

static void call_script(struct script *script, const struct messages *messages, int calls)
{
	for (int i = 0; i < calls; i++)
		if (script_message(script, "field", &messages->list[i % MESSAGES]))
			fail("the handler failed");
}

/* ---- bare ---- */

static char sent[4096];
static uint64_t published;

static int bare_pub(lua_State *L)
{
	size_t topic_size, payload_size;
	const char *topic = luaL_checklstring(L, 1, &topic_size), *payload = luaL_checklstring(L, 2, &payload_size);

	luaL_argcheck(L, topic_size + payload_size <= sizeof sent, 2, "too long");
	memcpy(sent, topic, topic_size);
	memcpy(sent + topic_size, payload, payload_size);
	lua_pushinteger(L, (lua_Integer)++published);
	return 1;
}

static lua_State *open_bare(const struct candidate *candidate)
{
	lua_State *L = luaL_newstate();

	if (!L)
		fail("not enough memory");
	luaL_openlibs(L);
	lua_newtable(L);
	lua_pushcfunction(L, bare_pub);
	lua_setfield(L, -2, "pub");
	lua_setglobal(L, "mqtt");
	if (luaL_dostring(L, candidate->chunk))
		fail(lua_tostring(L, -1));
	return L;
}

static void call_bare(lua_State *L, const struct messages *messages, int calls)
{
	for (int i = 0; i < calls; i++) {
		const struct inbound *message = &messages->list[i % MESSAGES];

		lua_getglobal(L, "on_message");
		lua_pushstring(L, message->topic);
		lua_pushlstring(L, message->payload.data, message->payload.size);
		if (lua_pcall(L, 2, 0, 0))
			fail(lua_tostring(L, -1));
	}
}

/* ---- rounds ---- */

static int64_t cpu_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now))
		fail("no clock");
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void run_round(const struct candidate *candidate, struct script *script, lua_State *L,
                      const struct messages *messages, int portions)
{
	int64_t ours_ns = 0, bare_ns = 0, calls = (int64_t)portions * PORTION;

	for (int i = 0; i < portions; i++) {
		int64_t started = cpu_ns(), between;

		call_script(script, messages, PORTION);
		between = cpu_ns();
		ours_ns += between - started;
		if (L)
			call_bare(L, messages, PORTION);
		bare_ns += cpu_ns() - between;
	}
	printf("%s %" PRId64, candidate->name, ours_ns / calls);
	if (L)
		printf(" %" PRId64 "\n", bare_ns / calls);
	else
		printf(" -\n");
}

static void run(const struct candidate *candidate, int rounds, int portions, struct metrics *metrics)
{
	struct link link = { 0 };
	struct script_host host = { .arg = &link, .agent_name = "bench", .metrics = metrics, .link_default = default_link, .link_config = config_of,
		                    .link_known = knows, .next_seq = next_seq, .refuses = refuses, .publish = publish };
	struct script *script = open_script(candidate, &host);
	lua_State *L = candidate->bare ? open_bare(candidate) : NULL;
	struct messages messages = { 0 };

	make_messages(&messages, candidate->json);
	published = 0;
	for (int round = 0; round < rounds; round++)
		run_round(candidate, script, L, &messages, portions);
	if (link.published != (uint64_t)rounds * (uint64_t)portions * PORTION || (L && published != link.published))
		fail("not every call published");
	script_close(script);
	if (L)
		lua_close(L);
}

int main(int argc, char **argv)
{
	int rounds = argc == 3 ? atoi(argv[1]) : 0, calls = argc == 3 ? atoi(argv[2]) : 0;
	struct metrics *metrics = metrics_open();

	if (rounds < 1 || calls < 1) {
		fprintf(stderr, "usage: handler_cost ROUNDS CALLS\n");
		return 64;
	}
	if (!metrics)
		fail("not enough memory");
	for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
		run(&candidates[i], rounds, (calls + PORTION - 1) / PORTION, metrics);
	metrics_close(metrics);
	return 0;
}
