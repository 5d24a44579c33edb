/* The keys that only kdb+ links have. Names of tables, columns and functions are q's identifiers: they
 * are sent as they are, and one could otherwise hold what q would evaluate.
 */
#include <stdlib.h>
#include <string.h>

#include <lua.h>

#include "config_read.h"
#include "kdb_ipc.h"
#include "nearest.h"
#include "pattern.h"

enum { TABLES_MAX = 1000, COLUMNS_MAX = 1000, NAME_BYTES_MAX = 128, PATTERNS_MAX = 100, WINDOW_MAX = 100 };

#define UPD          ".u.upd"
#define EXACTLY_ONCE ".tidegate.upd"

const struct choice kdb_call_forms[] = {{"symbol", 0}, {"string", 1}, {NULL, 0}};
const struct choice kdb_time_columns[] = {
	{"none", KDB_TIME_COLUMN_NONE},
	{"timespan", KDB_TIME_COLUMN_TIMESPAN},
	{"timestamp", KDB_TIME_COLUMN_TIMESTAMP},
	{NULL, 0},
};

#define AT(member) .offset = offsetof(struct kdb_config, member)
const struct field kdb_batch_fields[] = {
	{.key = "rows", .read = read_count, AT(batch_rows), .min = 1, .max = 100000},
	{.key = "bytes", .read = read_size, AT(batch_bytes), .min = 1024, .max = 64 << 20},
	{.key = "delay", .read = read_duration, AT(batch_delay_ms), .max = 3600000},
	{.key = NULL},
};
#undef AT

const char *kdb_column_type(const struct kdb_column *column)
{
	return column->string ? "string" : kdb_type_name(column->type);
}

const struct kdb_table *kdb_table_named(const struct kdb_config *kdb, const char *name)
{
	for (size_t i = 0; i < kdb->n_tables; i++)
		if (strcmp(kdb->tables[i].name, name) == 0)
			return &kdb->tables[i];
	return NULL;
}

/* What q can write down without quotes; with `dots` in any namespace. NULL, or what is wrong. */
static const char *name_problem(const char *name, bool dots)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *at = name + (dots && *name == '.');

	if (strlen(name) > NAME_BYTES_MAX)
		return "is longer than 128 bytes";
	while (*at && strchr(letters, *at)) {
		at += strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
		if (!*at)
			return NULL;
		if (!dots || *at++ != '.')
			break;
	}
	return dots ? "is no name in q: expected letters, digits and `_` after a letter, as in sensor or .u.upd"
		    : "is no name in q: expected letters, digits and `_` after a letter";
}

void read_kdb_call(struct reader *reader, const struct field *field, void *target)
{
	const char *name = reader_copy(reader, target);
	const char *problem = name ? name_problem(name, true) : NULL;

	(void)field;
	if (problem)
		reader_problem(reader, "%s", problem);
}

void read_kdb_call_as(struct reader *reader, const struct field *field, void *target)
{
	int as_string = 0;

	read_choice(reader, field, &as_string);
	*(bool *)target = as_string != 0;
}

static void unknown_type(struct reader *reader, const char *name)
{
	size_t best = NEAREST_MAX + 1;
	const char *meant = nearest(name, "string", &best) ? "string" : NULL;

	for (int type = KDB_BOOLEAN; type <= KDB_TIME; type++)
		if (type != KDB_DATETIME && kdb_item_size(type) + (type == KDB_SYMBOL) > 0 &&
		    nearest(name, kdb_type_name(type), &best))
			meant = kdb_type_name(type);
	if (meant)
		reader_problem(reader, "unknown type \"%.60s\", did you mean `%s`?", name, meant);
	else
		reader_problem(reader, "unknown type \"%.60s\", expected one of q's, such as symbol, timestamp, float or string",
		               name);
}

