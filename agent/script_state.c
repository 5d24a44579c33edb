/* The journal is a Lua list of three entries a write: table, key, old value. What was
 * touched is a Lua table, root -> true; false while the handler is not over yet.
 *
 * What comes after a handler runs outside of any protected call: nothing in it may
 * raise, so nothing in it allocates.
 */
#include "script_state.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "log.h"
#include "place.h"
#include "script_internal.h"
#include "state_table.h"
#include "value.h"

#define RECORDS_KEPT 1000 /* a longer journal, or a list of more roots, gives its memory back */
#define PATH_BYTES   200

/* Their addresses are keys of the registry. */
enum { JOURNAL, TOUCHED, KEYS };
static const char keys[KEYS];

/* ---- the journal ---- */

/* Pushes the table kept at `key`, made if there is none. */
static void push_kept(lua_State *L, int key)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[key]) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[key]);
}

static void drop_kept(lua_State *L, int key)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[key]) == LUA_TTABLE) {
		lua_pushnil(L);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[key]);
	}
	lua_pop(L, 1);
}

/* Makes room for its mark. */
static void touch(lua_State *L, int root)
{
	push_kept(L, TOUCHED);
	lua_pushvalue(L, root);
	if (lua_rawget(L, -2) == LUA_TNIL) {
		lua_pushvalue(L, root);
		lua_pushboolean(L, 0);
		lua_rawset(L, -4);
	}
	lua_pop(L, 2);
}

void script_state_note(struct lua_State *L, int table, int key, int old, int root)
{
	struct script_state *state = &script_of(L)->state;
	lua_Integer at = 3 * (lua_Integer)state->records;

	if (!lua_isnil(L, root))
		touch(L, root);
	push_kept(L, JOURNAL);
	lua_pushvalue(L, table);
	lua_rawseti(L, -2, at + 1);
	lua_pushvalue(L, key);
	lua_rawseti(L, -2, at + 2);
	if (lua_isnil(L, old))
		state_table_push_gone(L);
	else
		lua_pushvalue(L, old);
	lua_rawseti(L, -2, at + 3);
	lua_pop(L, 1);
	if (state->records++ == 0)
		state->bytes_before = state->bytes;
}

/* Pushes the journal and calls `function` for each record, with the record's parts on the
 * stack at 2, 3, 4 and the table's data at 5; backwards, as undoing must. */
static void each_record(struct script *script, void (*function)(lua_State *L))
{
	lua_State *L = script->L;

	lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[JOURNAL]);
	for (size_t i = script->state.records; i > 0; i--) {
		for (int part = 3; part > 0; part--)
			lua_rawgeti(L, 1, 3 * (lua_Integer)i - part + 1);
		state_table_push_data(L, 2);
		function(L);
		lua_settop(L, 1);
	}
	lua_settop(L, 0);
}

/* The handler that made room for the mark of this root has failed. */
static void untouch(lua_State *L, int root)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[TOUCHED]);
	lua_pushvalue(L, root);
	if (lua_rawget(L, -2) == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
		lua_pushvalue(L, root);
		lua_pushnil(L);
		lua_rawset(L, -4);
	}
	lua_pop(L, 2);
}

static void undo(lua_State *L)
{
	bool attached;

	state_table_push_root(L, 2, 3);
	attached = !lua_isnil(L, 6);
	if (attached)
		untouch(L, 6);
	lua_pushvalue(L, 3);
	if (lua_rawget(L, 5) == LUA_TTABLE && attached)
		state_table_detach(L);
	if (lua_isnil(L, 7)) /* the write did not come about */
		return;
	lua_pushvalue(L, 3);
	lua_pushvalue(L, 4);
	lua_rawset(L, 5);
	lua_settop(L, 6);
	if (!attached || !lua_istable(L, 4))
		return;
	lua_pushvalue(L, 4);
	state_table_attach(L, 6, state_table_depth(L, 2) + 1);
}

static void sweep(lua_State *L)
{
	lua_pushvalue(L, 3);
	lua_rawget(L, 5);
	if (!state_table_is_gone(L, -1))
		return;
	lua_pushvalue(L, 3);
	lua_pushnil(L);
	lua_rawset(L, 5);
}

/* Where the table hangs now; where it hung before was touched, too, when it was taken out. */
static void mark(lua_State *L)
{
	state_table_push_root(L, 2, 3);
	if (lua_isnil(L, 6))
		return;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[TOUCHED]);
	lua_pushvalue(L, 6);
	lua_pushboolean(L, 1);
	lua_rawset(L, 7);
	script_of(L)->state.changed = true;
}

static void empty_journal(struct script *script)
{
	lua_State *L = script->L;
	struct script_state *state = &script->state;

	if (state->gone)
		each_record(script, sweep);
	if (state->records > RECORDS_KEPT) {
		drop_kept(L, JOURNAL);
	} else {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[JOURNAL]);
		for (lua_Integer i = 3 * (lua_Integer)state->records; i > 0; i--) {
			lua_pushnil(L);
			lua_rawseti(L, -2, i);
		}
	}
	lua_settop(L, 0);
	state->records = state->gone = 0;
	state->counted = NULL;
}

