/* A damaged page can refer to any other, so the oracle of what belongs where is what is
 * in the pages: how many columns of what kind, and keys within what their parent says.
 * In a sound file each page has one owner or is free: what has two or none is where
 * the damage shows. */
#include "forest.h"

#include <stdlib.h>
#include <string.h>

#define NOBODY 0xffff
#define DEPTH_MAX 20
#define COLUMNS_MIN 2
#define TREES_MAX 4096

struct spot {
	uint16_t owner;
	uint16_t hint; /* a table that refers to it, although it does not look like it */
	uint8_t uses;  /* as what does not fit into a page */
	bool free;
};

/* Where in a tree: its keys are above `above`, up to `to`. */
struct place {
	unsigned tree;
	bool apart;
	int64_t above, to;
	unsigned depth;
};

/* ---- what looks like what ---- */

static bool fits_column(char shape, enum value_kind kind)
{
	bool bytes = kind == VALUE_BLOB || kind == VALUE_TEXT;

	switch (shape) {
	case 'k':
		return kind == VALUE_NULL;
	case 't':
	case 'b':
		return bytes;
	case 'T':
	case 'B':
		return bytes || kind == VALUE_NULL;
	case 'i':
		return kind == VALUE_INTEGER || kind == VALUE_NULL;
	default:
		return true;
	}
}

/* Old rows lack the columns that were added later: numbers, all of them. */
static bool fits_shape(const struct record *record, const char *shape)
{
	size_t columns = strlen(shape);

	if (record->n < COLUMNS_MIN || record->n > columns)
		return false;
	for (unsigned i = 0; i < columns; i++)
		if (i < record->n ? !fits_column(shape[i], record->columns[i].kind) : shape[i] != 'i')
			return false;
	return true;
}

static bool is_row(const struct page *page, unsigned i, const char *shape, struct cell *cell, struct record *record)
{
	return page_cell(page, i, cell) && cell_record(cell, record) && fits_shape(record, shape);
}

/* Most of what is on it, for a key can be damaged without the rest. */
static bool fits_place(const struct forest *forest, const struct page *page, const struct place *place)
{
	const struct tree *tree = &forest->trees[place->tree];
	bool root = place->depth == 0;
	unsigned fit = 0;

	if (tree->keyed != (page->kind == TABLE_LEAF || page->kind == TABLE_INTERIOR))
		return false;
	for (unsigned i = 0; i < page->cells; i++) {
		struct record record;
		struct cell cell;

		if (page->kind == TABLE_INTERIOR)
			fit += page_cell(page, i, &cell) && cell.child > 1 && cell.child <= forest->image->pages &&
			       cell.key >= place->above && cell.key <= place->to;
		else
			fit += is_row(page, i, tree->shape, &cell, &record) &&
			       (!tree->keyed || (cell.key >= place->above && cell.key <= place->to));
	}
	return 2 * fit > page->cells || (page->cells == 0 && (root || !page_is_leaf(page)));
}

/* ---- free pages ---- */

static bool mark_free(struct forest *forest, uint32_t page)
{
	if (page < 2 || page > forest->image->pages || forest->spots[page].free)
		return false;
	forest->spots[page].free = true;
	return true;
}

/* A trunk of the list: the next one, how many leaves, which. */
static bool mark_trunk(struct forest *forest, uint32_t *trunk, uint32_t *marked)
{
	uint32_t n;

	if (!mark_free(forest, *trunk) || !image_read(forest->image, *trunk, forest->bytes))
		return false;
	n = image_number(forest->bytes + 4);
	if (n > forest->image->page_bytes / 4 - 2)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!mark_free(forest, image_number(forest->bytes + 8 + 4 * i)))
			return false;
	*marked += 1 + n;
	*trunk = image_number(forest->bytes);
	return true;
}

