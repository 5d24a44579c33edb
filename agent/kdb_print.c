/* Recursive like the objects, which are KDB_DEPTH_MAX deep at most. When there is no room
 * left, ".." is written once and whoever prints sees that nothing more is needed.
 */
#include "kdb_print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kdb_item.h"

struct printer {
	struct buffer *out;
	struct kdb_input *input;
	size_t left; /* bytes to write */
	bool full, no_memory;
};

static void put(struct printer *printer, const char *text, size_t size)
{
	if (printer->full || printer->no_memory)
		return;
	if (size > printer->left) {
		printer->full = true;
		text = "..";
		size = 2;
	}
	printer->left -= printer->full ? 0 : size;
	printer->no_memory = buffer_append(printer->out, text, size) != 0;
}

static void put_text(struct printer *printer, const char *text)
{
	put(printer, text, strlen(text));
}

/* ---- text ---- */

/* Bytes of the UTF-8 character there; 0: there is none, or none to be seen. */
static size_t character_size(const unsigned char *text, size_t size)
{
	static const unsigned char leads[] = { 0, 0, 0xc2, 0xe0, 0xf0 };
	size_t n = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

	if (text[0] < leads[2] || text[0] > 0xf4 || n > size)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if (n == 2)
		return text[0] > 0xc2 || text[1] >= 0xa0 ? n : 0; /* control characters */
	if (text[0] == leads[n])
		return text[1] >= (n == 3 ? 0xa0 : 0x90) ? n : 0; /* longer than need be */
	if ((text[0] == 0xed && text[1] >= 0xa0) || (text[0] == 0xf4 && text[1] >= 0x90))
		return 0;
	return n;
}

/* One character, which is no letter of ASCII. */
static size_t put_escaped(struct printer *printer, const unsigned char *text, size_t size, bool quoted)
{
	static const char letters[] = "\nn\rr\tt\"\"\\\\";
	size_t n = text[0] >= 0x80 ? character_size(text, size) : 0;
	char escape[8];

	if (n > 0) {
		put(printer, (const char *)text, n);
		return n;
	}
	for (size_t i = 0; i < sizeof letters - 1; i += 2) {
		if (text[0] == (unsigned char)letters[i] && (quoted || text[0] < ' ')) {
			put(printer, (char[]){ '\\', letters[i + 1] }, 2);
			return 1;
		}
	}
	if (text[0] >= ' ' && text[0] < 0x7f) {
		put(printer, (const char *)text, 1);
	} else {
		(void)snprintf(escape, sizeof escape, "\\%03o", text[0]);
		put_text(printer, escape);
	}
	return 1;
}

static void put_characters(struct printer *printer, struct bytes text, bool quoted)
{
	const unsigned char *bytes = text.data;

	for (size_t i = 0; i < text.size && !printer->full;)
		i += put_escaped(printer, bytes + i, text.size - i, quoted);
}

static void put_quoted(struct printer *printer, struct bytes text)
{
	put_text(printer, "\"");
	put_characters(printer, text, true);
	put_text(printer, "\"");
}

/* Can it stand behind a backtick as it is? */
static bool is_plain_symbol(struct bytes text)
{
	const char *bytes = text.data;

	for (size_t i = 0; i < text.size; i++) {
		char c = bytes[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!letter && c != '.' && c != ':' && !(c == '_' && i > 0) && !(c == '/' && bytes[0] == ':'))
			return false;
	}
	return true;
}

static void put_symbol(struct printer *printer, struct bytes text)
{
	if (is_plain_symbol(text)) {
		put_text(printer, "`");
		put(printer, text.data, text.size);
	} else {
		put_text(printer, "`$");
		put_quoted(printer, text);
	}
}

/* ---- atoms and vectors ---- */

static void print_symbols(struct printer *printer, const struct kdb_object *object)
{
	bool plain = true;
	size_t at = 0;

	for (size_t i = 0; i < object->n && plain; i++)
		plain = is_plain_symbol(kdb_symbol_next(object, &at));
	at = 0;
	if (!plain && object->n > 1)
		put_text(printer, "`$(");
	for (size_t i = 0; i < object->n && !printer->full; i++) {
		struct bytes text = kdb_symbol_next(object, &at);

		if (plain || object->n == 1) {
			put_symbol(printer, text);
			continue;
		}
		put_text(printer, i > 0 ? ";" : "");
		put_quoted(printer, text);
	}
	if (!plain && object->n > 1)
		put_text(printer, ")");
}

