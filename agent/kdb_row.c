/* Whose keys are checked first, so that a misspelt column is not taken for a missing one. */
#include "kdb_row.h"

#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "api.h"
#include "kdb_coerce.h"
#include "kdb_ipc.h"
#include "nearest.h"

static int unknown_column(lua_State *L, const struct kdb_table *table, const char *name)
{
	const char *meant = NULL;
	size_t best = NEAREST_MAX + 1;

	for (size_t i = 0; i < table->n_columns; i++)
		if (nearest(name, table->columns[i].name, &best))
			meant = table->columns[i].name;
	if (meant)
		return luaL_error(L, "kdb.upd: table %s: there is no column %s; did you mean %s?", table->name, name, meant);
	return luaL_error(L, "kdb.upd: table %s: there is no column %s", table->name, name);
}

static bool has_column(const struct kdb_table *table, const char *name)
{
	size_t i = 0;

	while (i < table->n_columns && strcmp(table->columns[i].name, name) != 0)
		i++;
	return i < table->n_columns;
}

/* Raises for what is no column; true if the row at `index` has names. */
static bool check_keys(lua_State *L, int index, const struct kdb_table *table)
{
	bool names = false, numbers = false;

	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		if (lua_type(L, -2) == LUA_TSTRING) {
			names = true;
			if (!has_column(table, lua_tostring(L, -2)))
				unknown_column(L, table, lua_tostring(L, -2));
		} else if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 &&
		           lua_tointeger(L, -2) <= (lua_Integer)table->n_columns) {
			numbers = true;
		} else if (lua_isinteger(L, -2)) {
			luaL_error(L, "kdb.upd: table %s: value %I for %d columns", table->name, lua_tointeger(L, -2),
			           (int)table->n_columns);
		} else {
			luaL_error(L, "kdb.upd: table %s: a row's keys are names or numbers", table->name);
		}
	}
	if (names && numbers)
		luaL_error(L, "kdb.upd: table %s: a row has either names or a list's order", table->name);
	return names;
}

void kdb_row_encode(struct lua_State *L, int index, const struct kdb_table *table, struct buffer *out)
{
	bool names = check_keys(L, index, table);

	if (kdb_put_list(out, table->n_columns))
		quota_out_of_memory(L);
	for (size_t i = 0; i < table->n_columns; i++) {
		const struct kdb_column *column = &table->columns[i];

		if (names) {
			lua_pushstring(L, column->name);
			lua_rawget(L, index);
		} else {
			lua_rawgeti(L, index, (lua_Integer)i + 1);
		}
		enum kdb_coerced result = kdb_coerce(L, -1, column, false, out);
		if (result == KDB_COERCE_MEMORY)
			quota_out_of_memory(L);
		if (result == KDB_MISFIT)
			luaL_error(L, "kdb.upd: table %s, column %s: %s expected, got %s", table->name, column->name,
			           kdb_expected(column), api_got(L, -1));
		lua_pop(L, 1);
	}
}
