/* Reads Lua tables by tables of fields. Everything is read raw: a script's
 * metatables are not asked. Whatever allocates through Lua may raise a memory
 * error, so nothing that is not reachable from the caller's struct is held
 * across a Lua call.
 */
#include "config_read.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>

#include "nearest.h"
#include "topic.h"

__attribute__((format(printf, 4, 0)))
static void add_va(struct reader *reader, struct problems *problems, int line, const char *format, va_list args)
{
	const char *colon = *reader->path ? ": " : "", *word = problems == reader->warnings ? "warning: " : "";
	char *text = NULL;

	if (vasprintf(&text, format, args) < 0)
		return;
	if (!reader->file)
		problems_add(problems, "%s%s%s%s", word, reader->path, colon, text);
	else if (line == 0)
		problems_add(problems, "%s: %s%s%s%s", reader->file, word, reader->path, colon, text);
	else
		problems_add(problems, "%s:%d: %s%s%s%s", reader->file, line, word, reader->path, colon, text);
	free(text);
}

/* Where the value is that is being read; 0 if there are too many problems: finding it takes time. */
static int line_of(const struct reader *reader, const struct problems *problems)
{
	return reader->lines && problems->n <= PROBLEMS_MAX ? lines_find(reader->lines, reader->path) : 0;
}

void reader_problem(struct reader *reader, const char *format, ...)
{
	va_list args;

	reader->failed = true;
	va_start(args, format);
	add_va(reader, reader->problems, line_of(reader, reader->problems), format, args);
	va_end(args);
}

void reader_problem_at(struct reader *reader, int line, const char *format, ...)
{
	va_list args;

	reader->failed = true;
	va_start(args, format);
	add_va(reader, reader->problems, line, format, args);
	va_end(args);
}

void reader_warning(struct reader *reader, const char *format, ...)
{
	va_list args;

	if (!reader->warnings)
		return;
	va_start(args, format);
	add_va(reader, reader->warnings, line_of(reader, reader->warnings), format, args);
	va_end(args);
}

void reader_warning_at(struct reader *reader, int line, const char *format, ...)
{
	va_list args;

	if (!reader->warnings)
		return;
	va_start(args, format);
	add_va(reader, reader->warnings, line, format, args);
	va_end(args);
}

void reader_out_of_memory(struct reader *reader)
{
	reader_problem(reader, "out of memory");
}

static const char *type_with_article(lua_State *L)
{
	int type = lua_type(L, -1);
	return type == LUA_TNIL      ? "nothing"
	       : type == LUA_TBOOLEAN ? "a boolean"
	       : type == LUA_TNUMBER  ? "a number"
	       : type == LUA_TSTRING  ? "a string"
	       : type == LUA_TTABLE   ? "a table"
				      : "a function";
}

void reader_expected(struct reader *reader, const char *what)
{
	reader_problem(reader, "expected %s, got %s", what, type_with_article(reader->L));
}

/* The same with the value itself, for keys that hold no secret. */
static void expected_not_this(struct reader *reader, const char *what)
{
	lua_State *L = reader->L;

	if (lua_type(L, -1) == LUA_TSTRING)
		reader_problem(reader, "expected %s, got \"%.60s\"", what, lua_tostring(L, -1));
	else if (lua_isinteger(L, -1))
		reader_problem(reader, "expected %s, got %lld", what, (long long)lua_tointeger(L, -1));
	else if (lua_type(L, -1) == LUA_TNUMBER && isnan(lua_tonumber(L, -1)))
		reader_problem(reader, "expected %s, got no number (nan)", what); /* C libraries differ on its sign */
	else if (lua_type(L, -1) == LUA_TNUMBER)
		reader_problem(reader, "expected %s, got %.14g", what, lua_tonumber(L, -1));
	else
		reader_expected(reader, what);
}

size_t reader_enter(struct reader *reader, const char *key)
{
	size_t mark = strlen(reader->path);

	snprintf(reader->path + mark, sizeof reader->path - mark, "%s%s", mark ? "." : "", key);
	return mark;
}

