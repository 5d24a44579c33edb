/* Reading. One function takes the next object off the input and believes nothing; with it
 * the whole input is checked once, to the rules that one object has for the next (a
 * table's columns, a dictionary's counts), and then walked.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kdb_bytes.h"
#include "kdb_compress.h"
#include "kdb_ipc.h"

struct reader {
	struct kdb_input *input;
	const char *where; /* what bytes are counted in, if it is not the message as it came */
	bool errors;       /* may the object be one? */
	char *err;
	size_t err_size;
};

__attribute__((format(printf, 3, 4))) static int fail(struct reader *reader, size_t at, const char *format, ...)
{
	va_list arguments;
	int n = snprintf(reader->err, reader->err_size, "%sbyte %zu: ", reader->where, at);

	va_start(arguments, format);
	if (n >= 0 && (size_t)n < reader->err_size)
		(void)vsnprintf(reader->err + n, reader->err_size - (size_t)n, format, arguments);
	va_end(arguments);
	return -1;
}

/* ---- one object ---- */

static const unsigned char *at(const struct kdb_input *input)
{
	return (const unsigned char *)input->bytes.data + input->at;
}

static size_t left(const struct kdb_input *input)
{
	return input->bytes.size - input->at;
}

static bool is_big_endian(bool swap)
{
	return swap != KDB_BIG_ENDIAN_HOST;
}

static int read_byte(struct reader *reader, unsigned char *byte, const char *what)
{
	if (left(reader->input) < 1)
		return fail(reader, reader->input->at, "%s is missing", what);
	*byte = *at(reader->input);
	reader->input->at++;
	return 0;
}

/* Of what takes `least` bytes each. */
static int read_count(struct reader *reader, size_t width, size_t least, size_t *n)
{
	struct kdb_input *input = reader->input;
	size_t begin = input->at;
	uint64_t count;

	if (left(input) < width)
		return fail(reader, begin, "a count is cut off");
	count = kdb_load(at(input), width, is_big_endian(input->swap));
	input->at += width;
	if (count > left(input) / least)
		return fail(reader, begin, "a count of %llu does not fit into the %zu bytes that are left",
		            (unsigned long long)count, left(input));
	*n = (size_t)count;
	return 0;
}

static void take(struct kdb_input *input, struct kdb_object *object, size_t size)
{
	object->items = (struct bytes){ at(input), size };
	input->at += size;
}

static int read_text(struct reader *reader, struct kdb_object *object, size_t n)
{
	struct kdb_input *input = reader->input;
	size_t size = 0;

	for (size_t i = 0; i < n; i++) {
		const unsigned char *begin = at(input) + size;
		const unsigned char *nul = left(input) > size ? memchr(begin, 0, left(input) - size) : NULL;

		if (!nul)
			return fail(reader, input->at + size, "text without a zero byte at its end");
		size += (size_t)(nul - begin) + 1;
	}
	take(input, object, size);
	return 0;
}

static int read_items(struct reader *reader, struct kdb_object *object)
{
	struct kdb_input *input = reader->input;
	int type = object->type < 0 ? -object->type : object->type;
	size_t size = kdb_item_size(type);

	if (type == KDB_SYMBOL)
		return read_text(reader, object, object->n);
	if (object->n > left(input) / size)
		return fail(reader, input->at, "an item of type %s is cut off", kdb_type_name(type));
	take(input, object, size * object->n);
	for (size_t i = 0; type == KDB_BOOLEAN && i < object->n; i++) {
		unsigned value = ((const unsigned char *)object->items.data)[i];

		if (value > 1)
			return fail(reader, input->at - object->n + i, "a boolean is 0 or 1 and not %u", value);
	}
	return 0;
}

static int read_attribute(struct reader *reader, struct kdb_object *object)
{
	unsigned char attribute = 0;

	if (read_byte(reader, &attribute, "an attribute"))
		return -1;
	if ((attribute & ~KDB_WIDE_COUNT) > 4)
		return fail(reader, reader->input->at - 1, "there is no attribute %u", attribute);
	object->attribute = attribute;
	return 0;
}

static int read_vector(struct reader *reader, struct kdb_object *object)
{
	size_t least = object->type == KDB_LIST ? 2 : object->type == KDB_SYMBOL ? 1 : kdb_item_size(object->type);
	size_t n;

	if (read_attribute(reader, object) ||
	    read_count(reader, object->attribute & KDB_WIDE_COUNT ? 8 : 4, least, &n))
		return -1;
	if (object->type == KDB_LIST) {
		object->children = n;
		return 0;
	}
	object->n = n;
	return read_items(reader, object);
}