/* The list of free pages counts only if it is whole. */
static void find_free_pages(struct forest *forest)
{
	uint32_t trunk, count, marked = 0;

	if (!image_read(forest->image, 1, forest->bytes) || memcmp(forest->bytes, "SQLite format 3", 16) != 0)
		return;
	trunk = image_number(forest->bytes + 32);
	count = image_number(forest->bytes + 36);
	while (trunk && mark_trunk(forest, &trunk, &marked))
		;
	forest->free_known = trunk == 0 && marked == count;
	for (uint32_t i = 0; !forest->free_known && i <= forest->image->pages; i++)
		forest->spots[i].free = false;
}

/* ---- walking ---- */

static int visit(struct forest *forest, uint32_t number, const struct place *place);

/* Keys between those before and behind. Trees whose key is a text have no range. */
static int visit_children(struct forest *forest, const struct page *page, const struct place *place)
{
	struct place below = {.tree = place->tree, .apart = place->apart, .above = place->above, .depth = place->depth + 1};
	bool keyed = page->kind == TABLE_INTERIOR;
	struct cell cell;

	for (unsigned i = 0; i < page->cells; i++) {
		if (!page_cell(page, i, &cell))
			continue;
		below.to = keyed ? cell.key : INT64_MAX;
		if (visit(forest, cell.child, &below) < 0)
			return -1;
		if (keyed)
			below.above = cell.key;
	}
	below.to = place->to;
	return visit(forest, page_last_child(page), &below);
}

static void miss(struct forest *forest, unsigned tree)
{
	forest->gaps++;
	forest->trees[tree].incomplete = true;
}

/* Gives it to the table it is visited for, or sets it apart. False: what is below was
 * visited already. */
static bool claim(struct forest *forest, struct spot *spot, struct place *place)
{
	if (spot->owner == NOBODY && !spot->free && !place->apart) {
		spot->owner = (uint16_t)place->tree;
		return true;
	}
	if (spot->owner == FOREST_APART)
		return false;
	if (!place->apart) {
		miss(forest, place->tree);
		if (spot->owner == place->tree)
			return false;
		if (spot->owner == NOBODY)
			forest->free_known = false;
		else
			forest->trees[spot->owner].incomplete = true;
	}
	place->apart = true;
	spot->owner = FOREST_APART;
	return true;
}

static int visit_page(struct forest *forest, uint32_t number, struct place place, unsigned char *bytes)
{
	struct spot *spot = &forest->spots[number];
	struct page page;

	if (!image_read(forest->image, number, bytes) || !page_parse(&page, number, bytes, forest->image->page_bytes) ||
	    !fits_place(forest, &page, &place)) {
		miss(forest, place.tree);
		if (spot->hint == NOBODY)
			spot->hint = (uint16_t)place.tree;
		return 0;
	}
	if (!claim(forest, spot, &place) || page_is_leaf(&page))
		return 0;
	if (!page_is_whole(&page))
		miss(forest, place.tree);
	return visit_children(forest, &page, &place);
}

static int visit(struct forest *forest, uint32_t number, const struct place *place)
{
	unsigned char *bytes;
	int result;

	if (number < 1 || number > forest->image->pages || place->depth > DEPTH_MAX) {
		miss(forest, place->tree);
		return 0;
	}
	bytes = malloc(forest->image->page_bytes);
	if (!bytes)
		return -1;
	result = visit_page(forest, number, *place, bytes);
	free(bytes);
	return result;
}

/* ---- what nothing refers to ---- */

/* The one table of this shape that is incomplete, or the only one there is; several can be:
 * FOREST_APART. A leaf that nothing refers to may just be free if the list does not say what
 * is, and none is incomplete: NOBODY. */
static unsigned who_lacks(const struct forest *forest, const char *shape)
{
	unsigned incomplete = 0, all = 0, found = NOBODY;

	for (unsigned i = 0; i < forest->n; i++)
		if (strcmp(forest->trees[i].shape, shape) == 0) {
			all++;
			incomplete += forest->trees[i].incomplete;
			if (found == NOBODY || (forest->trees[i].incomplete && incomplete == 1))
				found = i;
		}
	if (incomplete == 1)
		return found;
	if (all == 0 || (incomplete == 0 && !forest->free_known))
		return NOBODY;
	return all == 1 ? found : FOREST_APART;
}

