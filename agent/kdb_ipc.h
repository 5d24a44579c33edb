/* kdb+ IPC: objects and messages as bytes, written and read. Pure: no sockets, no clock.
 *
 * Writing appends to a buffer, always little-endian, never with attributes. What holds
 * others is written as its head, followed by the others:
 *
 *     size_t at = kdb_message_begin(&out, KDB_SYNC);
 *     if (kdb_put_list(&out, 3) || kdb_put_symbol(&out, upd) || kdb_put_symbol(&out, table) ||
 *         kdb_put_list(&out, n_columns) || ... || kdb_message_end(&out, at))
 *             no memory, or longer than 2 GB
 *
 * Reading checks a whole message once, whoever sent it, in either byte order, compressed
 * or not; what passes can be walked without a mistake to expect:
 *
 *     if (kdb_open(&input, message, max_size, &scratch, err, sizeof err))
 *             err says what is wrong at which byte
 *     while (kdb_next(&input, &object)) ...
 */
#ifndef TIDEGATE_KDB_IPC_H
#define TIDEGATE_KDB_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "queue.h"

/* Of vectors; an atom's type is the negative one (an atom has 1 item). */
enum kdb_type {
	KDB_LIST = 0,
	KDB_BOOLEAN = 1,
	KDB_GUID = 2,
	KDB_BYTE = 4,
	KDB_SHORT = 5,
	KDB_INT = 6,
	KDB_LONG = 7,
	KDB_REAL = 8,
	KDB_FLOAT = 9,
	KDB_CHAR = 10,
	KDB_SYMBOL = 11,
	KDB_TIMESTAMP = 12,
	KDB_MONTH = 13,
	KDB_DATE = 14,
	KDB_DATETIME = 15,
	KDB_TIMESPAN = 16,
	KDB_MINUTE = 17,
	KDB_SECOND = 18,
	KDB_TIME = 19,
	KDB_TABLE = 98,
	KDB_DICTIONARY = 99,
	KDB_LAMBDA = 100,
	KDB_NULL = 101, /* `::`, and q's unary functions */
	KDB_OPERATOR = 102,
	KDB_ITERATOR = 103,
	KDB_PROJECTION = 104,
	KDB_COMPOSITION = 105,
	KDB_EACH = 106, /* a function with ' / \ ': /: \: behind it, up to 111 */
	KDB_EACH_LEFT = 111,
	KDB_SORTED_DICTIONARY = 127,
	KDB_ERROR = -128,
};

enum kdb_kind { KDB_ASYNC = 0, KDB_SYNC = 1, KDB_RESPONSE = 2 };

#define KDB_HEAD_SIZE 8
#define KDB_SIZE_MAX  INT32_MAX /* of a message, by the capability we announce */
#define KDB_DEPTH_MAX 100       /* of what holds others, in each other */

/* ---- types ---- */

/* "long" for KDB_LONG and -KDB_LONG, "list", "table", "dictionary", "function", "error", ...; "?" if there is none. */
const char *kdb_type_name(int type);
/* Of vectors: "boolean" to "time"; 0: there is none of that name. */
int kdb_type_by_name(const char *name);
/* As meta shows it, 'j' for longs; ' ' for what has none. */
char kdb_type_letter(int type);
/* Bytes of an item; 0 for symbols, lists and what is no vector. */
size_t kdb_item_size(int type);
/* Are items integers, for kdb_put_integer and kdb_integer_at: booleans, bytes, chars, numbers and times? */
bool kdb_is_integer(int type);
/* Reals, floats, datetimes. */
bool kdb_is_float(int type);
/* Can an item be that? Booleans are 0 and 1, bytes and chars 0 to 255. */
bool kdb_integer_fits(int type, int64_t value);
/* INT16_MIN, INT32_MIN or INT64_MIN; ' ' for chars; 0 for booleans and bytes, which have none. */
int64_t kdb_null_integer(int type);
/* INT16_MAX, ...; its negative is minus infinity. 0 for booleans, bytes and chars, which have none. */
int64_t kdb_infinite_integer(int type);

/* ---- writing: 0, or -1 for want of memory or beyond a limit; the buffer may then hold a part ---- */

