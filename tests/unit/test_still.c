/* A store that is opened to be read: what a killed process left is there to the last message of
 * its log, and no file is changed. */
#include "look_fixture.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "dead.h"
#include "ledger.h"
#include "sql.h"

static char log_path[140];

/* A new database as a process leaves it that is killed: with a log. */
static void leave_a_log(int messages)
{
	pid_t child;
	int status;

	close_all();
	child = fork();
	if (child == 0) {
		begin();
		for (int i = 0; i < messages; i++)
			push(i % 2 ? hist : core, 0);
		_exit(store_commit(store, err, sizeof err) == STORE_OK ? 0 : 1);
	}
	REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

static bool count_item(void *arg, const struct look_item *item)
{
	CHECK(item->saved && !item->in_flight && memcmp(item->message->payload.data, "payload ", 8) == 0);
	++*(int *)arg;
	return true;
}

static int count_all(void)
{
	struct look *all = look(NULL, 0, UINT64_MAX);
	int n = 0;

	CHECK(look_on(all, count_item, &n) == 0);
	look_close(all);
	return n;
}

static bool is_same(const char *file, const struct stat *before)
{
	struct stat now;

	return stat(file, &now) == 0 && now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	       now.st_mtim.tv_nsec == before->st_mtim.tv_nsec && now.st_ino == before->st_ino;
}

static void reads_what_a_killed_process_left_and_changes_nothing(void)
{
	struct stat file, log;
	struct ledger *ledger;
	struct dead *dead;
	char instance[40];

	leave_a_log(300);
	REQUIRE(stat(path, &file) == 0 && stat(log_path, &log) == 0 && log.st_size > 10000);
	for (int i = 0; i < 2; i++) {
		store = store_open_to_read(path, err, sizeof err);
		REQUIRE(store != NULL);
		snprintf(instance, sizeof instance, "%s", store_instance(store));
		CHECK(store_newest_seq(store) >= 300);
		CHECK(count_all() == 300);
		ledger = ledger_open(store, err, sizeof err);
		dead = dead_open(store, err, sizeof err);
		CHECK(ledger && dead && dead_count(dead) == 0 && ledger_total(ledger, "core", NULL) == 0);
		dead_close(dead);
		ledger_close(ledger);
		close_all();
		CHECK(is_same(path, &file) && is_same(log_path, &log));
	}
	open_all();
	CHECK(queue_messages(core) == 150 && queue_messages(hist) == 150);
	CHECK(strcmp(store_instance(store), instance) == 0);
}

static void reads_what_was_closed(void)
{
	begin();
	for (int i = 0; i < 100; i++)
		push(core, (unsigned)i % 4);
	commit();
	close_all();
	CHECK(access(log_path, F_OK) < 0);
	store = store_open_to_read(path, err, sizeof err);
	REQUIRE(store != NULL);
	CHECK(count_all() == 100 && access(log_path, F_OK) < 0);
}

/* Where a key is, its page is damaged, and what follows may be out of sight: that is no end. */
static void a_wrong_key_is_not_the_end(void)
{
	struct look *all;
	int n = 0;

	begin();
	for (int i = 0; i < 100; i++)
		push(core, 0);
	commit();
	close_all();
	sql_in(path, "UPDATE queue_1 SET seq = seq + (1 << 40) WHERE seq IN (60, 100)");
	store = store_open_to_read(path, err, sizeof err);
	REQUIRE(store != NULL);
	all = look(NULL, 0, newest);
	CHECK(look_on(all, count_item, &n) == -1 && n == 98);
	look_close(all);
	close_all();
	unlink(path);
}

/* One at a time writes; while somebody reads, nobody does. */
static void keeps_out_of_each_others_way(void)
{
	struct store *other;

	begin();
	CHECK(store_open_to_read(path, err, sizeof err) == NULL && strstr(err, path) && strstr(err, "in use"));
	close_all();
	store = store_open_to_read(path, err, sizeof err);
	other = store_open_to_read(path, err, sizeof err);
	CHECK(store && other);
	store_close(other);
	CHECK(store_open(path, STORE_OFF, err, sizeof err) == NULL && strstr(err, "in use"));
	CHECK(count_all() == 0);
	close_all();
	open_all();
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	REQUIRE(file != NULL);
	CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void says_what_it_cannot_read(void)
{
	close_all();
	unlink(path);
	CHECK(store_open_to_read(path, err, sizeof err) == NULL && strstr(err, "No such file"));
	CHECK(access(path, F_OK) < 0);
	write_file("");
	CHECK(store_open_to_read(path, err, sizeof err) == NULL);
	write_file("This is no database, however long it is and whatever it may look like to somebody who cannot read.");
	CHECK(store_open_to_read(path, err, sizeof err) == NULL && strstr(err, path));
	CHECK(store_open_to_read(directory, err, sizeof err) == NULL);
	unlink(path);
}

int main(void)
{
	look_fixture_begin();
	snprintf(log_path, sizeof log_path, "%s-wal", path);
	RUN(reads_what_a_killed_process_left_and_changes_nothing);
	RUN(reads_what_was_closed);
	RUN(a_wrong_key_is_not_the_end);
	RUN(keeps_out_of_each_others_way);
	RUN(says_what_it_cannot_read);
	return look_fixture_end();
}
