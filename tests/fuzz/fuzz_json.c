/* json: any text is refused with a place, or gives a value that encodes to a text that
 * gives the same value and the same text again; and jansson takes no more memory than
 * was reserved.
 */
#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <malloc.h>
#include <string.h>

#include "api.h"
#include "fuzz.h"
#include "json_need.h"

static const char check[] =
	"local text = ...\n"
	"local function same(a, b)\n"
	"	if type(a) ~= 'table' then return a == b and math.type(a) == math.type(b) end\n"
	"	for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
	"	for k in pairs(b) do if a[k] == nil then return false end end\n"
	"	return getmetatable(a) == getmetatable(b)\n"
	"end\n"
	"local value, problem = json.decode(text)\n"
	"if value == nil then\n"
	"	return problem:find('^line %d+, column %d+: .') and 'refused' or error(problem)\n"
	"end\n"
	"local again = json.encode(value)\n"
	"local copy = json.decode(again)\n"
	"assert(same(value, copy), again)\n"
	"assert(json.encode(copy) == again, again)\n";

static struct quota quota;
static lua_State *L;
static size_t library_used, library_peak;

static void *library_malloc(size_t size)
{
	void *block = malloc(size);

	if (block)
		library_used += malloc_usable_size(block) + sizeof(size_t);
	if (library_used > library_peak)
		library_peak = library_used;
	return block;
}

static void library_free(void *block)
{
	if (block)
		library_used -= malloc_usable_size(block) + sizeof(size_t);
	free(block);
}

static int open_all(lua_State *state)
{
	luaL_openlibs(state);
	api_json_open(state);
	if (luaL_loadstring(state, check) != LUA_OK)
		lua_error(state);
	lua_setglobal(state, "check");
	return 0;
}

static void open_once(void)
{
	if (L)
		return;
	json_set_alloc_funcs(library_malloc, library_free);
	quota_init(&quota, "fuzz", 0, 0);
	L = quota_new_state(&quota);
	ALWAYS(L);
	lua_pushcfunction(L, open_all);
	ALWAYS(lua_pcall(L, 0, 0, 0) == LUA_OK);
	quota.memory_bytes = quota.used_bytes + (4 << 20);
}

static int push_text(lua_State *state)
{
	struct bytes *text = lua_touserdata(state, 1);

	lua_getglobal(state, "check");
	lua_pushlstring(state, text->data, text->size);
	lua_call(state, 1, 0);
	return 0;
}

static void check_need(const char *text, size_t size)
{
	struct json_need need = json_need(text, size, 100);

	if (need.problem)
		return;
	library_peak = 0;
	json_decref(json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
	ALWAYS(library_peak <= need.bytes);
	ALWAYS(library_used == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes text = { data, size };
	int status;

	open_once();
	check_need((const char *)data, size);
	lua_pushcfunction(L, push_text);
	lua_pushlightuserdata(L, &text);
	status = lua_pcall(L, 1, 0, 0);
	if (status == LUA_ERRRUN)
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
	ALWAYS(status == LUA_OK || status == LUA_ERRMEM);
	ALWAYS(library_used == 0);
	lua_settop(L, 0);
	if (status == LUA_ERRMEM)
		lua_gc(L, LUA_GCCOLLECT);
	return 0;
}
