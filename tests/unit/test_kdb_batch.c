/* Rows to columns, halves of them, and where batches end. */
#include <stdlib.h>
#include <string.h>

#include "kdb_batch.h"
#include "kdb_cuts.h"
#include "kdb_ipc.h"
#include "test.h"

static char err[200];

/* (`name; value; "text") as it is queued. */
static struct buffer row_of(const char *name, double value, const char *text)
{
	struct buffer row = {0};

	REQUIRE(kdb_put_list(&row, 3) == 0 && kdb_put_symbol(&row, (struct bytes){name, strlen(name)}) == 0 &&
	        kdb_put_float(&row, KDB_FLOAT, value) == 0 &&
	        kdb_put_string(&row, (struct bytes){text, strlen(text)}) == 0);
	return row;
}

static void add(struct kdb_batch **batch, uint64_t seq, const char *name, double value, const char *text)
{
	struct buffer payload = row_of(name, value, text);
	struct kdb_cells row = {0};

	REQUIRE(kdb_cells_read(&row, (struct bytes){payload.data, payload.size}, err, sizeof err) == 0);
	if (!*batch)
		*batch = kdb_batch_open("sensor", &row);
	CHECK(kdb_batch_takes(*batch, "sensor", &row));
	CHECK(kdb_batch_add(*batch, &row, (struct kdb_place){.seq = seq, .handle = (int)seq + 100}) == 0);
	kdb_cells_release(&row);
	buffer_release(&payload);
}

/* By hand, from the rules of the wire. */
static void test_a_call(void)
{
	static const unsigned char wanted[] =
	        "\x01\x01\x00\x00\x58\x00\x00\x00"
	        "\x00\x00\x03\x00\x00\x00"                         /* three items: */
	        "\xf5.u.upd\x00"                                   /* `.u.upd */
	        "\xf5sensor\x00"                                   /* `sensor */
	        "\x00\x00\x03\x00\x00\x00"                         /* three columns: */
	        "\x0b\x00\x02\x00\x00\x00" "a\x00" "bc\x00"        /* `a`bc */
	        "\x09\x00\x02\x00\x00\x00"                         /* 1 2f */
	        "\x00\x00\x00\x00\x00\x00\xf0\x3f" "\x00\x00\x00\x00\x00\x00\x00\x40"
	        "\x00\x00\x02\x00\x00\x00"                         /* (,"x";"") */
	        "\x0a\x00\x01\x00\x00\x00" "x" "\x0a\x00\x00\x00\x00\x00";
	struct kdb_target target = {.function = ".u.upd"};
	struct kdb_batch *batch = NULL;
	struct buffer out = {0};

	add(&batch, 1, "a", 1, "x");
	add(&batch, 2, "bc", 2, "");
	CHECK(kdb_batch_encode(batch, &target, &out) == 0);
	CHECK(out.size == sizeof wanted - 1 && memcmp(out.data, wanted, out.size) == 0);
	CHECK(kdb_batch_first(batch) == 1 && kdb_batch_last(batch) == 2 && batch->places[1].handle == 102);
	buffer_release(&out);
	kdb_batch_close(batch);
}

static void test_a_call_that_is_known_again(void)
{
	static const unsigned char wanted[] =
	        "\x00\x00\x07\x00\x00\x00"
	        "\x0a\x00\x0d\x00\x00\x00.tidegate.upd"
	        "\xf5gw\x00"
	        "\xfe" "0123456789abcdef"
	        "\xf9\x07\x00\x00\x00\x00\x00\x00\x00"
	        "\xf9\x09\x00\x00\x00\x00\x00\x00\x00"
	        "\xf5sensor\x00"
	        "\x00\x00\x03\x00\x00\x00";
	struct kdb_target target = {.function = ".tidegate.upd", .as_string = true, .agent = "gw",
	                            .instance = (const unsigned char *)"0123456789abcdef"};
	struct kdb_batch *batch = NULL;
	struct buffer out = {0};

	add(&batch, 7, "a", 1, "x");
	add(&batch, 9, "b", 2, "");
	CHECK(kdb_batch_encode(batch, &target, &out) == 0);
	CHECK(out.size > sizeof wanted + 8 && memcmp(out.data + 8, wanted, sizeof wanted - 1) == 0);
	buffer_release(&out);
	kdb_batch_close(batch);
}

static void test_types_are_not_mixed(void)
{
	struct buffer payload = row_of("a", 1, "x"), other = {0};
	struct kdb_cells row = {0};
	struct kdb_batch *batch;

	REQUIRE(kdb_put_list(&other, 3) == 0 && kdb_put_symbol(&other, (struct bytes){"a", 1}) == 0 &&
	        kdb_put_integer(&other, KDB_LONG, 1) == 0 && kdb_put_string(&other, (struct bytes){"x", 1}) == 0);
	REQUIRE(kdb_cells_read(&row, (struct bytes){payload.data, payload.size}, err, sizeof err) == 0);
	batch = kdb_batch_open("sensor", &row);
	CHECK(kdb_batch_takes(batch, "sensor", &row) && !kdb_batch_takes(batch, "sensors", &row));
	kdb_cells_stamp(&row, KDB_TIMESPAN, 5);
	CHECK(row.n == 4 && row.cells[0].type == KDB_TIMESPAN && row.cells[1].type == KDB_SYMBOL);
	CHECK(!kdb_batch_takes(batch, "sensor", &row));
	REQUIRE(kdb_cells_read(&row, (struct bytes){other.data, other.size}, err, sizeof err) == 0);
	CHECK(!kdb_batch_takes(batch, "sensor", &row));
	kdb_batch_close(batch);
	kdb_cells_release(&row);
	buffer_release(&payload);
	buffer_release(&other);
}