size_t reader_enter_index(struct reader *reader, size_t index)
{
	size_t mark = strlen(reader->path);

	snprintf(reader->path + mark, sizeof reader->path - mark, "[%zu]", index);
	return mark;
}

void reader_leave(struct reader *reader, size_t mark)
{
	reader->path[mark] = 0;
}

static bool worth_naming(const struct field *field)
{
	return field->read != read_unsupported && strcmp(field->key, KEY_FIRST) != 0;
}

static const char *nearest_key(const struct field *fields, const char *key)
{
	const char *found = NULL;
	size_t best = NEAREST_MAX + 1;

	for (; fields->key; fields++)
		if (worth_naming(fields) && nearest(key, fields->key, &best))
			found = fields->key;
	return found;
}

static void unknown_key(struct reader *reader, const struct field *fields, const char *key)
{
	char known[512];
	size_t used = 0;
	const char *meant = nearest_key(fields, key);

	if (meant) {
		reader_problem(reader, "unknown key, did you mean `%s`?", meant);
		return;
	}
	*known = 0;
	for (; fields->key && used < sizeof known; fields++)
		if (worth_naming(fields))
			used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
			                         fields->key);
	reader_problem(reader, "unknown key, expected one of %s", known);
}

static bool is_known(const struct field *fields, const char *key)
{
	while (fields->key && strcmp(fields->key, key) != 0)
		fields++;
	return fields->key;
}

/* Judges the key at index -2 of the stack. */
static void check_key(struct reader *reader, const struct field *fields)
{
	lua_State *L = reader->L;
	size_t mark;

	if (lua_type(L, -2) == LUA_TSTRING) {
		const char *key = lua_tostring(L, -2);
		if (is_known(fields, key))
			return;
		mark = reader_enter(reader, key);
		unknown_key(reader, fields, key);
	} else if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1 && is_known(fields, KEY_FIRST)) {
		return;
	} else {
		mark = lua_isinteger(L, -2) ? reader_enter_index(reader, (size_t)lua_tointeger(L, -2))
					    : strlen(reader->path);
		reader_problem(reader, "expected `key = value`, got a value without a name");
	}
	reader_leave(reader, mark);
}

bool read_fields(struct reader *reader, const struct field *fields, void *target)
{
	lua_State *L = reader->L;

	if (!lua_istable(L, -1)) {
		reader_expected(reader, "a table");
		return false;
	}
	for (const struct field *field = fields; field->key; field++) {
		bool first = strcmp(field->key, KEY_FIRST) == 0;
		if (first)
			lua_pushinteger(L, 1);
		else
			lua_pushstring(L, field->key);
		lua_rawget(L, -2);
		if (!lua_isnil(L, -1)) {
			size_t mark = first ? reader_enter_index(reader, 1) : reader_enter(reader, field->key);
			field->read(reader, field, (char *)target + field->offset);
			reader_leave(reader, mark);
		}
		lua_pop(L, 1);
	}
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		check_key(reader, fields);
	return true;
}

bool reader_has(struct reader *reader, const char *key)
{
	lua_State *L = reader->L;

	lua_pushstring(L, key);
	lua_rawget(L, -2);
	bool has = !lua_isnil(L, -1);
	lua_pop(L, 1);
	return has;
}

bool reader_has_first(struct reader *reader)
{
	bool has = lua_rawgeti(reader->L, -1, 1) != LUA_TNIL;
	lua_pop(reader->L, 1);
	return has;
}

bool reader_list(struct reader *reader, const char *what, size_t *count)
{
	lua_State *L = reader->L;
	size_t keys = 0;

	if (!lua_istable(L, -1)) {
		reader_expected(reader, what);
		return false;
	}
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		keys++;
	*count = lua_rawlen(L, -1);
	if (*count != keys) {
		reader_problem(reader, "expected %s without holes or keys", what);
		return false;
	}
	return true;
}

size_t reader_item(struct reader *reader, size_t index)
{
	lua_rawgeti(reader->L, -1, (lua_Integer)index);
	return reader_enter_index(reader, index);
}

void reader_item_end(struct reader *reader, size_t mark)
{
	reader_leave(reader, mark);
	lua_pop(reader->L, 1);
}