/* Floats that look like longs are told apart by an f behind the last one. */
static bool looks_long(const char *text)
{
	return !strpbrk(text, ".enw");
}

static void print_items(struct printer *printer, const struct kdb_object *object)
{
	int type = object->type < 0 ? -object->type : object->type;
	const char *between = type == KDB_BOOLEAN || type == KDB_BYTE ? "" : " ";
	bool bare = type == KDB_FLOAT;
	char text[KDB_ITEM_SIZE];

	put_text(printer, kdb_prefix(type));
	for (size_t i = 0; i < object->n && !printer->full; i++) {
		kdb_format_item(object, i, text);
		bare = bare && looks_long(text);
		put_text(printer, i > 0 ? between : "");
		put_text(printer, text);
	}
	put_text(printer, bare ? "f" : kdb_suffix(type));
}

static void print_attribute(struct printer *printer, unsigned attribute)
{
	static const char *const names[] = { "", "`s#", "`u#", "`p#", "`g#" };

	put_text(printer, names[attribute & 7]);
}

static void print_vector(struct printer *printer, const struct kdb_object *object)
{
	int type = object->type < 0 ? -object->type : object->type;

	print_attribute(printer, object->attribute);
	if (object->n == 0 && type != KDB_CHAR) {
		put_text(printer, "`");
		put_text(printer, kdb_type_name(type));
		put_text(printer, "$()");
		return;
	}
	if (object->type > 0 && object->n == 1)
		put_text(printer, "enlist ");
	if (type == KDB_CHAR)
		put_quoted(printer, object->items);
	else if (type == KDB_SYMBOL)
		print_symbols(printer, object);
	else
		print_items(printer, object);
}

/* ---- what holds others ---- */

static void print_object(struct printer *printer, const struct kdb_object *object);

static void print_next(struct printer *printer)
{
	struct kdb_object object;

	if (!printer->full && kdb_next(printer->input, &object))
		print_object(printer, &object);
}

static void print_sequence(struct printer *printer, size_t n)
{
	for (size_t i = 0; i < n && !printer->full; i++) {
		put_text(printer, i > 0 ? ";" : "");
		print_next(printer);
	}
}

static void print_list(struct printer *printer, const struct kdb_object *object)
{
	print_attribute(printer, object->attribute);
	put_text(printer, object->children == 1 ? "enlist " : "(");
	print_sequence(printer, object->children);
	put_text(printer, object->children == 1 ? "" : ")");
}

/* Of a table: a:1 2;b:3 4 */
static void print_columns(struct printer *printer)
{
	struct kdb_object names, columns;
	size_t at = 0;

	if (!kdb_next(printer->input, &names) || !kdb_next(printer->input, &columns))
		return;
	for (size_t i = 0; i < names.n && !printer->full; i++) {
		put_text(printer, i > 0 ? ";" : "");
		put_characters(printer, kdb_symbol_next(&names, &at), false);
		put_text(printer, ":");
		print_next(printer);
	}
}

static void print_table(struct printer *printer, const struct kdb_object *object)
{
	print_attribute(printer, object->attribute);
	put_text(printer, "([]");
	print_columns(printer);
	put_text(printer, ")");
}

/* Are keys, which were just read, and values both tables? */
static bool is_keyed_table(const struct printer *printer, const struct kdb_object *keys)
{
	struct kdb_input ahead = *printer->input;
	struct kdb_object values;

	if (keys->type != KDB_TABLE)
		return false;
	kdb_skip(&ahead, keys);
	return kdb_next(&ahead, &values) && values.type == KDB_TABLE;
}

static void print_keyed_table(struct printer *printer)
{
	struct kdb_object values;

	put_text(printer, "([");
	print_columns(printer);
	put_text(printer, "]");
	if (!printer->full && kdb_next(printer->input, &values))
		print_columns(printer);
	put_text(printer, ")");
}