void script_state_undo(struct script *script)
{
	if (script->state.records == 0)
		return;
	script->state.gone++; /* what was not there before is marked so */
	each_record(script, undo);
	script->state.bytes = script->state.bytes_before;
	empty_journal(script);
}

/* ---- saving ---- */

void script_state_keep(struct script *script)
{
	const struct script_host *host = script->host;

	if (script->state.records == 0)
		return;
	script->state.changed = false;
	each_record(script, mark);
	empty_journal(script);
	if (script->state.changed && host->state_changed)
		host->state_changed(host->arg, script);
}

/* The key is on top; its value, or that it has none, goes to `put`. */
static int write_entry(struct script *script, script_state_put *put, void *arg)
{
	lua_State *L = script->L;
	struct buffer *key = &script->state.key, *value = &script->state.value;
	int top = lua_gettop(L), result = -1;

	buffer_reset(key);
	buffer_reset(value);
	state_table_push_top(L);
	state_table_push_data(L, -1);
	lua_pushvalue(L, top);
	lua_rawget(L, -2);
	if (value_write(L, top, key) == 0 && (lua_isnil(L, -1) || value_write(L, -1, value) == 0))
		result = put(arg, (struct bytes){ key->data, key->size }, (struct bytes){ value->data, value->size });
	lua_settop(L, top);
	return result;
}

int script_state_write(struct script *script, script_state_put *put, void *arg)
{
	lua_State *L = script->L;
	int result = 0;

	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[TOUCHED]) == LUA_TTABLE) {
		lua_pushnil(L);
		while (result == 0 && lua_next(L, 1)) {
			bool touched = lua_toboolean(L, -1);

			lua_pop(L, 1);
			if (touched)
				result = write_entry(script, put, arg);
		}
	}
	lua_settop(L, 0);
	buffer_reset(&script->state.value);
	return result;
}

void script_state_written(struct script *script)
{
	lua_State *L = script->L;
	size_t roots = 0;

	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[TOUCHED]) == LUA_TTABLE) {
		lua_pushnil(L);
		while (lua_next(L, 1)) {
			lua_pop(L, 1);
			lua_pushvalue(L, -1);
			lua_pushnil(L);
			lua_rawset(L, 1);
			roots++;
		}
	}
	lua_settop(L, 0);
	if (roots > RECORDS_KEPT)
		drop_kept(L, TOUCHED);
}

/* ---- loading ---- */

struct row {
	struct script *script;
	struct bytes key, value;
};

static void log_damage(lua_State *L, const struct script *script, bool key_is_known)
{
	char path[PATH_BYTES] = "state";

	if (key_is_known)
		place_add_key(L, 2, path, sizeof path);
	log_warn(script->component, key_is_known ? "%s is damaged and reads as nil" : "an entry of %s has a damaged key",
	         path);
}

static bool may_be_key(lua_State *L, int index)
{
	int type = lua_type(L, index);

	return type == LUA_TSTRING || type == LUA_TBOOLEAN || (type == LUA_TNUMBER && lua_rawequal(L, index, index));
}

static int load_row(lua_State *L)
{
	struct row *row = lua_touserdata(L, 1);
	struct script_state *state = &row->script->state;

	quota_check_stack(L, STATE_TABLE_STACK);
	value_decode(L, row->key);
	value_decode(L, row->value);
	if (!may_be_key(L, 2) || lua_isnil(L, 3)) {
		log_damage(L, row->script, may_be_key(L, 2));
		return 0;
	}
	if (lua_istable(L, 3))
		state_table_take(L, 3, 2, 0);
	state_table_push_top(L);
	state_table_push_data(L, 4);
	lua_pushvalue(L, 2);
	lua_pushvalue(L, 3);
	lua_rawset(L, 5);
	state->bytes += state_table_bytes(L, 2) + state_table_bytes(L, 3);
	return 0;
}

static int visit_row(void *arg, struct bytes key, struct bytes value)
{
	struct row row = { arg, key, value };

	return script_enter(row.script, load_row, &row);
}

/* The stack keeps that size for good: what follows a handler must not need memory. */
int script_state_load(struct script *script)
{
	const struct script_host *host = script->host;

	if (!lua_checkstack(script->L, STATE_TABLE_STACK))
		return -1;
	if (!host->state_load || host->state_load(host->arg, script->origin, visit_row, script) == 0)
		return 0;
	if (!script->error)
		script->error = strdup("what is saved of its state cannot be read");
	return -1;
}

bool script_state_is_hidden(struct script *script)
{
	lua_State *L = script->L;
	bool hidden;

	(void)script_push_global(L, "state");
	state_table_push_top(L);
	hidden = !lua_rawequal(L, -1, -2);
	lua_settop(L, 0);
	return hidden;
}

bool script_state_push_entries(struct lua_State *L, int index)
{
	if (!state_table_push_data(L, index))
		return false;
	if (script_of(L)->state.gone) {
		lua_pop(L, 1);
		state_table_copy(L, index, 1);
	}
	return true;
}

void script_state_release(struct script *script)
{
	buffer_release(&script->state.key);
	buffer_release(&script->state.value);
}