void read_bool(struct reader *reader, const struct field *field, void *target)
{
	(void)field;
	if (lua_isboolean(reader->L, -1))
		*(bool *)target = lua_toboolean(reader->L, -1);
	else
		expected_not_this(reader, "true or false");
}

/* A whole number between the field's bounds; "5" in quotes is not one. */
static bool whole_number(struct reader *reader, const struct field *field, int64_t *number)
{
	char what[96];
	int exact = 0;

	*number = lua_type(reader->L, -1) == LUA_TNUMBER ? lua_tointegerx(reader->L, -1, &exact) : 0;
	if (exact && *number >= field->min && *number <= field->max)
		return true;
	if (field->max == INT64_MAX)
		snprintf(what, sizeof what, "a whole number from %lld up", (long long)field->min);
	else
		snprintf(what, sizeof what, "a whole number from %lld to %lld", (long long)field->min,
		         (long long)field->max);
	expected_not_this(reader, what);
	return false;
}

void read_int(struct reader *reader, const struct field *field, void *target)
{
	int64_t number;
	if (whole_number(reader, field, &number))
		*(int *)target = (int)number;
}

void read_count(struct reader *reader, const struct field *field, void *target)
{
	int64_t number;
	if (whole_number(reader, field, &number))
		*(int64_t *)target = number;
}

void read_rate(struct reader *reader, const struct field *field, void *target)
{
	lua_Number rate = lua_type(reader->L, -1) == LUA_TNUMBER ? lua_tonumber(reader->L, -1) : 0;

	(void)field;
	if (rate > 0 && isfinite(rate))
		*(double *)target = rate;
	else
		expected_not_this(reader, "a number above 0 (messages per second)");
}

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit time_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};

static const struct unit size_units[] = {
	{"TB", INT64_C(1) << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}, {NULL, 0},
};

/* Digits, perhaps a fraction, and a unit. */
static bool parse_quantity(const char *text, const struct unit *units, double *value)
{
	size_t digits = strspn(text, "0123456789");
	size_t fraction = text[digits] == '.' ? 1 + strspn(text + digits + 1, "0123456789") : 0;

	if (digits == 0 || fraction == 1)
		return false;
	for (; units->name; units++) {
		if (strcmp(text + digits + fraction, units->name) == 0) {
			*value = strtod(text, NULL) * (double)units->factor;
			return true;
		}
	}
	return false;
}

/* The shortest way to write it down. */
static void show_quantity(int64_t value, const struct unit *units, char *out, size_t out_size)
{
	while (value % units->factor != 0)
		units++; /* the last one is 1 */
	snprintf(out, out_size, "%lld%s", (long long)(value / units->factor), value ? units->name : "");
}

/* A quantity in the smallest unit, from a number (in `number_unit`s) or a text. */
static void read_quantity(struct reader *reader, const struct field *field, const struct unit *units,
                          int64_t number_unit, const char *what, int64_t *target)
{
	lua_State *L = reader->L;
	double value = -1;
	char expected[128], least_text[32], most_text[32];

	if (lua_type(L, -1) == LUA_TNUMBER)
		value = lua_tonumber(L, -1) * (double)number_unit;
	else if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1) ||
	         !parse_quantity(lua_tostring(L, -1), units, &value)) {
		expected_not_this(reader, what);
		return;
	}
	value = ceil(value);
	if (value >= (double)field->min && value <= (double)field->max) {
		*target = (int64_t)value;
		return;
	}
	show_quantity(field->min, units, least_text, sizeof least_text);
	show_quantity(field->max, units, most_text, sizeof most_text);
	snprintf(expected, sizeof expected, "%s to %s", least_text, most_text);
	expected_not_this(reader, expected);
}

bool duration_parse(const char *text, int64_t *ms)
{
	double value;

	if (!parse_quantity(text, time_units, &value) || value >= 9e15)
		return false;
	*ms = (int64_t)ceil(value);
	return true;
}

