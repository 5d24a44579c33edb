/* MQTT 5 properties as scripts see them:
 *
 *     { content_type = "text/csv", user = { { "site", "north" }, { "line", "4" } } }
 *
 * `user` is a list of pairs because names may repeat and their order counts; to
 * publish, { site = "north" } does as well. What on_message gets can be given to
 * mqtt.pub as it is.
 */
#include <lauxlib.h>
#include <lua.h>

#include "api.h"
#include "properties.h"
#include "topic.h"

#define TEXT_MAX 65535

/* Texts may be shared in Lua and are copied here: a small table can be a large run. */
static int append(lua_State *L, struct buffer *run, const struct property *property)
{
	size_t limit = script_of(L)->effects.limit;

	if (properties_append(run, property))
		return luaL_error(L, "not enough memory");
	return limit && run->size > limit ? script_effect_failed(L) : 0;
}

static void read_number(lua_State *L, const struct api_option *option, void *run)
{
	uint32_t limit = option->offset == PROPERTY_PAYLOAD_FORMAT ? 1 : UINT32_MAX;
	struct property property = { .id = (enum property_id)option->offset };
	int64_t number = api_whole_number(L, -1);

	if (number < 0 || number > (int64_t)limit)
		api_option_expected(L, option, limit == 1 ? "0 or 1" : "whole number of seconds");
	property.number = (uint32_t)number;
	append(L, run, &property);
}

/* The string or number at `index` as text; `path` names it in errors. */
static struct bytes text_at(lua_State *L, int index, const char *path, bool utf8)
{
	struct bytes text = { 0 };
	const char *problem = NULL;

	if (!lua_isstring(L, index))
		luaL_error(L, "%s: string expected, got %s", path, api_kind(L, index));
	text.data = lua_tolstring(L, index, &text.size);
	if (text.size > TEXT_MAX)
		problem = "is longer than 65535 bytes";
	else if (utf8 && text.size)
		problem = topic_text_problem(text.data, text.size);
	if (problem)
		luaL_error(L, "%s %s", path, problem);
	return text;
}

static void read_text(lua_State *L, const struct api_option *option, void *run)
{
	struct property property = { .id = (enum property_id)option->offset };

	property.text = text_at(L, -1, option->path, property.id != PROPERTY_CORRELATION);
	if (property.id == PROPERTY_RESPONSE_TOPIC && topic_problem(property.text.data, property.text.size))
		luaL_error(L, "%s %s", option->path, topic_problem(property.text.data, property.text.size));
	append(L, run, &property);
}

/* Name and text are the two values on top. */
static void append_user(lua_State *L, const struct api_option *option, struct buffer *run)
{
	struct property property = { .id = PROPERTY_USER };

	property.name = text_at(L, -2, option->path, true);
	property.text = text_at(L, -1, option->path, true);
	append(L, run, &property);
}

static void read_pairs(lua_State *L, const struct api_option *option, struct buffer *run)
{
	int list = lua_gettop(L);
	lua_Integer count = (lua_Integer)lua_rawlen(L, list);

	for (lua_Integer i = 1; i <= count; i++) {
		if (lua_rawgeti(L, list, i) != LUA_TTABLE)
			luaL_error(L, "%s[%d]: { name, value } expected, got %s", option->path, (int)i, api_kind(L, -1));
		api_state_plain(L, list + 1);
		lua_rawgeti(L, list + 1, 1);
		lua_rawgeti(L, list + 1, 2);
		append_user(L, option, run);
		lua_settop(L, list);
	}
}

static void read_map(lua_State *L, const struct api_option *option, struct buffer *run)
{
	int map = lua_gettop(L);

	lua_pushnil(L);
	while (lua_next(L, map)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "%s: names are strings, got a %s", option->path, luaL_typename(L, -2));
		append_user(L, option, run);
		lua_pop(L, 1);
	}
}

static void read_user(lua_State *L, const struct api_option *option, void *run)
{
	if (!lua_istable(L, -1))
		api_option_expected(L, option, "table");
	api_state_plain(L, -1);
	if (lua_rawlen(L, -1))
		read_pairs(L, option, run);
	else
		read_map(L, option, run);
}

void api_properties_read(struct lua_State *L, int index, struct buffer *run)
{
	/* The place of an offset holds the property's identifier. */
	static const struct api_option options[] = {
		{ "opts.properties.payload_format", read_number, PROPERTY_PAYLOAD_FORMAT, 0 },
		{ "opts.properties.message_expiry", read_number, PROPERTY_MESSAGE_EXPIRY, 0 },
		{ "opts.properties.content_type", read_text, PROPERTY_CONTENT_TYPE, 0 },
		{ "opts.properties.response_topic", read_text, PROPERTY_RESPONSE_TOPIC, 0 },
		{ "opts.properties.correlation_data", read_text, PROPERTY_CORRELATION, 0 },
		{ "opts.properties.user", read_user, PROPERTY_USER, 0 },
		{ NULL, NULL, 0, 0 },
	};

	api_options_read(L, index, "opts.properties", options, run);
}

static void set_text(lua_State *L, const char *key, struct bytes text)
{
	lua_pushlstring(L, text.data, text.size);
	lua_setfield(L, -2, key);
}

/* Appends to the list `user` of the table on top. */
static void add_user(lua_State *L, const struct property *property)
{
	if (lua_getfield(L, -1, "user") == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_setfield(L, -3, "user");
	}
	lua_createtable(L, 2, 0);
	lua_pushlstring(L, property->name.data, property->name.size);
	lua_rawseti(L, -2, 1);
	lua_pushlstring(L, property->text.data, property->text.size);
	lua_rawseti(L, -2, 2);
	lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
	lua_pop(L, 1);
}

static void set_property(lua_State *L, const struct property *property)
{
	switch (property->id) {
	case PROPERTY_PAYLOAD_FORMAT:
		lua_pushinteger(L, property->number);
		lua_setfield(L, -2, "payload_format");
		break;
	case PROPERTY_MESSAGE_EXPIRY:
		lua_pushinteger(L, property->number);
		lua_setfield(L, -2, "message_expiry");
		break;
	case PROPERTY_CONTENT_TYPE:
		set_text(L, "content_type", property->text);
		break;
	case PROPERTY_RESPONSE_TOPIC:
		set_text(L, "response_topic", property->text);
		break;
	case PROPERTY_CORRELATION:
		set_text(L, "correlation_data", property->text);
		break;
	case PROPERTY_USER:
		add_user(L, property);
		break;
	}
}

void api_properties_push(struct lua_State *L, struct bytes run)
{
	struct property property;

	lua_newtable(L);
	while (properties_next(&run, &property))
		set_property(L, &property);
}
