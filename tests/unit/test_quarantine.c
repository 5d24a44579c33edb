/* Databases that cannot be used: moved aside as they are, and a new one put in their place,
 * whatever happens meanwhile. Links SQLite and nothing of the agent. */
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "damaged.h"

static void a_foreign_database_is_moved_aside(void)
{
	char moved[256], *before;
	struct store *store;
	size_t size;

	begin();
	sql("CREATE TABLE link (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO link VALUES (1, 'not ours')");
	before = contents(path, &size);
	store = open_store();
	REQUIRE(store != NULL);
	REQUIRE(store_salvaged(store) != NULL);
	CHECK(strstr(store_salvaged(store)->why, "not Tidegate's"));
	CHECK(store_salvaged(store)->messages == 0 && store_stats(store).salvages == 1);
	CHECK(files("queue.db.corrupt-", moved, sizeof moved) == 1);
	CHECK(strcmp(store_salvaged(store)->moved_to, moved) == 0);
	CHECK(same_contents(moved, before, size));
	CHECK(store_next_seq(store) > 0);
	store_close(store);
	CHECK(number("SELECT count(*) FROM link") == 0);
	store = open_store();
	REQUIRE(store != NULL);
	CHECK(store_salvaged(store) == NULL && store_stats(store).salvages == 1);
	store_close(store);
	free(before);
}

static void a_file_that_is_no_database_is_moved_aside(void)
{
	char moved[256], rubbish[] = "This is no database, but somebody may want it nevertheless.";
	struct store *store;

	for (int times = 1; times <= 3; times++) {
		if (times == 1)
			begin();
		unlink(path);
		close(open(path, O_CREAT | O_WRONLY, 0640));
		overwrite(0, rubbish, sizeof rubbish);
		utimensat(AT_FDCWD, path, (struct timespec[2]){{.tv_sec = 86400}, {.tv_sec = 86400}}, 0);
		store = open_store();
		REQUIRE(store != NULL);
		REQUIRE(store_salvaged(store) != NULL);
		CHECK(strstr(store_salvaged(store)->why, "not a database"));
		snprintf(moved, sizeof moved, times == 1 ? "%s.corrupt-19700102-000000" : "%s.corrupt-19700102-000000-%d", path,
		         times);
		CHECK(strcmp(store_salvaged(store)->moved_to, moved) == 0);
		CHECK(same_contents(moved, rubbish, sizeof rubbish));
		store_close(store);
	}
}

/* Root repairs what an agent without its rights goes on with. */
static void the_new_one_belongs_to_the_owner_of_the_old(void)
{
	enum { USER = 54321, GROUP = 54322 };
	char rubbish[] = "This is no database.";
	struct store *store;
	struct stat status;

	if (geteuid() != 0) {
		printf("  (only root can give files away)\n");
		return;
	}
	begin();
	close(open(path, O_CREAT | O_WRONLY, 0640));
	overwrite(0, rubbish, sizeof rubbish);
	CHECK(chown(path, USER, GROUP) == 0);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	store_close(store);
	CHECK(stat(path, &status) == 0 && status.st_uid == USER && status.st_gid == GROUP);
	CHECK((status.st_mode & 0777) == 0640);
}

static void an_empty_file_is_new(void)
{
	struct store *store;

	begin();
	close(open(path, O_CREAT | O_WRONLY, 0640));
	store = open_store();
	REQUIRE(store != NULL);
	CHECK(store_salvaged(store) == NULL && files("queue.db.corrupt", NULL, 0) == 0);
	store_close(store);
}

/* SQLite would throw the log away. */
static void an_empty_file_with_a_log_is_not_new(void)
{
	struct store *store;
	char log[160];

	begin();
	close(open(path, O_CREAT | O_WRONLY, 0640));
	snprintf(log, sizeof log, "%s-wal", path);
	close(open(log, O_CREAT | O_WRONLY, 0640));
	CHECK(truncate(log, 5000) == 0);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(files("queue.db.corrupt", NULL, 0) == 2);
	store_close(store);
}

