/* A row's values are found once, and copied once, behind those of the rows before. */
#include "kdb_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kdb_ipc.h"

#define LIST_HEAD 6 /* type, attribute, count */

/* ---- reading a row ---- */

static uint32_t read_u32(const unsigned char *data)
{
	return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static int bad_row(char *err, size_t err_size, const char *what, size_t at)
{
	snprintf(err, err_size, "no row of a kdb+ table: %s at byte %zu", what, at);
	return -1;
}

static int reserve_cells(struct kdb_cells *row, size_t n)
{
	struct kdb_cell *cells;

	if (n <= row->size)
		return 0;
	cells = realloc(row->cells, n * sizeof *cells);
	if (!cells)
		return -1;
	row->cells = cells;
	row->size = n;
	return 0;
}

/* The value at `data`; returns its bytes there, or 0 if it is none for a column. */
static size_t read_cell(const unsigned char *data, size_t left, struct kdb_cell *cell)
{
	int type = -(signed char)data[0];
	size_t size = type > 0 ? kdb_item_size(type) : 0;
	const unsigned char *end;

	if (size > 0 && size < left) {
		*cell = (struct kdb_cell){.type = type, .item = {data + 1, size}};
		return 1 + size;
	}
	if (type == KDB_SYMBOL && (end = memchr(data + 1, 0, left - 1))) {
		*cell = (struct kdb_cell){.type = type, .item = {data + 1, (size_t)(end - data)}};
		return 1 + cell->item.size;
	}
	if (data[0] != KDB_CHAR || left < LIST_HEAD || read_u32(data + 2) > left - LIST_HEAD)
		return 0;
	*cell = (struct kdb_cell){.type = KDB_LIST, .item = {data, LIST_HEAD + read_u32(data + 2)}};
	return cell->item.size;
}

int kdb_cells_read(struct kdb_cells *row, struct bytes payload, char *err, size_t err_size)
{
	const unsigned char *data = payload.data;
	size_t n, at = LIST_HEAD;

	row->n = 0;
	if (payload.size < LIST_HEAD || data[0] != KDB_LIST || data[1] != 0)
		return bad_row(err, err_size, "no list", 0);
	n = read_u32(data + 2);
	if (n == 0 || n > payload.size / 2)
		return bad_row(err, err_size, "a wrong count", 2);
	if (reserve_cells(row, n + 1) < 0) {
		snprintf(err, err_size, "out of memory");
		return -1;
	}
	for (; row->n < n; row->n++) {
		size_t size = at < payload.size ? read_cell(data + at, payload.size - at, &row->cells[row->n]) : 0;

		if (size == 0)
			return bad_row(err, err_size, "no value for a column", at);
		at += size;
	}
	return at == payload.size ? 0 : bad_row(err, err_size, "more than its values", at);
}

void kdb_cells_stamp(struct kdb_cells *row, int type, int64_t value)
{
	for (int i = 0; i < 8; i++)
		row->stamp[i] = (unsigned char)((uint64_t)value >> 8 * i);
	memmove(&row->cells[1], &row->cells[0], row->n * sizeof row->cells[0]);
	row->cells[0] = (struct kdb_cell){.type = type, .item = {row->stamp, sizeof row->stamp}};
	row->n++;
}

void kdb_cells_release(struct kdb_cells *row)
{
	free(row->cells);
	*row = (struct kdb_cells){0};
}

size_t kdb_cells_bytes(const struct kdb_cells *row)
{
	size_t bytes = 0;

	for (size_t i = 0; i < row->n; i++)
		bytes += row->cells[i].item.size;
	return bytes;
}

/* ---- collecting ---- */

static struct kdb_batch *open_columns(const char *table, size_t n_columns)
{
	struct kdb_batch *batch = calloc(1, sizeof *batch + n_columns * sizeof batch->columns[0]);

	if (!batch || !(batch->table = strdup(table))) {
		free(batch);
		return NULL;
	}
	batch->n_columns = n_columns;
	batch->end = UINT64_MAX;
	return batch;
}

struct kdb_batch *kdb_batch_open(const char *table, const struct kdb_cells *row)
{
	struct kdb_batch *batch = open_columns(table, row->n);

	for (size_t i = 0; batch && i < row->n; i++)
		batch->columns[i].type = row->cells[i].type;
	return batch;
}

void kdb_batch_close(struct kdb_batch *batch)
{
	if (!batch)
		return;
	for (size_t i = 0; i < batch->n_columns; i++)
		buffer_release(&batch->columns[i].items);
	free(batch->places);
	free(batch->table);
	free(batch);
}

bool kdb_batch_takes(const struct kdb_batch *batch, const char *table, const struct kdb_cells *row)
{
	if (batch->n_columns != row->n || strcmp(batch->table, table) != 0)
		return false;
	for (size_t i = 0; i < row->n; i++)
		if (batch->columns[i].type != row->cells[i].type)
			return false;
	return true;
}

static int reserve_place(struct kdb_batch *batch)
{
	size_t size = batch->size ? batch->size * 2 : 16;
	struct kdb_place *places;

	if (batch->n < batch->size)
		return 0;
	places = realloc(batch->places, size * sizeof *places);
	if (!places)
		return -1;
	batch->places = places;
	batch->size = size;
	return 0;
}

int kdb_batch_add(struct kdb_batch *batch, const struct kdb_cells *row, struct kdb_place place)
{
	size_t i = 0;

	if (reserve_place(batch) < 0)
		return -1;
	while (i < row->n && buffer_append(&batch->columns[i].items, row->cells[i].item.data, row->cells[i].item.size) == 0)
		i++;
	if (i < row->n) {
		while (i-- > 0)
			batch->columns[i].items.size -= row->cells[i].item.size;
		return -1;
	}
	batch->bytes += kdb_cells_bytes(row);
	batch->places[batch->n++] = place;
	return 0;
}

uint64_t kdb_batch_first(const struct kdb_batch *batch)
{
	return batch->places[0].seq;
}

uint64_t kdb_batch_last(const struct kdb_batch *batch)
{
	return batch->places[batch->n - 1].seq;
}

/* ---- halving ---- */

/* Where row n's item begins. */
static size_t offset_of(const struct kdb_column_items *column, size_t n)
{
	const unsigned char *data = (const unsigned char *)column->items.data;
	size_t at = 0;

	if (kdb_item_size(column->type) > 0)
		return n * kdb_item_size(column->type);
	while (n-- > 0)
		at += column->type == KDB_LIST ? LIST_HEAD + read_u32(data + at + 2) : strlen((const char *)data + at) + 1;
	return at;
}

static int copy_rest(struct kdb_batch *rest, const struct kdb_batch *batch, size_t kept)
{
	rest->size = batch->n - kept;
	rest->places = malloc(rest->size * sizeof rest->places[0]);
	if (!rest->places)
		return -1;
	rest->n = rest->size;
	memcpy(rest->places, batch->places + kept, rest->n * sizeof rest->places[0]);
	for (size_t i = 0; i < batch->n_columns; i++) {
		const struct kdb_column_items *column = &batch->columns[i];
		size_t at = offset_of(column, kept);

		rest->columns[i].type = column->type;
		if (buffer_append(&rest->columns[i].items, column->items.data + at, column->items.size - at) < 0)
			return -1;
		rest->bytes += column->items.size - at;
	}
	return 0;
}

struct kdb_batch *kdb_batch_halve(struct kdb_batch *batch)
{
	struct kdb_batch *rest = open_columns(batch->table, batch->n_columns);
	size_t kept = batch->n / 2;

	if (!rest || copy_rest(rest, batch, kept) < 0) {
		kdb_batch_close(rest);
		return NULL;
	}
	rest->opened_ms = batch->opened_ms;
	rest->late = batch->late;
	rest->refusals = batch->refusals;
	for (size_t i = 0; i < batch->n_columns; i++)
		batch->columns[i].items.size -= rest->columns[i].items.size;
	batch->bytes -= rest->bytes;
	batch->n = kept;
	return rest;
}

/* ---- the message ---- */

static struct bytes text(const char *string)
{
	return (struct bytes){string, strlen(string)};
}

static int put_head(const struct kdb_batch *batch, const struct kdb_target *target, struct buffer *out)
{
	struct bytes function = text(target->function);

	if (kdb_put_list(out, target->agent ? 7 : 3) < 0 ||
	    (target->as_string ? kdb_put_string(out, function) : kdb_put_symbol(out, function)) < 0)
		return -1;
	if (target->agent && (kdb_put_symbol(out, text(target->agent)) < 0 || kdb_put_guid(out, target->instance) < 0 ||
	              kdb_put_integer(out, KDB_LONG, (int64_t)kdb_batch_first(batch)) < 0 ||
	              kdb_put_integer(out, KDB_LONG, (int64_t)kdb_batch_last(batch)) < 0))
		return -1;
	return kdb_put_symbol(out, text(batch->table));
}

int kdb_batch_encode(const struct kdb_batch *batch, const struct kdb_target *target, struct buffer *out)
{
	size_t begin = kdb_message_begin(out, KDB_SYNC);

	if (put_head(batch, target, out) < 0 || kdb_put_list(out, batch->n_columns) < 0)
		return -1;
	for (size_t i = 0; i < batch->n_columns; i++) {
		const struct kdb_column_items *column = &batch->columns[i];

		if ((column->type == KDB_LIST ? kdb_put_list(out, batch->n)
		                              : kdb_put_vector_head(out, column->type, batch->n)) < 0 ||
		    buffer_append(out, column->items.data, column->items.size) < 0)
			return -1;
	}
	return kdb_message_end(out, begin);
}
