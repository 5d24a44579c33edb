/* One of the owner's scripts: a lua_State of its own, its handlers, its limits.
 *
 * A handler's effects (publish, subscribe, ...) are set aside while it runs and
 * reach the host only if it returns: all or nothing; what it changed in `state` is
 * undone if it does not. An error is logged with
 * its traceback, the effects are dropped, the script goes on with the next
 * event. What becomes of a message that was not handled is for the caller to say.
 */
#ifndef TIDEGATE_SCRIPT_H
#define TIDEGATE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "link.h"
#include "queue.h"

struct histogram;
struct metrics;
struct script;
struct sources;

/* What scripts may ask of the agent; the composition root supplies it. Every
 * call is made from the loop's thread. Links are named by their pointer; a
 * pointer stays valid as long as the script. */
struct script_host {
	void *arg;
	const char *agent_name;
	struct metrics *metrics; /* what scripts count; outlives them */
	struct histogram *times; /* how long each handler call takes, in seconds; NULL: nobody wants to know */
	struct link *(*link_named)(void *arg, const char *name);      /* NULL: unknown */
	struct link *(*link_default)(void *arg, enum link_kind kind); /* NULL: none is the default */
	/* The link of that name, made if there was none (off, with an empty queue) for the
	 * handler that runs now: connect() follows if it returns, link_forget() if not. */
	struct link *(*link_reserve)(void *arg, const char *name, char *err, size_t err_size);
	void (*link_forget)(void *arg, struct link *link);
	bool (*link_known)(void *arg, const struct link *link);  /* false: forgotten */
	const struct link_config *(*link_config)(void *arg, const struct link *link); /* valid during the handler */
	bool (*link_up)(void *arg, const struct link *link);
	const char *(*link_name)(void *arg, const struct link *link);
	uint64_t (*link_depth)(void *arg, const struct link *link); /* messages queued */
	uint64_t (*next_seq)(void *arg);
	/* NULL, or why nothing can be queued for this link now ("queue full"); *lost: the
	 * message is given up for that, and is to be told by lose(). */
	const char *(*refuses)(void *arg, struct link *link, bool *lost);

	/* The link has no room for another subscription. May be NULL: it has. */
	bool (*subscriptions_full)(void *arg, const struct link *link, const char *filter);

	int64_t (*now_ms)(void *arg); /* a clock that never jumps, for timers */

	/* Effects, called after the handler returned, in the order it made them. No call of
	 * the host may come back into a script. A message's times are the host's to fill: its
	 * expires_ms is how long it may wait, 0 for ever. */
	void (*publish)(void *arg, struct link *link, const struct message *message);
	void (*lose)(void *arg, struct link *link, const struct message *message);
	void (*subscribe)(void *arg, struct link *link, const struct subscription *subscription);
	void (*unsubscribe)(void *arg, struct link *link, const char *filter);
	void (*connect)(void *arg, struct link *link, struct link_config *config); /* takes config */
	void (*disconnect)(void *arg, struct link *link);

	/* Calls `row` for each entry of `state` that is saved for the script of that origin, which is
	 * being opened. 0; or -1 if they cannot be read, or if `row` said so. */
	int (*state_load)(void *arg, uint32_t origin, int (*row)(void *to, struct bytes key, struct bytes value), void *to);
	/* An effect like those above, after them: `state` has changed; script_state_write() has it.
	 * Both may be NULL: nothing is saved. */
	void (*state_changed)(void *arg, struct script *script);

	/* A handler begins, "on", "every" or "after" for a function given to those; NULL: it is over and its effects
	 * are applied. May be NULL itself. */
	void (*running)(void *arg, const struct script *script, const char *handler);
	/* A handler, "on_message (topic a/b)", failed with that error and traceback. NULL: it is logged. */
	void (*failed)(void *arg, const struct script *script, const char *where, const char *error);
};

struct script_limits {
	size_t memory_bytes; /* 0: none */
	int64_t call_ms;     /* CPU time of one handler call; 0: none */
	size_t state_bytes;  /* of `state`, encoded; 0: none */
};

/* What may be called: "on_message", ...; "on", "every" and "after" stand for functions given to those. */
enum { SCRIPT_HANDLERS = 10 };
extern const char *const script_handlers[SCRIPT_HANDLERS];

struct script_stats {
	uint64_t calls, errors;
	uint64_t calls_of[SCRIPT_HANDLERS]; /* of which [i] was called so often */
	size_t memory_bytes;
	size_t state_bytes; /* of `state`, encoded */
};

/* Loads and runs the chunk in `path`; `require` looks for modules beside it, and
 * in `lib` beside it. `origin` marks the messages it publishes.
 * Effects of the chunk itself are kept until script_start(). NULL with the
 * reason (file:line: message) in `err`. `host` must outlive the script; NULL
 * loads for checking only: the chunk is compiled, not run. */
struct script *script_open(const char *path, uint32_t origin, struct script_limits limits,
                           const struct script_host *host, char *err, size_t err_size);
/* The same with the texts that another script has had, quietly: what it logs while it is
 * loaded was logged then. Takes the contents of `sources`. */
struct script *script_open_again(const char *path, struct sources *sources, uint32_t origin, struct script_limits limits,
                                 const struct script_host *host, char *err, size_t err_size);
void script_close(struct script *script);

/* Moves the texts it was loaded from to `sources`; only closing it makes sense after that. */
void script_take_sources(struct script *script, struct sources *sources);

/* True if its file, or that of a module it has required, may be another one now. */
bool script_sources_changed(const struct script *script);

/* From the next call on. */
void script_set_limits(struct script *script, struct script_limits limits);

const char *script_name(const struct script *script); /* the file's name without directories */
const char *script_path(const struct script *script);
uint32_t script_origin(const struct script *script);
struct script_stats script_stats(const struct script *script);

/* True if it has the handler; `on_sent` and `on_drop` are worth asking for. */
bool script_defines(struct script *script, const char *handler);

/* Effects of loading, then on_start(). NULL, or why that failed, valid until the next call. */
const char *script_start(struct script *script);
void script_stop(struct script *script);  /* on_stop() */
/* NULL, or why one of its handlers failed: the first line of the first error, valid
 * until the next call. `link` is the name of the one it came on. */
const char *script_message(struct script *script, const char *link, const struct inbound *message);
void script_sent(struct script *script, uint64_t token, const char *link, struct bytes context);
void script_drop(struct script *script, uint64_t token, const char *link, const char *reason, struct bytes context);
void script_connect(struct script *script, const char *link);
void script_disconnect(struct script *script, const char *link, const char *reason);

/* When its next timer is due, by the host's now_ms(); INT64_MAX: it has none. May change
 * with every call of the script. */
int64_t script_due_ms(const struct script *script);
/* Calls the timers that are due by `now_ms`, in the order of their times, each once; if
 * that takes long, the rest stay due. */
void script_fire(struct script *script, int64_t now_ms);

/* Between handler calls: gives every entry of `state` that changed since the last
 * script_state_written() to `put`, encoded; a value of no bytes: it is gone. What is given is
 * valid during that call. 0; or -1 for want of memory, or if `put` said so. */
typedef int script_state_put(void *arg, struct bytes key, struct bytes value);
int script_state_write(struct script *script, script_state_put *put, void *arg);
void script_state_written(struct script *script); /* it is saved */

#endif
