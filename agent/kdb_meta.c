/* `meta t` is a keyed table: names in column c of the key, letters of types in t. The
 * question is a call, (function; table), and no text that is evaluated. */
#include "kdb_meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kdb_calls.h"
#include "kdb_ipc.h"
#include "log.h"

#define ANSWER_MAX (1 << 20)

void kdb_meta_init(struct kdb_meta *meta, const struct link_config *config)
{
	meta->config = config;
	snprintf(meta->component, sizeof meta->component, "link %s", config->name);
}

void kdb_meta_release(struct kdb_meta *meta)
{
	free(meta->fits);
	meta->fits = NULL;
	meta->n = 0;
}

/* Without memory nothing fits, until the next time. */
void kdb_meta_forget(struct kdb_meta *meta)
{
	const struct kdb_config *kdb = &meta->config->kdb;

	kdb_meta_release(meta);
	meta->asked = 0;
	meta->again_ms = 0;
	meta->tables = kdb->tables;
	meta->fits = kdb->check_meta ? calloc(kdb->n_tables, sizeof *meta->fits) : NULL;
	meta->n = meta->fits ? kdb->n_tables : 0;
}

bool kdb_meta_admits(const struct kdb_meta *meta, const char *table)
{
	const struct kdb_config *kdb = &meta->config->kdb;
	const struct kdb_table *declared = kdb->check_meta ? kdb_table_named(kdb, table) : NULL;

	if (!declared) /* nothing to compare it with */
		return true;
	return meta->tables == kdb->tables && meta->n > 0 && meta->fits[declared - kdb->tables] == KDB_FITS;
}

/* ---- asking ---- */

/* From 1; 0: none. */
static size_t next_table(const struct kdb_meta *meta, int64_t now_ms)
{
	for (size_t i = 0; i < meta->n; i++)
		if (meta->fits[i] == KDB_UNASKED || (meta->fits[i] == KDB_MISFIT && now_ms >= meta->again_ms))
			return i + 1;
	return 0;
}

bool kdb_meta_due(const struct kdb_meta *meta, int64_t now_ms)
{
	return meta->config->kdb.check_meta && meta->asked == 0 &&
	       (meta->tables != meta->config->kdb.tables || next_table(meta, now_ms) > 0);
}

int kdb_meta_ask(struct kdb_meta *meta, int64_t now_ms, struct buffer *out)
{
	size_t before = out->size, begin, next;
	const char *name;

	if (meta->tables != meta->config->kdb.tables)
		kdb_meta_forget(meta);
	next = next_table(meta, now_ms);
	if (next == 0)
		return -1;
	name = meta->tables[next - 1].name;
	begin = kdb_message_begin(out, KDB_SYNC);
	if (kdb_put_list(out, 2) < 0 || kdb_put_string(out, (struct bytes){"meta", 4}) < 0 ||
	    kdb_put_symbol(out, (struct bytes){name, strlen(name)}) < 0 || kdb_message_end(out, begin) < 0) {
		out->size = before;
		return -1;
	}
	meta->asked = next;
	meta->since_ms = now_ms;
	return 0;
}

void kdb_meta_answered(struct kdb_meta *meta, struct bytes message, int64_t now_ms)
{
	const struct kdb_table *table = &meta->tables[meta->asked - 1];
	enum kdb_fit *fit = &meta->fits[meta->asked - 1];
	enum kdb_fit before = *fit;
	char err[300];

	meta->asked = 0;
	if (meta->tables != meta->config->kdb.tables) /* declared anew meanwhile */
		return;
	if (kdb_meta_compare(table, meta->config->kdb.time_column, message, err, sizeof err) == 0) {
		*fit = KDB_FITS;
		if (before == KDB_MISFIT)
			log_info(meta->component, "table %s fits now", table->name);
		return;
	}
	*fit = KDB_MISFIT;
	meta->again_ms = now_ms + kdb_slow_ms(meta->config);
	if (before == KDB_UNASKED)
		log_error(meta->component, "table %s does not fit: %s; its rows wait", table->name, err);
}

int64_t kdb_meta_due_ms(const struct kdb_meta *meta)
{
	for (size_t i = 0; i < meta->n && meta->asked == 0; i++)
		if (meta->fits[i] == KDB_MISFIT)
			return meta->again_ms;
	return meta->asked > 0 ? meta->since_ms + meta->config->kdb.timeout_ms : INT64_MAX;
}

/* ---- comparing ---- */

