/* Which page of a damaged database belongs to which table, and the rows on them.
 *
 * Trees are walked from their roots. What a page refers to is believed if it looks like
 * a page of that table, with keys of the range that the reference is for. Leaves that
 * nothing refers to are given to the table that lacks some, if that can be told. What
 * two refer to belongs to nobody for sure: it is set apart. So a row is never found in
 * a table that it may not be of. */
#ifndef TIDEGATE_FOREST_H
#define TIDEGATE_FOREST_H

#include "cell.h"
#include "image.h"

#define FOREST_APART 0xfffe

/* What is in a table's columns: k, nothing (it is the key); t, text; T, text or NULL; b and
 * B, bytes, likewise; i, an integer or NULL; a, anything. Whether a text is one is not looked
 * at: it may be said to be bytes, or the other way round. Rows may lack the last of the integers. */
struct tree {
	const char *shape;
	bool keyed;      /* by an integer; otherwise the first columns are the key */
	bool incomplete; /* something of it was not found */
};

struct spot; /* of a page */

struct forest {
	const struct image *image;
	struct spot *spots;
	struct tree *trees;
	unsigned n;
	bool free_known; /* which pages are free, and hold what was deleted */
	uint64_t gaps;   /* places where something is wrong */
	unsigned char *bytes, *more, *record;
	size_t record_size;
	bool shared; /* what was read last has a page in common with something else */
};

struct row {
	int64_t key;
	const struct record *record;
	const unsigned char *bytes; /* of the record */
	bool apart; /* some of it may be another row's */
};

/* `image` must live as long. 0, or -1 if memory is exhausted; then, too, it must be released. */
int forest_init(struct forest *forest, const struct image *image);
void forest_release(struct forest *forest);

/* Walks the tree of a table whose root is page `root` (0: not known). The table's number, or
 * -1 if memory is exhausted. */
int forest_add(struct forest *forest, const char *shape, bool keyed, uint32_t root);

/* Gives pages of rows that nothing refers to to the tables of this shape. Once all tables are added. */
void forest_adopt(struct forest *forest, const char *shape, bool keyed);

/* Finds out which pages are in more than one row. Once all are adopted; rows that were
 * read before do not know. */
void forest_settle(struct forest *forest);

/* The rows of a table, or of `shape` set apart (FOREST_APART), in no particular order;
 * `take` returns 0 to go on. 0, or -1 if `take` did not or memory is exhausted. */
int forest_each(struct forest *forest, unsigned tree, const char *shape, int (*take)(void *arg, const struct row *row),
                void *arg);

#endif
