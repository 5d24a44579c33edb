/* A call is a list of known shape: each item is looked at in its turn, and the first
 * one that does not fit ends it. */
#include "kdb_call.h"

#include <string.h>

size_t kdb_column_rows(const struct kdb_object *column)
{
	return column->type == KDB_LIST ? column->children : column->n;
}

/* A symbol, or a string. */
static bool read_name(struct kdb_input *input, struct bytes *name)
{
	struct kdb_object object;

	if (!kdb_next(input, &object) || (object.type != -KDB_SYMBOL && object.type != KDB_CHAR))
		return false;
	*name = kdb_text(&object);
	return true;
}

static bool read_long(struct kdb_input *input, int64_t *value)
{
	struct kdb_object object;

	if (!kdb_next(input, &object) || object.type != -KDB_LONG)
		return false;
	*value = kdb_integer_at(&object, 0);
	return true;
}

/* Who sends it, and which rows. */
static bool read_identity(struct kdb_input *input, struct kdb_call *call)
{
	struct kdb_object object;

	if (!read_name(input, &call->agent) || !kdb_next(input, &object) || object.type != -KDB_GUID)
		return false;
	call->instance = kdb_guid_at(&object, 0);
	return read_long(input, &call->first) && read_long(input, &call->last);
}

static bool read_columns(struct kdb_input input, struct kdb_call *call)
{
	struct kdb_object object;

	if (!kdb_next(&input, &object) || object.type != KDB_LIST || object.children == 0)
		return false;
	call->n_columns = object.children;
	call->columns = input;
	for (size_t i = 0; i < call->n_columns && kdb_next(&input, &object); i++) {
		size_t rows = kdb_column_rows(&object);

		kdb_skip(&input, &object);
		call->n_rows = i == 0 ? rows : call->n_rows;
		call->ragged = call->ragged || rows != call->n_rows;
		if (object.type >= KDB_TABLE)
			return false;
	}
	return true;
}

bool kdb_call_read(struct kdb_call *call, struct kdb_input input)
{
	static const char exactly_once[] = KDB_EXACTLY_ONCE;
	struct kdb_object list;

	*call = (struct kdb_call){0};
	if (!kdb_next(&input, &list) || list.type != KDB_LIST || (list.children != 3 && list.children != 7) ||
	    !read_name(&input, &call->function))
		return false;
	call->exactly_once = call->function.size == sizeof exactly_once - 1 &&
	                     memcmp(call->function.data, exactly_once, call->function.size) == 0;
	if (call->exactly_once != (list.children == 7) || (call->exactly_once && !read_identity(&input, call)))
		return false;
	return read_name(&input, &call->table) && read_columns(input, call);
}
