/* SQLite's file format, "B-tree pages" and "record format": a page begins with a header
 * and an array of where its cells are; a cell may hold a child, a key and a record, of
 * which what does not fit is on other pages. */
#include "cell.h"

#include "image.h"

#define FILE_HEADER 100 /* on page 1, before the page's own */

static unsigned number_2(const unsigned char *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* A number of 1 to 9 bytes. How many; 0: it goes beyond `end`. */
static unsigned varint(const unsigned char *at, const unsigned char *end, uint64_t *value)
{
	*value = 0;
	for (unsigned i = 0; i < 9 && at + i < end; i++) {
		if (i == 8) {
			*value = *value << 8 | at[i];
			return 9;
		}
		*value = *value << 7 | (at[i] & 0x7f);
		if (at[i] < 0x80)
			return i + 1;
	}
	return 0;
}

/* ---- pages ---- */

bool page_is_leaf(const struct page *page)
{
	return page->kind == TABLE_LEAF || page->kind == INDEX_LEAF;
}

static uint32_t header_bytes(const struct page *page)
{
	return page_is_leaf(page) ? 8 : 12;
}

/* Where the array of cells ends. */
static uint32_t array_end(const struct page *page)
{
	return page->start + header_bytes(page) + 2 * page->cells;
}

static uint32_t content_start(const struct page *page)
{
	uint32_t start = number_2(page->bytes + page->start + 5);

	return start ? start : 65536;
}

bool page_parse(struct page *page, uint32_t number, const unsigned char *bytes, uint32_t size)
{
	unsigned char kind;

	*page = (struct page){.bytes = bytes, .size = size, .start = number == 1 ? FILE_HEADER : 0};
	kind = bytes[page->start];
	if (kind != TABLE_LEAF && kind != TABLE_INTERIOR && kind != INDEX_LEAF && kind != INDEX_INTERIOR)
		return false;
	page->kind = (enum page_kind)kind;
	page->cells = number_2(bytes + page->start + 3);
	return array_end(page) <= size;
}

uint32_t page_last_child(const struct page *page)
{
	return image_number(page->bytes + page->start + 8);
}

/* How much of a record of `size` bytes is on the page. */
static uint32_t local_bytes(const struct page *page, uint64_t size)
{
	uint32_t least = (page->size - 12) * 32 / 255 - 23;
	uint32_t most = page->kind == TABLE_LEAF ? page->size - 35 : (page->size - 12) * 64 / 255 - 23;
	uint64_t fits;

	if (size <= most)
		return (uint32_t)size;
	fits = least + (size - least) % (page->size - 4);
	return fits <= most ? (uint32_t)fits : least;
}

static bool parse_record_of_cell(const struct page *page, const unsigned char *at, struct cell *cell)
{
	const unsigned char *end = page->bytes + page->size;
	uint32_t extra;

	cell->local_bytes = local_bytes(page, cell->record_bytes);
	extra = cell->local_bytes < cell->record_bytes ? 4 : 0;
	if ((size_t)(end - at) < cell->local_bytes + extra)
		return false;
	cell->local = at;
	if (extra)
		cell->overflow = image_number(at + cell->local_bytes);
	at += cell->local_bytes + extra;
	cell->bytes = (uint32_t)(at - page->bytes) - cell->at;
	return true;
}

bool page_cell(const struct page *page, unsigned i, struct cell *cell)
{
	const unsigned char *end = page->bytes + page->size, *at;
	uint64_t key = 0;
	unsigned n;

	*cell = (struct cell){.at = number_2(page->bytes + array_end(page) - 2 * (page->cells - i))};
	if (cell->at < array_end(page) || cell->at + 4 > page->size)
		return false;
	at = page->bytes + cell->at;
	if (!page_is_leaf(page)) {
		cell->child = image_number(at);
		at += 4;
	}
	if (page->kind != TABLE_INTERIOR) {
		if ((n = varint(at, end, &cell->record_bytes)) == 0)
			return false;
		at += n;
	}
	if (page->kind == TABLE_LEAF || page->kind == TABLE_INTERIOR) {
		if ((n = varint(at, end, &key)) == 0)
			return false;
		at += n;
		cell->key = (int64_t)key;
	}
	cell->bytes = (uint32_t)(at - page->bytes) - cell->at;
	return page->kind == TABLE_INTERIOR || parse_record_of_cell(page, at, cell);
}

/* What is free in blocks between cells; more than a page if the blocks are not in order. */
static uint32_t free_in_blocks(const struct page *page)
{
	uint32_t free = 0, last = array_end(page);

	for (uint32_t at = number_2(page->bytes + page->start + 1); at; at = number_2(page->bytes + at)) {
		if (at < last || at + 4 > page->size)
			return page->size;
		last = at + 4;
		free += number_2(page->bytes + at + 2);
	}
	return free;
}

bool page_is_whole(const struct page *page)
{
	uint32_t used = content_start(page) + free_in_blocks(page) + page->bytes[page->start + 7];
	struct cell cell;

	for (unsigned i = 0; i < page->cells; i++) {
		if (!page_cell(page, i, &cell))
			return false;
		used += cell.bytes < 4 ? 4 : cell.bytes;
	}
	return content_start(page) >= array_end(page) && used == page->size;
}

/* ---- records ---- */

static bool set_column(struct column *column, uint64_t type)
{
	static const unsigned char sizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};

	if (type == 10 || type == 11 || type > UINT32_MAX)
		return false;
	column->type = (uint32_t)type;
	column->size = type < sizeof sizes ? sizes[type] : (type - 12) / 2;
	if (type >= 12)
		column->kind = type % 2 ? VALUE_TEXT : VALUE_BLOB;
	else
		column->kind = type == 0 ? VALUE_NULL : type == 7 ? VALUE_REAL : VALUE_INTEGER;
	return true;
}

bool cell_record(const struct cell *cell, struct record *record)
{
	const unsigned char *at = cell->local, *end = at + cell->local_bytes;
	uint64_t header, type, body;
	unsigned n = varint(at, end, &header);

	record->n = 0;
	if (n == 0 || header < n || header > cell->local_bytes)
		return false;
	end = at + header;
	body = header;
	for (at += n; at < end; at += n) {
		struct column *column = &record->columns[record->n];

		if (record->n == COLUMNS_MAX || (n = varint(at, end, &type)) == 0 || !set_column(column, type))
			return false;
		column->at = body;
		body += column->size;
		record->n++;
	}
	return body == cell->record_bytes;
}

int64_t column_integer(const struct column *column, const unsigned char *record)
{
	uint64_t value = 0;

	if (column->type >= 8) /* the numbers 0 and 1 need no bytes */
		return column->type - 8;
	for (uint64_t i = 0; i < column->size; i++)
		value = i == 0 ? (uint64_t)(int64_t)(signed char)record[column->at] : value << 8 | record[column->at + i];
	return (int64_t)value;
}
