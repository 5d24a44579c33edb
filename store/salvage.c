/* Copies what can still be read of a damaged database into a new one.
 *
 * SQLite finds nothing where the text of the schema is damaged, and nothing below a
 * damaged page. But our tables are known, and pages are found without it (forest.h): of
 * the old schema only the roots are asked for. Nothing that is read is trusted. */
#include "salvage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "schema.h"

#define LINKS_MAX 1024
#define SEQ_BITS 59                 /* of a queue's key: seq - priority * 2^59 */
#define SEQ_SANE (INT64_C(1) << 48) /* no gateway gets there */
#define NAME_SIZE 32                /* of a table */

/* ---- our tables ---- */

#define SHAPE_SCHEMA "tttiT"
#define SHAPE_QUEUE "kbBBBiiiii"
#define INSERT_QUEUE "INSERT OR IGNORE INTO queue_%u VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"

enum { META, LINK, NAME, LINK_INDEX, NAME_INDEX, NOTE, LOSS, LOSS_TOTAL, DEAD, STATE, TABLES };

/* `insert`: what the new database makes of a row. Names are twice in the file: what the
 * table does not know may be in its index. */
static const struct table {
	const char *name, *shape;
	bool keyed;
	const char *insert;
} tables[TABLES] = {
        [META] = {"meta", "ta", false, NULL},
        [LINK] = {"link", "kt", true, "INSERT OR IGNORE INTO link VALUES (?1, ?2)"},
        [NAME] = {"name", "kt", true, "INSERT OR IGNORE INTO name VALUES (?1, ?2)"},
        [LINK_INDEX] = {"sqlite_autoindex_link_1", "ti", false, "INSERT OR IGNORE INTO link VALUES (?2, ?1)"},
        [NAME_INDEX] = {"sqlite_autoindex_name_1", "ti", false, "INSERT OR IGNORE INTO name VALUES (?2, ?1)"},
        [NOTE] = {"note", "tt", false, "INSERT OR IGNORE INTO note VALUES (?1, ?2)"},
        [LOSS] = {"loss", "ktttiiiiiii", true,
                  "INSERT OR IGNORE INTO loss VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
        [LOSS_TOTAL] = {"loss_total", "tti", false, "INSERT OR IGNORE INTO loss_total VALUES (?1, ?2, ?3)"},
        [DEAD] = {"dead", "ktttiiiibbb", true,
                  "INSERT OR IGNORE INTO dead VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
        [STATE] = {"state", "ibb", false, "INSERT OR IGNORE INTO state VALUES (?1, ?2, ?3)"},
};

struct link_queue {
	uint32_t id, root;
	int tree;
};

struct salvage {
	struct forest forest;
	struct store *to;
	uint32_t roots[TABLES]; /* of our tables in the old file; 0: not found */
	int trees[TABLES], schema;
	struct link_queue queues[LINKS_MAX];
	size_t n;
	bool ours;
	int64_t limit, times; /* as the old file says */
	int64_t seq_end;      /* no sequence number is at or above it */
	int64_t seq_top;      /* the highest found */
	uint64_t messages;
	sqlite3_stmt *apart; /* a queue of their own for messages of which it is not known whose they are */
};

/* Where rows go. */
struct target {
	struct salvage *salvage;
	const char *shape;
	sqlite3_stmt *insert; /* NULL: to what is set apart */
	bool queue;           /* its keys hold sequence numbers */
	bool link;            /* its keys are those of queues */
	bool again;           /* most of it is there already */
};

/* ---- values ---- */

/* Texts and bytes are what they must be, not what they claim: a name that is no text is not found. */
static int bind(sqlite3_stmt *to, int at, char shape, const struct column *column, const unsigned char *record)
{
	const char *bytes = (const char *)record + column->at;

	if (column->kind == VALUE_NULL)
		return sqlite3_bind_null(to, at);
	if (column->kind == VALUE_INTEGER)
		return sqlite3_bind_int64(to, at, column_integer(column, record));
	if (shape == 't' || shape == 'T')
		return sqlite3_bind_text64(to, at, bytes, column->size, SQLITE_STATIC, SQLITE_UTF8);
	return column->size ? sqlite3_bind_blob64(to, at, bytes, column->size, SQLITE_STATIC)
	                    : sqlite3_bind_zeroblob(to, at, 0);
}

/* A column's text, cut to `size`. */
static void read_text(const struct row *row, unsigned i, char *text, size_t size)
{
	const struct column *column = &row->record->columns[i];
	size_t length = column->size < size ? (size_t)column->size : size - 1;

	memcpy(text, row->bytes + column->at, length);
	text[length] = '\0';
}

/* As schema_meta_number(), which wrote it as a text or a number. */
static int64_t read_number(const struct row *row, unsigned i)
{
	char text[24], *end;
	int64_t number;

	if (row->record->columns[i].kind == VALUE_INTEGER)
		return column_integer(&row->record->columns[i], row->bytes);
	if (row->record->columns[i].kind != VALUE_TEXT)
		return 0;
	read_text(row, i, text, sizeof text);
	number = strtoll(text, &end, 10);
	return *end ? 0 : number;
}

/* ---- what the old file is ---- */

/* What the text of a table's definition calls it. */
static void name_in_text(const struct row *row, char *name)
{
	char text[NAME_SIZE + 16];

	*name = '\0';
	if (row->record->columns[4].kind == VALUE_NULL)
		return;
	read_text(row, 4, text, sizeof text);
	sscanf(text, "CREATE TABLE %31[a-z0-9_]", name);
}

/* A table's name is there three times: two of them are right. */
static void find_name(const struct row *row, char *name)
{
	char again[NAME_SIZE], text[NAME_SIZE];

	read_text(row, 1, name, NAME_SIZE);
	read_text(row, 2, again, sizeof again);
	name_in_text(row, text);
	if (strcmp(again, text) == 0)
		strcpy(name, text);
}

static struct link_queue *find_queue(struct salvage *salvage, uint32_t id)
{
	for (size_t i = 0; i < salvage->n; i++)
		if (salvage->queues[i].id == id)
			return &salvage->queues[i];
	if (salvage->n == LINKS_MAX)
		return NULL;
	salvage->queues[salvage->n] = (struct link_queue){.id = id};
	return &salvage->queues[salvage->n++];
}

static int take_schema(void *arg, const struct row *row)
{
	int64_t root = read_number(row, 3);
	struct salvage *salvage = arg;
	struct link_queue *queue;
	char name[NAME_SIZE];
	unsigned id = 0;
	int end = 0;

	find_name(row, name);
	if (root < 2 || root > UINT32_MAX)
		root = 0;
	for (size_t i = 0; i < TABLES; i++)
		if (strcmp(name, tables[i].name) == 0)
			salvage->roots[i] = (uint32_t)root;
	if (sscanf(name, "queue_%9u%n", &id, &end) == 1 && name[end] == '\0' && id > 0 && (queue = find_queue(salvage, id)))
		queue->root = (uint32_t)root;
	return 0;
}

static int take_meta(void *arg, const struct row *row)
{
	struct salvage *salvage = arg;
	char key[24], text[40];
	int64_t number = read_number(row, 1);

	read_text(row, 0, key, sizeof key);
	if (strncmp(key, "seq_limit", 9) == 0 && number > salvage->limit && number < SEQ_SANE / 16)
		salvage->limit = number;
	else if (strcmp(key, "salvages") == 0)
		salvage->times = number;
	else if (strcmp(key, "instance") == 0 && row->record->columns[1].kind == VALUE_TEXT) {
		read_text(row, 1, text, sizeof text);
		salvage->ours = salvage->ours || strlen(text) == 32;
	}
	return 0;
}

/* A database of another program may have tables of the same names. */
static bool has_our_mark(struct forest *forest)
{
	return image_read(forest->image, 1, forest->bytes) && image_number(forest->bytes + 68) == APPLICATION_ID;
}

/* Its tables, and whether it is ours at all. */
static int read_old(struct salvage *salvage)
{
	struct forest *forest = &salvage->forest;

	salvage->schema = forest_add(forest, SHAPE_SCHEMA, true, 1);
	if (salvage->schema < 0)
		return -1;
	forest_adopt(forest, SHAPE_SCHEMA, true);
	if (forest_each(forest, (unsigned)salvage->schema, SHAPE_SCHEMA, take_schema, salvage) < 0)
		return -1;
	for (size_t i = 0; i < TABLES; i++)
		if ((salvage->trees[i] = forest_add(forest, tables[i].shape, tables[i].keyed, salvage->roots[i])) < 0)
			return -1;
	salvage->ours = has_our_mark(forest);
	return forest_each(forest, (unsigned)salvage->trees[META], tables[META].shape, take_meta, salvage);
}

/* ---- queues in the new database ---- */

/* A queue needs a link. One whose name is lost gets a name that says so; another link
 * may have got that name the last time. */
static int create_queue(struct salvage *salvage, uint32_t id, sqlite3_stmt **insert)
{
	char sql[sizeof QUEUE_TABLE + 192];
	int used = snprintf(sql, sizeof sql,
	                    "INSERT OR IGNORE INTO link VALUES (%u, 'salvaged-%u');"
	                    "INSERT OR IGNORE INTO link VALUES (%u, 'salvaged-%u-' || hex(randomblob(4)));",
	                    id, id, id, id);

	snprintf(sql + used, sizeof sql - (size_t)used, QUEUE_TABLE, id);
	return store_exec(salvage->to, sql) < 0 ? -1 : store_prepare(salvage->to, insert, INSERT_QUEUE, id);
}

/* Its own queue if there is anything to set apart. */
static sqlite3_stmt *set_apart(struct salvage *salvage)
{
	uint32_t id = 0;

	for (size_t i = 0; i < salvage->n; i++)
		id = salvage->queues[i].id > id ? salvage->queues[i].id : id;
	if (!salvage->apart && create_queue(salvage, id + 1, &salvage->apart) < 0)
		return NULL;
	return salvage->apart;
}

/* ---- rows ---- */

static int64_t seq_of(int64_t key)
{
	return key & ((INT64_C(1) << SEQ_BITS) - 1);
}

static bool key_is_sane(struct salvage *salvage, int64_t key)
{
	int64_t seq = seq_of(key);

	if (seq == 0 || seq >= salvage->seq_end || key >= salvage->seq_end)
		return false;
	salvage->seq_top = seq > salvage->seq_top ? seq : salvage->seq_top;
	return true;
}

static int insert_row(sqlite3_stmt *insert, const char *shape, const struct row *row)
{
	if (!insert)
		return -1;
	sqlite3_clear_bindings(insert);
	for (unsigned i = 0; i < row->record->n; i++)
		if (bind(insert, (int)i + 1, shape[i], &row->record->columns[i], row->bytes) != SQLITE_OK)
			return -1;
	if (row->record->columns[0].kind == VALUE_NULL && sqlite3_bind_int64(insert, 1, row->key) != SQLITE_OK)
		return -1;
	return store_step(insert);
}

/* A link without a queue would be damage; if the schema is all there, it is the number
 * of the link that is wrong. */
static bool is_link(const struct salvage *salvage, int64_t id)
{
	bool known = false;

	for (size_t i = 0; i < salvage->n; i++)
		known = known || salvage->queues[i].id == id;
	return known || (salvage->forest.trees[salvage->schema].incomplete && id > 0 && id < UINT32_MAX);
}

/* A row that the new table does not take is a gap: of the same key as another. */
static int copy_row(void *arg, const struct row *row)
{
	struct target *target = arg;
	struct salvage *salvage = target->salvage;
	bool taken = false;

	if (target->queue ? key_is_sane(salvage, row->key) : !target->link || is_link(salvage, row->key)) {
		bool apart = target->queue && (row->apart || !target->insert);

		if (insert_row(apart ? set_apart(salvage) : target->insert, target->shape, row) < 0)
			return -1;
		taken = sqlite3_changes(salvage->to->database) > 0;
	}
	salvage->messages += target->queue && taken;
	salvage->forest.gaps += !taken && !target->again;
	return 0;
}

static int copy_table(struct salvage *salvage, unsigned i)
{
	struct target target = {.salvage = salvage, .shape = tables[i].shape, .link = i == LINK, .again = i == LINK_INDEX || i == NAME_INDEX};
	int result = -1;

	if (sqlite3_prepare_v2(salvage->to->database, tables[i].insert, -1, &target.insert, NULL) == SQLITE_OK)
		result = forest_each(&salvage->forest, (unsigned)salvage->trees[i], tables[i].shape, copy_row, &target);
	sqlite3_finalize(target.insert);
	return result;
}

/* Notes that vouch for messages which may be lost now are not kept. */
static int copy_tables(struct salvage *salvage)
{
	for (unsigned i = LINK; i < TABLES; i++) {
		if (i != LINK_INDEX && i != NAME_INDEX) /* what they lack is in the tables */
			forest_adopt(&salvage->forest, tables[i].shape, tables[i].keyed);
		if (copy_table(salvage, i) < 0)
			return -1;
	}
	return store_exec(salvage->to, "DELETE FROM note WHERE name GLOB '" STORE_NOTE_RECEIVED " *'");
}

/* ---- queues ---- */

/* Those whose link is known, beside those of the old schema. */
static int find_links(struct salvage *salvage)
{
	sqlite3_stmt *links = NULL;
	int step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(salvage->to->database, "SELECT id FROM link WHERE id BETWEEN 1 AND 4294967294", -1, &links,
	                       NULL) == SQLITE_OK)
		while ((step = sqlite3_step(links)) == SQLITE_ROW)
			find_queue(salvage, (uint32_t)sqlite3_column_int64(links, 0));
	sqlite3_finalize(links);
	return step == SQLITE_DONE ? 0 : -1;
}

static int copy_queue(struct salvage *salvage, const struct link_queue *queue)
{
	struct target target = {.salvage = salvage, .shape = SHAPE_QUEUE, .queue = true};
	int result = create_queue(salvage, queue->id, &target.insert);

	if (result == 0)
		result = forest_each(&salvage->forest, (unsigned)queue->tree, SHAPE_QUEUE, copy_row, &target);
	sqlite3_finalize(target.insert);
	return result;
}

/* A queue that neither the schema nor its link tells of, if there may be one. */
static int add_unknown(struct salvage *salvage)
{
	const struct tree *trees = salvage->forest.trees;

	if (!trees[salvage->schema].incomplete || !trees[salvage->trees[LINK]].incomplete)
		return FOREST_APART;
	return forest_add(&salvage->forest, SHAPE_QUEUE, true, 0);
}

static int copy_queues(struct salvage *salvage)
{
	struct target apart = {.salvage = salvage, .shape = SHAPE_QUEUE, .queue = true};
	int unknown;

	if (find_links(salvage) < 0)
		return -1;
	for (size_t i = 0; i < salvage->n; i++) {
		struct link_queue *queue = &salvage->queues[i];

		if ((queue->tree = forest_add(&salvage->forest, SHAPE_QUEUE, true, queue->root)) < 0)
			return -1;
	}
	if ((unknown = add_unknown(salvage)) < 0)
		return -1;
	forest_adopt(&salvage->forest, SHAPE_QUEUE, true);
	forest_settle(&salvage->forest);
	for (size_t i = 0; i < salvage->n; i++)
		if (copy_queue(salvage, &salvage->queues[i]) < 0)
			return -1;
	if (forest_each(&salvage->forest, (unsigned)unknown, SHAPE_QUEUE, copy_row, &apart) < 0 ||
	    forest_each(&salvage->forest, FOREST_APART, SHAPE_QUEUE, copy_row, &apart) < 0)
		return -1;
	return store_exec(salvage->to, "DELETE FROM link WHERE 'queue_' || id NOT IN (SELECT name FROM sqlite_schema)");
}

/* ---- the whole ---- */

static int set_number(struct store *store, const char *key, int64_t value)
{
	char sql[96];

	snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO meta VALUES ('%s', '%lld')", key, (long long)value);
	return store_exec(store, sql);
}

static int copy_everything(struct salvage *salvage, const struct image *from)
{
	if (from->pages == 0)
		return 0;
	if (forest_init(&salvage->forest, from) < 0 || read_old(salvage) < 0)
		return -1;
	salvage->seq_end = salvage->limit ? 16 * salvage->limit : SEQ_SANE; /* one digit of it may be wrong */
	return !salvage->ours || (copy_tables(salvage) == 0 && copy_queues(salvage) == 0) ? 0 : -1;
}

int salvage_copy(const struct image *from, struct store *to, struct store_salvage *salvaged)
{
	struct salvage *salvage = calloc(1, sizeof *salvage);
	int result = -1;

	if (!salvage)
		return -1;
	salvage->to = to;
	if (store_exec(to, "BEGIN") == 0 && copy_everything(salvage, from) == 0) {
		if (salvage->limit <= salvage->seq_top)
			salvage->limit = salvage->seq_top + SEQ_BLOCK; /* what was given out may be beyond what was found */
		salvaged->messages = salvage->messages;
		salvaged->gaps = salvage->ours ? salvage->forest.gaps : 0;
		result = set_number(to, "seq_limit", salvage->limit) < 0 || set_number(to, "salvages", salvage->times + 1) < 0
		                 ? -1
		                 : 0;
	}
	sqlite3_finalize(salvage->apart);
	forest_release(&salvage->forest);
	free(salvage);
	return result < 0 ? -1 : store_exec(to, "COMMIT");
}
