/* The table `mqtt` and link objects: `mqtt.pub(...)` acts on the default link,
 * `core:pub(...)` on that one, through the same functions; and `kdb.upd(...)`.
 *
 * A bad argument raises an error that names it. A state of the world (no such
 * link, queue full) returns nil and a message. Nothing here touches a link: what
 * is wanted is set aside as an effect.
 */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api.h"
#include "kdb_row.h"
#include "nearest.h"
#include "state_table.h"
#include "topic.h"
#include "value.h"

#define LINK_TYPE "link"
#define PACKET_MAX 268435455
#define OPTIONS_DEPTH 8 /* of links: tables in tables */
#define TTL_MAX_S  3155760000 /* a century */

struct draft;

/* What can be asked of a link: `mqtt.NAME`, `link:NAME`. */
struct action {
	const char *name;
	int (*run)(lua_State *L, struct draft *draft, int first);
	int kind; /* of links that have it; ANY_KIND, and by default the one for MQTT */
};

#define ANY_KIND (-1)

/* One call of pub or sub while its arguments are read. */
struct draft {
	const struct action *action;
	struct link *link; /* NULL: the default one */
	bool is_method;    /* of that link */
	bool unknown_link; /* a name was given, and there is none of that name */
	int qos, priority;
	bool retain;
	int64_t ttl_ms; /* 0: none */
	struct subscription subscription;
};

static int fail(lua_State *L, const char *why)
{
	lua_pushnil(L);
	lua_pushstring(L, why);
	return 2;
}

static struct link *default_link(lua_State *L, const struct draft *draft)
{
	const struct script_host *host = script_of(L)->host;

	return host->link_default(host->arg, draft->action->kind == LINK_KDB ? LINK_KDB : LINK_MQTT);
}

/* The link object of a method's first argument. */
static struct link *self_link(lua_State *L)
{
	return *(struct link **)luaL_checkudata(L, 1, LINK_TYPE);
}

static int check_qos(lua_State *L, int arg)
{
	lua_Integer qos = api_whole_number(L, arg);

	if (lua_isnoneornil(L, arg))
		return 1;
	luaL_argcheck(L, qos >= 0 && qos <= 2, arg, "qos: 0, 1 or 2 expected");
	return (int)qos;
}

static bool check_retain(lua_State *L, int arg)
{
	if (!lua_isnoneornil(L, arg) && !lua_isboolean(L, arg))
		luaL_argerror(L, arg, lua_pushfstring(L, "retain: boolean expected, got %s", api_kind(L, arg)));
	return lua_toboolean(L, arg);
}

static struct bytes check_topic(lua_State *L, int arg)
{
	struct bytes topic;
	const char *problem;

	topic.data = api_check_string(L, arg, "topic", &topic.size);
	problem = topic_problem(topic.data, topic.size);
	if (problem)
		luaL_argerror(L, arg, lua_pushfstring(L, "topic %s", problem));
	return topic;
}

static struct bytes check_payload(lua_State *L, int arg)
{
	struct bytes payload;

	if (!lua_isstring(L, arg))
		luaL_argerror(L, arg, lua_pushfstring(L, "payload: string or number expected, got %s", api_kind(L, arg)));
	payload.data = lua_tolstring(L, arg, &payload.size);
	luaL_argcheck(L, payload.size <= PACKET_MAX, arg, "payload is larger than MQTT's 256 MB");
	return payload;
}

static const char *check_filter(lua_State *L, int arg)
{
	size_t size;
	const char *filter = api_check_string(L, arg, "filter", &size);
	const char *problem = topic_filter_problem(filter, size);

	if (problem)
		luaL_argerror(L, arg, lua_pushfstring(L, "filter %s", problem));
	return filter;
}

static void option_link(lua_State *L, const struct api_option *option, void *target)
{
	const struct script_host *host = script_of(L)->host;
	struct link **object = luaL_testudata(L, -1, LINK_TYPE);
	struct draft *draft = target;

	if (draft->is_method)
		luaL_error(L, "%s: the method of a link acts on that link", option->path);
	if (object)
		draft->link = *object;
	else if (lua_type(L, -1) == LUA_TSTRING && strlen(lua_tostring(L, -1)) == lua_rawlen(L, -1))
		draft->link = host->link_named(host->arg, lua_tostring(L, -1));
	else
		api_option_expected(L, option, "link or its name");
	draft->unknown_link = !draft->link;
}

