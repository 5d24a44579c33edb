/* The database file: identity, sequence numbers, notes, refusals. Links SQLite
 * and nothing of the agent. */
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue.h"
#include "sql.h"
#include "store_internal.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-store-XXXXXX";
static char path[128], err[512];

static struct store *reopen(struct store *store)
{
	store_close(store);
	return store_open(path, STORE_FULL, err, sizeof err);
}

static void begin(void)
{
	char command[256];

	snprintf(command, sizeof command, "rm -f %s/*", directory);
	CHECK(system(command) == 0);
	snprintf(path, sizeof path, "%s/queue.db", directory);
	err[0] = '\0';
}

static void keeps_its_identity(void)
{
	char instance[40];
	struct store *store;

	begin();
	store = reopen(NULL);
	REQUIRE(store != NULL);
	CHECK(strlen(store_instance(store)) == 32);
	snprintf(instance, sizeof instance, "%s", store_instance(store));
	store = reopen(store);
	REQUIRE(store != NULL);
	CHECK(strcmp(instance, store_instance(store)) == 0);
	store_close(store);
	unlink(path);
	store = reopen(NULL);
	REQUIRE(store != NULL);
	CHECK(strcmp(instance, store_instance(store)) != 0);
	store_close(store);
}

/* A participant that looks how the transaction will be synced: 2 is FULL. */
struct looking {
	struct store *store;
	int64_t level;
};

static size_t is_clean(const void *owner)
{
	(void)owner;
	return 0;
}

static void add_nothing(const void *owner, struct store_unsafe *unsafe)
{
	(void)owner;
	(void)unsafe;
}

static int look(void *owner, bool additions)
{
	struct looking *looking = owner;

	(void)additions;
	looking->level = store_integer(looking->store, "PRAGMA synchronous", -1);
	return 0;
}

static void do_nothing(void *owner, bool additions)
{
	(void)owner;
	(void)additions;
}

static void syncs_numbers_whatever_the_durability(void)
{
	struct looking looking = {0};
	struct participant participant = {
	        .owner = &looking, .dirty = is_clean, .unsafe = add_nothing, .write = look, .written = do_nothing};

	for (enum store_durability durability = STORE_NORMAL; durability <= STORE_OFF; durability++) {
		begin();
		looking.store = store_open(path, durability, err, sizeof err);
		REQUIRE(looking.store != NULL);
		store_join(looking.store, &participant);
		CHECK(store_commit(looking.store, err, sizeof err) == STORE_OK && looking.level == (durability == STORE_NORMAL));
		while (store_next_seq(looking.store) < SEQ_BLOCK / 2 + 1)
			;
		CHECK(store_commit(looking.store, err, sizeof err) == STORE_OK && looking.level == 2);
		CHECK(store_commit(looking.store, err, sizeof err) == STORE_OK && looking.level == (durability == STORE_NORMAL));
		store_leave(looking.store, &participant);
		store_close(looking.store);
	}
}

static void never_reuses_a_sequence_number(void)
{
	uint64_t last = 0;
	struct store *store;

	begin();
	store = reopen(NULL);
	for (int process = 0; process < 5; process++) {
		for (int i = 0; i < 3000; i++) {
			uint64_t seq = store_next_seq(store);

			CHECK(seq > last);
			last = seq;
			if (i % 7 == 0)
				CHECK(store_commit(store, err, sizeof err) == STORE_OK);
		}
		CHECK(store_commit(store, err, sizeof err) == STORE_OK);
		store = reopen(store); /* as after a kill: nothing is written on closing */
	}
	store_close(store);
}

static void keeps_notes_and_names(void)
{
	struct store *store;
	char *text;
	struct store_unsafe unsafe;
	uint32_t id;

	begin();
	store = reopen(NULL);
	CHECK(store_note(store, "session core") == NULL);
	CHECK(store_set_note(store, "session core", "one") == 0);
	CHECK(store_pending(store, &unsafe) == STORE_URGENT);
	CHECK(store_set_note(store, "session core", "two") == 0);
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	CHECK(store_set_note(store, "session core", "two") == 0);
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	id = store_name_id(store, "rules.lua");
	CHECK(id != 0 && store_name_id(store, "rules.lua") == id && store_name_id(store, "other.lua") != id);
	store = reopen(store);
	text = store_note(store, "session core");
	CHECK(text && strcmp(text, "two") == 0);
	free(text);
	CHECK(store_name(store, id) && strcmp(store_name(store, id), "rules.lua") == 0);
	CHECK(store_name(store, 999) == NULL);
	store_close(store);
}

static void refuses_a_second_agent(void)
{
	struct store *first, *second;

	begin();
	first = reopen(NULL);
	REQUIRE(first != NULL);
	second = store_open(path, STORE_FULL, err, sizeof err);
	CHECK(second == NULL);
	CHECK(strstr(err, path) && strstr(err, "in use"));
	store_close(first);
	second = store_open(path, STORE_FULL, err, sizeof err);
	REQUIRE(second != NULL);
	store_close(second);
}

