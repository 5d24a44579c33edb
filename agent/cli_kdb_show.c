/* A call has columns; people read rows. Cells are in q's notation; in JSON, numbers and
 * texts are such, a null is null, and the rest is text in q's notation. */
#include "cli_kdb_show.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli_table.h"
#include "kdb_item.h"
#include "kdb_print.h"

#define ROWS_SHOWN    20 /* of a call, in the table; JSON has all */
#define COLUMNS_SHOWN 60
#define CELL_MAX      60 /* bytes */
#define LINE_MAX      2000

/* Goes down a column, item by item. */
struct column {
	struct kdb_object object;
	struct kdb_input children; /* of a list, what is next */
	size_t at, symbol_at;
};

static void column_open(struct column *column, struct kdb_input *input)
{
	*column = (struct column){0};
	kdb_next(input, &column->object);
	column->children = *input;
	kdb_skip(input, &column->object);
}

/* The next item; of a list, that object is what `children` had next. */
static size_t column_next(struct column *column)
{
	struct kdb_object object;

	if (column->object.type == KDB_LIST && kdb_next(&column->children, &object))
		kdb_skip(&column->children, &object);
	return column->at++;
}

static struct bytes next_symbol(struct column *column)
{
	column->at++;
	return kdb_symbol_next(&column->object, &column->symbol_at);
}

/* ---- for people ---- */

void show_head(const char *name)
{
	char text[16] = "";
	time_t now = time(NULL);
	struct tm *local = localtime(&now);

	if (local)
		strftime(text, sizeof text, "%H:%M:%S", local);
	text_printf("%s %s: ", text, name);
}

static void print_name(struct bytes name)
{
	text_print(stdout, name.data, name.size, "");
}

static void print_identity(const struct kdb_call *call)
{
	if (!call->exactly_once)
		return;
	printf(", sequence %lld to %lld of ", (long long)call->first, (long long)call->last);
	print_name(call->agent);
}

static void print_answer(const char *answer)
{
	if (strcmp(answer, "::") != 0)
		text_printf(*answer ? ", answered with %s" : ", asynchronous: not answered%s", answer);
}

/* The next item as a cell. */
static void next_cell(struct table *table, struct column *column)
{
	char text[KDB_ITEM_SIZE];
	struct buffer printed = {0};

	if (column->object.type == KDB_LIST) {
		struct kdb_input input = column->children;

		column_next(column);
		if (kdb_print(&printed, &input, CELL_MAX) == 0)
			table_cell(table, "%.*s", (int)printed.size, printed.data);
	} else if (abs(column->object.type) == KDB_SYMBOL) {
		struct bytes symbol = next_symbol(column);
		table_cell(table, "%.*s", (int)(symbol.size < CELL_MAX ? symbol.size : CELL_MAX), (const char *)symbol.data);
	} else {
		kdb_format_item(&column->object, column_next(column), text);
		table_cell(table, "%s", text);
	}
	buffer_release(&printed);
}

static void print_rows(const struct kdb_call *call)
{
	const char *heads[COLUMNS_SHOWN + 1] = {NULL};
	struct column columns[COLUMNS_SHOWN];
	struct kdb_input input = call->columns;
	size_t n = call->n_columns < COLUMNS_SHOWN ? call->n_columns : COLUMNS_SHOWN;

	for (size_t i = 0; i < n; i++) {
		column_open(&columns[i], &input);
		heads[i] = kdb_type_name(columns[i].object.type);
	}
	struct table *table = table_open(heads, text_width());
	for (size_t row = 0; table && row < call->n_rows && row < ROWS_SHOWN; row++)
		for (size_t i = 0; i < n; i++)
			next_cell(table, &columns[i]);
	if (table)
		table_print(table, stdout);
	if (call->n_rows > ROWS_SHOWN)
		text_printf("and %zu rows more\n\n", call->n_rows - ROWS_SHOWN);
}

void show_call(const char *name, const struct kdb_call *call, const char *answer)
{
	show_head(name);
	print_name(call->function);
	printf(" ");
	print_name(call->table);
	printf(", %zu %s", call->n_rows, call->n_rows == 1 ? "row" : "rows");
	print_identity(call);
	print_answer(answer);
	printf("\n");
	if (call->ragged)
		printf("columns of different length\n\n");
	else
		print_rows(call);
}

void show_object(const char *name, struct kdb_input input, const char *answer)
{
	struct buffer text = {0};

	show_head(name);
	if (kdb_print(&text, &input, LINE_MAX) == 0)
		text_print(stdout, text.data, text.size, "");
	print_answer(answer);
	printf("\n");
	buffer_release(&text);
}

/* ---- for programs ---- */