static void option_ctx(lua_State *L, const struct api_option *option, void *target)
{
	struct buffer *context = &script_of(L)->context;
	char err[300];

	(void)target;
	if (value_encode(L, -1, option->path, context, err, sizeof err))
		luaL_error(L, "%s", err);
}

static void option_properties(lua_State *L, const struct api_option *option, void *target)
{
	(void)option;
	(void)target;
	api_properties_read(L, -1, &script_of(L)->properties);
}

/* Seconds, or a duration as in agent.lua. */
static void option_ttl(lua_State *L, const struct api_option *option, void *target)
{
	struct draft *draft = target;

	draft->ttl_ms = 0;
	if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) > 0 && lua_tonumber(L, -1) <= TTL_MAX_S)
		draft->ttl_ms = (int64_t)ceil(lua_tonumber(L, -1) * 1000);
	else if (lua_type(L, -1) == LUA_TSTRING && !duration_parse(lua_tostring(L, -1), &draft->ttl_ms))
		draft->ttl_ms = 0;
	if (draft->ttl_ms <= 0 || draft->ttl_ms > TTL_MAX_S * INT64_C(1000))
		api_option_expected(L, option, "seconds above 0 or a duration such as \"5s\", \"10m\" or \"7d\"");
}

/* The link to act on: the method's, that of `opts`, or the default one. NULL:
 * the caller returns no_link(). */
static struct link *link_of(lua_State *L, const struct draft *draft)
{
	const struct script_host *host = script_of(L)->host;
	struct link *link = draft->link || draft->unknown_link ? draft->link : default_link(L, draft);

	if (!link || !host->link_known(host->arg, link))
		return NULL;
	int kind = draft->action->kind == ANY_KIND ? ANY_KIND : (int)host->link_config(host->arg, link)->kind;
	if (kind != draft->action->kind)
		luaL_error(L, kind == LINK_KDB ? "%s: link %s is for kdb+; it has upd" : "%s: link %s is for MQTT",
		           draft->action->name, host->link_name(host->arg, link));
	return link;
}

static int no_link(lua_State *L, const struct draft *draft)
{
	return fail(L, draft->link || draft->unknown_link        ? "unknown link"
	               : draft->action->kind == LINK_KDB ? "no default kdb+ link"
	                                                 : "no default link");
}

/* Sets the message for the link aside; returns its token, or nil and why not. */
static int publish(lua_State *L, const struct draft *draft, struct link *link, struct bytes topic, struct bytes payload)
{
	struct script *script = script_of(L);
	const struct script_host *host = script->host;
	struct message message = { .topic = topic, .payload = payload, .origin = script->origin };
	const char *refusal;
	bool lost;

	message.properties = (struct bytes){ script->properties.data, script->properties.size };
	message.context = (struct bytes){ script->context.data, script->context.size };
	message.qos = (uint8_t)draft->qos;
	message.retain = draft->retain;
	message.priority = (uint8_t)draft->priority;
	message.expires_ms = draft->ttl_ms;
	message.seq = host->next_seq(host->arg);
	refusal = host->refuses(host->arg, link, &lost);
	if (lost && effects_lose(&script->effects, link, &message))
		return script_effect_failed(L);
	if (refusal)
		return fail(L, refusal);
	if (effects_publish(&script->effects, link, &message))
		return script_effect_failed(L);
	lua_pushinteger(L, (lua_Integer)message.seq);
	return 1;
}

static const struct api_option pub_options[] = {
	{ "opts.qos", api_option_int, offsetof(struct draft, qos), 2 },
	{ "opts.retain", api_option_bool, offsetof(struct draft, retain), 0 },
	{ "opts.ctx", option_ctx, 0, 0 },
	{ "opts.link", option_link, 0, 0 },
	{ "opts.properties", option_properties, 0, 0 },
	{ "opts.ttl", option_ttl, 0, 0 },
	{ "opts.priority", api_option_int, offsetof(struct draft, priority), QUEUE_PRIORITY_MAX },
	{ NULL, NULL, 0, 0 },
};

