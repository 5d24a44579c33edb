/* Between script.c and the modules it offers to scripts (api_*.c): what a
 * binding may use. Nobody else includes this.
 *
 * Bindings raise for bad arguments and may run out of memory at any call into
 * Lua, and both jump: whatever they hold across such a call belongs to the
 * script (`scratch`, `problems`), never to a C variable alone.
 */
#ifndef TIDEGATE_API_H
#define TIDEGATE_API_H

#include "buffer.h"
#include "effects.h"
#include "log_limit.h"
#include "quota.h"
#include "script.h"
#include "script_state.h"
#include "sources.h"
#include "timers.h"

struct lua_State;

/* A function given to on(). It and its filter's string are kept in a Lua table
 * (at 2i + 2 and 2i + 1), so they count as the script's memory. */
struct registration {
	const char *filter;
};

struct script {
	struct lua_State *L;
	char *path, *directory;
	char *component; /* "script NAME", for the log */
	uint32_t origin;
	struct sources sources;
	struct quota quota;
	const struct script_host *host; /* NULL: checking only */
	struct effects effects;
	struct script_state state;
	struct registration *registrations;
	size_t n_registrations, max_registrations;
	struct timers timers;
	struct script_stats stats;
	struct log_limit errors; /* what was logged of them */
	bool quiet;   /* it logs nothing for now */
	bool pending; /* effects of loading wait for script_start() */
	struct buffer properties, context, kdb; /* scratch, emptied by whoever uses it */
	struct problems problems;          /* scratch */
	char *error;                       /* of the last call that failed; malloc'd */
	char failure[500];                 /* what script_message() returned */
};

/* The script that runs in L. */
struct script *script_of(struct lua_State *L);

/* Adds the function at index 2 for the filter at index 1. 0, or raises. */
int script_register(struct lua_State *L);

/* Raises what an effect that could not be set aside means. */
int script_effect_failed(struct lua_State *L);

/* The modules; each pushes nothing and sets its globals. May raise memory errors. */
void api_base_open(struct lua_State *L);
void api_mqtt_open(struct lua_State *L);
void api_json_open(struct lua_State *L);
void api_kdb_open(struct lua_State *L);
void api_metric_open(struct lua_State *L);
void api_rehearsal_open(struct lua_State *L); /* the last: changes what is there */
void api_state_open(struct lua_State *L);
void api_timer_open(struct lua_State *L);

/* api_mqtt.c: kdb.upd(table, row [, opts]), which acts on the default kdb+ link. */
int api_mqtt_upd(struct lua_State *L);

/* api_timer.c, for the calls of timers. Pushes the function and the timer's object. */
void api_timer_push(struct lua_State *L, const struct timer *timer);
/* The handler that set and cancelled timers has returned, or failed. */
void api_timer_settle(struct script *script, bool happens);
/* It was called, and will not be again. */
void api_timer_over(struct script *script, struct timer *timer);
/* "every 10 s (rules.lua:12)" */
void api_timer_describe(struct script *script, const struct timer *timer, char *text, size_t size);

/* api_state.c: if the table at `index` is one of `state`, puts a plain copy there, for who
 * reads it raw. May raise. */
void api_state_plain(struct lua_State *L, int index);

/* api_options.c: option tables, `{ qos = 1, retain = true }`. */
struct api_option {
	const char *path; /* "opts.qos": the key is what follows the last dot. NULL ends the list */
	/* Takes the value on top of the stack into `target`, and leaves it there. */
	void (*read)(struct lua_State *L, const struct api_option *option, void *target);
	size_t offset; /* of the value in `target`, for the readers below */
	int max;
};

/* Reads the table at `index`; nil and none are empty. Raises for what is no
 * table, a key that is not in the list (naming the nearest), and bad values. */
void api_options_read(struct lua_State *L, int index, const char *what, const struct api_option *options,
                      void *target);

/* What an error calls the value at `index`: by what it is ("number", "json.null", "link"), or, where the type may be
 * right and the value is not, by its value if it is a number or a string (5, "1 h"). Both push, and are valid as long
 * as that stays. */
const char *api_kind(struct lua_State *L, int index);
const char *api_got(struct lua_State *L, int index);

/* The string argument `arg`, which errors call `name`. */
const char *api_check_string(struct lua_State *L, int arg, const char *name, size_t *size);
/* The same for what is a C string to the host: raises if there is a NUL byte in it. */
const char *api_check_text(struct lua_State *L, int arg, const char *name);

/* The number at `index` if it is a whole one from 0 up, 1.0 included, else -1. */
int64_t api_whole_number(struct lua_State *L, int index);

/* Raises "PATH: EXPECTED expected, got ..." for the value on top. */
int api_option_expected(struct lua_State *L, const struct api_option *option, const char *expected);

void api_option_bool(struct lua_State *L, const struct api_option *option, void *target); /* bool */
void api_option_int(struct lua_State *L, const struct api_option *option, void *target);  /* int, 0 to max */

/* api_properties.c: the MQTT 5 properties as the table scripts see. Reading
 * appends to `run`. */
void api_properties_read(struct lua_State *L, int index, struct buffer *run);
void api_properties_push(struct lua_State *L, struct bytes run);

#endif
