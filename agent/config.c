/* agent.lua as a whole: evaluates it, reads the top level, and hands each link
 * to config_link.c. Problems are collected all the way through and sorted by
 * line at the end, so that one run shows everything that is wrong.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>

#include "clock.h"
#include "config_read.h"
#include "privileges.h"
#include "quota.h"
#include "topic.h"

#define SOURCE_MAX    (1 << 20)
#define NAME_MAX_BYTES 255
#define TEXTS_MAX     (64 << 20) /* of all the strings in it, each as often as it is used */
#define DEFAULT_STORE "/var/lib/tidegate/queue.db"

/* Only printable text: names and values in it are the owner's, or a peer's. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

void problems_add(struct problems *problems, const char *format, ...)
{
	char **lines = NULL;
	va_list args;
	int size;

	if (problems->n <= PROBLEMS_MAX)
		lines = realloc(problems->lines, (problems->n + 1) * sizeof *lines);
	if (!lines)
		return;
	if (problems->n == PROBLEMS_MAX)
		format = "and more, which are not listed";
	problems->lines = lines;
	va_start(args, format);
	size = vasprintf(&lines[problems->n], format, args);
	va_end(args);
	if (size >= 0)
		make_printable(lines[problems->n++]);
}

void problems_release(struct problems *problems)
{
	for (size_t i = 0; i < problems->n; i++)
		free(problems->lines[i]);
	free(problems->lines);
	*problems = (struct problems){0};
}

/* The line in `file:12: text`; those without one come last. */
static int problem_line(const char *text, const char *file)
{
	size_t size = strlen(file);
	int line = strncmp(text, file, size) == 0 && text[size] == ':' ? atoi(text + size + 1) : 0;
	return line > 0 ? line : INT_MAX;
}

/* Stable, by insertion: there are few. */
static void sort_by_line(char **lines, size_t n, const char *file)
{
	for (size_t i = 1; i < n; i++) {
		char *text = lines[i];
		size_t j = i;
		for (; j > 0 && problem_line(lines[j - 1], file) > problem_line(text, file); j--)
			lines[j] = lines[j - 1];
		lines[j] = text;
	}
}

static void read_name(struct reader *reader, const struct field *field, void *target)
{
	const char *name = reader_copy(reader, target);
	const char *problem = name ? topic_problem(name, strlen(name)) : NULL; /* names stand in topics */

	(void)field;
	if (name && strlen(name) > NAME_MAX_BYTES)
		reader_problem(reader, "is longer than %d bytes", NAME_MAX_BYTES);
	else if (problem)
		reader_problem(reader, "%s", problem);
}

/* Only root can become somebody, so only root is told that there is no such user. */
static void read_user(struct reader *reader, const struct field *field, void *target)
{
	const char *user = reader_copy(reader, target);

	(void)field;
	if (user && !*user)
		reader_problem(reader, "is empty");
	else if (user && geteuid() == 0 && !reader->elsewhere && !privileges_user_exists(user))
		reader_problem(reader, "there is no user \"%.60s\" on this machine", user);
}

static void read_memory(struct reader *reader, const struct field *field, void *target)
{
	int64_t bytes = 0;

	read_size(reader, field, &bytes);
	if (bytes > 0)
		*(size_t *)target = (size_t)bytes;
}

static void read_http(struct reader *reader, const struct field *field, void *target)
{
	const char *text = reader_copy(reader, target);
	char err[256];
	struct url url;

	(void)field;
	if (!text)
		return;
	if (strchr(text, '@') || address_parse(text, 0, &url, err, sizeof err) != 0)
		reader_problem(reader, "%s, as in \"127.0.0.1:9464\"", strchr(text, '@') ? "expected host:port" : err);
	else
		url_release(&url);
}

static void read_socket_path(struct reader *reader, const struct field *field, void *target)
{
	char **path = target;

	read_path(reader, field, path);
	if (*path && strlen(*path) >= sizeof((struct sockaddr_un *)0)->sun_path)
		reader_problem(reader, "is too long for a socket, expected at most %zu bytes",
		               sizeof((struct sockaddr_un *)0)->sun_path - 1);
}

/* Links and scripts are read after the rest: they need the name. */
static void read_later(struct reader *reader, const struct field *field, void *target)
{
	(void)reader;
	(void)field;
	(void)target;
}