/* The column of that name and type in the table that comes next. */
static bool find_column(struct kdb_input *input, const char *name, int type, struct kdb_object *column)
{
	struct kdb_object names, list, one;
	size_t at = 0;
	bool found = false;

	if (kdb_next(input, &one) != 1 || one.type != KDB_TABLE || kdb_next(input, &names) != 1 ||
	    names.type != KDB_SYMBOL || kdb_next(input, &list) != 1 || list.type != KDB_LIST)
		return false;
	for (size_t i = 0; i < list.children; i++) {
		struct bytes text = i < names.n ? kdb_symbol_next(&names, &at) : (struct bytes){0};

		if (kdb_next(input, &one) != 1)
			return false;
		kdb_skip(input, &one);
		if (one.type == type && text.size == strlen(name) && memcmp(text.data, name, text.size) == 0) {
			*column = one;
			found = true;
		}
	}
	return found;
}

static char letter_of(const struct kdb_column *column)
{
	return column->string ? 'C' : kdb_type_letter(column->type);
}

/* meta shows ' ' for a list that is still empty. */
static bool same_letter(const struct kdb_column *column, char letter)
{
	return letter == letter_of(column) || (column->string && letter == ' ');
}

/* Column i of the answer is passed over: it is the tickerplant's own. */
static int compare_columns(const struct kdb_table *table, struct kdb_object *names, struct kdb_object *letters,
                           size_t ahead, char *err, size_t err_size)
{
	size_t at = 0;

	for (size_t i = 0; i < ahead; i++)
		kdb_symbol_next(names, &at);
	for (size_t i = 0; i < table->n_columns; i++) {
		const struct kdb_column *column = &table->columns[i];
		struct bytes name = kdb_symbol_next(names, &at);
		char letter = (char)kdb_integer_at(letters, ahead + i);

		if (name.size == strlen(column->name) && memcmp(name.data, column->name, name.size) == 0 &&
		    same_letter(column, letter))
			continue;
		snprintf(err, err_size, "column %zu is %.*s with type %c there, and %s with type %c here", ahead + i + 1,
		         (int)(name.size > 60 ? 60 : name.size), (const char *)name.data, letter, column->name,
		         letter_of(column));
		return -1;
	}
	return 0;
}

/* How many columns are ahead of the declared ones, -1 with `err` if that cannot be. */
static int columns_ahead(const struct kdb_table *table, enum kdb_time_column time_column,
                         const struct kdb_object *letters, char *err, size_t err_size)
{
	size_t ahead = letters->n - table->n_columns;
	char first = letters->n > 0 ? (char)kdb_integer_at(letters, 0) : ' ';

	if (letters->n < table->n_columns || ahead > 1 || (ahead == 0 && time_column != KDB_TIME_COLUMN_NONE)) {
		snprintf(err, err_size, "it has %zu columns there, and %zu here", letters->n,
		         table->n_columns + (time_column != KDB_TIME_COLUMN_NONE));
		return -1;
	}
	if (ahead == 1 && first != (time_column == KDB_TIME_COLUMN_TIMESTAMP ? 'p' : 'n') &&
	    !(time_column == KDB_TIME_COLUMN_NONE && first == 'p')) {
		snprintf(err, err_size, "its first column is no time, but of type %c", first);
		return -1;
	}
	return (int)ahead;
}

int kdb_meta_compare(const struct kdb_table *table, enum kdb_time_column time_column, struct bytes message, char *err,
                     size_t err_size)
{
	struct kdb_input input;
	struct kdb_object dictionary, names, letters;
	struct buffer scratch = {0};
	struct bytes error;
	int ahead;

	if (kdb_is_error(message, &error)) {
		snprintf(err, err_size, "meta answers '%.*s", (int)(error.size > 100 ? 100 : error.size),
		         (const char *)error.data);
		return -1;
	}
	if (kdb_open(&input, message, ANSWER_MAX, &scratch, err, err_size) < 0)
		return -1;
	if (kdb_next(&input, &dictionary) != 1 || dictionary.type != KDB_DICTIONARY ||
	    !find_column(&input, "c", KDB_SYMBOL, &names) || !find_column(&input, "t", KDB_CHAR, &letters) ||
	    names.n != letters.n) {
		snprintf(err, err_size, "meta answers something else than a table's columns");
		return -1;
	}
	ahead = columns_ahead(table, time_column, &letters, err, err_size);
	return ahead < 0 ? -1 : compare_columns(table, &names, &letters, (size_t)ahead, err, err_size);
}