static json_t *json_of_bytes(struct bytes text)
{
	json_t *json = json_stringn(text.data ? text.data : "", text.size);
	char *escaped = NULL;
	size_t size = 0;

	if (json)
		return json;
	FILE *memory = open_memstream(&escaped, &size); /* no UTF-8 */
	if (!memory)
		return json_null();
	text_print(memory, text.data, text.size, "");
	json = fclose(memory) == 0 ? json_stringn(escaped, size) : NULL;
	free(escaped);
	return json ? json : json_null();
}

static json_t *json_of_text(const char *text)
{
	return json_of_bytes((struct bytes){text, strlen(text)});
}

static json_t *json_of_printed(struct kdb_input input)
{
	struct buffer text = {0};
	json_t *json = kdb_print(&text, &input, LINE_MAX) == 0 ? json_of_bytes((struct bytes){text.data, text.size}) : NULL;

	buffer_release(&text);
	return json ? json : json_null();
}

/* Of a type with kdb_item_size. */
static json_t *json_of_item(const struct kdb_object *object, size_t i)
{
	int type = abs(object->type);
	char text[KDB_ITEM_SIZE];

	if (type == KDB_CHAR)
		return json_of_bytes((struct bytes){(const char *)object->items.data + i, 1});
	if (type == KDB_BOOLEAN)
		return json_boolean(kdb_integer_at(object, i));
	if (type == KDB_BYTE)
		return json_integer(kdb_integer_at(object, i));
	if (kdb_is_integer(type) && kdb_integer_at(object, i) == kdb_null_integer(type))
		return json_null();
	if (type >= KDB_SHORT && type <= KDB_LONG)
		return json_integer(kdb_integer_at(object, i));
	if (kdb_is_float(type) && isnan(kdb_float_at(object, i)))
		return json_null();
	if (kdb_is_float(type) && type != KDB_DATETIME && isfinite(kdb_float_at(object, i)))
		return json_real(kdb_float_at(object, i));
	kdb_format_item(object, i, text);
	return json_string(text);
}

static json_t *json_of_next(struct column *column)
{
	struct kdb_input at = column->children, input = at;
	struct kdb_object object;

	if (abs(column->object.type) == KDB_SYMBOL)
		return json_of_bytes(next_symbol(column));
	if (column->object.type != KDB_LIST)
		return json_of_item(&column->object, column_next(column));
	column_next(column);
	if (kdb_next(&at, &object) && object.type == KDB_CHAR)
		return json_of_bytes(kdb_text(&object));
	return json_of_printed(input);
}

/* A list for each row. */
static json_t *json_of_rows(const struct kdb_call *call)
{
	json_t *rows = json_array();
	struct kdb_input input = call->columns;

	for (size_t row = 0; row < call->n_rows; row++)
		json_array_append_new(rows, json_array());
	for (size_t i = 0; i < call->n_columns; i++) {
		struct column column;

		column_open(&column, &input);
		for (size_t row = 0; row < call->n_rows; row++)
			json_array_append_new(json_array_get(rows, row), json_of_next(&column));
	}
	return rows;
}

static json_t *json_of_types(const struct kdb_call *call)
{
	json_t *types = json_array();
	struct kdb_input input = call->columns;

	for (size_t i = 0; i < call->n_columns; i++) {
		struct column column;

		column_open(&column, &input);
		json_array_append_new(types, json_string(kdb_type_name(column.object.type)));
	}
	return types;
}

static void dump_json(json_t *line)
{
	json_dumpf(line, stdout, JSON_COMPACT);
	printf("\n");
	json_decref(line);
}

static void print_json(json_t *line, const char *answer)
{
	json_object_set_new(line, "answer", *answer ? json_of_text(answer) : json_null());
	dump_json(line);
}

void show_call_json(const char *name, const struct kdb_call *call, const char *answer)
{
	json_t *line = json_pack("{s:s,s:o,s:o,s:o,s:I,s:o}", "event", "call", "client", json_of_text(name), "call",
	                         json_of_bytes(call->function), "table", json_of_bytes(call->table), "count",
	                         (json_int_t)call->n_rows, "types", json_of_types(call));

	if (!line)
		return;
	if (call->exactly_once) {
		json_object_set_new(line, "agent", json_of_bytes(call->agent));
		json_object_set_new(line, "first", json_integer(call->first));
		json_object_set_new(line, "last", json_integer(call->last));
	}
	if (!call->ragged)
		json_object_set_new(line, "rows", json_of_rows(call));
	print_json(line, answer);
}

void show_object_json(const char *name, struct kdb_input input, const char *answer)
{
	json_t *line = json_pack("{s:s,s:o,s:o}", "event", "message", "client", json_of_text(name), "object",
	                         json_of_printed(input));

	if (line)
		print_json(line, answer);
}

void show_event_json(const char *name, const char *event, const char *text)
{
	json_t *line = json_pack("{s:s,s:o,s:o}", "event", event, "client", json_of_text(name), "text", json_of_text(text));

	if (line)
		dump_json(line);
}