static void a_directory_stays(void)
{
	begin();
	CHECK(mkdir(path, 0700) == 0);
	CHECK(open_store() == NULL);
	CHECK(strstr(err, path) && files("queue.db", NULL, 0) == 1);
	rmdir(path);
}

static void a_log_goes_with_its_database(void)
{
	char moved[256], wal[300], *name;
	struct store *store;
	sqlite3 *killed;
	pid_t pid;

	begin();
	fill();
	/* As a process leaves it that is killed. */
	pid = fork();
	if (pid == 0) {
		sqlite3_open(path, &killed);
		sqlite3_exec(killed, "DELETE FROM queue_2; UPDATE meta SET value = '' WHERE key = 'instance'", NULL, NULL, NULL);
		raise(SIGKILL);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(store_salvaged(store)->messages == N);
	snprintf(moved, sizeof moved, "%.200s", store_salvaged(store)->moved_to);
	store_close(store);
	snprintf(wal, sizeof wal, "%s-wal", moved);
	CHECK(access(wal, F_OK) == 0);
	CHECK(number_in(moved, "SELECT count(*) FROM queue_1") == N && number_in(moved, "SELECT count(*) FROM queue_2") == 0);
	name = strrchr(path, '/') + 1;
	CHECK(files(name, NULL, 0) >= 2);
}

static void what_a_link_points_to_is_replaced(void)
{
	char alias[160];
	struct store *store;
	struct stat status;

	begin();
	fill();
	sql("DROP TABLE note");
	snprintf(alias, sizeof alias, "%s/alias.db", directory);
	CHECK(symlink(path, alias) == 0);
	store = store_open(alias, STORE_FULL, err, sizeof err);
	REQUIRE(store && store_salvaged(store));
	CHECK(store_salvaged(store)->messages == 2 * N);
	store_close(store);
	CHECK(lstat(alias, &status) == 0 && S_ISLNK(status.st_mode));
	CHECK(files("queue.db.corrupt", NULL, 0) >= 1 && files("alias.db.", NULL, 0) == 0);
}

/* ---- in use ---- */

static pid_t agent_in_child(int *ready)
{
	int pipes[2];
	char byte;
	pid_t pid;

	REQUIRE(pipe(pipes) == 0);
	pid = fork();
	if (pid == 0) {
		struct store *store = open_store();

		close(pipes[0]);
		if (write(pipes[1], store ? "y" : "n", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(pipes[1]);
	REQUIRE(pid > 0 && read(pipes[0], &byte, 1) == 1);
	close(pipes[0]);
	*ready = byte == 'y';
	return pid;
}

static void a_file_in_use_stays(void)
{
	char rubbish[200] = "rubbish";
	int ready;
	pid_t pid;

	begin();
	fill();
	pid = agent_in_child(&ready);
	CHECK(ready);
	overwrite(0, rubbish, sizeof rubbish);
	CHECK(open_store() == NULL);
	CHECK(strstr(err, "in use"));
	CHECK(store_set_aside(path, "a test", err, sizeof err) < 0);
	CHECK(strstr(err, "in use") && files("queue.db.corrupt", NULL, 0) == 0);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* A process that has the store, if it gets it, until the other one has ended: 1; 0: it is in use. */
static void open_until(const int ended[2])
{
	struct pollfd other = {.fd = ended[0]};
	struct store *store = open_store();

	close(ended[1]);
	if (!store)
		_exit(strstr(err, "in use") ? 0 : 2);
	(void)poll(&other, 1, 20000);
	_exit(1);
}

/* Both find a file that nobody can lock: one agent runs afterwards, on one new database. */
static void two_at_once_move_it_once(void)
{
	for (int i = 0; i < 5; i++) {
		int won = 0, ended[2];

		begin();
		REQUIRE(pipe(ended) == 0);
		close(open(path, O_CREAT | O_WRONLY, 0640));
		overwrite(0, "This is no database at all.", 27);
		for (int child = 0; child < 2; child++)
			if (fork() == 0)
				open_until(ended);
		for (int child = 0; child < 2; child++) {
			int status = 0;

			CHECK(wait(&status) > 0);
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
			won += WIFEXITED(status) && WEXITSTATUS(status) == 1;
			if (child == 0)
				close(ended[1]);
		}
		close(ended[0]);
		CHECK(won == 1 && files("queue.db.corrupt", NULL, 0) == 1);
	}
}

/* ---- interrupted ---- */

/* Killed at each call that changes something; the next start finds everything. */
static void a_kill_in_the_middle_loses_nothing(void)
{
	int kills = 0, status;
	bool done = false;

	n_messages = 300;
	for (long at = 0; !done; at++) {
		struct store *store;
		pid_t pid;

		begin();
		fill();
		sql("DROP TABLE note");
		pid = fork();
		if (pid == 0) {
			calls_left = at;
			store = open_store();
			_exit(store ? 0 : 1);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		done = WIFEXITED(status);
		CHECK(!done || WEXITSTATUS(status) == 0);
		kills += !done;
		store = open_store();
		REQUIRE(store != NULL);
		CHECK(drain(store, "core", 1) == n_messages && drain(store, "hist", 2) == n_messages);
		CHECK(store_stats(store).salvages == 1);
		store_close(store);
		CHECK(files("queue.db.corrupt", NULL, 0) >= 1 && files("queue.db.salvage", NULL, 0) == 0);
		if (test_broken) {
			fprintf(stderr, "killed at call %ld\n", at);
			break;
		}
	}
	n_messages = N;
	printf("killed at %d calls while salvaging\n", kills);
	CHECK(kills > 30);
}

/* No room for a second copy: all stays as it was. */
static void a_full_disk_leaves_it_as_it_was(void)
{
	struct rlimit limit, small = {.rlim_cur = 100000};
	char *before;
	size_t size;

	begin();
	fill();
	sql("DROP TABLE note");
	before = contents(path, &size);
	CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	small.rlim_max = limit.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	CHECK(open_store() == NULL);
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	CHECK(strstr(err, path) && strstr(err, "cannot build"));
	CHECK(same_contents(path, before, size) && files("queue.db.corrupt", NULL, 0) == 0 &&
	      files("queue.db.salvage", NULL, 0) == 0);
	free(before);
}

/* The log cannot be written back, but what is in it can be sent. */
static void a_full_disk_does_not_keep_it_from_opening(void)
{
	struct rlimit limit, small = {.rlim_cur = 900000};
	struct store *store;
	sqlite3 *killed;
	pid_t pid;

	begin();
	fill();
	pid = fork();
	if (pid == 0) {
		sqlite3_open(path, &killed);
		sqlite3_exec(killed, "INSERT INTO queue_1 VALUES (100000, 't', zeroblob(300000), NULL, NULL, 0, 0, 1, 0, NULL)",
		             NULL, NULL, NULL);
		raise(SIGKILL);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	small.rlim_max = limit.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	store = open_store();
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	REQUIRE(store && !store_salvaged(store));
	store_close(store);
	CHECK(number("SELECT count(*) FROM queue_1") == N + 1);
}

int main(void)
{
	damaged_begin();
	RUN(a_foreign_database_is_moved_aside);
	RUN(a_file_that_is_no_database_is_moved_aside);
	RUN(the_new_one_belongs_to_the_owner_of_the_old);
	RUN(an_empty_file_is_new);
	RUN(an_empty_file_with_a_log_is_not_new);
	RUN(a_directory_stays);
	RUN(a_log_goes_with_its_database);
	RUN(what_a_link_points_to_is_replaced);
	RUN(a_file_in_use_stays);
	RUN(two_at_once_move_it_once);
	RUN(a_kill_in_the_middle_loses_nothing);
	RUN(a_full_disk_leaves_it_as_it_was);
	RUN(a_full_disk_does_not_keep_it_from_opening);
	return damaged_end();
}
