/* Notes, which say in text what the agent must remember about itself, and names,
 * which have a short number each. Few and small: all are kept in memory. */
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

struct note {
	char *name, *text;
	bool dirty;
	struct note *next;
};

struct name {
	uint32_t id;
	struct name *next;
	char text[];
};

/* ---- names ---- */

static struct name *remember_name(struct store *store, uint32_t id, const char *text)
{
	struct name *name = malloc(sizeof *name + strlen(text) + 1);

	if (!name)
		return NULL;
	name->id = id;
	strcpy(name->text, text);
	name->next = store->names;
	store->names = name;
	return name;
}

uint32_t store_name_id(struct store *store, const char *text)
{
	sqlite3_stmt *insert = NULL, *find = NULL;
	uint32_t id = 0;

	for (struct name *name = store->names; name; name = name->next)
		if (strcmp(name->text, text) == 0)
			return name->id;
	if (!store_rolled_back(store))
		return 0;
	if (sqlite3_prepare_v2(store->database, "INSERT OR IGNORE INTO name (name) VALUES (?1)", -1, &insert, NULL) ==
	            SQLITE_OK &&
	    sqlite3_bind_text(insert, 1, text, -1, SQLITE_STATIC) == SQLITE_OK && store_step(insert) == 0 &&
	    sqlite3_prepare_v2(store->database, "SELECT id FROM name WHERE name = ?1", -1, &find, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(find, 1, text, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(find) == SQLITE_ROW)
		id = (uint32_t)sqlite3_column_int64(find, 0);
	if (id == 0)
		store_failed(store);
	sqlite3_finalize(insert);
	sqlite3_finalize(find);
	if (id != 0 && !remember_name(store, id, text))
		id = 0;
	return id;
}

const char *store_name(struct store *store, uint32_t id)
{
	sqlite3_stmt *find = NULL;
	const char *text = NULL;

	for (struct name *name = store->names; name; name = name->next)
		if (name->id == id)
			return name->text;
	if (sqlite3_prepare_v2(store->database, "SELECT name FROM name WHERE id = ?1", -1, &find, NULL) == SQLITE_OK &&
	    sqlite3_bind_int64(find, 1, id) == SQLITE_OK && sqlite3_step(find) == SQLITE_ROW &&
	    sqlite3_column_text(find, 0)) {
		struct name *name = remember_name(store, id, (const char *)sqlite3_column_text(find, 0));

		text = name ? name->text : NULL;
	} else {
		store_failed(store);
	}
	sqlite3_finalize(find);
	return text;
}

/* ---- notes ---- */

static struct note *find_note(const struct store *store, const char *name)
{
	struct note *note = store->notes;

	while (note && strcmp(note->name, name) != 0)
		note = note->next;
	return note;
}

char *store_note(struct store *store, const char *name)
{
	struct note *note = find_note(store, name);

	return note ? strdup(note->text) : NULL;
}

int store_set_note(struct store *store, const char *name, const char *text)
{
	struct note *note = find_note(store, name);
	char *copy;

	if (note && strcmp(note->text, text) == 0)
		return 0;
	copy = strdup(text);
	if (!copy)
		return -1;
	if (!note) {
		note = calloc(1, sizeof *note);
		if (!note || !(note->name = strdup(name))) {
			free(note);
			free(copy);
			return -1;
		}
		note->next = store->notes;
		store->notes = note;
	}
	free(note->text);
	note->text = copy;
	note->dirty = true;
	return 0;
}

bool store_noted(const struct store *store, const char *name)
{
	const struct note *note = find_note(store, name);

	return note && !note->dirty;
}

static bool is_due(const struct note *note, bool additions)
{
	return note->dirty && (additions || strncmp(note->name, STORE_NOTE_SENDING " ", sizeof STORE_NOTE_SENDING) == 0);
}

int notes_write(struct store *store, bool additions)
{
	sqlite3_stmt *put = NULL;
	int result = 0;

	for (struct note *note = store->notes; note && result == 0; note = note->next) {
		if (!is_due(note, additions))
			continue;
		if (!put && sqlite3_prepare_v2(store->database, "INSERT OR REPLACE INTO note VALUES (?1, ?2)", -1, &put,
		                               NULL) != SQLITE_OK)
			return -1;
		sqlite3_bind_text(put, 1, note->name, -1, SQLITE_STATIC);
		sqlite3_bind_text(put, 2, note->text, -1, SQLITE_STATIC);
		result = store_step(put);
	}
	sqlite3_finalize(put);
	return result;
}

bool notes_dirty(const struct store *store)
{
	const struct note *note = store->notes;

	while (note && !note->dirty)
		note = note->next;
	return note;
}

void notes_written(struct store *store, bool additions)
{
	for (struct note *note = store->notes; note; note = note->next)
		if (is_due(note, additions))
			note->dirty = false;
}

void notes_release(struct store *store)
{
	while (store->notes) {
		struct note *note = store->notes;

		store->notes = note->next;
		free(note->name);
		free(note->text);
		free(note);
	}
	while (store->names) {
		struct name *name = store->names;

		store->names = name->next;
		free(name);
	}
}

int notes_load(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	int step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(store->database, "SELECT name, text FROM note", -1, &statement, NULL) == SQLITE_OK)
		while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
			const char *name = (const char *)sqlite3_column_text(statement, 0);
			const char *text = (const char *)sqlite3_column_text(statement, 1);

			if (name && text && store_set_note(store, name, text) < 0)
				break;
		}
	sqlite3_finalize(statement);
	store_failed(store);
	notes_written(store, true);
	return step == SQLITE_DONE ? 0 : -1;
}
