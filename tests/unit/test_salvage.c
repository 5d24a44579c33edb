/* What is salvaged of a damaged database: all that can be read, under its own link or none.
 * Links SQLite and nothing of the agent. */
#include "damaged.h"

/* What is read of the new one is what was there, but for one page. */
static void salvages_around_a_page(void)
{
	char moved[256], *text;
	struct store *store;
	int core, hist;

	begin();
	fill();
	spoil_page_with("payload-1-000700");
	spoil_page_with("payload-1-001100");
	spoil_page_with("payload-1-001130");
	spoil_page_with("payload-2-002000"); /* the last page */
	REQUIRE(store_set_aside(path, "a test", err, sizeof err) == 0);
	store = open_store();
	REQUIRE(store != NULL);
	REQUIRE(store_salvaged(store) != NULL);
	CHECK(strcmp(store_salvaged(store)->why, "a test") == 0);
	CHECK(strcmp(store_instance(store), instance) != 0 && strlen(store_instance(store)) == 32);
	CHECK(store_salvaged(store)->gaps >= 12 && store_salvaged(store)->gaps <= 16);
	core = drain(store, "core", 1);
	hist = drain(store, "hist", 2);
	CHECK(store_salvaged(store)->messages == (uint64_t)(core + hist));
	CHECK(core < N && core > N - 3 * 35 && hist < N && hist > N - 35);
	text = store_note(store, "session core");
	CHECK(text && strcmp(text, "a/#") == 0);
	free(text);
	CHECK(store_name(store, 1) && strcmp(store_name(store, 1), "rules.lua") == 0);
	CHECK(store_next_seq(store) >= 1048577);
	store_close(store);
	CHECK(number("SELECT count(*) FROM loss WHERE count = 2") == 1 && number("SELECT count FROM loss_total") == 2);
	CHECK(number("SELECT count(*) FROM dead WHERE reason = 'it threw'") == 1);
	CHECK(files("queue.db.corrupt", moved, sizeof moved) == 1 && files("queue.db.salvage", NULL, 0) == 0);
}

/* Keys of higher priorities are far below the others. */
static void salvages_priorities(void)
{
	struct store *store;

	begin();
	fill();
	sql("INSERT INTO queue_1 SELECT seq - (1 << 59), topic, replace(payload, '-1-', '-9-'), NULL, NULL, 0, 0, 1, 0, NULL"
	    " FROM queue_1 WHERE seq < 2000");
	spoil_page_with("payload-9-000499");
	spoil_page_with("payload-9-000200");
	spoil_page_with("payload-1-000060");
	REQUIRE(store_set_aside(path, "a test", err, sizeof err) == 0);
	store = open_store();
	REQUIRE(store != NULL);
	store_close(store);
	CHECK(number("SELECT count(*) FROM queue_1 WHERE seq < 0") > 420 - 35);
	CHECK(number("SELECT count(*) FROM queue_1 WHERE seq > 0") > N - 70);
	CHECK(number("SELECT count(*) FROM queue_2") == N);
}

/* The numbers of what was lost are not given to others. */
static void numbers_go_on_above_all(void)
{
	struct store *store;

	begin();
	fill();
	sql("UPDATE meta SET value = 'rubbish' WHERE key LIKE 'seq_limit%'");
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(store_salvaged(store)->messages == 2 * N && strstr(store_salvaged(store)->why, "missing"));
	CHECK(store_next_seq(store) > 1002 + 2 * N);
	store_close(store);
	sql("UPDATE meta SET value = 12345678 WHERE key = 'seq_limit_again'");
	store = open_store();
	REQUIRE(store && !store_salvaged(store));
	CHECK(store_next_seq(store) == 12345678);
	store_close(store);
	sql("UPDATE meta SET value = 123456789 WHERE key = 'seq_limit'");
	REQUIRE(store_set_aside(path, "a test", err, sizeof err) == 0);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(store_next_seq(store) == 123456789 && store_stats(store).salvages == 2);
	store_close(store);
}

static void a_queue_whose_link_is_lost_is_kept(void)
{
	struct store *store;

	begin();
	fill();
	sql("DELETE FROM link WHERE id = 2; DROP TABLE note; DROP TABLE loss");
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(strstr(store_salvaged(store)->why, "no such table"));
	CHECK(drain(store, "core", 1) == N && drain(store, "salvaged-2", 2) == N);
	store_close(store);
}

/* ---- without SQLite's help ---- */

/* Opens what was set aside. */
static struct store *open_salvaged(void)
{
	struct store *store;

	REQUIRE(store_set_aside(path, "a test", err, sizeof err) == 0);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	return store;
}