static void test_what_is_no_row(void)
{
	struct buffer payload = row_of("a", 1, "x");
	struct kdb_cells row = {0};

	for (size_t size = 0; size < payload.size; size++) {
		char *exact = malloc(size ? size : 1); /* so that a byte too many is noticed */

		memcpy(exact, payload.data, size);
		CHECK(kdb_cells_read(&row, (struct bytes){exact, size}, err, sizeof err) < 0);
		free(exact);
	}
	CHECK(buffer_append(&payload, "", 1) == 0);
	CHECK(kdb_cells_read(&row, (struct bytes){payload.data, payload.size}, err, sizeof err) < 0);
	payload.data[6] = KDB_SYMBOL; /* a vector is no value */
	CHECK(kdb_cells_read(&row, (struct bytes){payload.data, payload.size - 1}, err, sizeof err) < 0);
	CHECK(kdb_cells_read(&row, (struct bytes){"\0\0\0\0\0\0", 6}, err, sizeof err) < 0);
	CHECK(kdb_cells_read(&row, (struct bytes){"\0\0\xff\xff\xff\x7f", 6}, err, sizeof err) < 0);
	CHECK(strstr(err, "wrong count") != NULL);
	kdb_cells_release(&row);
	buffer_release(&payload);
}

/* Both halves are what they would be if they had been collected so. */
static void test_halves(void)
{
	struct kdb_target target = {.function = "upd"};
	struct kdb_batch *whole = NULL, *first = NULL, *second = NULL, *rest;
	struct buffer out = {0}, wanted = {0};

	for (int i = 1; i <= 5; i++) {
		static const char *const names[] = {"", "a", "bb", "", "dddd", "e"};

		add(&whole, (uint64_t)i, names[i], i, names[5 - i]);
		add(i <= 2 ? &first : &second, (uint64_t)i, names[i], i, names[5 - i]);
	}
	rest = kdb_batch_halve(whole);
	REQUIRE(rest != NULL);
	CHECK(whole->n == 2 && rest->n == 3 && kdb_batch_first(rest) == 3 && kdb_batch_last(whole) == 2);
	CHECK(whole->bytes == first->bytes && rest->bytes == second->bytes);
	CHECK(kdb_batch_encode(whole, &target, &out) == 0 && kdb_batch_encode(rest, &target, &out) == 0);
	CHECK(kdb_batch_encode(first, &target, &wanted) == 0 && kdb_batch_encode(second, &target, &wanted) == 0);
	CHECK(out.size == wanted.size && memcmp(out.data, wanted.data, out.size) == 0);
	buffer_release(&out);
	buffer_release(&wanted);
	kdb_batch_close(whole);
	kdb_batch_close(rest);
	kdb_batch_close(first);
	kdb_batch_close(second);
}

static void test_cuts(void)
{
	struct kdb_cuts cuts = {0}, again = {0};
	char *text;

	CHECK(kdb_cuts_end(&cuts, "sensor", 1) == UINT64_MAX);
	CHECK(kdb_cuts_add(&cuts, "sensor", 5) == 1 && kdb_cuts_add(&cuts, "sensor", 3) == 1);
	CHECK(kdb_cuts_add(&cuts, "alarm", 4) == 1 && kdb_cuts_add(&cuts, "sensor", 5) == 0);
	CHECK(kdb_cuts_end(&cuts, "sensor", 1) == 3 && kdb_cuts_end(&cuts, "sensor", 4) == 5);
	CHECK(kdb_cuts_end(&cuts, "sensor", 6) == UINT64_MAX && kdb_cuts_has(&cuts, "alarm", 4));
	text = kdb_cuts_text(&cuts);
	CHECK(strcmp(text, "sensor 5 sensor 3 alarm 4") == 0);
	CHECK(kdb_cuts_restore(&again, text) == 0 && again.n == 3 && kdb_cuts_has(&again, "sensor", 3));
	kdb_cuts_settled(&again, "sensor", 4);
	CHECK(again.n == 2 && kdb_cuts_end(&again, "sensor", 1) == 5 && kdb_cuts_has(&again, "alarm", 4));
	CHECK(kdb_cuts_restore(&again, "") == 0 && again.n == 2);
	CHECK(kdb_cuts_restore(&again, "sensor") < 0 && kdb_cuts_restore(&again, "sensor x") < 0);
	kdb_cuts_release(&cuts);
	kdb_cuts_release(&again);
	free(text);
}

int main(void)
{
	RUN(test_a_call);
	RUN(test_a_call_that_is_known_again);
	RUN(test_types_are_not_mixed);
	RUN(test_what_is_no_row);
	RUN(test_halves);
	RUN(test_cuts);
	return test_end();
}
