/* kdb+'s compression: hand-made streams, what is not worth it, what is damaged; and byte
 * for byte what others make, where their vectors are beside the checkout.
 */
#include "kdb_compress.h"

#include <stdint.h>
#include <string.h>

#include "kdb_ipc.h"
#include "kdb_vectors.h"
#include "test.h"

#define MAX (1 << 20)

static char err[200];

static struct bytes all(const struct buffer *buffer)
{
	return (struct bytes){ buffer->data, buffer->size };
}

static bool same(const struct buffer *a, const struct buffer *b)
{
	return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static struct buffer of_hex(const char *hex)
{
	unsigned char bytes[200];
	struct buffer buffer = { 0 };

	REQUIRE(buffer_append(&buffer, bytes, from_hex(hex, bytes, sizeof bytes)) == 0);
	return buffer;
}

/* A message of a byte vector. */
static struct buffer message_of(const unsigned char *items, size_t n)
{
	struct buffer message = { 0 };
	size_t begin = kdb_message_begin(&message, KDB_SYNC);

	REQUIRE(kdb_put_vector(&message, KDB_BYTE, items, n) == 0 && kdb_message_end(&message, begin) == 0);
	return message;
}

static uint32_t random_state = 1;

static unsigned random_byte(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state >> 24;
}

/* ---- small streams, by hand ---- */


static void a_run_may_overlap_itself(void)
{
	/* six bytes of the vector's head, A, A; then the pair whose XOR is 0, and 8 more from there */
	struct buffer message = of_hex("0100010018000000" "1a000000" "00" "04000c0000004141" "01" "00" "08");
	struct buffer plain = { 0 };

	CHECK(kdb_uncompress(all(&message), MAX, &plain, err, sizeof err) == 0);
	CHECK(plain.size == 26 && memcmp(plain.data, "\1\0\0\0\x1a\0\0\0\4\0\x0c\0\0\0", 14) == 0);
	CHECK(memcmp(plain.data + 14, "AAAAAAAAAAAA", 12) == 0);
	buffer_release(&message);
	buffer_release(&plain);
}

static void what_is_written_is_appended(void)
{
	unsigned char items[4000] = { 0 };
	struct buffer message = message_of(items, sizeof items), out = { 0 };

	REQUIRE(buffer_append(&out, "before", 6) == 0);
	CHECK(kdb_compress(all(&message), &out) == 1 && memcmp(out.data, "before\1\1\1\0", 10) == 0);
	buffer_release(&message);
	buffer_release(&out);
}

static void small_messages_stay_as_they_are(void)
{
	static const unsigned char items[2000];
	struct buffer out = { 0 };

	for (size_t n = 1985; n <= 1987; n++) {
		struct buffer message = message_of(items, n);

		CHECK(kdb_compress(all(&message), &out) == (message.size > 2000));
		buffer_release(&message);
	}
	buffer_release(&out);
}

static void what_does_not_shrink_stays_as_it_is(void)
{
	unsigned char items[5000];
	struct buffer message, out = { 0 };

	for (size_t i = 0; i < sizeof items; i++)
		items[i] = (unsigned char)random_byte();
	message = message_of(items, sizeof items);
	CHECK(kdb_compress(all(&message), &out) == 0 && out.size == 0);
	buffer_release(&message);
	buffer_release(&out);
}

/* Of all kinds of repetitions; what was compressed is compressed to less than half. */
static void what_is_compressed_comes_back(void)
{
	int compressed = 0;

	for (int round = 0; round < 300; round++) {
		unsigned char items[6000] = { 0 };
		size_t n = 1900 + random_byte() * 16, period = 1 + random_byte() % 200;
		unsigned noise = random_byte() % 16;
		struct buffer message, small = { 0 }, plain = { 0 };

		for (size_t i = 0; i < n; i++)
			items[i] = i < period || random_byte() < noise ? (unsigned char)random_byte() : items[i - period];
		message = message_of(items, n);
		if (kdb_compress(all(&message), &small) == 1) {
			compressed++;
			CHECK(small.size < message.size / 2);
			CHECK(kdb_uncompress(all(&small), MAX, &plain, err, sizeof err) == 0 && same(&plain, &message));
		}
		buffer_release(&message);
		buffer_release(&small);
		buffer_release(&plain);
	}
	CHECK(compressed > 100);
}

/* ---- damaged ones ---- */

static void damage_is_said_with_its_place(void)
{
	static const struct {
		const char *hex, *err;
	} cases[] = {
		{ "010001000c000000" "1a000000", "byte 12: a compressed message is cut off" },
		{ "010001000d000000" "08000000" "00", "byte 8: 8 bytes uncompressed would hold nothing" },
		{ "010001000d000000" "01001000" "00",
		  "byte 8: 1048577 bytes uncompressed are more than the 1048576 that are allowed" },
		{ "010001000d000000" "00001000" "00", "byte 8: 13 compressed bytes cannot be 1048576 uncompressed" },
		{ "010001000f000000" "0a000000" "01" "0000",
		  "byte 13: the compressed stream refers to what has not been" },
		{ "010001000d000000" "0a000000" "00", "byte 13: the compressed stream is cut off" },
		{ "010001000e000000" "0a000000" "01" "00", "byte 13: the compressed stream is cut off" },
		{ "0100010018000000" "19000000" "00" "04000c0000004141" "01" "00" "08",
		  "byte 22: the compressed stream gives more than the 25 bytes it says" },
		{ "0100010018000000" "1b000000" "00" "04000c0000004141" "01" "00" "08",
		  "byte 24: the compressed stream is cut off" },
		{ "0100010019000000" "1a000000" "00" "04000c0000004141" "01" "00" "08" "00",
		  "byte 24: 1 bytes too many behind the compressed stream" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buffer message = of_hex(cases[i].hex), out = { 0 };

		CHECK(kdb_uncompress(all(&message), MAX, &out, err, sizeof err) == -1 && out.size == 0);
		CHECK(strcmp(err, cases[i].err) == 0);
		if (strcmp(err, cases[i].err) != 0)
			fprintf(stderr, "%s: %s\n", cases[i].hex, err);
		buffer_release(&message);
		buffer_release(&out);
	}
}

/* Every beginning of a stream, and every one with a byte changed, is refused or gives what its head says. */
static void damaged_streams_do_no_harm(void)
{
	unsigned char items[3000];
	struct buffer message, small = { 0 }, out = { 0 };

	for (size_t i = 0; i < sizeof items; i++)
		items[i] = (unsigned char)(i % 50 * 5);
	message = message_of(items, sizeof items);
	REQUIRE(kdb_compress(all(&message), &small) == 1);
	for (size_t i = 0; i < small.size; i++) {
		char *copy = malloc(small.size);
		size_t size = i % 2 ? i : small.size;

		REQUIRE(copy);
		memcpy(copy, small.data, small.size);
		copy[i] ^= (char)(1 << (i % 8));
		out.size = 0;
		if (size > 8 && kdb_uncompress((struct bytes){ copy, size }, MAX, &out, err, sizeof err) == 0)
			CHECK(out.size <= MAX);
		free(copy);
	}
	buffer_release(&message);
	buffer_release(&small);
	buffer_release(&out);
}

/* ---- what others made ---- */

static void check_vector(const char *name, struct bytes message)
{
	struct buffer plain = { 0 }, again = { 0 };

	CHECK(kdb_uncompress(message, MAX, &plain, err, sizeof err) == 0);
	CHECK(kdb_compress(all(&plain), &again) == 1);
	if (again.size != message.size || memcmp(again.data, message.data, again.size) != 0) {
		fprintf(stderr, "%s: compresses to something else\n", name);
		CHECK(!"the same");
	}
	buffer_release(&plain);
	buffer_release(&again);
}

static void vectors_of_others_compress_to_the_same_bytes(void)
{
	json_t *list = open_vectors("vectors.json");
	size_t i, n = 0;
	json_t *vector;

	json_array_foreach (list, i, vector) {
		struct bytes message = vector_bytes(vector);

		if (json_is_true(json_object_get(vector, "compressed"))) {
			check_vector(vector_text(vector, "name"), message);
			n++;
		}
		free((void *)(uintptr_t)message.data);
	}
	if (list) {
		CHECK(n > 0);
		printf("figures: %zu compressed vectors of others\n", n);
	}
	json_decref(list);
}

int main(void)
{
	RUN(a_run_may_overlap_itself);
	RUN(what_is_written_is_appended);
	RUN(small_messages_stay_as_they_are);
	RUN(what_does_not_shrink_stays_as_it_is);
	RUN(what_is_compressed_comes_back);
	RUN(damage_is_said_with_its_place);
	RUN(damaged_streams_do_no_harm);
	RUN(vectors_of_others_compress_to_the_same_bytes);
	return test_end();
}
