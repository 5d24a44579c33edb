/* properties.c: the wire form of MQTT 5, and no run of bytes that does harm. */
#include "properties.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct bytes text(const char *s)
{
	return (struct bytes){ s, strlen(s) };
}

static bool same(struct bytes a, const char *b, size_t size)
{
	return a.size == size && (!size || !memcmp(a.data, b, size));
}

static int append(struct buffer *run, struct property property)
{
	return properties_append(run, &property);
}

static void writes_the_wire_form(void)
{
	struct buffer run = { 0 };

	CHECK(append(&run, (struct property){ .id = PROPERTY_PAYLOAD_FORMAT, .number = 1 }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_MESSAGE_EXPIRY, .number = 0x01020304 }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_CONTENT_TYPE, .text = text("a/b") }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_USER, .name = text("n"), .text = text("") }) == 0);
	CHECK(run.size == 2 + 5 + 6 + 6);
	CHECK(!memcmp(run.data, "\1\1" "\2\1\2\3\4" "\3\0\3a/b" "\46\0\1n\0\0", 19));
	buffer_release(&run);
}

static void reads_what_it_wrote(void)
{
	struct buffer run = { 0 };
	struct property property;
	struct bytes rest;

	CHECK(append(&run, (struct property){ .id = PROPERTY_RESPONSE_TOPIC, .text = text("re/ply") }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_CORRELATION, .text = { "\0\1\377", 3 } }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_USER, .name = text("k"), .text = text("v1") }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_USER, .name = text("k"), .text = text("v2") }) == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_MESSAGE_EXPIRY, .number = UINT32_MAX }) == 0);
	rest = (struct bytes){ run.data, run.size };
	CHECK(properties_next(&rest, &property) && property.id == PROPERTY_RESPONSE_TOPIC);
	CHECK(same(property.text, "re/ply", 6));
	CHECK(properties_next(&rest, &property) && property.id == PROPERTY_CORRELATION);
	CHECK(same(property.text, "\0\1\377", 3));
	CHECK(properties_next(&rest, &property) && same(property.name, "k", 1) && same(property.text, "v1", 2));
	CHECK(properties_next(&rest, &property) && same(property.name, "k", 1) && same(property.text, "v2", 2));
	CHECK(properties_next(&rest, &property) && property.number == UINT32_MAX && property.text.size == 0);
	CHECK(!properties_next(&rest, &property) && rest.size == 0);
	buffer_release(&run);
}

static void refuses_what_does_not_fit(void)
{
	struct buffer run = { 0 };
	char *longest = calloc(1, 65536);

	if (!longest)
		abort();
	CHECK(append(&run, (struct property){ .id = PROPERTY_CONTENT_TYPE, .text = { longest, 65536 } }) == -1);
	CHECK(append(&run, (struct property){ .id = PROPERTY_USER, .name = text("n"), .text = { longest, 65536 } }) == -1);
	CHECK(append(&run, (struct property){ .id = (enum property_id)17, .number = 1 }) == -1);
	CHECK(run.size == 0);
	CHECK(append(&run, (struct property){ .id = PROPERTY_CONTENT_TYPE, .text = { longest, 65535 } }) == 0);
	CHECK(run.size == 65538);
	free(longest);
	buffer_release(&run);
}

static void stops_at_damage(void)
{
	static const char *const damaged[] = { "\2\0\0\0", "\1", "\3\0\5abcd", "\3\0", "\46\0\1n\0", "\21\1", "\0" };
	static const size_t sizes[] = { 4, 1, 7, 2, 5, 2, 1 };
	struct property property;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct bytes run = { damaged[i], sizes[i] };

		CHECK(!properties_next(&run, &property));
		CHECK(run.data == damaged[i] && run.size == sizes[i]);
	}
}

static void random_bytes_do_no_harm(void)
{
	static const char ids[] = { 1, 2, 3, 8, 9, 38 };
	struct property property;

	srand(1);
	for (int i = 0; i < 200000; i++) {
		size_t size = (size_t)(rand() % 40), turns = 0;
		char *data = malloc(size ? size : 1);
		struct bytes run = { data, size };

		if (!data)
			abort();
		for (size_t k = 0; k < size; k++)
			data[k] = rand() % 2 ? ids[rand() % 6] : (char)(rand() % 4 ? 0 : rand());
		while (properties_next(&run, &property))
			turns++;
		CHECK(turns <= size);
		free(data);
	}
}

int main(void)
{
	RUN(writes_the_wire_form);
	RUN(reads_what_it_wrote);
	RUN(refuses_what_does_not_fit);
	RUN(stops_at_damage);
	RUN(random_bytes_do_no_harm);
	return test_end();
}