static const struct choice durabilities[] = {
	{"full", STORE_FULL}, {"normal", STORE_NORMAL}, {"off", STORE_OFF}, {NULL, 0}};
static const struct choice log_levels[] = {
	{"error", LOG_LEVEL_ERROR}, {"warn", LOG_LEVEL_WARN}, {"info", LOG_LEVEL_INFO},
	{"debug", LOG_LEVEL_DEBUG}, {NULL, 0}};
static const struct choice log_targets[] = {{"stderr", LOG_TARGET_STDERR}, {"syslog", LOG_TARGET_SYSLOG}, {NULL, 0}};

#define AT(member) .offset = offsetof(struct config, member)
static const struct field store_fields[] = {
	{.key = "path", .read = read_path, AT(store_path)},
	{.key = "durability", .read = read_choice, AT(durability), .choices = durabilities},
	{.key = "linger", .read = read_duration, AT(linger_ms), .max = 60000},
	{.key = NULL},
};
static const struct field limits_fields[] = {
	{.key = "memory", .read = read_memory, AT(memory_bytes), .min = 64 << 10, .max = 1 << 30},
	{.key = "call", .read = read_duration, AT(call_ms), .min = 1, .max = 3600000},
	{.key = "state", .read = read_memory, AT(state_bytes), .min = 1 << 10, .max = 64 << 20},
	{.key = NULL},
};
static const struct field log_fields[] = {
	{.key = "level", .read = read_choice, AT(log_level), .choices = log_levels},
	{.key = "target", .read = read_choice, AT(log_target), .choices = log_targets},
	{.key = NULL},
};
static const struct field config_fields[] = {
	{.key = "name", .read = read_name, AT(name)},
	{.key = "user", .read = read_user, AT(user)},
	{.key = "links", .read = read_later},
	{.key = "scripts", .read = read_later},
	{.key = "store", .read = read_table, .fields = store_fields},
	{.key = "limits", .read = read_table, .fields = limits_fields},
	{.key = "http", .read = read_http, AT(http)},
	{.key = "control", .read = read_socket_path, AT(control)},
	{.key = "log", .read = read_table, .fields = log_fields},
	{.key = NULL},
};
#undef AT

static char *host_name(void)
{
	char name[256];

	if (gethostname(name, sizeof name) != 0 || topic_problem(name, strnlen(name, sizeof name)))
		return strdup("tidegate");
	return strndup(name, sizeof name);
}

static int set_defaults(struct config *config, const char *path)
{
	const char *slash = strrchr(path, '/');

	config->path = strdup(path);
	config->directory = !slash          ? strdup(".")
	                    : slash == path ? strdup("/")
					    : strndup(path, (size_t)(slash - path));
	config->name = host_name();
	config->store_path = strdup(DEFAULT_STORE);
	config->durability = STORE_FULL;
	config->linger_ms = 250;
	config->memory_bytes = 8 << 20;
	config->call_ms = 250;
	config->state_bytes = 1 << 20;
	config->log_level = LOG_LEVEL_INFO;
	config->log_target = LOG_TARGET_STDERR;
	return config->path && config->directory && config->name && config->store_path ? 0 : -1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct link_config *)a)->name, ((const struct link_config *)b)->name);
}

/* Makes room for the links in the table on top of the stack, with their names. */
static bool name_links(struct reader *reader, struct config *config)
{
	lua_State *L = reader->L;
	size_t n = 0;

	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		n++;
	if (n == 0 || !(config->links = calloc(n, sizeof *config->links)))
		return n == 0;
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING) {
			reader_problem(reader, "expected `name = { url = ... }`, got a link without a name");
			continue;
		}
		if (!(config->links[config->n_links].name = strdup(lua_tostring(L, -2)))) {
			lua_pop(L, 2);
			return false;
		}
		config->n_links++;
	}
	qsort(config->links, config->n_links, sizeof *config->links, by_name);
	return true;
}

static size_t count_kind(const struct config *config, enum link_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < config->n_links; i++)
		n += config->links[i].kind == kind;
	return n;
}

/* The link that plain mqtt.* or kdb.upd calls use, if nothing says it: the only one of its kind, or
 * the only one for MQTT that does not subscribe. */
