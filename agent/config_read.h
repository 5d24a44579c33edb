/* Inside the configuration loader: what the config*.c files
 * share. Nobody else includes this.
 *
 * A kind of table is described by an array of fields; each field names its key,
 * the function that reads such a value, and the place in the struct where the
 * result goes. Whatever is wrong becomes a problem, and reading goes on.
 */
#ifndef TIDEGATE_CONFIG_READ_H
#define TIDEGATE_CONFIG_READ_H

#include "config.h"

struct lines;
struct quota;

/* Where we are in which file. The value being read is on top of L's stack. */
struct reader {
	struct lua_State *L;
	struct problems *problems;
	struct problems *warnings; /* NULL: nobody wants them */
	const char *file;          /* NULL: the table is a script's, not a file's */
	const char *source;        /* what stands in it */
	size_t source_size;
	const char *gateway;       /* its name, where that is not the file's business; or NULL */
	const char *directory;     /* where relative paths start; NULL: the working directory */
	const struct lines *lines; /* NULL: not known */
	bool failed;               /* at least one problem was found */
	bool elsewhere;            /* files and directories are of another machine: they are not looked at */
	size_t room;               /* bytes that copies may still take: texts may be shared in Lua */
	char path[256];            /* of the value: `links.core.subscribe[2]` */
};

struct choice {
	const char *name; /* NULL ends the list */
	int value;
};

struct field {
	const char *key; /* NULL ends the list; KEY_FIRST: the first value without a name */
	void (*read)(struct reader *reader, const struct field *field, void *target);
	size_t offset;                /* of the target in the struct */
	int64_t min, max;             /* of numbers; durations in ms, sizes in bytes */
	const struct choice *choices; /* read_choice */
	const struct field *fields;   /* read_table */
	const char *why;              /* read_unsupported */
};

#define KEY_FIRST "[1]"