/* Messages of both links in the queue of those that are set apart, in any order; -1: there is no such queue. */
static int count_apart(struct store *store)
{
	int64_t n;

	store_close(store);
	n = number("SELECT count(*) FROM link WHERE name GLOB 'salvaged-*'") == 1
	            ? number("SELECT count(*) FROM queue_3 WHERE CAST(payload AS TEXT) GLOB 'payload-[12]-*'")
	            : -1;
	return (int)n;
}

static struct image_of_file {
	char *bytes;
	size_t size;
} sound;

static void keep_sound(void)
{
	sound.bytes = contents(path, &sound.size);
}

static void restore_sound(void)
{
	begin();
	close(open(path, O_CREAT | O_WRONLY, 0640));
	overwrite(0, sound.bytes, sound.size);
}

static void add_state(void)
{
	sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
	    " INSERT INTO state SELECT i % 3, CAST(printf('key-%d', i) AS BLOB), randomblob(5 + i % 300) FROM n");
}

static void a_sound_database_is_copied_as_it_is(void)
{
	static const char *const tables[] = {"link", "name",  "note",    "loss",   "loss_total",
	                                     "dead", "state", "queue_1", "queue_2"};
	char moved[256], text[700];
	struct store *store;

	begin();
	fill();
	sql("UPDATE queue_1 SET topic = CAST(topic AS BLOB); UPDATE queue_2 SET topic = CAST(topic AS BLOB);"
	    "DELETE FROM queue_1 WHERE seq % 3 AND seq < 3000; DELETE FROM queue_2 WHERE seq > 2000 AND seq < 4000;"
	    "INSERT INTO queue_2 VALUES (5, X'74', zeroblob(70000), X'01', X'02', -1, 9007199254740993, 7, -300, 5000000000);"
	    "INSERT INTO queue_1 VALUES (6 - (10 << 59), X'75', randomblob(12345), NULL, randomblob(5000), 1, 0, 0, 127, 128)");
	add_state();
	store = open_salvaged();
	snprintf(moved, sizeof moved, "%.200s", store_salvaged(store)->moved_to);
	CHECK(store_salvaged(store)->gaps == 0);
	store_close(store);
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		snprintf(text, sizeof text,
		         "ATTACH '%s' AS old; CREATE TABLE IF NOT EXISTS differs (n);"
		         "INSERT INTO differs SELECT count(*) FROM (SELECT * FROM (SELECT * FROM old.%s EXCEPT SELECT * FROM main.%s)"
		         " UNION ALL SELECT * FROM (SELECT * FROM main.%s EXCEPT SELECT * FROM old.%s))",
		         moved, tables[i], tables[i], tables[i], tables[i]);
		sql(text);
	}
	CHECK(number("SELECT count(*) FROM differs") == 9 && number("SELECT sum(n) FROM differs") == 0);
	CHECK(number("SELECT count(*) FROM queue_1") > N / 2);
}

/* Each bit of what the schema says of one queue. */
static void the_schema_need_not_be_readable(void)
{
	char *text;

	n_messages = 20;
	begin();
	fill();
	keep_sound();
	text = memmem(sound.bytes, sound.size, "CREATE TABLE queue_1", 20);
	REQUIRE(text != NULL);
	for (long at = text - sound.bytes - 30; at < text - sound.bytes + 60; at++) {
		char byte = (char)(sound.bytes[at] ^ (1 << at % 8));
		struct store *store;
		int n;

		restore_sound();
		overwrite(at, &byte, 1);
		store = open_salvaged();
		n = drain(store, "core", 1);
		CHECK(drain(store, "hist", 2) == n_messages);
		CHECK(n == n_messages || count_apart(store) == n_messages);
		if (n == n_messages)
			store_close(store);
		if (test_broken) {
			fprintf(stderr, "byte %ld of the text\n", at - (long)(text - sound.bytes));
			break;
		}
	}
	free(sound.bytes);
	n_messages = N;
}

/* Bits of interior pages: what is below them is there. */
static void pages_that_only_refer_to_others_can_be_lost(void)
{
	static const char rubbish[1024] = "rubbish";
	int pages = 0;

	begin();
	fill();
	keep_sound();
	for (long page = 1024; page < (long)sound.size && !test_broken; page += 1024) {
		if (sound.bytes[page] != 5)
			continue;
		pages++;
		for (int i = 0; i < 12; i++) {
			long at = page + (i < 6 ? i * 2 : 12 + (pages * 7919 + i * 104729) % 1012);
			char byte = (char)(sound.bytes[at] ^ (1 << i % 8));
			struct store *store;
			int n;

			restore_sound();
			overwrite(i ? at : page, i ? &byte : rubbish, i ? 1 : sizeof rubbish);
			store = open_salvaged();
			n = drain(store, "core", 1) + drain(store, "hist", 2);
			CHECK(n == 2 * N || n + count_apart(store) == 2 * N);
			if (n == 2 * N)
				store_close(store);
			if (test_broken) {
				fprintf(stderr, "page %ld, byte %ld: %d messages\n", page / 1024 + 1, at - page, n);
				break;
			}
		}
	}
	free(sound.bytes);
	CHECK(pages > 6);
}

