/* Scripts against a host that writes down what it is asked to do, and a log that is
 * kept as text.
 */
#ifndef TIDEGATE_SCRIPT_FIXTURE_H
#define TIDEGATE_SCRIPT_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "script.h"

/* ---- the log ---- */

extern struct buffer logged;

const char *log_read(void);
bool saw(const char *text); /* `text` was logged since the script was opened */
bool silent(void);          /* nothing was */

/* ---- the host ---- */

struct link {
	const char *name;
	bool up;
	uint64_t depth;
	struct link_config config;
};

extern struct link core, field, late;
extern struct link hist; /* for kdb+, the default one; without tables until a test has given it some */

/* What the host answers, and what it was asked. */
extern struct world {
	struct link *by_default, *default_kdb;
	const char *refusal;
	bool loses;
	bool no_room;
	uint64_t seq;
	int64_t now_ms;
	struct buffer effects; /* one line each */
	struct message last;   /* its texts are not valid any more */
	struct buffer context, properties, payload;
	bool late_exists;
} world;

extern struct script_host host;

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What it was asked to do since the last time, in one line. */
bool did(const char *expected);

/* ---- scripts ---- */

extern char directory[], load_error[4000];

bool open_directory(void); /* a fresh one; first of all */
const char *path_in(const char *name);
void write_file(const char *name, const char *data, size_t size);

/* The source as the script rules.lua, in a fresh world. NULL: load_error says why. */
struct script *open_with(const char *source, size_t memory_bytes, int64_t call_ms);
struct script *open_or_abort(const char *source, size_t memory_bytes, int64_t call_ms);
struct script *open_script(const char *source); /* with limits that are seldom reached */

const char *message_sized(struct script *script, const char *topic, const char *payload, size_t size);
void message(struct script *script, const char *topic, const char *payload);

/* Runs statements as on_start() of a script; what they log and do can be looked
 * at afterwards. */
void run(const char *statements);
bool holds(const char *expression); /* it is true in a script */
/* The error that statements end with, of which `expected` is a part. */
bool raises(const char *statements, const char *expected);

#endif