static void read_type(struct reader *reader, const char *name, struct kdb_column *column)
{
	column->string = strcmp(name, "string") == 0;
	column->type = column->string ? KDB_CHAR : kdb_type_by_name(name);
	if (column->type == KDB_DATETIME)
		reader_problem(reader, "type datetime is not sent any more: expected timestamp");
	else if (column->type == 0)
		unknown_type(reader, name);
}

/* "sym:symbol", on top of the stack. */
static void read_column(struct reader *reader, const struct kdb_table *table, struct kdb_column *column)
{
	const char *text = reader_copy(reader, &column->name), *problem;
	char *colon = text ? strchr(column->name, ':') : NULL;

	if (!colon) {
		if (text)
			reader_problem(reader, "expected \"name:type\", got \"%.60s\"", text);
		return;
	}
	*colon = 0;
	read_type(reader, colon + 1, column);
	if ((problem = name_problem(column->name, false)))
		reader_problem(reader, "%s", problem);
	for (const struct kdb_column *other = table->columns; other < column; other++)
		if (other->name && strcmp(other->name, column->name) == 0)
			reader_problem(reader, "there is a column %.60s already", column->name);
}

/* The list of columns on top of the stack. */
static void read_kdb_table(struct reader *reader, struct kdb_table *table)
{
	static const char what[] = "a list of columns, { \"sym:symbol\", \"val:float\" }";
	const char *problem = name_problem(table->name, true);
	size_t count;

	if (problem)
		reader_problem(reader, "%s", problem);
	if (!reader_list(reader, what, &count))
		return;
	if (count == 0 || count > COLUMNS_MAX) {
		reader_problem(reader, "expected one to %d columns", COLUMNS_MAX);
		return;
	}
	if (!reader_take(reader, count * sizeof *table->columns))
		return;
	table->columns = calloc(count, sizeof *table->columns);
	if (!table->columns) {
		reader_out_of_memory(reader);
		return;
	}
	table->n_columns = count;
	for (size_t i = 0; i < count; i++) {
		size_t mark = reader_item(reader, i + 1);
		read_column(reader, table, &table->columns[i]);
		reader_item_end(reader, mark);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct kdb_table *)a)->name, ((const struct kdb_table *)b)->name);
}

/* Makes room for the tables in the value on top of the stack, with their names. */
static bool name_tables(struct reader *reader, struct kdb_config *kdb)
{
	lua_State *L = reader->L;
	size_t n = 0;

	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING || strlen(lua_tostring(L, -2)) != lua_rawlen(L, -2)) {
			reader_problem(reader, "expected `name = { columns }`, got a table without a name");
			lua_pop(L, 2);
			return false;
		}
		n++;
	}
	if (n == 0 || n > TABLES_MAX) {
		reader_problem(reader, "expected one to %d tables", TABLES_MAX);
		return false;
	}
	if (!reader_take(reader, n * sizeof *kdb->tables))
		return false;
	kdb->tables = calloc(n, sizeof *kdb->tables);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (!kdb->tables || !(kdb->tables[kdb->n_tables].name = strdup(lua_tostring(L, -2)))) {
			lua_pop(L, 2);
			reader_out_of_memory(reader);
			return false;
		}
		kdb->n_tables++;
	}
	qsort(kdb->tables, kdb->n_tables, sizeof *kdb->tables, by_name);
	return true;
}

void read_kdb_tables(struct reader *reader, const struct field *field, void *target)
{
	struct kdb_config *kdb = target;

	(void)field;
	if (!lua_istable(reader->L, -1)) {
		reader_expected(reader, "a table of tables, { sensor = { \"sym:symbol\", \"val:float\" } }");
		return;
	}
	if (!name_tables(reader, kdb))
		return;
	for (size_t i = 0; i < kdb->n_tables; i++) {
		size_t mark = reader_enter(reader, kdb->tables[i].name);
		lua_pushstring(reader->L, kdb->tables[i].name);
		lua_rawget(reader->L, -2);
		read_kdb_table(reader, &kdb->tables[i]);
		lua_pop(reader->L, 1);
		reader_leave(reader, mark);
	}
}