static void print_dictionary(struct printer *printer, const struct kdb_object *object)
{
	struct kdb_object keys;
	bool apart; /* is it a whole without brackets? */

	if (!kdb_next(printer->input, &keys))
		return;
	print_attribute(printer, object->type == KDB_SORTED_DICTIONARY ? 1 : 0);
	if (is_keyed_table(printer, &keys)) {
		print_keyed_table(printer);
		return;
	}
	apart = keys.n != 1 && keys.type >= 0 && keys.type <= KDB_TABLE && keys.children != 1;
	put_text(printer, apart ? "" : "(");
	print_object(printer, &keys);
	put_text(printer, apart ? "!" : ")!");
	print_next(printer);
}

/* ---- functions ---- */

static const char *const iterators[] = { "'", "/", "\\", "':", "/:", "\\:" };

static unsigned number_of(const struct kdb_object *primitive)
{
	return *(const unsigned char *)primitive->items.data;
}

static void print_primitive(struct printer *printer, const struct kdb_object *object)
{
	static const char operators[] = ":+-*%&|^=<>$,#_~!?@.";
	static const char *const kinds[] = { "unary", "operator", "iterator" };
	unsigned number = number_of(object);
	char text[40];

	if (object->type == KDB_NULL && number == 0)
		put_text(printer, "::");
	else if (object->type == KDB_OPERATOR && number > 0 && number < sizeof operators - 1)
		put(printer, operators + number, 1);
	else if (object->type == KDB_ITERATOR && number < sizeof iterators / sizeof *iterators)
		put_text(printer, iterators[number]);
	else {
		(void)snprintf(text, sizeof text, "<%s %u>", kinds[object->type - KDB_NULL], number);
		put_text(printer, text);
	}
}

/* Of a projection; one that is left out is a unary 255. */
static void print_arguments(struct printer *printer, size_t n)
{
	struct kdb_object argument;

	put_text(printer, "[");
	for (size_t i = 0; i < n && !printer->full && kdb_next(printer->input, &argument); i++) {
		put_text(printer, i > 0 ? ";" : "");
		if (argument.type != KDB_NULL || number_of(&argument) != 0xff)
			print_object(printer, &argument);
	}
	put_text(printer, "]");
}

static void print_function(struct printer *printer, const struct kdb_object *object)
{
	struct kdb_object source;

	if (object->type == KDB_LAMBDA) {
		if (kdb_next(printer->input, &source))
			put_characters(printer, source.n > 0 ? source.items : (struct bytes){ "{}", 2 }, false);
	} else if (object->type <= KDB_ITERATOR) {
		print_primitive(printer, object);
	} else if (object->type == KDB_PROJECTION && object->children > 0) {
		print_next(printer);
		print_arguments(printer, object->children - 1);
	} else if (object->type <= KDB_COMPOSITION) {
		put_text(printer, "'[");
		print_sequence(printer, object->children);
		put_text(printer, "]");
	} else {
		print_next(printer);
		put_text(printer, iterators[object->type - KDB_EACH]);
	}
}

static void print_object(struct printer *printer, const struct kdb_object *object)
{
	if (object->type == KDB_ERROR) {
		put_text(printer, "'");
		put_characters(printer, kdb_text(object), false);
	} else if (object->type == KDB_LIST) {
		print_list(printer, object);
	} else if (object->type == KDB_TABLE) {
		print_table(printer, object);
	} else if (object->type == KDB_DICTIONARY || object->type == KDB_SORTED_DICTIONARY) {
		print_dictionary(printer, object);
	} else if (object->type >= KDB_LAMBDA) {
		print_function(printer, object);
	} else {
		print_vector(printer, object);
	}
}

int kdb_print(struct buffer *out, struct kdb_input *input, size_t max)
{
	struct printer printer = { .out = out, .input = input, .left = max };

	print_next(&printer);
	return printer.no_memory ? -1 : 0;
}

int kdb_print_message(struct buffer *out, struct bytes message, size_t max_size, size_t max)
{
	struct kdb_input input;
	struct buffer scratch = { 0 };
	char err[200];
	int status;

	if (kdb_open(&input, message, max_size, &scratch, err, sizeof err))
		status = buffer_append(out, err, strlen(err));
	else
		status = kdb_print(out, &input, max);
	buffer_release(&scratch);
	return status;
}
