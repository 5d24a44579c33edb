/* Damaged databases: moved aside as they are, salvaged as far as they can be read,
 * whatever happens meanwhile. Links SQLite and nothing of the agent. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dead.h"
#include "ledger.h"
#include "queue.h"
#include "store.h"
#include "test.h"

#define PAGE 4096

static const struct queue_limits no_limits;
static char directory[] = "/tmp/tidegate-salvage-XXXXXX";
static char path[128], err[512];

/* ---- a process that ends in the middle: each of these calls is a place to do so ---- */

static long calls_left = -1, syncs;

static void one_call(void)
{
	if (calls_left >= 0 && calls_left-- == 0)
		raise(SIGKILL);
}

static ssize_t (*real_write)(int fd, const void *data, size_t size, off64_t at);

static ssize_t write_at(int fd, const void *data, size_t size, off64_t at)
{
	one_call();
	return real_write(fd, data, size, at);
}

/* What SQLite writes with. */
static void watch_writes(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	real_write = (ssize_t(*)(int, const void *, size_t, off64_t))vfs->xGetSystemCall(vfs, "pwrite64");
	REQUIRE(real_write != NULL);
	REQUIRE(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)write_at) == SQLITE_OK);
}

int fdatasync(int fd)
{
	one_call();
	syncs++; /* and no more: processes die here, power is cut elsewhere */
	return fd < 0;
}

int fsync(int fd)
{
	return fdatasync(fd);
}

int rename(const char *from, const char *to)
{
	one_call();
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int link(const char *from, const char *to)
{
	one_call();
	return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *name)
{
	one_call();
	return (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0);
}

/* ---- files ---- */

/* How many files begin with `prefix`; the last one's path in `found`, if that is wanted. */
static int files(const char *prefix, char *found, size_t size)
{
	DIR *all = opendir(directory);
	struct dirent *entry;
	int n = 0;

	while (all && (entry = readdir(all)))
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
			n++;
			if (found)
				snprintf(found, size, "%s/%.100s", directory, entry->d_name);
		}
	closedir(all);
	return n;
}

static void begin(void)
{
	char name[256];

	while (files("queue.db", name, sizeof name) > 0 || files("alias.db", name, sizeof name) > 0)
		REQUIRE(remove(name) == 0);
	snprintf(path, sizeof path, "%s/queue.db", directory);
	err[0] = '\0';
}

static char *contents(const char *name, size_t *size)
{
	FILE *file = fopen(name, "r");
	char *data;

	REQUIRE(file != NULL);
	fseek(file, 0, SEEK_END);
	*size = (size_t)ftell(file);
	rewind(file);
	data = malloc(*size + 1);
	REQUIRE(data && fread(data, 1, *size, file) == *size);
	data[*size] = '\0';
	fclose(file);
	return data;
}

static bool same_contents(const char *name, const char *data, size_t size)
{
	size_t other_size;
	char *other = contents(name, &other_size);
	bool same = other_size == size && memcmp(data, other, size) == 0;

	free(other);
	return same;
}

static void overwrite(long at, const char *data, size_t size)
{
	FILE *file = fopen(path, "r+");

	REQUIRE(file && fseek(file, at, SEEK_SET) == 0 && fwrite(data, 1, size, file) == size);
	fclose(file);
}

/* Fills the page that holds `text` with rubbish. */
static void spoil_page_with(const char *text)
{
	static char rubbish[PAGE];
	size_t size;
	char *data = contents(path, &size), *found = memmem(data, size, text, strlen(text));

	if (!found)
		fprintf(stderr, "no page has %s\n", text);
	REQUIRE(found != NULL);
	memset(rubbish, 0xa5, sizeof rubbish);
	overwrite((found - data) / PAGE * PAGE, rubbish, sizeof rubbish);
	free(data);
}

static void sql_in(const char *file, const char *text)
{
	sqlite3 *database = NULL;
	char *complaint = NULL;

	CHECK(sqlite3_open(file, &database) == SQLITE_OK);
	CHECK(sqlite3_exec(database, text, NULL, NULL, &complaint) == SQLITE_OK);
	if (complaint)
		fprintf(stderr, "%s: %s\n", text, complaint);
	sqlite3_free(complaint);
	sqlite3_close(database);
}

static void sql(const char *text)
{
	sql_in(path, text);
}