/* Nobody knows whose it is, so nobody gets it as if it were his. */
static void what_two_refer_to_is_set_apart(void)
{
	struct store *store;

	begin();
	fill();
	sql("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage ="
	    " (SELECT rootpage FROM sqlite_schema WHERE name = 'queue_2') WHERE name = 'queue_1'");
	store = open_salvaged();
	CHECK(drain(store, "core", 1) == 0 && drain(store, "hist", 2) == 0);
	CHECK(count_apart(store) == 2 * N);
}

/* What is free is told by a list; if that is not whole (its length is in the header), nobody
 * gets what may have been deleted. */
static void what_was_deleted_does_not_come_back(void)
{
	static const char nothing[4] = "";

	for (int list_lost = 0; list_lost < 2; list_lost++) {
		struct store *store;
		int n;

		begin();
		fill();
		sql("PRAGMA secure_delete = OFF; DELETE FROM queue_1 WHERE seq < 3000; DELETE FROM queue_2 WHERE seq < 3000");
		CHECK(number("PRAGMA freelist_count") > 100);
		spoil_page_with("payload-1-001500");
		if (list_lost)
			overwrite(36, nothing, sizeof nothing);
		store = open_salvaged();
		n = drain(store, "core", 1);
		CHECK(n > 1001 - 35 && n < 1001 && drain(store, "hist", 2) == 1002);
		store_close(store);
		CHECK(number("SELECT count(*) FROM link WHERE name = 'salvaged-3'") == list_lost);
	}
}

/* The page at the top has some of the rows itself. */
static void state_is_found_without_what_leads_to_it(void)
{
	static const char rubbish[1024] = "rubbish";
	struct store *store;
	int64_t n;

	begin();
	fill();
	add_state();
	n = number("SELECT rootpage FROM sqlite_schema WHERE name = 'state'");
	overwrite((long)(n - 1) * 1024, rubbish, sizeof rubbish);
	store = open_salvaged();
	store_close(store);
	n = number("SELECT count(*) FROM state");
	CHECK(n < 2000 && n > 2000 - 40);
	CHECK(number("SELECT count(*) FROM state WHERE length(value) !="
	             " 5 + CAST(substr(CAST(key AS TEXT), 5) AS INTEGER) % 300") == 0);
}

static void names_of_links_are_there_twice(void)
{
	struct store *store;

	begin();
	fill();
	sql("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 1000000 WHERE name = 'link'");
	store = open_salvaged();
	CHECK(drain(store, "core", 1) == N && drain(store, "hist", 2) == N);
	store_close(store);
}

/* Whatever number a link's row claims: the schema knows which there are. */
static void numbers_of_links_are_there_twice(void)
{
	static const char row[] = {7, 2, 3, 0, 21, 'h', 'i', 's', 't'};

	n_messages = 20;
	begin();
	fill();
	keep_sound();
	for (int bit = 0; bit < 7; bit++) {
		const char *found = memmem(sound.bytes, sound.size, row, sizeof row);
		char id = (char)(2 ^ 1 << bit);
		struct store *store;

		REQUIRE(found != NULL);
		restore_sound();
		overwrite(found + 1 - sound.bytes, &id, 1);
		store = open_salvaged();
		CHECK(drain(store, "core", 1) == n_messages && drain(store, "hist", 2) == n_messages);
		store_close(store);
	}
	free(sound.bytes);
	n_messages = N;
}

/* One bit makes a blob of a text: found under that name by nobody. */
static void a_name_that_claims_to_be_no_text_is_one(void)
{
	struct store *store;

	begin();
	fill();
	sql("UPDATE link SET name = CAST(name AS BLOB)");
	store = open_salvaged();
	CHECK(drain(store, "core", 1) == N && drain(store, "hist", 2) == N);
	store_close(store);
}

int main(void)
{
	damaged_begin();
	RUN(salvages_around_a_page);
	RUN(salvages_priorities);
	RUN(numbers_go_on_above_all);
	RUN(a_queue_whose_link_is_lost_is_kept);
	RUN(a_sound_database_is_copied_as_it_is);
	RUN(the_schema_need_not_be_readable);
	RUN(pages_that_only_refer_to_others_can_be_lost);
	RUN(what_two_refer_to_is_set_apart);
	RUN(what_was_deleted_does_not_come_back);
	RUN(state_is_found_without_what_leads_to_it);
	RUN(names_of_links_are_there_twice);
	RUN(numbers_of_links_are_there_twice);
	RUN(a_name_that_claims_to_be_no_text_is_one);
	return damaged_end();
}
