/* kdb+ messages: any bytes are refused with a place, or walk, print, and give, written
 * again, a message that is the same in every way. What compresses comes back.
 */
#include <string.h>

#include "fuzz.h"
#include "kdb_compress.h"
#include "kdb_print.h"

#define SIZE_MAX_HERE (1 << 20)
#define PRINT_MAX     300

/* Objects hold what their counts say, and what they hold can be had. */
static void touch(const struct kdb_object *object)
{
	size_t at = 0, size = kdb_item_size(object->type);
	int64_t sum = 0;

	if (object->type == KDB_SYMBOL || object->type == -KDB_SYMBOL) {
		for (size_t i = 0; i < object->n; i++)
			(void)kdb_symbol_next(object, &at);
		ALWAYS(at == object->items.size);
		return;
	}
	ALWAYS(size == 0 || object->items.size == size * object->n);
	for (size_t i = 0; i < object->n; i++) {
		if (kdb_is_integer(object->type))
			ALWAYS(kdb_integer_fits(object->type, kdb_integer_at(object, i)));
		else if (kdb_is_float(object->type))
			sum += kdb_float_at(object, i) > 0;
		else
			sum += *kdb_guid_at(object, i);
	}
	ALWAYS(sum >= 0);
}

/* Writes what was read; the walk ends where the input ends, with nothing pending. */
static void copy(struct kdb_input input, enum kdb_kind kind, struct buffer *out)
{
	size_t begin = kdb_message_begin(out, kind), pending = 1;
	struct kdb_object object;

	while (kdb_next(&input, &object)) {
		ALWAYS(pending > 0);
		pending += object.children - 1;
		touch(&object);
		ALWAYS(kdb_put_object(out, &object) == 0);
	}
	ALWAYS(pending == 0 && input.at == input.bytes.size);
	ALWAYS(kdb_message_end(out, begin) == 0);
}

static void print(struct kdb_input input, struct buffer *out)
{
	ALWAYS(kdb_print(out, &input, PRINT_MAX) == 0);
	ALWAYS(out->size > 0 && out->size <= PRINT_MAX + 2);
	for (size_t i = 0; i < out->size; i++)
		ALWAYS((unsigned char)out->data[i] >= ' ');
}

static bool same(const struct buffer *a, struct bytes b)
{
	return a->size == b.size && memcmp(a->data, b.data, b.size) == 0;
}

static void check_compression(struct bytes plain)
{
	struct buffer small = { 0 }, again = { 0 };
	char err[200];

	if (kdb_compress(plain, &small) == 1) {
		ALWAYS(small.size < plain.size / 2);
		ALWAYS(kdb_uncompress((struct bytes){ small.data, small.size }, SIZE_MAX_HERE, &again, err,
		                      sizeof err) == 0);
		ALWAYS(same(&again, plain));
	}
	buffer_release(&small);
	buffer_release(&again);
}

/* In little-endian order, all is said once more, and once only. */
static void check_copy(struct kdb_input input, enum kdb_kind kind)
{
	struct buffer first = { 0 }, second = { 0 }, text = { 0 }, other = { 0 };
	struct kdb_input again;
	struct bytes message;
	char err[200];

	copy(input, kind, &first);
	message = (struct bytes){ first.data, first.size };
	ALWAYS(kdb_open(&again, message, SIZE_MAX_HERE, &second, err, sizeof err) == 0);
	copy(again, kind, &second);
	ALWAYS(same(&second, message));
	if (*(const unsigned char *)input.bytes.data == 1)
		ALWAYS(same(&first, input.bytes));
	print(input, &text);
	print(again, &other);
	ALWAYS(same(&text, (struct bytes){ other.data, other.size }));
	check_compression(message);
	buffer_release(&first);
	buffer_release(&second);
	buffer_release(&text);
	buffer_release(&other);
}

static void check_err(const char *err)
{
	ALWAYS(strncmp(err, "byte ", 5) == 0 || strncmp(err, "uncompressed, byte ", 19) == 0);
	ALWAYS(strlen(err) > 10);
}

static void check_message(struct bytes message)
{
	struct buffer scratch = { 0 };
	struct kdb_input input;
	struct kdb_head head;
	char err[200] = "";

	if (kdb_open(&input, message, SIZE_MAX_HERE, &scratch, err, sizeof err)) {
		check_err(err);
	} else {
		ALWAYS(kdb_read_head(message.data, SIZE_MAX_HERE, &head, err, sizeof err) == 0);
		ALWAYS(head.size == message.size);
		check_copy(input, head.kind);
		check_compression(input.bytes);
	}
	buffer_release(&scratch);
}

static void check_object(struct bytes object)
{
	struct kdb_input input;
	char err[200] = "";

	if (kdb_open_object(&input, object, err, sizeof err)) {
		check_err(err);
	} else {
		struct buffer out = { 0 };

		copy(input, KDB_ASYNC, &out);
		ALWAYS(memcmp(out.data + KDB_HEAD_SIZE, object.data, object.size) == 0);
		buffer_release(&out);
	}
}

/* The bytes, with a head that fits them: so that more of what is behind the head is reached. */
static void check_with_head(const uint8_t *data, size_t size)
{
	uint8_t *message = malloc(size);

	ALWAYS(message);
	memcpy(message, data, size);
	message[0] &= 1;
	message[1] %= 3;
	message[2] &= 1;
	message[3] = 0;
	for (unsigned i = 0; i < 4; i++)
		message[4 + i] = (uint8_t)(size >> (8 * (message[0] ? i : 3 - i)));
	check_message((struct bytes){ message, size });
	message[2] = 0;
	check_compression((struct bytes){ message, size });
	free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_message((struct bytes){ data, size });
	if (size <= KDB_HEAD_SIZE)
		return 0;
	check_object((struct bytes){ data + KDB_HEAD_SIZE, size - KDB_HEAD_SIZE });
	check_with_head(data, size);
	return 0;
}