void read_kdb_patterns(struct reader *reader, const struct field *field, void *target)
{
	struct kdb_config *kdb = target;
	char err[200];
	size_t count;

	(void)field;
	if (!reader_list(reader, "a list of patterns", &count) || count == 0)
		return;
	if (count > PATTERNS_MAX) {
		reader_problem(reader, "expected at most %d patterns", PATTERNS_MAX);
		return;
	}
	kdb->retry_errors = calloc(count, sizeof *kdb->retry_errors);
	if (!kdb->retry_errors) {
		reader_out_of_memory(reader);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		size_t mark = reader_item(reader, i + 1);
		const char *pattern = reader_copy(reader, &kdb->retry_errors[kdb->n_retry_errors]);
		if (pattern)
			kdb->n_retry_errors++;
		if (pattern && pattern_find(pattern, "", 0, err, sizeof err) < 0)
			reader_problem(reader, "is no pattern of Lua: %s", err);
		reader_item_end(reader, mark);
	}
}

void kdb_set_defaults(struct link_config *link)
{
	link->window = 1;
	link->kdb.batch_rows = 500;
	link->kdb.batch_bytes = 64 << 10;
	link->kdb.batch_delay_ms = 1000;
	link->kdb.timeout_ms = 30000;
}

int kdb_complete(struct reader *reader, struct link_config *link)
{
	struct kdb_config *kdb = &link->kdb;

	if (!reader_has(reader, "ack_timeout"))
		link->ack_timeout_ms = kdb->timeout_ms;
	if (!kdb->call)
		kdb->call = strdup(kdb->exactly_once ? EXACTLY_ONCE : UPD);
	return kdb->call ? 0 : -1;
}

/* Its order is that of the marks which the collector keeps. */
static void check_exactly_once(struct reader *reader, const struct link_config *link)
{
	if (link->window != 1)
		key_problem(reader, "window", "expected 1 with `exactly_once`: batches that are sent again must be the same");
	if (link->queue.live_first)
		key_problem(reader, "queue", "expected order = \"fifo\" with `exactly_once`");
	if (link->kdb.late_call)
		key_problem(reader, "late_call", "cannot be used with `exactly_once`: rows must arrive in their order");
}

void check_kdb_link(struct reader *reader, const struct link_config *link)
{
	const struct kdb_config *kdb = &link->kdb;

	if (!reader_has(reader, "tables"))
		reader_problem(reader, "expected `tables`: kdb.upd needs the types of their columns");
	if (link->window > WINDOW_MAX)
		key_problem(reader, "window", "expected at most 100 batches");
	if (kdb->exactly_once)
		check_exactly_once(reader, link);
	if (kdb->late_after_ms && !kdb->late_call)
		key_problem(reader, "late_after", "needs `late_call`");
	if (kdb->late_call && !kdb->late_after_ms)
		key_problem(reader, "late_call", "needs `late_after`");
	if (link->username && strchr(link->username, ':'))
		key_problem(reader, reader_has(reader, "username") ? "username" : reader_has(reader, "urls") ? "urls" : "url",
		            "expected a user name without a colon: it ends the name in kdb+'s handshake");
	if (link->password && !link->username)
		key_problem(reader, reader_has(reader, "password") ? "password" : reader_has(reader, "urls") ? "urls" : "url",
		            "needs a user name");
}

void kdb_config_release(struct kdb_config *kdb)
{
	for (size_t i = 0; i < kdb->n_tables; i++) {
		for (size_t j = 0; j < kdb->tables[i].n_columns; j++)
			free(kdb->tables[i].columns[j].name);
		free(kdb->tables[i].columns);
		free(kdb->tables[i].name);
	}
	for (size_t i = 0; i < kdb->n_retry_errors; i++)
		free(kdb->retry_errors[i]);
	free(kdb->tables);
	free(kdb->retry_errors);
	free(kdb->call);
	free(kdb->late_call);
	free(kdb->agent);
	*kdb = (struct kdb_config){0};
}
