/* Types, and writing. All there is to know of a type is one row of a table; bytes are
 * put in little-endian order whatever the machine's.
 */
#include "kdb_ipc.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kdb_bytes.h"

enum holds { NOTHING, INTEGERS, FLOATS, BYTES }; /* what an item is in C */

struct type {
	const char *name;
	char letter;
	unsigned char size;
	enum holds holds;
};

static const struct type vectors[] = {
	[KDB_LIST] = { "list", ' ', 0, NOTHING },
	[KDB_BOOLEAN] = { "boolean", 'b', 1, INTEGERS },
	[KDB_GUID] = { "guid", 'g', 16, BYTES },
	[KDB_BYTE] = { "byte", 'x', 1, INTEGERS },
	[KDB_SHORT] = { "short", 'h', 2, INTEGERS },
	[KDB_INT] = { "int", 'i', 4, INTEGERS },
	[KDB_LONG] = { "long", 'j', 8, INTEGERS },
	[KDB_REAL] = { "real", 'e', 4, FLOATS },
	[KDB_FLOAT] = { "float", 'f', 8, FLOATS },
	[KDB_CHAR] = { "char", 'c', 1, INTEGERS },
	[KDB_SYMBOL] = { "symbol", 's', 0, NOTHING },
	[KDB_TIMESTAMP] = { "timestamp", 'p', 8, INTEGERS },
	[KDB_MONTH] = { "month", 'm', 4, INTEGERS },
	[KDB_DATE] = { "date", 'd', 4, INTEGERS },
	[KDB_DATETIME] = { "datetime", 'z', 8, FLOATS },
	[KDB_TIMESPAN] = { "timespan", 'n', 8, INTEGERS },
	[KDB_MINUTE] = { "minute", 'u', 4, INTEGERS },
	[KDB_SECOND] = { "second", 'v', 4, INTEGERS },
	[KDB_TIME] = { "time", 't', 4, INTEGERS },
};

/* ---- types ---- */

/* Of vectors and atoms; an empty row for what is neither. */
static struct type type_of(int type)
{
	unsigned index = type < 0 ? 0u - (unsigned)type : (unsigned)type;

	return index < sizeof vectors / sizeof *vectors ? vectors[index] : (struct type){ NULL, ' ', 0, NOTHING };
}

const char *kdb_type_name(int type)
{
	struct type row = type_of(type);

	if (row.name)
		return row.name;
	if (type == KDB_TABLE)
		return "table";
	if (type == KDB_DICTIONARY || type == KDB_SORTED_DICTIONARY)
		return "dictionary";
	if (type == KDB_ERROR)
		return "error";
	return type >= KDB_LAMBDA && type <= KDB_EACH_LEFT ? "function" : "?";
}

int kdb_type_by_name(const char *name)
{
	for (int type = KDB_BOOLEAN; type <= KDB_TIME; type++)
		if (vectors[type].name && strcmp(vectors[type].name, name) == 0)
			return type;
	return 0;
}

char kdb_type_letter(int type)
{
	struct type row = type_of(type);

	return row.name ? row.letter : ' ';
}

size_t kdb_item_size(int type)
{
	return type_of(type).size;
}

bool kdb_is_integer(int type)
{
	return type_of(type).holds == INTEGERS;
}

bool kdb_is_float(int type)
{
	return type_of(type).holds == FLOATS;
}

static bool is_unsigned(int type)
{
	int vector = type < 0 ? -type : type;

	return vector == KDB_BOOLEAN || vector == KDB_BYTE || vector == KDB_CHAR;
}

bool kdb_integer_fits(int type, int64_t value)
{
	size_t size = kdb_item_size(type);

	if (!kdb_is_integer(type))
		return false;
	if (is_unsigned(type))
		return value >= 0 && value <= (type == KDB_BOOLEAN || type == -KDB_BOOLEAN ? 1 : UINT8_MAX);
	if (size == 2)
		return value >= INT16_MIN && value <= INT16_MAX;
	return size == 8 || (value >= INT32_MIN && value <= INT32_MAX);
}