static void imply_default(struct config *config, enum link_kind kind)
{
	struct link_config *candidate = NULL;
	size_t candidates = 0, n = count_kind(config, kind);

	for (size_t i = 0; i < config->n_links; i++) {
		struct link_config *link = &config->links[i];
		if (link->kind != kind)
			continue;
		if (link->is_default)
			return;
		if (n == 1 || (kind == LINK_MQTT && link->n_subscriptions == 0)) {
			candidate = link;
			candidates++;
		}
	}
	if (candidates == 1)
		candidate->is_default = true;
}

static void read_links(struct reader *reader, struct config *config)
{
	lua_State *L = reader->L;

	if (!lua_istable(L, -1)) {
		reader_expected(reader, "a table of links");
		return;
	}
	if (!name_links(reader, config)) {
		reader_out_of_memory(reader);
		return;
	}
	for (size_t i = 0; i < config->n_links; i++) {
		size_t mark = reader_enter(reader, config->links[i].name);
		lua_pushstring(L, config->links[i].name);
		lua_rawget(L, -2);
		read_link(reader, reader->gateway ? reader->gateway : config->name, NULL, &config->links[i]);
		lua_pop(L, 1);
		reader_leave(reader, mark);
	}
	check_links(reader, config);
	imply_default(config, LINK_MQTT);
	imply_default(config, LINK_KDB);
}

/* The database cannot be written: most often, an agent that ran as root has made it. */
static void tell_owner(struct reader *reader, const char *path, uid_t owner)
{
	char owns[PRIVILEGES_NAME], runs[PRIVILEGES_NAME];

	if (owner == geteuid()) {
		reader_problem(reader, "%s cannot be written: %s", path, strerror(errno));
		return;
	}
	privileges_name(owner, owns);
	privileges_name(geteuid(), runs);
	reader_problem(reader, "%s belongs to %s, and %s may not write it: chown %s %s*", path, owns, runs, runs, path);
}