/* A table is an attribute and a dictionary: that is passed over. */
static int read_table(struct reader *reader, struct kdb_object *object)
{
	unsigned char type = 0;

	if (read_attribute(reader, object))
		return -1;
	if (object->attribute & KDB_WIDE_COUNT)
		return fail(reader, reader->input->at - 1, "there is no attribute %u of a table", object->attribute);
	if (read_byte(reader, &type, "a table's dictionary"))
		return -1;
	if (type != KDB_DICTIONARY)
		return fail(reader, reader->input->at - 1, "expected a table's dictionary (99), found type %d",
		            (signed char)type);
	object->children = 2;
	return 0;
}

static int read_function(struct reader *reader, struct kdb_object *object)
{
	if (object->type == KDB_LAMBDA) {
		object->children = 1;
		return read_text(reader, object, 1);
	}
	if (object->type == KDB_PROJECTION || object->type == KDB_COMPOSITION)
		return read_count(reader, 4, 2, &object->children);
	if (object->type >= KDB_EACH) {
		object->children = 1;
		return 0;
	}
	if (left(reader->input) < 1)
		return fail(reader, reader->input->at, "a function's number is missing");
	take(reader->input, object, 1);
	return 0;
}

/* Lists, vectors, atoms. */
static bool has_items(int type)
{
	return type >= -KDB_TIME && type <= KDB_TIME && type != 3 && type != -3;
}

static int read_object(struct reader *reader, struct kdb_object *object)
{
	size_t begin = reader->input->at;
	unsigned char type = 0;

	if (read_byte(reader, &type, "an object"))
		return -1;
	*object = (struct kdb_object){ .type = (signed char)type, .swap = reader->input->swap };
	if (object->type < 0 && has_items(object->type)) {
		object->n = 1;
		return read_items(reader, object);
	}
	if (has_items(object->type))
		return read_vector(reader, object);
	if (object->type == KDB_ERROR)
		return read_text(reader, object, 1);
	if (object->type == KDB_TABLE)
		return read_table(reader, object);
	if (object->type >= KDB_LAMBDA && object->type <= KDB_EACH_LEFT)
		return read_function(reader, object);
	if (object->type != KDB_DICTIONARY && object->type != KDB_SORTED_DICTIONARY)
		return fail(reader, begin, "there is no type %d", object->type);
	object->children = 2;
	return 0;
}

/* ---- all objects, and what they are to each other ---- */

#define NO_COUNT SIZE_MAX /* of an object that is no list of any kind */

static int check_object(struct reader *reader, unsigned depth, size_t *count);

static int check_columns(struct reader *reader, unsigned depth, size_t *rows)
{
	struct kdb_object names, columns;
	size_t begin = reader->input->at, count;

	if (read_object(reader, &names))
		return -1;
	if (names.type != KDB_SYMBOL)
		return fail(reader, begin, "a table's column names are symbols and not type %d", names.type);
	begin = reader->input->at;
	if (read_object(reader, &columns))
		return -1;
	if (columns.type != KDB_LIST)
		return fail(reader, begin, "a table's columns are a list and not type %d", columns.type);
	if (columns.children != names.n || names.n == 0)
		return fail(reader, begin, "a table has %zu column names and %zu columns", names.n, columns.children);
	for (size_t i = 0; i < columns.children; i++) {
		begin = reader->input->at;
		if (check_object(reader, depth + 1, &count))
			return -1;
		if (count == NO_COUNT)
			return fail(reader, begin, "column %zu of a table is no list", i + 1);
		if (i == 0)
			*rows = count;
		if (count != *rows)
			return fail(reader, begin, "column %zu of a table has %zu rows, the first has %zu", i + 1, count,
			            *rows);
	}
	return 0;
}

static int check_dictionary(struct reader *reader, unsigned depth, size_t *count)
{
	size_t begin = reader->input->at, values;

	if (check_object(reader, depth, count))
		return -1;
	if (*count == NO_COUNT)
		return fail(reader, begin, "a dictionary's keys are no list");
	begin = reader->input->at;
	if (check_object(reader, depth, &values))
		return -1;
	if (values == NO_COUNT)
		return fail(reader, begin, "a dictionary's values are no list");
	if (values != *count)
		return fail(reader, begin, "a dictionary has %zu keys and %zu values", *count, values);
	return 0;
}