int64_t kdb_null_integer(int type)
{
	size_t size = kdb_item_size(type);

	if (type == KDB_CHAR || type == -KDB_CHAR)
		return ' ';
	if (!kdb_is_integer(type) || is_unsigned(type))
		return 0;
	return size == 2 ? INT16_MIN : size == 4 ? INT32_MIN : INT64_MIN;
}

int64_t kdb_infinite_integer(int type)
{
	size_t size = kdb_item_size(type);

	if (!kdb_is_integer(type) || is_unsigned(type))
		return 0;
	return size == 2 ? INT16_MAX : size == 4 ? INT32_MAX : INT64_MAX;
}

/* ---- items ---- */

static int put_bytes(struct buffer *out, const void *data, size_t size)
{
	if (size > KDB_SIZE_MAX || out->size > SIZE_MAX - size)
		return -1;
	return buffer_append(out, data, size);
}

static int put_byte(struct buffer *out, int value)
{
	unsigned char byte = (unsigned char)value;

	return buffer_append(out, &byte, 1);
}

int kdb_put_integer_item(struct buffer *out, int type, int64_t value)
{
	unsigned char bytes[8];

	if (!kdb_is_integer(type))
		return -1;
	kdb_store(bytes, (uint64_t)value, sizeof bytes);
	return buffer_append(out, bytes, kdb_item_size(type));
}

/* A conversion out of a float's range is undefined in C: by hand. */
static float narrow(double value)
{
	if (value > (double)FLT_MAX)
		return INFINITY;
	return value < -(double)FLT_MAX ? -INFINITY : (float)value;
}

int kdb_put_float_item(struct buffer *out, int type, double value)
{
	unsigned char bytes[8];
	uint32_t bits32;
	uint64_t bits64;

	if (!kdb_is_float(type))
		return -1;
	if (kdb_item_size(type) == 4) {
		float real = narrow(value);

		memcpy(&bits32, &real, sizeof bits32);
		kdb_store(bytes, isnan(value) ? KDB_NULL_REAL_BITS : bits32, 4);
		return buffer_append(out, bytes, 4);
	}
	memcpy(&bits64, &value, sizeof bits64);
	kdb_store(bytes, isnan(value) ? KDB_NULL_FLOAT_BITS : bits64, 8);
	return buffer_append(out, bytes, 8);
}

int kdb_put_symbol_item(struct buffer *out, struct bytes text)
{
	if (text.size > 0 && memchr(text.data, 0, text.size))
		return -1;
	return put_bytes(out, text.data, text.size) || put_byte(out, 0) ? -1 : 0;
}

/* ---- objects ---- */

static int put_atom_type(struct buffer *out, int type)
{
	return put_byte(out, type < 0 ? type : -type);
}

int kdb_put_integer(struct buffer *out, int type, int64_t value)
{
	return put_atom_type(out, type) || kdb_put_integer_item(out, type, value) ? -1 : 0;
}

int kdb_put_float(struct buffer *out, int type, double value)
{
	return put_atom_type(out, type) || kdb_put_float_item(out, type, value) ? -1 : 0;
}

int kdb_put_guid(struct buffer *out, const unsigned char guid[16])
{
	return put_atom_type(out, KDB_GUID) || buffer_append(out, guid, 16) ? -1 : 0;
}

int kdb_put_symbol(struct buffer *out, struct bytes text)
{
	return put_atom_type(out, KDB_SYMBOL) || kdb_put_symbol_item(out, text) ? -1 : 0;
}

int kdb_put_string(struct buffer *out, struct bytes text)
{
	return kdb_put_vector_head(out, KDB_CHAR, text.size) || put_bytes(out, text.data, text.size) ? -1 : 0;
}

/* Also lists': with an attribute, which scripts never set. */
static int put_head(struct buffer *out, int type, unsigned attribute, size_t n)
{
	unsigned char head[10] = { (unsigned char)type, (unsigned char)attribute };
	size_t size = attribute & KDB_WIDE_COUNT ? 8 : 4;

	if (n > KDB_SIZE_MAX)
		return -1;
	kdb_store(head + 2, n, size);
	return buffer_append(out, head, 2 + size);
}

