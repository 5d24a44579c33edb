/* What kdb+'s wire costs in CPU time: columns of floats beside memcpy of the same, rows as
 * they wait in the queue made into batches, and those read again.
 *
 * usage: kdb_encode ROUNDS. A line a round:
 *     vector MEMCPY-NS ENCODE-NS      of four columns of 100,000 floats
 *     rows NS-A-ROW                   500 rows of (timestamp, symbol, float) checked, collected, put into a call
 *     read NS-A-ROW                   that call checked and walked
 *     compress NS-A-ROW RATIO         that call compressed, and how much smaller it became
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kdb_compress.h"
#include "kdb_ipc.h"

#define FLOATS  100000
#define COLUMNS 4
#define ROWS    500
#define BATCHES 400

static void fail(const char *what)
{
	fprintf(stderr, "kdb_encode: %s\n", what);
	exit(1);
}

static int64_t cpu_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now))
		fail("no clock");
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- columns ---- */

static double columns[COLUMNS][FLOATS];
static char copied[sizeof columns];

static void make_columns(void)
{
	for (size_t i = 0; i < FLOATS; i++)
		for (size_t column = 0; column < COLUMNS; column++)
			columns[column][i] = (double)i * 0.25 + (double)column;
}

static void copy_columns(void)
{
	for (size_t column = 0; column < COLUMNS; column++)
		memcpy(copied + column * sizeof columns[0], columns[column], sizeof columns[0]);
}

static void encode_columns(struct buffer *out)
{
	size_t begin;

	out->size = 0;
	begin = kdb_message_begin(out, KDB_SYNC);
	if (kdb_put_list(out, COLUMNS))
		fail("not enough memory");
	for (size_t column = 0; column < COLUMNS; column++)
		if (kdb_put_vector(out, KDB_FLOAT, columns[column], FLOATS))
			fail("not enough memory");
	if (kdb_message_end(out, begin))
		fail("a message that is too long");
}

/* In turns, so that both meet the same machine. */
static void run_vector(void)
{
	static struct buffer out;
	int64_t memcpy_ns = 0, encode_ns = 0;

	encode_columns(&out);
	copy_columns();
	for (int i = 0; i < 50; i++) {
		int64_t started = cpu_ns(), between;

		copy_columns();
		between = cpu_ns();
		encode_columns(&out);
		encode_ns += cpu_ns() - between;
		memcpy_ns += between - started;
	}
	if (memcmp(out.data + out.size - sizeof columns[0], copied + sizeof copied - sizeof columns[0], sizeof columns[0]))
		fail("the last column came out as something else");
	printf("vector %" PRId64 " %" PRId64 "\n", memcpy_ns / 50, encode_ns / 50);
}

/* ---- rows ---- */

#define ROW_COLUMNS 3

static struct buffer rows[ROWS];

static struct bytes text(const char *data)
{
	return (struct bytes){ data, strlen(data) };
}

static void make_rows(void)
{
	static const char *const names[] = { "boiler", "pump", "valve", "tank" };

	for (int i = 0; i < ROWS; i++)
		if (kdb_put_list(&rows[i], ROW_COLUMNS) ||
		    kdb_put_integer(&rows[i], KDB_TIMESTAMP, INT64_C(848620800000000000) + i * INT64_C(1000000007)) ||
		    kdb_put_symbol(&rows[i], text(names[i % 4])) || kdb_put_float(&rows[i], KDB_FLOAT, 20 + i % 100 * 0.25))
			fail("not enough memory");
}

/* The row's items go behind those of the rows before. */
static void collect_row(const struct buffer *row, struct buffer *collected)
{
	struct kdb_input input;
	struct kdb_object object;
	char err[200];

	if (kdb_open_object(&input, (struct bytes){ row->data, row->size }, err, sizeof err))
		fail(err);
	if (!kdb_next(&input, &object) || object.children != ROW_COLUMNS)
		fail("a row is no list");
	for (size_t column = 0; column < ROW_COLUMNS; column++)
		if (!kdb_next(&input, &object) ||
		    buffer_append(&collected[column], object.items.data, object.items.size))
			fail("not enough memory");
}

static void put_batch(struct buffer *collected, struct buffer *out)
{
	static const int types[] = { KDB_TIMESTAMP, KDB_SYMBOL, KDB_FLOAT };
	size_t begin;

	out->size = 0;
	begin = kdb_message_begin(out, KDB_SYNC);
	if (kdb_put_list(out, 3) || kdb_put_symbol(out, text(".u.upd")) || kdb_put_symbol(out, text("sensor")) ||
	    kdb_put_list(out, ROW_COLUMNS))
		fail("not enough memory");
	for (size_t column = 0; column < ROW_COLUMNS; column++) {
		if (kdb_put_vector_head(out, types[column], ROWS) ||
		    buffer_append(out, collected[column].data, collected[column].size))
			fail("not enough memory");
		collected[column].size = 0;
	}
	if (kdb_message_end(out, begin))
		fail("a message that is too long");
}

static void run_rows(struct buffer *out)
{
	static struct buffer collected[ROW_COLUMNS];
	int64_t started = cpu_ns();

	for (int batch = 0; batch < BATCHES; batch++) {
		for (int i = 0; i < ROWS; i++)
			collect_row(&rows[i], collected);
		put_batch(collected, out);
	}
	printf("rows %" PRId64 "\n", (cpu_ns() - started) / (BATCHES * ROWS));
}

static void run_read(const struct buffer *call)
{
	struct bytes message = { call->data, call->size };
	struct buffer scratch = { 0 };
	struct kdb_object object;
	struct kdb_input input;
	char err[200];
	int64_t started = cpu_ns();
	size_t symbols = 0;

	for (int batch = 0; batch < BATCHES; batch++) {
		if (kdb_open(&input, message, KDB_SIZE_MAX, &scratch, err, sizeof err))
			fail(err);
		while (kdb_next(&input, &object))
			symbols += object.type == KDB_SYMBOL ? object.n : 0;
	}
	if (symbols != (size_t)BATCHES * ROWS)
		fail("rows are missing");
	printf("read %" PRId64 "\n", (cpu_ns() - started) / (BATCHES * ROWS));
}

static void run_compress(const struct buffer *call)
{
	static struct buffer small;
	int64_t started = cpu_ns();

	for (int batch = 0; batch < BATCHES; batch++) {
		small.size = 0;
		if (kdb_compress((struct bytes){ call->data, call->size }, &small) != 1)
			fail("the call did not compress");
	}
	printf("compress %" PRId64 " %.2f\n", (cpu_ns() - started) / (BATCHES * ROWS),
	       (double)call->size / (double)small.size);
}

int main(int argc, char **argv)
{
	static struct buffer call;
	int rounds = argc == 2 ? atoi(argv[1]) : 0;

	if (rounds < 1) {
		fprintf(stderr, "usage: kdb_encode ROUNDS\n");
		return 64;
	}
	make_columns();
	make_rows();
	for (int round = 0; round < rounds; round++) {
		run_vector();
		run_rows(&call);
		run_read(&call);
		run_compress(&call);
	}
	return 0;
}