/* The source is a string; nothing else follows a lambda's context. */
static int check_lambda(struct reader *reader)
{
	struct kdb_object source;
	size_t begin = reader->input->at;

	if (read_object(reader, &source))
		return -1;
	if (source.type != KDB_CHAR)
		return fail(reader, begin, "a function's text is a string and not type %d", source.type);
	return 0;
}

static int check_children(struct reader *reader, const struct kdb_object *object, unsigned depth, size_t *count)
{
	size_t ignored;

	if (object->type == KDB_TABLE)
		return check_columns(reader, depth, count);
	if (object->type == KDB_DICTIONARY || object->type == KDB_SORTED_DICTIONARY)
		return check_dictionary(reader, depth, count);
	if (object->type == KDB_LAMBDA)
		return check_lambda(reader);
	for (size_t i = 0; i < object->children; i++)
		if (check_object(reader, depth, &ignored))
			return -1;
	return 0;
}

/* `depth` counts what holds this object. Recursive, to KDB_DEPTH_MAX. */
static int check_object(struct reader *reader, unsigned depth, size_t *count)
{
	struct kdb_object object;
	size_t begin = reader->input->at;

	if (read_object(reader, &object))
		return -1;
	if (object.type == KDB_ERROR && (depth > 0 || !reader->errors))
		return fail(reader, begin, "an error is not expected here");
	*count = object.type == KDB_LIST ? object.children : NO_COUNT;
	if (object.type > KDB_LIST && object.type <= KDB_TIME)
		*count = object.n;
	if (object.children == 0)
		return 0;
	/* a table's columns are one deeper than it */
	if (depth + 1 + (object.type == KDB_TABLE) > KDB_DEPTH_MAX)
		return fail(reader, begin, "more than %d objects inside each other", KDB_DEPTH_MAX);
	return check_children(reader, &object, depth + 1, count);
}

static int check_all(struct reader *reader)
{
	struct kdb_input *input = reader->input;
	size_t begin = input->at, count;

	if (check_object(reader, 0, &count))
		return -1;
	if (left(input) > 0)
		return fail(reader, input->at, "%zu bytes too many behind the object", left(input));
	input->at = begin;
	return 0;
}

/* ---- messages ---- */

static int check_head(struct reader *reader, const unsigned char *bytes, size_t max_size, struct kdb_head *head)
{
	if (bytes[0] > 1)
		return fail(reader, 0, "a message begins with its byte order, 0 or 1, and not with 0x%02x", bytes[0]);
	if (bytes[1] > KDB_RESPONSE)
		return fail(reader, 1, "there is no kind of message %u", bytes[1]);
	if (bytes[2] > 1)
		return fail(reader, 2, "%u is neither plain (0) nor compressed (1)", bytes[2]);
	if (bytes[3] != 0)
		return fail(reader, 3, "a message of more than 4 GB");
	*head = (struct kdb_head){ (enum kdb_kind)bytes[1], bytes[0] == 0, bytes[2] == 1,
		                   (size_t)kdb_load(bytes + 4, 4, bytes[0] == 0) };
	if (head->size <= KDB_HEAD_SIZE)
		return fail(reader, 4, "a message of %zu bytes would hold nothing", head->size);
	if (head->size > max_size)
		return fail(reader, 4, "a message of %zu bytes is more than the %zu that are allowed", head->size,
		            max_size);
	return 0;
}

int kdb_read_head(const void *data, size_t max_size, struct kdb_head *head, char *err, size_t err_size)
{
	struct reader reader = { .where = "", .err = err, .err_size = err_size };

	return check_head(&reader, data, max_size, head);
}

static int check_message(struct reader *reader, struct bytes message, size_t max_size, struct kdb_head *head)
{
	if (message.size < KDB_HEAD_SIZE)
		return fail(reader, message.size, "a message has a head of %d bytes", KDB_HEAD_SIZE);
	if (check_head(reader, message.data, max_size, head))
		return -1;
	if (head->size != message.size)
		return fail(reader, 4, "a message of %zu bytes says that it has %zu", message.size, head->size);
	return 0;
}