static const struct api_option upd_options[] = {
	{ "opts.ctx", option_ctx, 0, 0 },
	{ "opts.link", option_link, 0, 0 },
	{ "opts.ttl", option_ttl, 0, 0 },
	{ NULL, NULL, 0, 0 },
};

static const struct api_option sub_options[] = {
	{ "opts.qos", api_option_int, offsetof(struct draft, subscription.qos), 2 },
	{ "opts.link", option_link, 0, 0 },
	{ "opts.no_local", api_option_bool, offsetof(struct draft, subscription.no_local), 0 },
	{ "opts.retain_as_published", api_option_bool, offsetof(struct draft, subscription.retain_as_published), 0 },
	{ "opts.retain_handling", api_option_int, offsetof(struct draft, subscription.retain_handling), 2 },
	{ NULL, NULL, 0, 0 },
};

/* The actions: `first` is where the arguments begin, behind the link object of a
 * method. */
static int do_pub(lua_State *L, struct draft *draft, int first)
{
	struct script *script = script_of(L);
	struct bytes topic = check_topic(L, first), payload = check_payload(L, first + 1);

	script->properties.size = script->context.size = 0;
	draft->qos = 1;
	api_options_read(L, first + 2, "opts", pub_options, draft);
	struct link *link = link_of(L, draft);
	return link ? publish(L, draft, link, topic, payload) : no_link(L, draft);
}

static int do_pubx(lua_State *L, struct draft *draft, int first)
{
	struct script *script = script_of(L);
	struct bytes topic = check_topic(L, first), payload = check_payload(L, first + 1);

	script->properties.size = script->context.size = 0;
	draft->qos = check_qos(L, first + 2);
	draft->retain = check_retain(L, first + 3);
	struct link *link = link_of(L, draft);
	return link ? publish(L, draft, link, topic, payload) : no_link(L, draft);
}

static const struct kdb_table *check_table(lua_State *L, int arg, struct link *link)
{
	const struct script_host *host = script_of(L)->host;
	const struct kdb_config *kdb = &host->link_config(host->arg, link)->kdb;
	const char *name = lua_tostring(L, arg), *meant = NULL;
	const struct kdb_table *table = kdb_table_named(kdb, name);
	size_t best = NEAREST_MAX + 1;

	for (size_t i = 0; i < kdb->n_tables && !table; i++)
		if (nearest(name, kdb->tables[i].name, &best))
			meant = kdb->tables[i].name;
	if (!table)
		luaL_error(L, "kdb.upd: link %s has no table %s in agent.lua%s%s", host->link_name(host->arg, link), name,
		           meant ? "; did you mean " : "", meant ? meant : "");
	return table;
}

static int do_upd(lua_State *L, struct draft *draft, int first)
{
	struct script *script = script_of(L);
	struct bytes topic, row;
	struct link *link;

	api_check_text(L, first, "table");
	if (!lua_istable(L, first + 1))
		luaL_argerror(L, first + 1, lua_pushfstring(L, "row: table expected, got %s", api_kind(L, first + 1)));
	script->properties.size = script->context.size = script->kdb.size = 0;
	draft->qos = 1;
	api_options_read(L, first + 2, "opts", upd_options, draft);
	link = link_of(L, draft);
	if (!link)
		return no_link(L, draft);
	api_state_plain(L, first + 1);
	kdb_row_encode(L, first + 1, check_table(L, first, link), &script->kdb);
	row = (struct bytes){ script->kdb.data, script->kdb.size };
	topic.data = lua_tolstring(L, first, &topic.size);
	return publish(L, draft, link, topic, row);
}

/* As in agent.lua: what the broker would not understand, or not accept. */
static void check_subscription(lua_State *L, const struct subscription *subscription, const struct link *link)
{
	const struct script_host *host = script_of(L)->host;
	const struct link_config *config = effects_config(&script_of(L)->effects, link);
	const char *option = subscription->no_local              ? "no_local"
	                     : subscription->retain_as_published ? "retain_as_published"
	                     : subscription->retain_handling     ? "retain_handling"
	                                                         : NULL;

	if (option && (config ? config : host->link_config(host->arg, link))->version < 5)
		luaL_error(L, "opts.%s: needs a link with version = \"5\"", option);
	if (subscription->no_local && !strncmp(subscription->filter, "$share/", 7))
		luaL_error(L, "opts.no_local: cannot be used with a $share filter");
}