void read_duration(struct reader *reader, const struct field *field, void *target)
{
	read_quantity(reader, field, time_units, 1000,
	              "seconds or a duration such as \"250ms\", \"5s\", \"10m\", \"2h\" or \"7d\"", target);
}

void read_size(struct reader *reader, const struct field *field, void *target)
{
	read_quantity(reader, field, size_units, 1, "bytes or a size such as \"64KB\", \"8MB\" or \"1GB\"", target);
}

void read_choice(struct reader *reader, const struct field *field, void *target)
{
	char names[160];
	size_t used = 0;
	const char *text = lua_type(reader->L, -1) == LUA_TSTRING ? lua_tostring(reader->L, -1) : "";

	*names = 0;
	for (const struct choice *choice = field->choices; choice->name; choice++) {
		if (strcmp(text, choice->name) == 0) {
			*(int *)target = choice->value;
			return;
		}
		const char *between = !used ? "" : choice[1].name ? ", " : " or ";
		if (used < sizeof names)
			used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%s\"", between, choice->name);
	}
	if (*text)
		expected_not_this(reader, names);
	else
		reader_expected(reader, names);
}

bool reader_take(struct reader *reader, size_t size)
{
	if (size > reader->room) {
		reader_problem(reader, "is one text too many: there is no more room for them");
		return false;
	}
	reader->room -= size;
	return true;
}

char *reader_copy(struct reader *reader, char **target)
{
	size_t size;

	if (lua_type(reader->L, -1) != LUA_TSTRING) {
		reader_expected(reader, "a string");
		return NULL;
	}
	const char *text = lua_tolstring(reader->L, -1, &size);
	if (memchr(text, 0, size)) {
		reader_problem(reader, "contains a NUL byte");
		return NULL;
	}
	if (!reader_take(reader, size))
		return NULL;
	char *copy = strdup(text);
	if (!copy) {
		reader_out_of_memory(reader);
		return NULL;
	}
	free(*target);
	*target = copy;
	return *target;
}

void read_string(struct reader *reader, const struct field *field, void *target)
{
	const char *text = reader_copy(reader, target);

	(void)field;
	if (text && !*text)
		reader_problem(reader, "is empty");
}

void read_text(struct reader *reader, const struct field *field, void *target)
{
	const char *text = reader_copy(reader, target);
	const char *problem = text ? topic_text_problem(text, strlen(text)) : NULL;

	(void)field;
	if (problem)
		reader_problem(reader, "%s", problem);
}

char *reader_resolve(struct reader *reader, const char *path)
{
	char *resolved = NULL;

	if (*path == '/' || !reader->directory || strcmp(reader->directory, ".") == 0)
		resolved = strdup(path);
	else if (asprintf(&resolved, "%s/%s", reader->directory, path) < 0)
		resolved = NULL;
	if (!resolved)
		reader_out_of_memory(reader);
	return resolved;
}

void read_path(struct reader *reader, const struct field *field, void *target)
{
	char **path = target;
	char *given = reader_copy(reader, path);

	(void)field;
	if (!given)
		return;
	if (!*given) {
		reader_problem(reader, "is empty");
		return;
	}
	char *resolved = reader_resolve(reader, given);
	if (resolved) {
		free(*path);
		*path = resolved;
	}
}

void read_file(struct reader *reader, const struct field *field, void *target)
{
	bool failed = reader->failed;

	reader->failed = false;
	read_path(reader, field, target);
	if (!reader->failed && !reader->elsewhere) {
		const char *path = *(char **)target;
		struct stat st;
		if (access(path, R_OK) != 0 || stat(path, &st) != 0)
			reader_problem(reader, "cannot read %s: %s", path, strerror(errno));
		else if (S_ISDIR(st.st_mode) != (field->min == FILE_IS_DIRECTORY))
			reader_problem(reader, "%s is %s directory", path, S_ISDIR(st.st_mode) ? "a" : "no");
	}
	reader->failed |= failed;
}

void read_table(struct reader *reader, const struct field *field, void *target)
{
	read_fields(reader, field->fields, target);
}

void read_unsupported(struct reader *reader, const struct field *field, void *target)
{
	(void)target;
	reader_problem(reader, "%s", field->why);
}