static int64_t number_in(const char *file, const char *query)
{
	sqlite3 *database = NULL;
	sqlite3_stmt *statement = NULL;
	int64_t value = -1;

	CHECK(sqlite3_open(file, &database) == SQLITE_OK);
	CHECK(sqlite3_prepare_v2(database, query, -1, &statement, NULL) == SQLITE_OK);
	if (sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(database);
	return value;
}

static int64_t number(const char *query)
{
	return number_in(path, query);
}

static struct store *open_store(void)
{
	return store_open(path, STORE_FULL, err, sizeof err);
}

/* ---- a database with something in it ---- */

#define N 2000 /* messages in each of two queues */

static char instance[40];
static int n_messages = N;

static void add_records(struct store *store)
{
	struct ledger *ledger = ledger_open(store, err, sizeof err);
	struct dead *dead = dead_open(store, err, sizeof err);
	struct loss loss = {.link = "core", .topic = "t", .reason = "overflow", .first_seq = 3, .last_seq = 4, .count = 2};
	struct dead_letter letter = {.link = "core", .script = "rules.lua", .reason = "it threw", .topic = {"t", 1}};

	REQUIRE(ledger && dead);
	CHECK(ledger_add(ledger, &loss) == 0);
	CHECK(dead_add(dead, &letter, NULL) != 0);
	CHECK(store_set_note(store, "session core", "a/#") == 0);
	CHECK(store_name_id(store, "rules.lua") != 0);
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
	ledger_close(ledger);
	dead_close(dead);
}

/* The messages of the two queues take turns. */
static void fill(void)
{
	struct store *store = open_store();
	char text[600];

	REQUIRE(store != NULL);
	snprintf(instance, sizeof instance, "%s", store_instance(store));
	queue_close(queue_open(store, "core", no_limits, NULL, NULL, err, sizeof err));
	queue_close(queue_open(store, "hist", no_limits, NULL, NULL, err, sizeof err));
	add_records(store);
	store_close(store);
	for (int id = 1; id <= 2; id++) {
		snprintf(text, sizeof text,
		         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO queue_%d"
		         " SELECT 1000 + 2 * i + %d, 'sensors/a', CAST(printf('payload-%d-%%06d-%%0100d', i, 0) AS BLOB), NULL, NULL,"
		         " 1700000000000 + i, 1, 1, i, NULL FROM n",
		         n_messages, id, id, id);
		sql(text);
	}
}

/* Messages of a link, in order; each at most once. How many. */
static int drain(struct store *store, const char *name, int id)
{
	struct queue *queue = queue_open(store, name, no_limits, NULL, NULL, err, sizeof err);
	const struct message *message;
	uint64_t last = 0;
	bool failed = false;
	char expected[32];
	int n = 0;

	REQUIRE(queue != NULL);
	while ((message = queue_peek(queue, 0, true, &failed, err, sizeof err))) {
		snprintf(expected, sizeof expected, "payload-%d-%06d", id, (int)(message->seq - 1000) / 2 - (id == 2));
		CHECK(message->seq > last && message->payload.size > 16);
		CHECK(memcmp(message->payload.data, expected, strlen(expected)) == 0);
		CHECK(strcmp(message->topic.data, "sensors/a") == 0 && message->qos == 1);
		last = message->seq;
		n++;
		if (queue_reserve(queue) < 0)
			break;
		queue_take(queue);
		queue_acknowledged(queue, last);
		if (n % 500 == 0)
			CHECK(store_commit(store, err, sizeof err) == STORE_OK);
	}
	CHECK(!failed);
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
	queue_close(queue);
	return n;
}

/* ---- tests ---- */

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
	CHECK(store_salvaged(store)->gaps >= 3 && store_salvaged(store)->gaps <= 4);
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

/* Both find a file that nobody can lock: one agent runs afterwards, on one new database. */
static void two_at_once_move_it_once(void)
{
	for (int i = 0; i < 5; i++) {
		int won = 0;
		pid_t pids[2];

		begin();
		close(open(path, O_CREAT | O_WRONLY, 0640));
		overwrite(0, "This is no database at all.", 27);
		for (int child = 0; child < 2; child++)
			if ((pids[child] = fork()) == 0) {
				struct store *store = open_store();

				if (!store)
					_exit(strstr(err, "in use") ? 0 : 2);
				usleep((LOCK_WAIT_MS + 300) * 1000);
				_exit(1);
			}
		for (int child = 0; child < 2; child++) {
			int status = 0;

			CHECK(waitpid(pids[child], &status, 0) == pids[child]);
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
			won += WIFEXITED(status) && WEXITSTATUS(status) == 1;
		}
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

/* ---- while it is open ---- */

static void corruption_is_told_by_whoever_meets_it(void)
{
	struct store *store;
	struct queue *queue;
	bool failed;
	int n = 0;

	begin();
	fill();
	spoil_page_with("payload-1-000700");
	store = open_store();
	REQUIRE(store != NULL);
	queue = queue_open(store, "core", no_limits, NULL, NULL, err, sizeof err);
	if (queue) { /* unless opening counts */
		const struct message *message;

		CHECK(!store_corrupt(store));
		while (queue_reserve(queue) == 0 && (message = queue_peek(queue, 0, true, &failed, err, sizeof err))) {
			n++;
			queue_take(queue);
		}
		CHECK(failed && n > 600 && n < 700);
		queue_close(queue);
	}
	CHECK(store_corrupt(store));
	store_close(store);
	REQUIRE(store_set_aside(path, "a test", err, sizeof err) == 0);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(!store_corrupt(store) && drain(store, "core", 1) > N - 35);
	store_close(store);
}

static void corruption_is_told_by_a_commit(void)
{
	static const char rubbish[PAGE * 2] = "rubbish";
	struct message message = {.topic = {"t", 1}, .qos = 1};
	struct store *store;
	struct queue *queue;

	begin();
	fill();
	store = open_store();
	REQUIRE(store != NULL);
	queue = queue_open(store, "new", no_limits, NULL, NULL, err, sizeof err);
	REQUIRE(queue != NULL);
	spoil_page_with("payload-2-002000");
	queue_close(queue);
	queue = queue_open(store, "hist", no_limits, NULL, NULL, err, sizeof err);
	if (queue) {
		message.seq = store_next_seq(store);
		message.payload = (struct bytes){rubbish, sizeof rubbish};
		CHECK(queue_push(queue, &message) == QUEUE_OK);
		CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
		queue_close(queue);
	}
	CHECK(store_corrupt(store));
	store_close(store);
}

static void numbers_are_synced_whatever_the_durability(void)
{
	struct store *store;
	uint64_t seq;
	long before;

	begin();
	store_close(open_store());
	before = syncs;
	store = store_open(path, STORE_OFF, err, sizeof err);
	REQUIRE(store != NULL);
	CHECK(syncs > before);
	before = syncs;
	seq = store_next_seq(store);
	CHECK(store_set_note(store, "a", "b") == 0 && store_commit(store, err, sizeof err) == STORE_OK);
	CHECK(syncs == before && seq > 0);
	store_close(store);
}

/* ---- shrinking ---- */

static void the_file_shrinks_when_it_is_empty(void)
{
	struct store *store;
	struct stat before, after;
	char log[160];
	int steps = 0;

	begin();
	fill();
	sql("INSERT INTO queue_1 SELECT seq + 1000000, topic, zeroblob(1000), NULL, NULL, 0, 0, 1, 0, NULL FROM queue_1");
	store = open_store();
	REQUIRE(store != NULL);
	CHECK(!store_shrink(store));
	store_close(store);
	sql("DELETE FROM queue_1; DELETE FROM queue_2 WHERE seq % 3");
	CHECK(stat(path, &before) == 0 && before.st_size > 2500000);
	store = open_store();
	REQUIRE(store != NULL);
	while (store_shrink(store) && steps < 100)
		steps++;
	CHECK(steps == 1);
	CHECK(stat(path, &after) == 0 && after.st_size < 800000);
	snprintf(log, sizeof log, "%s-wal", path);
	CHECK(stat(log, &after) == 0 && after.st_size == 0);
	calls_left = 0; /* nothing to gain: whoever writes now dies */
	CHECK(!store_shrink(store) && !store_shrink(store));
	calls_left = -1;
	CHECK(drain(store, "hist", 2) == N / 3);
	store_close(store);
}

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	watch_writes();
	RUN(a_foreign_database_is_moved_aside);
	RUN(a_file_that_is_no_database_is_moved_aside);
	RUN(an_empty_file_is_new);
	RUN(an_empty_file_with_a_log_is_not_new);
	RUN(a_directory_stays);
	RUN(salvages_around_a_page);
	RUN(salvages_priorities);
	RUN(numbers_go_on_above_all);
	RUN(a_queue_whose_link_is_lost_is_kept);
	RUN(a_log_goes_with_its_database);
	RUN(what_a_link_points_to_is_replaced);
	RUN(a_file_in_use_stays);
	RUN(two_at_once_move_it_once);
	RUN(a_kill_in_the_middle_loses_nothing);
	RUN(a_full_disk_leaves_it_as_it_was);
	RUN(a_full_disk_does_not_keep_it_from_opening);
	RUN(corruption_is_told_by_whoever_meets_it);
	RUN(corruption_is_told_by_a_commit);
	RUN(numbers_are_synced_whatever_the_durability);
	RUN(the_file_shrinks_when_it_is_empty);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