/* Without a list of what is free, a leaf may hold what was deleted. */
static void adopt(struct forest *forest, struct spot *spot, const char *shape, unsigned only)
{
	if (spot->hint != NOBODY && strcmp(forest->trees[spot->hint].shape, shape) == 0)
		only = spot->hint;
	else if (!forest->free_known)
		only = FOREST_APART;
	spot->owner = (uint16_t)only;
}

static bool has_rows(const struct page *page, const char *shape)
{
	struct record record;
	struct cell cell;
	unsigned rows = 0;

	for (unsigned i = 0; i < page->cells; i++)
		rows += is_row(page, i, shape, &cell, &record);
	return 2 * rows > page->cells;
}

void forest_adopt(struct forest *forest, const char *shape, bool keyed)
{
	unsigned only = who_lacks(forest, shape);
	struct page page;

	for (uint32_t i = 2; only != NOBODY && i <= forest->image->pages; i++) {
		struct spot *spot = &forest->spots[i];

		if (spot->owner == NOBODY && !spot->free && image_read(forest->image, i, forest->bytes) &&
		    page_parse(&page, i, forest->bytes, forest->image->page_bytes) &&
		    page.kind != TABLE_INTERIOR && keyed == (page.kind == TABLE_LEAF) && has_rows(&page, shape))
			adopt(forest, spot, shape, only);
	}
}

/* ---- records that are on more than one page ---- */

/* Follows a cell's chain to its end, to which it must come after as many pages as the
 * record needs. `visit` sees each page, which is in forest->more, and says whether to go on. */
static bool follow(struct forest *forest, const struct cell *cell,
                   bool (*visited)(struct forest *forest, uint32_t page, size_t at, size_t size))
{
	uint64_t at = cell->local_bytes, room = forest->image->page_bytes - 4;
	uint32_t page = cell->overflow;

	if (cell->record_bytes / room > forest->image->pages)
		return false;
	for (; at < cell->record_bytes; at += room) {
		uint64_t rest = cell->record_bytes - at;

		if (page < 2 || !image_read(forest->image, page, forest->more) ||
		    !visited(forest, page, (size_t)at, (size_t)(rest < room ? rest : room)))
			return false;
		page = image_number(forest->more);
	}
	return page == 0;
}

/* Where chains meet, the rest has been counted. */
static bool count_use(struct forest *forest, uint32_t page, size_t at, size_t size)
{
	struct spot *spot = &forest->spots[page];
	bool first = spot->uses == 0;

	(void)at, (void)size;
	spot->uses = first && spot->owner == NOBODY && !spot->free ? 1 : 2;
	return first;
}

static bool see_uses(struct forest *forest, uint32_t page, size_t at, size_t size)
{
	(void)at, (void)size;
	forest->shared = forest->shared || forest->spots[page].uses > 1;
	return true;
}

static bool gather(struct forest *forest, uint32_t page, size_t at, size_t size)
{
	(void)page;
	memcpy(forest->record + at, forest->more + 4, size);
	return true;
}

void forest_settle(struct forest *forest)
{
	for (uint32_t i = 1; i <= forest->image->pages; i++) {
		struct record record;
		struct cell cell;
		struct page page;

		if (forest->spots[i].owner == NOBODY || !image_read(forest->image, i, forest->bytes) ||
		    !page_parse(&page, i, forest->bytes, forest->image->page_bytes) || page.kind == TABLE_INTERIOR)
			continue;
		for (unsigned k = 0; k < page.cells; k++)
			if (page_cell(&page, k, &cell) && cell.overflow && cell_record(&cell, &record))
				follow(forest, &cell, count_use);
	}
}

/* 1 with the record as a whole in `bytes`, 0 if some of it is not there, -1 if memory is
 * exhausted. */