/* The database's directory must be there: the agent does not make it. */
static void check_store(struct reader *reader, const struct config *config)
{
	const char *slash = strrchr(config->store_path, '/');
	char *directory = !slash                        ? strdup(".")
	                  : slash == config->store_path ? strdup("/")
					: strndup(config->store_path, (size_t)(slash - config->store_path));
	struct stat st;

	if (!directory)
		reader_out_of_memory(reader);
	else if (stat(directory, &st) != 0)
		reader_problem(reader, "directory %s: %s", directory, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		reader_problem(reader, "%s is no directory", directory);
	else if (access(directory, W_OK | X_OK) != 0)
		reader_problem(reader, "directory %s cannot be written: %s", directory, strerror(errno));
	else if (stat(config->store_path, &st) == 0 && S_ISDIR(st.st_mode))
		reader_problem(reader, "%s is a directory, expected a file", config->store_path);
	else if (access(config->store_path, F_OK) == 0 && access(config->store_path, R_OK | W_OK) != 0)
		tell_owner(reader, config->store_path, st.st_uid);
	free(directory);
}

/* Calls `read` with the value of `key` on top of the stack, if there is one. */
static void read_at(struct reader *reader, const char *key, struct config *config,
                    void (*read)(struct reader *reader, struct config *config))
{
	size_t mark = reader_enter(reader, key);

	lua_pushstring(reader->L, key);
	if (lua_rawget(reader->L, -2) != LUA_TNIL)
		read(reader, config);
	lua_pop(reader->L, 1);
	reader_leave(reader, mark);
}

/* The table that the chunk returned, on top of the stack. */
static void read_config(struct reader *reader, struct config *config)
{
	if (!lua_istable(reader->L, -1)) {
		reader_expected(reader, "the file to return a table");
		return;
	}
	read_fields(reader, config_fields, config);
	read_at(reader, "links", config, read_links);
	read_at(reader, "scripts", config, read_scripts);
	for (size_t i = 0; i < config->n_links; i++) /* what was sent once has the same number after a kill */
		if (config->links[i].kdb.exactly_once)
			config->linger_ms = 0;
	if (!reader_has(reader, "links") && !reader_has(reader, "scripts"))
		reader_problem(reader, "expected `links` or `scripts`");
	size_t mark = reader_enter(reader, "store");
	size_t path_mark = reader_enter(reader, "path");
	if (!reader->elsewhere)
		check_store(reader, config);
	reader_leave(reader, path_mark);
	reader_leave(reader, mark);
}

struct loading {
	struct reader reader;
	struct config *config;
	struct quota quota; /* of the throwaway state */
	struct lines *lines;
	bool is_table; /* what the file returned */
};

static int l_load(lua_State *L)
{
	struct loading *loading = lua_touserdata(L, 1);
	struct reader *reader = &loading->reader;

	luaL_checkstack(L, 60, NULL);
	if (config_state_run(reader, &loading->quota, reader->source, reader->source_size) != 0)
		return 0;
	loading->lines = lines_open(reader->source);
	if (!loading->lines)
		return luaL_error(L, "out of memory");
	reader->lines = loading->lines;
	loading->is_table = lua_istable(L, -1);
	read_config(reader, loading->config);
	return 0;
}

static void load(struct loading *loading)
{
	struct reader *reader = &loading->reader;

	reader->L = config_state_open(&loading->quota);
	if (!reader->L) {
		reader_out_of_memory(reader);
		return;
	}
	lua_pushcfunction(reader->L, l_load);
	lua_pushlightuserdata(reader->L, loading);
	if (lua_pcall(reader->L, 1, 0, 0) != LUA_OK)
		reader_problem(reader, "%s", lua_tostring(reader->L, -1));
	lua_close(reader->L);
	lines_close(loading->lines);
}

/* The source without a byte order mark, malloc'd; NULL with errno. */
static char *read_source(const char *path, size_t *size)
{
	static const char mark[] = "\xef\xbb\xbf";
	char *source = malloc(SOURCE_MAX);
	long n = source ? config_file_read(path, source, SOURCE_MAX) : -1;

	if (n < 0) {
		free(source);
		return NULL;
	}
	size_t skip = strncmp(source, mark, strlen(mark)) == 0 ? strlen(mark) : 0;
	*size = (size_t)n - skip;
	memmove(source, source + skip, *size + 1);
	return source;
}

static void ask_about_scripts(struct loading *loading, config_script_check *check)
{
	const struct config *config = loading->config;
	struct problems *problems = loading->reader.problems;
	size_t known = problems->n;

	for (size_t i = 0; check && i < config->n_scripts; i++)
		check(config, config->scripts[i], problems);
	loading->reader.failed |= problems->n > known;
}

/* With `partly` also if there are problems. */
static struct config *load_file(const char *path, const char *name, config_script_check *check, bool partly,
                                struct problems *problems)
{
	struct loading loading = {.reader = {
	                                  .problems = problems,
	                                  .file = path,
	                                  .gateway = name,
	                                  .elsewhere = clock_simulated(),
	                                  .room = TEXTS_MAX,
	                          }};
	size_t known = problems->n;
	char *source = read_source(path, &loading.reader.source_size);

	if (!source) {
		problems_add(problems, "%s: cannot be read: %s", path, strerror(errno));
		return NULL;
	}
	loading.reader.source = source;
	loading.config = calloc(1, sizeof *loading.config);
	if (loading.config && set_defaults(loading.config, path) == 0) {
		loading.reader.directory = loading.config->directory;
		loading.reader.warnings = &loading.config->warnings;
		load(&loading);
		ask_about_scripts(&loading, check);
	} else {
		reader_out_of_memory(&loading.reader);
	}
	free(source);
	if (!loading.reader.failed)
		return loading.config;
	sort_by_line(problems->lines + known, problems->n - known, path);
	if (partly && loading.is_table)
		return loading.config;
	config_free(loading.config);
	return NULL;
}

struct config *config_load(const char *path, config_script_check *check, struct problems *problems)
{
	return load_file(path, NULL, check, false, problems);
}

struct config *config_load_as(const char *path, const char *name, struct problems *problems)
{
	return load_file(path, name, NULL, false, problems);
}

struct config *config_glance(const char *path, struct problems *problems)
{
	return load_file(path, NULL, NULL, true, problems);
}

struct config *config_plain(void)
{
	struct config *config = calloc(1, sizeof *config);

	if (config && set_defaults(config, "agent.lua") < 0) {
		config_free(config);
		return NULL;
	}
	return config;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_links; i++)
		link_config_release(&config->links[i]);
	for (size_t i = 0; i < config->n_scripts; i++)
		free(config->scripts[i]);
	free(config->links);
	free(config->scripts);
	free(config->path);
	free(config->directory);
	free(config->name);
	free(config->user);
	problems_release(&config->warnings);
	free(config->store_path);
	free(config->http);
	free(config->control);
	free(config);
}