/* An atom of a type for which kdb_is_integer holds; the value must fit. */
int kdb_put_integer(struct buffer *out, int type, int64_t value);
/* A real, float or datetime. A NaN becomes q's null; what is beyond a real, infinity. */
int kdb_put_float(struct buffer *out, int type, double value);
int kdb_put_guid(struct buffer *out, const unsigned char guid[16]); /* in the order of its text */
/* -1 also if there is a NUL in it: look before. */
int kdb_put_symbol(struct buffer *out, struct bytes text);
/* A char vector, of one char as well. */
int kdb_put_string(struct buffer *out, struct bytes text);
/* A vector of a type with kdb_item_size; `items` as C has them: int16_t, int32_t, int64_t, float, double, or bytes. */
int kdb_put_vector(struct buffer *out, int type, const void *items, size_t n);
/* A vector's beginning; n items follow, little-endian, symbols each with its NUL. */
int kdb_put_vector_head(struct buffer *out, int type, size_t n);
/* One such item: what an atom has behind its type. */
int kdb_put_integer_item(struct buffer *out, int type, int64_t value);
int kdb_put_float_item(struct buffer *out, int type, double value);
int kdb_put_symbol_item(struct buffer *out, struct bytes text);
int kdb_put_list(struct buffer *out, size_t n);  /* n objects follow */
int kdb_put_dictionary(struct buffer *out);      /* two follow, of equal counts: keys, values */
int kdb_put_table(struct buffer *out);           /* two follow: symbol vector of names, list of as many columns */
int kdb_put_null(struct buffer *out);            /* `::` */
int kdb_put_error(struct buffer *out, struct bytes text); /* the only object of a response; ends at a NUL */

/* Appends a head; returns where. Without memory, kdb_message_end fails. */
size_t kdb_message_begin(struct buffer *out, enum kdb_kind kind);
/* Writes the size into the head at `begin`. -1 also if there is no object or the message is too long. */
int kdb_message_end(struct buffer *out, size_t begin);

/* ---- reading ---- */

/* All functions here return 0, or -1 with `err` saying what is wrong at which byte of the message. */

struct kdb_head {
	enum kdb_kind kind;
	bool big_endian, compressed;
	size_t size; /* with the head, as it is on the wire */
};

/* `data` are KDB_HEAD_SIZE bytes; a size beyond `max_size` is refused. */
int kdb_read_head(const void *data, size_t max_size, struct kdb_head *head, char *err, size_t err_size);

/* The message if it is plain, else what it says uncompressed, in `scratch`; valid as long as both. A message that
 * would be longer than `max_size` is refused before memory is taken. */
int kdb_plain(struct bytes message, size_t max_size, struct buffer *scratch, struct bytes *plain, char *err,
              size_t err_size);

/* Is a plain message an error? `text` then points into it. Looks at nothing else. */
bool kdb_is_error(struct bytes plain, struct bytes *text);

/* An object, or several one after the other, to walk over. */
struct kdb_input {
	struct bytes bytes;
	size_t at; /* of the next object */
	bool swap; /* in the other byte order */
};

/* A whole message, with all that is in it. `input` refers to `message` or to `scratch`, which is only
 * used for what was compressed. An error is accepted in responses only. */
int kdb_open(struct kdb_input *input, struct bytes message, size_t max_size, struct buffer *scratch, char *err,
             size_t err_size);

/* An object without a head, little-endian, as kdb_put_* write it; there must be nothing behind it. */
int kdb_open_object(struct kdb_input *input, struct bytes object, char *err, size_t err_size);

struct kdb_object {
	int type;
	unsigned attribute; /* 0 none, 1 s, 2 u, 3 p, 4 g; with bit 0x80, the count was one of 8 bytes */
	size_t n;           /* of a vector's or atom's items */
	size_t children;    /* objects that follow and are held by this one: 2 for tables and dictionaries */
	struct bytes items; /* as they are on the wire; symbols each with its NUL; of a primitive, its one byte */
	bool swap;          /* `items` are in the other byte order than this machine's */
};

/* The next object, before those it holds: 1, or 0 when there are no more. */
int kdb_next(struct kdb_input *input, struct kdb_object *object);
/* Passes over what `object`, just read, holds. */
void kdb_skip(struct kdb_input *input, const struct kdb_object *object);

/* Item i of an atom or vector, i < n, of a type for which kdb_is_integer holds. */
int64_t kdb_integer_at(const struct kdb_object *object, size_t i);
double kdb_float_at(const struct kdb_object *object, size_t i);                 /* real, float, datetime */
const unsigned char *kdb_guid_at(const struct kdb_object *object, size_t i);    /* 16 bytes */
/* The symbol at *at, which begins with 0 and is moved on; for n times. */
struct bytes kdb_symbol_next(const struct kdb_object *object, size_t *at);
/* Of a symbol, string, char or error; a lambda's context. Without a NUL. */
struct bytes kdb_text(const struct kdb_object *object);

/* Writes what kdb_next has read, little-endian: the objects that it holds come next. An attribute is kept: set it to
 * 0 where the items are not what was read. */
int kdb_put_object(struct buffer *out, const struct kdb_object *object);

#endif
