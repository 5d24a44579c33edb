/* Each column holds an atom or a string; what else an older version may have queued reads as null. */
#include "row_text.h"

#include <math.h>
#include <stdio.h>

#include "jsonl.h"
#include "kdb_ipc.h"
#include "kdb_item.h"
#include "kdb_print.h"

int row_print(struct bytes row, struct buffer *out, size_t max)
{
	struct kdb_input input;
	char err[200];

	return kdb_open_object(&input, row, err, sizeof err) ? -1 : kdb_print(out, &input, max);
}

static bool is_text(const struct kdb_object *object)
{
	return object->type == KDB_CHAR || object->type == -KDB_CHAR || object->type == -KDB_SYMBOL;
}

static json_t *as_q_writes(const struct kdb_object *atom)
{
	char text[KDB_ITEM_SIZE];

	kdb_format_item(atom, 0, text);
	return json_string(text);
}

static json_t *value_of(const struct kdb_object *atom)
{
	int type = -atom->type;
	int64_t number = kdb_is_integer(type) ? kdb_integer_at(atom, 0) : 0, infinite = kdb_infinite_integer(type);

	if (type == KDB_BOOLEAN)
		return json_boolean(number != 0);
	if (kdb_is_float(type) && isnan(kdb_float_at(atom, 0)))
		return json_null();
	if (kdb_is_float(type) && isfinite(kdb_float_at(atom, 0)))
		return json_real(kdb_float_at(atom, 0));
	if (infinite && number == kdb_null_integer(type))
		return json_null();
	if (type >= KDB_BYTE && type <= KDB_LONG && (!infinite || (number < infinite && number > -infinite)))
		return json_integer(number);
	return type > 0 && (kdb_item_size(type) > 0) ? as_q_writes(atom) : json_null();
}

static void add_to_list(json_t *list, const struct kdb_object *object)
{
	struct bytes text = kdb_text(object);
	json_t *value = is_text(object) ? json_stringn(text.size ? text.data : "", text.size) : value_of(object);

	json_array_append_new(list, value ? value : json_null()); /* no UTF-8 */
}

json_t *row_json(struct bytes row, const struct kdb_table *table)
{
	struct kdb_input input;
	struct kdb_object list, object;
	char err[200];
	json_t *json;

	if (kdb_open_object(&input, row, err, sizeof err) || !kdb_next(&input, &list) || list.type != KDB_LIST)
		return NULL;
	if (table && table->n_columns != list.children)
		table = NULL;
	json = table ? json_object() : json_array();
	for (size_t i = 0; json && i < list.children && kdb_next(&input, &object); i++) {
		kdb_skip(&input, &object);
		if (!table)
			add_to_list(json, &object);
		else if (is_text(&object))
			jsonl_put_bytes(json, table->columns[i].name, kdb_text(&object));
		else
			json_object_set_new(json, table->columns[i].name, value_of(&object));
	}
	return json;
}
