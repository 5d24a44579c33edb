/* metric.counter and metric.gauge. What they give is a pointer into the host's
 * registry, which outlives the script.
 */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <string.h>

#include "api.h"
#include "metrics.h"

static struct metric *check_metric(lua_State *L, enum metric_kind kind)
{
	return *(struct metric **)luaL_checkudata(L, 1, metric_kind_name(kind));
}

static const char *text_at(lua_State *L, int index, const char *what)
{
	const char *text;

	if (lua_type(L, index) != LUA_TSTRING)
		luaL_error(L, "%s: string expected, got %s", what, api_kind(L, index));
	text = lua_tostring(L, index);
	if (strlen(text) != lua_rawlen(L, index))
		luaL_error(L, "%s: contains a NUL byte", what);
	return text;
}

/* Reads the table at index 2; the texts stay valid as long as it does. */
static size_t read_labels(lua_State *L, struct metric_label *labels)
{
	size_t n = 0;

	if (lua_isnoneornil(L, 2))
		return 0;
	luaL_argexpected(L, lua_istable(L, 2), 2, "table of labels");
	api_state_plain(L, 2);
	for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
		const char *name = text_at(L, -2, "the name of a label");
		const char *what = lua_pushfstring(L, "labels.%s", name);

		if (n == METRIC_LABELS_MAX)
			luaL_error(L, "labels: more than %d", METRIC_LABELS_MAX);
		labels[n++] = (struct metric_label){ name, text_at(L, -2, what) };
		lua_pop(L, 1);
	}
	return n;
}

static int counter_add(lua_State *L)
{
	struct metric *counter = check_metric(L, METRIC_COUNTER);
	lua_Number n = luaL_optnumber(L, 2, 1);

	luaL_argcheck(L, n >= 0 && !isinf(n), 2, "a counter never goes down: a number from 0 up expected");
	counter->value += n;
	return 0;
}

static int gauge_add(lua_State *L)
{
	struct metric *gauge = check_metric(L, METRIC_GAUGE);

	gauge->value += luaL_checknumber(L, 2);
	return 0;
}

static int gauge_set(lua_State *L)
{
	struct metric *gauge = check_metric(L, METRIC_GAUGE);

	gauge->value = luaL_checknumber(L, 2);
	return 0;
}

/* Pushes the metatable of metrics of a kind: made for the first one, and entered when it is
 * complete. */
static void push_type(lua_State *L, enum metric_kind kind)
{
	static const luaL_Reg counter[] = { { "add", counter_add }, { "inc", counter_add }, { NULL, NULL } };
	static const luaL_Reg gauge[] = { { "add", gauge_add }, { "set", gauge_set }, { NULL, NULL } };
	const char *name = metric_kind_name(kind);

	if (luaL_getmetatable(L, name) != LUA_TNIL)
		return;
	lua_pop(L, 1);
	lua_createtable(L, 0, 3);
	lua_newtable(L);
	luaL_setfuncs(L, kind == METRIC_COUNTER ? counter : gauge, 0);
	lua_setfield(L, -2, "__index");
	lua_pushstring(L, name);
	lua_setfield(L, -2, "__name");
	lua_pushstring(L, name); /* what getmetatable() gives: scripts must not add to it */
	lua_setfield(L, -2, "__metatable");
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, name);
}

static int get(lua_State *L, enum metric_kind kind)
{
	const struct script *script = script_of(L);
	const char *name = api_check_text(L, 1, "name");
	struct metric_label labels[METRIC_LABELS_MAX];
	size_t n_labels = read_labels(L, labels);
	struct metric **metric = lua_newuserdatauv(L, sizeof *metric, 0);
	char err[300];

	*metric = metrics_get(script->host->metrics, script->origin, kind, name, labels, n_labels, err, sizeof err);
	if (!*metric)
		return luaL_error(L, "metric.%s: %s", metric_kind_name(kind), err);
	push_type(L, kind);
	lua_setmetatable(L, -2);
	return 1;
}

static int get_counter(lua_State *L)
{
	return get(L, METRIC_COUNTER);
}

static int get_gauge(lua_State *L)
{
	return get(L, METRIC_GAUGE);
}

static int open_metric(lua_State *L)
{
	static const luaL_Reg functions[] = { { "counter", get_counter }, { "gauge", get_gauge }, { NULL, NULL } };

	luaL_newlib(L, functions);
	return 1;
}

void api_metric_open(struct lua_State *L)
{
	luaL_requiref(L, "metric", open_metric, 1);
	lua_pop(L, 1);
}