int kdb_plain(struct bytes message, size_t max_size, struct buffer *scratch, struct bytes *plain, char *err,
              size_t err_size)
{
	struct reader reader = { .where = "", .err = err, .err_size = err_size };
	struct kdb_head head;

	if (check_message(&reader, message, max_size, &head))
		return -1;
	*plain = message;
	if (!head.compressed)
		return 0;
	scratch->size = 0;
	if (kdb_uncompress(message, max_size, scratch, err, err_size))
		return -1;
	*plain = (struct bytes){ scratch->data, scratch->size };
	return 0;
}

bool kdb_is_error(struct bytes plain, struct bytes *text)
{
	const unsigned char *bytes = plain.data, *nul;

	if (plain.size <= KDB_HEAD_SIZE || (signed char)bytes[KDB_HEAD_SIZE] != KDB_ERROR)
		return false;
	*text = (struct bytes){ bytes + KDB_HEAD_SIZE + 1, plain.size - KDB_HEAD_SIZE - 1 };
	nul = text->size > 0 ? memchr(text->data, 0, text->size) : NULL;
	if (nul)
		text->size = (size_t)(nul - (const unsigned char *)text->data);
	return true;
}

int kdb_open(struct kdb_input *input, struct bytes message, size_t max_size, struct buffer *scratch, char *err,
             size_t err_size)
{
	struct reader reader = { .input = input, .where = "", .err = err, .err_size = err_size };
	const unsigned char *bytes;
	struct bytes plain;

	if (kdb_plain(message, max_size, scratch, &plain, err, err_size))
		return -1;
	bytes = plain.data;
	*input = (struct kdb_input){ plain, KDB_HEAD_SIZE, (bytes[0] == 0) != KDB_BIG_ENDIAN_HOST };
	reader.errors = bytes[1] == KDB_RESPONSE;
	if (plain.data != message.data)
		reader.where = "uncompressed, ";
	return check_all(&reader);
}

int kdb_open_object(struct kdb_input *input, struct bytes object, char *err, size_t err_size)
{
	struct reader reader = { .input = input, .where = "", .err = err, .err_size = err_size };

	*input = (struct kdb_input){ object, 0, KDB_BIG_ENDIAN_HOST };
	return check_all(&reader);
}

/* ---- walking ---- */

int kdb_next(struct kdb_input *input, struct kdb_object *object)
{
	struct reader reader = { .input = input, .where = "" };

	return left(input) > 0 && read_object(&reader, object) == 0;
}

void kdb_skip(struct kdb_input *input, const struct kdb_object *object)
{
	size_t pending = object->children;
	struct kdb_object next;

	while (pending > 0 && kdb_next(input, &next))
		pending += next.children - 1;
}

/* ---- items ---- */

static uint64_t bits_at(const struct kdb_object *object, size_t i, size_t size)
{
	return kdb_load((const unsigned char *)object->items.data + i * size, size, is_big_endian(object->swap));
}

int64_t kdb_integer_at(const struct kdb_object *object, size_t i)
{
	const unsigned char *bytes = object->items.data;

	switch (kdb_item_size(object->type)) {
	case 1:
		return bytes[i];
	case 2:
		return (int16_t)bits_at(object, i, 2);
	case 4:
		return (int32_t)bits_at(object, i, 4);
	default:
		return (int64_t)bits_at(object, i, 8);
	}
}

double kdb_float_at(const struct kdb_object *object, size_t i)
{
	double value;

	if (kdb_item_size(object->type) == 4) {
		uint32_t bits = (uint32_t)bits_at(object, i, 4);
		float real;

		memcpy(&real, &bits, sizeof real);
		return (double)real;
	}
	uint64_t bits = bits_at(object, i, 8);
	memcpy(&value, &bits, sizeof value);
	return value;
}

const unsigned char *kdb_guid_at(const struct kdb_object *object, size_t i)
{
	return (const unsigned char *)object->items.data + 16 * i;
}

struct bytes kdb_symbol_next(const struct kdb_object *object, size_t *at)
{
	const char *text = (const char *)object->items.data + *at;
	size_t size = strlen(text); /* there is a NUL: it was looked for */

	*at += size + 1;
	return (struct bytes){ text, size };
}

struct bytes kdb_text(const struct kdb_object *object)
{
	struct bytes text = object->items;
	int type = object->type;

	if (type == -KDB_SYMBOL || type == KDB_ERROR || type == KDB_LAMBDA)
		text.size--;
	return text;
}