static int subscribe(lua_State *L, struct draft *draft)
{
	const struct script_host *host = script_of(L)->host;
	struct link *link = link_of(L, draft);

	if (!link)
		return no_link(L, draft);
	check_subscription(L, &draft->subscription, link);
	if (host->subscriptions_full && host->subscriptions_full(host->arg, link, draft->subscription.filter)) {
		lua_pushnil(L);
		lua_pushliteral(L, "too many subscriptions");
		return 2;
	}
	if (effects_subscribe(&script_of(L)->effects, link, &draft->subscription))
		return script_effect_failed(L);
	lua_pushboolean(L, 1);
	return 1;
}

static int do_sub(lua_State *L, struct draft *draft, int first)
{
	draft->subscription = (struct subscription){ .filter = (char *)(uintptr_t)check_filter(L, first), .qos = 1 };
	api_options_read(L, first + 1, "opts", sub_options, draft);
	return subscribe(L, draft);
}

static int do_subx(lua_State *L, struct draft *draft, int first)
{
	draft->subscription.filter = (char *)(uintptr_t)check_filter(L, first);
	draft->subscription.qos = check_qos(L, first + 1);
	return subscribe(L, draft);
}

static int do_unsub(lua_State *L, struct draft *draft, int first)
{
	const char *filter = check_filter(L, first);
	struct link *link = link_of(L, draft);

	if (!link)
		return no_link(L, draft);
	if (effects_unsubscribe(&script_of(L)->effects, link, filter))
		return script_effect_failed(L);
	lua_pushboolean(L, 1);
	return 1;
}

static int do_disconnect(lua_State *L, struct draft *draft, int first)
{
	struct link *link = link_of(L, draft);

	(void)first;
	if (!link)
		return no_link(L, draft);
	if (effects_disconnect(&script_of(L)->effects, link))
		return script_effect_failed(L);
	lua_pushboolean(L, 1);
	return 1;
}

static int do_is_connected(lua_State *L, struct draft *draft, int first)
{
	const struct script_host *host = script_of(L)->host;
	struct link *link = link_of(L, draft);

	(void)first;
	if (!link)
		return no_link(L, draft);
	lua_pushboolean(L, host->link_up(host->arg, link));
	return 1;
}

static const struct action actions[] = {
	{ "pub", do_pub, LINK_MQTT },
	{ "pubx", do_pubx, LINK_MQTT },
	{ "sub", do_sub, LINK_MQTT },
	{ "subx", do_subx, LINK_MQTT },
	{ "unsub", do_unsub, LINK_MQTT },
	{ "disconnect", do_disconnect, ANY_KIND },
	{ "is_connected", do_is_connected, ANY_KIND },
	{ "upd", do_upd, LINK_KDB },
};

enum { N_ACTIONS = sizeof actions / sizeof *actions, UPD = N_ACTIONS - 1 };

/* mqtt.NAME: acts on the default link; the upvalue is the action's number. */
static int on_default(lua_State *L)
{
	struct draft draft = { .action = &actions[lua_tointeger(L, lua_upvalueindex(1))] };

	return draft.action->run(L, &draft, 1);
}

int api_mqtt_upd(struct lua_State *L)
{
	struct draft draft = { .action = &actions[UPD] };

	return draft.action->run(L, &draft, 1);
}

/* link:NAME: acts on that link. */
static int on_link(lua_State *L)
{
	struct draft draft = {
		.action = &actions[lua_tointeger(L, lua_upvalueindex(1))], .link = self_link(L), .is_method = true
	};

	return draft.action->run(L, &draft, 2);
}

static int link_depth(lua_State *L)
{
	const struct script_host *host = script_of(L)->host;

	lua_pushinteger(L, (lua_Integer)host->link_depth(host->arg, self_link(L)));
	return 1;
}

static int link_name_of(lua_State *L)
{
	const struct script_host *host = script_of(L)->host;

	lua_pushstring(L, host->link_name(host->arg, self_link(L)));
	return 1;
}

static int link_to_string(lua_State *L)
{
	const struct script_host *host = script_of(L)->host;

	lua_pushfstring(L, "link %s", host->link_name(host->arg, self_link(L)));
	return 1;
}