static int read_record(struct forest *forest, const struct cell *cell, const unsigned char **bytes)
{
	unsigned char *larger;

	*bytes = cell->local;
	forest->shared = false;
	if (cell->overflow == 0)
		return cell->local_bytes == cell->record_bytes;
	if (!follow(forest, cell, see_uses))
		return 0;
	if (cell->record_bytes > forest->record_size) {
		larger = realloc(forest->record, (size_t)cell->record_bytes);
		if (!larger)
			return -1;
		forest->record = larger;
		forest->record_size = (size_t)cell->record_bytes;
	}
	memcpy(forest->record, cell->local, cell->local_bytes);
	*bytes = forest->record;
	return follow(forest, cell, gather);
}

/* ---- rows ---- */

/* Keys ascend. One that is beyond the next one is wrong, not the next one. */
static bool is_in_order(const struct page *page, unsigned i, const char *shape, int64_t key, int64_t last)
{
	struct record record;
	struct cell next;

	return key > last && !(i + 1 < page->cells && is_row(page, i + 1, shape, &next, &record) && next.key > last &&
	                       next.key <= key);
}

static int take_rows(struct forest *forest, const struct page *page, const char *shape,
                     int (*take)(void *arg, const struct row *row), void *arg)
{
	bool keyed = page->kind == TABLE_LEAF;
	int64_t last = INT64_MIN;

	for (unsigned i = 0; i < page->cells; i++) {
		struct record record;
		struct row row = {.record = &record};
		struct cell cell;
		int complete = 0;

		if (is_row(page, i, shape, &cell, &record) && (!keyed || is_in_order(page, i, shape, cell.key, last)) &&
		    (complete = read_record(forest, &cell, &row.bytes)) < 0)
			return -1;
		if (complete) {
			row.key = last = cell.key;
			row.apart = forest->shared;
			if (take(arg, &row) < 0)
				return -1;
		} else {
			forest->gaps++;
		}
	}
	return 0;
}

int forest_each(struct forest *forest, unsigned tree, const char *shape, int (*take)(void *arg, const struct row *row),
                void *arg)
{
	struct page page;

	for (uint32_t i = 1; i <= forest->image->pages; i++)
		if (forest->spots[i].owner == tree && image_read(forest->image, i, forest->bytes) &&
		    page_parse(&page, i, forest->bytes, forest->image->page_bytes) && page.kind != TABLE_INTERIOR &&
		    take_rows(forest, &page, shape, take, arg) < 0)
			return -1;
	return 0;
}

/* ---- */

int forest_init(struct forest *forest, const struct image *image)
{
	*forest = (struct forest){.image = image};
	forest->spots = malloc(((size_t)image->pages + 1) * sizeof *forest->spots);
	forest->bytes = malloc(image->page_bytes + 1u);
	forest->more = malloc(image->page_bytes + 1u);
	if (!forest->spots || !forest->bytes || !forest->more)
		return -1;
	for (uint32_t i = 0; i <= image->pages; i++)
		forest->spots[i] = (struct spot){.owner = NOBODY, .hint = NOBODY};
	if (image->pages > 0)
		find_free_pages(forest);
	return 0;
}

void forest_release(struct forest *forest)
{
	free(forest->spots);
	free(forest->trees);
	free(forest->bytes);
	free(forest->more);
	free(forest->record);
}

int forest_add(struct forest *forest, const char *shape, bool keyed, uint32_t root)
{
	struct place place = {.tree = forest->n, .above = INT64_MIN, .to = INT64_MAX};
	struct tree *more = forest->n < TREES_MAX ? realloc(forest->trees, (forest->n + 1) * sizeof *more) : NULL;

	if (!more)
		return -1;
	forest->trees = more;
	forest->trees[forest->n++] = (struct tree){.shape = shape, .keyed = keyed};
	return visit(forest, root, &place) < 0 ? -1 : (int)place.tree;
}