/* Another process holds the lock for so long. */
static pid_t hold_lock(int ms)
{
	int ready[2];
	char byte;
	pid_t pid;

	REQUIRE(pipe(ready) == 0);
	pid = fork();
	if (pid == 0) {
		sqlite3 *database = NULL;

		sqlite3_open(path, &database);
		sqlite3_exec(database, "CREATE TABLE IF NOT EXISTS other (x); BEGIN EXCLUSIVE; INSERT INTO other VALUES (1)", NULL,
		             NULL, NULL);
		_exit(write(ready[1], "r", 1) == 1 && usleep((useconds_t)ms * 1000) == 0 ? 0 : 1);
	}
	REQUIRE(pid > 0 && read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* A killed agent's lock may outlive it by a moment; what lasts is told by its name. */
static void waits_for_a_lock(void)
{
	struct store *store;
	pid_t pid;

	begin();
	store_close(reopen(NULL));
	pid = hold_lock(500);
	store = reopen(NULL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	REQUIRE(store != NULL);
	store_close(store);

	begin();
	pid = hold_lock(10000);
	CHECK(reopen(NULL) == NULL);
	CHECK(strstr(err, path) && strstr(err, "in use"));
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void sql(const char *text)
{
	sql_in(path, text);
}

/* A file of schema version 1, as version 0.1.0 of the program left it. */
static const char version_1[] =
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
        "CREATE TABLE link (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
        "CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
        "CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"
        "INSERT INTO meta VALUES ('instance', '0123456789abcdef0123456789abcdef');"
        "INSERT INTO meta VALUES ('seq_limit', '1048577');"
        "INSERT INTO link VALUES (1, 'core'), (3, 'hist');"
        "INSERT INTO note VALUES ('session core', 'a/#');"
        "CREATE TABLE queue_1 (seq INTEGER PRIMARY KEY, topic BLOB NOT NULL, payload BLOB, properties BLOB,"
        " context BLOB, time_ms INTEGER, origin INTEGER, flags INTEGER);"
        "CREATE TABLE queue_3 (seq INTEGER PRIMARY KEY, topic BLOB NOT NULL, payload BLOB, properties BLOB,"
        " context BLOB, time_ms INTEGER, origin INTEGER, flags INTEGER);"
        "INSERT INTO queue_1 VALUES (7, x'61', x'62', NULL, NULL, 1700000000000, 0, 1);"
        "PRAGMA application_id = 0x54494445; PRAGMA user_version = 1";

static int64_t number(const char *query)
{
	return number_in(path, query);
}

static void migrates_an_older_schema(void)
{
	struct store *store;
	char *text;

	begin();
	sql(version_1);
	store = reopen(NULL);
	REQUIRE(store != NULL);
	CHECK(strcmp(store_instance(store), "0123456789abcdef0123456789abcdef") == 0);
	CHECK(store_next_seq(store) >= 1048577);
	text = store_note(store, "session core");
	CHECK(text && strcmp(text, "a/#") == 0);
	free(text);
	store_close(store);
	CHECK(number("PRAGMA user_version") == 3);
	CHECK(number("SELECT count(*) FROM queue_1 WHERE seq = 7 AND age_ms IS NULL AND expires_ms IS NULL") == 1);
	CHECK(number("SELECT count(age_ms) + count(expires_ms) FROM queue_3") == 0);
	CHECK(number("SELECT count(*) FROM loss") == 0 && number("SELECT count(*) FROM dead") == 0);
	store = reopen(NULL);
	REQUIRE(store != NULL);
	store_close(store);
}

/* Halfway through, it is as if nothing had happened. */
static void migrates_all_or_nothing(void)
{
	begin();
	sql(version_1);
	sql("ALTER TABLE queue_3 ADD COLUMN expires_ms INTEGER"); /* in the way */
	CHECK(reopen(NULL) == NULL);
	CHECK(strstr(err, path));
	CHECK(number("PRAGMA user_version") == 1);
	CHECK(number("SELECT count(*) FROM pragma_table_info('queue_1')") == 8);
}

static void refuses_a_newer_schema(void)
{
	begin();
	store_close(reopen(NULL));
	sql("PRAGMA user_version = 99");
	CHECK(store_open(path, STORE_FULL, err, sizeof err) == NULL);
	CHECK(strstr(err, path) && strstr(err, "schema version 99"));
	CHECK(number("PRAGMA user_version") == 99);

	CHECK(store_open("/nonexistent/queue.db", STORE_FULL, err, sizeof err) == NULL);
	CHECK(strstr(err, "/nonexistent/queue.db"));
}

static void opens_at_every_durability(void)
{
	begin();
	for (int durability = STORE_FULL; durability <= STORE_OFF; durability++) {
		struct store *store = store_open(path, (enum store_durability)durability, err, sizeof err);

		REQUIRE(store != NULL);
		store_next_seq(store);
		CHECK(store_commit(store, err, sizeof err) == STORE_OK);
		CHECK(store_stats(store).commits == 1 && store_stats(store).failures == 0);
		store_close(store);
	}
}

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	RUN(keeps_its_identity);
	RUN(syncs_numbers_whatever_the_durability);
	RUN(never_reuses_a_sequence_number);
	RUN(keeps_notes_and_names);
	RUN(refuses_a_second_agent);
	RUN(waits_for_a_lock);
	RUN(migrates_an_older_schema);
	RUN(migrates_all_or_nothing);
	RUN(refuses_a_newer_schema);
	RUN(opens_at_every_durability);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
