/* Of each script that was loaded memory has only whether something changed, and since
 * which sequence number. */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>

#include "store_internal.h"

struct script {
	uint32_t id;
	uint64_t first; /* the oldest number whose changes are not on disk; 0: all are */
	size_t bytes;
	struct script *next;
};

struct state {
	struct store *store;
	struct participant participant;
	struct state_source source;
	struct script *scripts;
	sqlite3_stmt *load, *put, *delete;
};

static struct script *find(const struct state *state, uint32_t id)
{
	struct script *script = state->scripts;

	while (script && script->id != id)
		script = script->next;
	return script;
}

static int add(struct state *state, uint32_t id)
{
	struct script *script;

	if (find(state, id))
		return 0;
	script = calloc(1, sizeof *script);
	if (!script)
		return -1;
	script->id = id;
	script->next = state->scripts;
	state->scripts = script;
	return 0;
}

static struct bytes column(sqlite3_stmt *row, int number)
{
	/* In this order: the size is of the form that the first call converted to. */
	const void *data = sqlite3_column_blob(row, number);

	return (struct bytes){.data = data, .size = (size_t)sqlite3_column_bytes(row, number)};
}

int state_load(struct state *state, uint32_t script, int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg)
{
	int step, result = add(state, script);

	if (result < 0)
		return -1;
	sqlite3_bind_int64(state->load, 1, script);
	while ((step = sqlite3_step(state->load)) == SQLITE_ROW && result == 0)
		result = visit(arg, column(state->load, 0), column(state->load, 1));
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		store_failed(state->store);
	sqlite3_reset(state->load);
	return result == 0 && step == SQLITE_DONE ? 0 : -1;
}

uint64_t state_changed(struct state *state, uint32_t id, size_t bytes)
{
	struct script *script = find(state, id);
	uint64_t seq = store_next_seq(state->store);

	if (!script)
		return seq;
	if (script->first == 0)
		script->first = seq;
	script->bytes = bytes;
	return seq;
}

int state_put(struct state *state, uint32_t script, struct bytes key, struct bytes value)
{
	sqlite3_stmt *statement = value.size > 0 ? state->put : state->delete;

	sqlite3_bind_int64(statement, 1, script);
	sqlite3_bind_blob64(statement, 2, key.data, key.size, SQLITE_STATIC);
	if (value.size > 0)
		sqlite3_bind_blob64(statement, 3, value.data, value.size, SQLITE_STATIC);
	return store_step(statement);
}

void state_visit(struct state *state, void (*visit)(void *arg, uint32_t script, uint64_t entries), void *arg)
{
	sqlite3_stmt *rows = NULL;

	if (store_prepare(state->store, &rows, "SELECT script, count(*) FROM state GROUP BY script", 0) == 0)
		while (sqlite3_step(rows) == SQLITE_ROW)
			visit(arg, (uint32_t)sqlite3_column_int64(rows, 0), (uint64_t)sqlite3_column_int64(rows, 1));
	sqlite3_finalize(rows);
	store_failed(state->store);
}

/* ---- taking part in the store's transaction ---- */

/* All there is to write is unsafe. */
static size_t is_dirty(const void *owner)
{
	(void)owner;
	return 0;
}

static void add_unsafe(const void *owner, struct store_unsafe *unsafe)
{
	const struct state *state = owner;

	for (const struct script *script = state->scripts; script; script = script->next) {
		if (script->first == 0)
			continue;
		unsafe->first = script->first < unsafe->first ? script->first : unsafe->first;
		unsafe->states++;
		unsafe->state_bytes += script->bytes;
	}
}

/* Without additions nothing: some of a handler's changes without the others would be
 * something that never was. */
static int write_changes(void *owner, bool additions)
{
	struct state *state = owner;

	for (const struct script *script = state->scripts; script && additions; script = script->next)
		if (script->first != 0 && state->source.write(state->source.arg, script->id, state) < 0) {
			state->store->out_of_memory = sqlite3_errcode(state->store->database) == SQLITE_OK;
			return -1;
		}
	return 0;
}

static void changes_written(void *owner, bool additions)
{
	struct state *state = owner;

	for (struct script *script = state->scripts; script && additions; script = script->next) {
		if (script->first == 0)
			continue;
		state->source.written(state->source.arg, script->id);
		script->first = 0;
	}
}

/* ---- opening ---- */

struct state *state_open(struct store *store, const struct state_source *source, char *err, size_t err_size)
{
	struct state *state = calloc(1, sizeof *state);

	if (!state) {
		snprintf(err, err_size, "state: out of memory");
		return NULL;
	}
	state->source = *source;
	state->participant = (struct participant){
	        .owner = state, .dirty = is_dirty, .unsafe = add_unsafe, .write = write_changes, .written = changes_written};
	if (store_prepare(store, &state->load, "SELECT key, value FROM state WHERE script = ?1", 0) < 0 ||
	    store_prepare(store, &state->put, "INSERT OR REPLACE INTO state VALUES (?1, ?2, ?3)", 0) < 0 ||
	    store_prepare(store, &state->delete, "DELETE FROM state WHERE script = ?1 AND key = ?2", 0) < 0) {
		snprintf(err, err_size, "state: %s", store_error(store));
		state_close(state);
		return NULL;
	}
	state->store = store;
	store_join(store, &state->participant);
	return state;
}

void state_close(struct state *state)
{
	if (!state)
		return;
	if (state->store)
		store_leave(state->store, &state->participant);
	sqlite3_finalize(state->load);
	sqlite3_finalize(state->put);
	sqlite3_finalize(state->delete);
	while (state->scripts) {
		struct script *script = state->scripts;

		state->scripts = script->next;
		free(script);
	}
	free(state);
}