int kdb_put_vector_head(struct buffer *out, int type, size_t n)
{
	return put_head(out, type < 0 ? -type : type, 0, n);
}

int kdb_put_list(struct buffer *out, size_t n)
{
	return put_head(out, KDB_LIST, 0, n);
}

/* Items in this machine's order, or in the other one if `swap`. */
static int put_items(struct buffer *out, const unsigned char *items, size_t size, size_t n, bool swap)
{
	if (size == 1 || size == 16 || swap == KDB_BIG_ENDIAN_HOST)
		return put_bytes(out, items, size * n);
	for (size_t i = 0; i < n; i++) {
		unsigned char bytes[8];

		for (size_t j = 0; j < size; j++)
			bytes[j] = items[i * size + size - 1 - j];
		if (buffer_append(out, bytes, size))
			return -1;
	}
	return 0;
}

int kdb_put_vector(struct buffer *out, int type, const void *items, size_t n)
{
	size_t size = kdb_item_size(type);

	if (size == 0 || n > KDB_SIZE_MAX / size || kdb_put_vector_head(out, type, n))
		return -1;
	return put_items(out, items, size, n, false);
}

int kdb_put_dictionary(struct buffer *out)
{
	return put_byte(out, KDB_DICTIONARY);
}

static int put_table(struct buffer *out, unsigned attribute)
{
	unsigned char head[] = { KDB_TABLE, (unsigned char)attribute, KDB_DICTIONARY };

	return buffer_append(out, head, sizeof head);
}

int kdb_put_table(struct buffer *out)
{
	return put_table(out, 0);
}

int kdb_put_null(struct buffer *out)
{
	return buffer_append(out, (unsigned char[]){ KDB_NULL, 0 }, 2);
}

int kdb_put_error(struct buffer *out, struct bytes text)
{
	const char *nul = text.size > 0 ? memchr(text.data, 0, text.size) : NULL;
	size_t size = nul ? (size_t)(nul - (const char *)text.data) : text.size;

	return put_byte(out, KDB_ERROR) || put_bytes(out, text.data, size) || put_byte(out, 0) ? -1 : 0;
}

/* What is no vector, list or table begins with its type alone; some say then how many follow. */
static int put_other(struct buffer *out, const struct kdb_object *object)
{
	unsigned char count[4];
	bool counted = object->type == KDB_PROJECTION || object->type == KDB_COMPOSITION;
	size_t size = kdb_item_size(object->type);

	if (put_byte(out, object->type))
		return -1;
	kdb_store(count, object->children, sizeof count);
	if (counted && buffer_append(out, count, sizeof count))
		return -1;
	if (size > 0)
		return put_items(out, object->items.data, size, 1, object->swap);
	return put_bytes(out, object->items.data, object->items.size);
}

int kdb_put_object(struct buffer *out, const struct kdb_object *object)
{
	size_t size = kdb_item_size(object->type);

	if (object->type == KDB_TABLE)
		return put_table(out, object->attribute);
	if (object->type < 0 || object->type > KDB_TIME)
		return put_other(out, object);
	if (put_head(out, object->type, object->attribute, object->type == KDB_LIST ? object->children : object->n))
		return -1;
	return size == 0 ? put_bytes(out, object->items.data, object->items.size)
	                 : put_items(out, object->items.data, size, object->n, object->swap);
}

/* ---- messages ---- */

size_t kdb_message_begin(struct buffer *out, enum kdb_kind kind)
{
	unsigned char head[KDB_HEAD_SIZE] = { 1, (unsigned char)kind };
	size_t begin = out->size;

	return buffer_append(out, head, sizeof head) ? SIZE_MAX : begin;
}

int kdb_message_end(struct buffer *out, size_t begin)
{
	size_t size = begin <= out->size ? out->size - begin : 0;

	if (size <= KDB_HEAD_SIZE || size > KDB_SIZE_MAX)
		return -1;
	kdb_store((unsigned char *)out->data + begin + 4, size, 4);
	return 0;
}
