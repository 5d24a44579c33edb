/* One page of a tree as SQLite lays it out: its cells, and the records in them. Reads
 * what may be damaged: nothing is looked at that is not inside the page. */
#ifndef TIDEGATE_CELL_H
#define TIDEGATE_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum page_kind { INDEX_INTERIOR = 2, TABLE_INTERIOR = 5, INDEX_LEAF = 10, TABLE_LEAF = 13 };

struct page {
	const unsigned char *bytes;
	uint32_t size, start; /* of its header: not 0 on page 1 */
	enum page_kind kind;
	unsigned cells;
};

struct cell {
	uint32_t child; /* on interior pages: what is before it */
	int64_t key;    /* in tables */
	uint64_t record_bytes; /* not on interior pages of tables: there are no records */
	const unsigned char *local; /* what of the record is on this page; the rest begins on page `overflow` */
	uint32_t local_bytes, overflow;
	uint32_t at, bytes; /* where on the page it is */
};

#define COLUMNS_MAX 16

enum value_kind { VALUE_NULL, VALUE_INTEGER, VALUE_REAL, VALUE_BLOB, VALUE_TEXT };

struct column {
	enum value_kind kind;
	uint32_t type;   /* as in the record's header */
	uint64_t at, size; /* in the record */
};

struct record {
	struct column columns[COLUMNS_MAX];
	unsigned n;
};

/* False: it is no page of a tree. */
bool page_parse(struct page *page, uint32_t number, const unsigned char *bytes, uint32_t size);
bool page_is_leaf(const struct page *page);

/* What is behind the last cell of an interior page. */
uint32_t page_last_child(const struct page *page);

/* False: there is something wrong with it. */
bool page_cell(const struct page *page, unsigned i, struct cell *cell);

/* Whether its cells and what is free on it are all that is on it. A page that has
 * fewer cells than it had before it was damaged is not whole. */
bool page_is_whole(const struct page *page);

/* Where the columns of a cell's record are: false if it is none, or has too many. */
bool cell_record(const struct cell *cell, struct record *record);

/* A number in a record that is read as a whole. */
int64_t column_integer(const struct column *column, const unsigned char *record);

#endif