/* Adds a problem of the value at reader->path. */
void reader_problem(struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same at a line that is known. */
void reader_problem_at(struct reader *reader, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* What may be wrong, and is no reason to refuse anything. */
void reader_warning(struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reader_warning_at(struct reader *reader, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* "expected WHAT, got a string": only the type of the value is told. */
void reader_expected(struct reader *reader, const char *what);
void reader_out_of_memory(struct reader *reader);

/* Moves down to a key or an index; reader_leave() with what they returned goes back. */
size_t reader_enter(struct reader *reader, const char *key);
size_t reader_enter_index(struct reader *reader, size_t index);
void reader_leave(struct reader *reader, size_t mark);

/* Reads the table on top of the stack by its fields, unknown keys included.
 * False if it is no table. */
bool read_fields(struct reader *reader, const struct field *fields, void *target);

/* The length of the list on top of the stack; false after a problem if it is no
 * list. `what` is what was expected. */
bool reader_list(struct reader *reader, const char *what, size_t *count);

/* Pushes item `index` (from 1) of the list on top of the stack, moves down to it;
 * reader_item_end() undoes both. */
size_t reader_item(struct reader *reader, size_t index);
void reader_item_end(struct reader *reader, size_t mark);

/* True if the table on top of the stack has the key, or a first value without a name. */
bool reader_has(struct reader *reader, const char *key);
bool reader_has_first(struct reader *reader);

/* Readers for fields, and what they write. */
void read_bool(struct reader *reader, const struct field *field, void *target);     /* bool */
void read_int(struct reader *reader, const struct field *field, void *target);      /* int */
void read_count(struct reader *reader, const struct field *field, void *target);    /* int64_t */
void read_rate(struct reader *reader, const struct field *field, void *target);     /* double above 0 */
void read_duration(struct reader *reader, const struct field *field, void *target); /* int64_t, ms */
void read_size(struct reader *reader, const struct field *field, void *target);     /* int64_t, bytes */
void read_choice(struct reader *reader, const struct field *field, void *target);   /* int or an enum */
void read_string(struct reader *reader, const struct field *field, void *target);   /* char *, not empty */
void read_text(struct reader *reader, const struct field *field, void *target);     /* char *, MQTT's UTF-8 */
void read_path(struct reader *reader, const struct field *field, void *target);     /* char *, made absolute */
void read_file(struct reader *reader, const struct field *field, void *target);     /* the same; must be readable */
enum { FILE_IS_DIRECTORY = 1 }; /* read_file's .min */
void read_table(struct reader *reader, const struct field *field, void *target);    /* a struct */
void read_unsupported(struct reader *reader, const struct field *field, void *target);

/* Takes `size` bytes out of the room; false after a problem if there are not as many. */
bool reader_take(struct reader *reader, size_t size);

/* The string on top of the stack, as a NUL-terminated copy that replaces
 * *target, or NULL after a problem. */
char *reader_copy(struct reader *reader, char **target);

/* `path` seen from the configuration's directory, malloc'd; NULL after a problem. */
char *reader_resolve(struct reader *reader, const char *path);

/* config_secrets.c: whether everyone may read the file that a secret comes from. */
void read_secret(struct reader *reader, const struct field *field, void *target);   /* char *, may be empty */
void read_key_file(struct reader *reader, const struct field *field, void *target); /* read_file() */
/* Of the password in the URL or address on top of the stack, if there is one. */
void secrets_check_address(struct reader *reader);
/* Before the source is evaluated; then what env() and file() leave on top of the stack. */
void secrets_begin(struct lua_State *L);
void secrets_from_environment(struct lua_State *L);
void secrets_from_file(struct reader *reader, const char *path, int line);

/* config_url.c. Both: 0, or -1 with `err` saying what was expected; they show
 * nothing of a text that may hold a password. On failure *url is released.
 * `default_port` 0: the port must be given. */
int url_parse(const char *text, struct url *url, char *err, size_t err_size);
int address_parse(const char *text, int default_port, struct url *url, char *err, size_t err_size);
void url_release(struct url *url);
/* What its scheme says; LINK_MQTT of nonsense. */
enum link_kind url_kind(const char *text);
/* NULL, or why there are no such links (WebSocket). */
const char *url_unsupported(const char *text);

/* config_link.c. Reads the table on top of the stack into `link`, zeroed but
 * for its name. */
void read_link(struct reader *reader, const char *gateway, const char *url, struct link_config *link);
void link_config_release(struct link_config *link);

enum { MQTT_31 = 3, MQTT_311 = 4, MQTT_5 = 5 };
enum { MQTT_TEXT_MAX = 65535 }; /* what MQTT can hold in a string, a password or a will */

/* config_kdb.c: the keys of kdb+ links. */
void kdb_set_defaults(struct link_config *link);
void read_kdb_tables(struct reader *reader, const struct field *field, void *target);   /* struct kdb_config */
void read_kdb_patterns(struct reader *reader, const struct field *field, void *target); /* struct kdb_config */
void read_kdb_call(struct reader *reader, const struct field *field, void *target);     /* char * */
void read_kdb_call_as(struct reader *reader, const struct field *field, void *target);  /* bool, true: a string */
extern const struct choice kdb_call_forms[], kdb_time_columns[];
extern const struct field kdb_batch_fields[]; /* of struct kdb_config */
/* What depends on other keys when it is not given; 0, or -1 without memory. Then what one means for another. */
int kdb_complete(struct reader *reader, struct link_config *link);
void check_kdb_link(struct reader *reader, const struct link_config *link);
void kdb_config_release(struct kdb_config *kdb);

/* config_check.c: a problem of a key below the value on top of the stack. */
void key_problem(struct reader *reader, const char *key, const char *problem);

/* config_check.c: what one key means for another. The link's table, or that of
 * its subscription `index` (or the filter alone), is on top of the stack. */
void check_link(struct reader *reader, const struct link_config *link);
void check_subscription(struct reader *reader, const struct link_config *link, size_t index);
/* config_tls.c: of files that can be read. */
void check_tls_files(struct reader *reader, const struct tls_config *tls);
/* Notes what is in them, for a reload to compare. */
void note_tls_files(struct tls_config *tls);
/* All links together; `path` is `links`. */
void check_links(struct reader *reader, const struct config *config);

/* config_scripts.c. Reads the list on top of the stack into config->scripts. */
void read_scripts(struct reader *reader, struct config *config);

/* config_lines.c: which line gives which key. NULL if memory is exhausted. */
struct lines *lines_open(const char *source);
void lines_close(struct lines *lines);
/* Of the key, or of the nearest one around it that is known; 0: none is. */
int lines_find(const struct lines *lines, const char *path);

/* config_lua.c: a bare state under a quota, which it fills in, and the evaluation
 * of a source in it (reader->L): the value it returned is left on the stack, or -1
 * after a problem. May raise a memory error. */
struct lua_State *config_state_open(struct quota *quota);
int config_state_run(struct reader *reader, struct quota *quota, const char *source, size_t size);

/* Reads a regular file of less than `capacity` bytes and ends it with a NUL.
 * Its size, or -1 with errno (EFBIG: too large). */
long config_file_read(const char *path, char *data, size_t capacity);

#endif