static void set_actions(lua_State *L, lua_CFunction function, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		lua_pushinteger(L, (lua_Integer)i);
		lua_pushcclosure(L, function, 1);
		lua_setfield(L, -2, actions[i].name);
	}
}

/* Pushes the metatable of link objects, which few scripts have: it is made for the first,
 * and entered when it is complete. It is closed to scripts: a `__gc` put there would run
 * out of reach of the CPU limit. */
static void push_link_type(lua_State *L)
{
	static const luaL_Reg methods[] = { { "depth", link_depth }, { "name", link_name_of }, { NULL, NULL } };

	if (luaL_getmetatable(L, LINK_TYPE) != LUA_TNIL)
		return;
	lua_pop(L, 1);
	lua_createtable(L, 0, 4);
	lua_pushliteral(L, LINK_TYPE);
	lua_setfield(L, -2, "__name");
	lua_pushliteral(L, LINK_TYPE);
	lua_setfield(L, -2, "__metatable");
	lua_pushcfunction(L, link_to_string);
	lua_setfield(L, -2, "__tostring");
	luaL_newlib(L, methods);
	set_actions(L, on_link, N_ACTIONS);
	lua_getfield(L, -1, "is_connected");
	lua_setfield(L, -2, "connected");
	lua_setfield(L, -2, "__index");
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, LINK_TYPE);
}

/* Pushes the object of a link, always the same one for the same link. */
static int push_link(lua_State *L, struct link *link)
{
	struct link **object;

	luaL_getsubtable(L, LUA_REGISTRYINDEX, "tidegate.links");
	if (lua_rawgetp(L, -1, link) == LUA_TNIL) {
		lua_pop(L, 1);
		object = lua_newuserdatauv(L, sizeof link, 0);
		*object = link;
		push_link_type(L);
		lua_setmetatable(L, -2);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, -3, link);
	}
	lua_remove(L, -2);
	return 1;
}

static int mqtt_link(lua_State *L)
{
	const struct script_host *host = script_of(L)->host;
	struct link *link = host->link_named(host->arg, api_check_text(L, 1, "name"));

	return link ? push_link(L, link) : fail(L, "unknown link");
}

/* Raises what config_link_read() complained about. */
static int raise_problems(lua_State *L, const struct problems *problems)
{
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	for (size_t i = 0; i < problems->n; i++) {
		if (i)
			luaL_addstring(&b, "; ");
		luaL_addstring(&b, problems->lines[i]);
	}
	luaL_pushresult(&b);
	return luaL_error(L, "%s", lua_tostring(L, -1));
}

/* mqtt.conn(url, name [, opts]) */
static int mqtt_conn(lua_State *L)
{
	struct script *script = script_of(L);
	const struct script_host *host = script->host;
	const char *url = api_check_text(L, 1, "url"), *name = api_check_text(L, 2, "name");
	struct link_config *config;
	struct link *link;
	char err[200] = "";

	lua_settop(L, 3);
	if (lua_isnil(L, 3)) {
		lua_newtable(L);
		lua_replace(L, 3);
	}
	if (!lua_istable(L, 3))
		luaL_argerror(L, 3, lua_pushfstring(L, "opts: table expected, got %s", api_kind(L, 3)));
	state_table_copy(L, 3, OPTIONS_DEPTH); /* what is read raw must not be of `state` */
	lua_replace(L, 3);
	problems_release(&script->problems);
	config = config_link_read(L, 3, host->agent_name, name, url, effects_room(&script->effects), &script->problems);
	if (!config)
		return raise_problems(L, &script->problems);
	link = host->link_reserve(host->arg, name, err, sizeof err);
	if (!link) {
		config_link_free(config);
		return fail(L, err);
	}
	if (effects_connect(&script->effects, link, config)) {
		host->link_forget(host->arg, link);
		return script_effect_failed(L);
	}
	return push_link(L, link);
}

static int open_mqtt(lua_State *L)
{
	static const luaL_Reg functions[] = { { "conn", mqtt_conn }, { "link", mqtt_link }, { NULL, NULL } };

	luaL_newlib(L, functions);
	set_actions(L, on_default, UPD);
	return 1;
}

void api_mqtt_open(struct lua_State *L)
{
	luaL_requiref(L, "mqtt", open_mqtt, 1);
	lua_pop(L, 1);
}
