/* A database with something in it, to be damaged; and processes that end in the middle of
 * what they do with it. For one source of each program.
 */
#ifndef TIDEGATE_DAMAGED_H
#define TIDEGATE_DAMAGED_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dead.h"
#include "ledger.h"
#include "queue.h"
#include "sql.h"
#include "store.h"
#include "test.h"

#define PAGE 4096 /* so much is overwritten at a time: some of the database's pages */

static const struct queue_limits no_limits;
static char directory[] = "/tmp/tidegate-damaged-XXXXXX";
static char path[128], err[512];

/* ---- a process that ends in the middle: each of these calls is a place to do so ---- */

static long calls_left = -1, syncs;

static inline void one_call(void)
{
	if (calls_left >= 0 && calls_left-- == 0)
		raise(SIGKILL);
}

static ssize_t (*real_write)(int fd, const void *data, size_t size, off64_t at);

static inline ssize_t write_at(int fd, const void *data, size_t size, off64_t at)
{
	one_call();
	return real_write(fd, data, size, at);
}

/* What SQLite writes with. */
static inline void watch_writes(void)
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
static inline int files(const char *prefix, char *found, size_t size)
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

static inline void begin(void)
{
	char name[256];

	while (files("queue.db", name, sizeof name) > 0 || files("alias.db", name, sizeof name) > 0)
		REQUIRE(remove(name) == 0);
	snprintf(path, sizeof path, "%s/queue.db", directory);
	err[0] = '\0';
}

static inline char *contents(const char *name, size_t *size)
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

static inline bool same_contents(const char *name, const char *data, size_t size)
{
	size_t other_size;
	char *other = contents(name, &other_size);
	bool same = other_size == size && memcmp(data, other, size) == 0;

	free(other);
	return same;
}

static inline void overwrite(long at, const char *data, size_t size)
{
	FILE *file = fopen(path, "r+");

	REQUIRE(file && fseek(file, at, SEEK_SET) == 0 && fwrite(data, 1, size, file) == size);
	fclose(file);
}

/* Fills the page that holds `text` with rubbish. */
static inline void spoil_page_with(const char *text)
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

static inline void sql(const char *text)
{
	sql_in(path, text);
}

static inline int64_t number(const char *query)
{
	return number_in(path, query);
}

static inline struct store *open_store(void)
{
	return store_open(path, STORE_FULL, err, sizeof err);
}

/* ---- a database with something in it ---- */

#define N 2000 /* messages in each of two queues */

static char instance[40];
static int n_messages = N;

static inline void add_records(struct store *store)
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
static inline void fill(void)
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
static inline int drain(struct store *store, const char *name, int id)
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

/* ---- a program of tests ---- */

static inline void damaged_begin(void)
{
	REQUIRE(mkdtemp(directory));
	watch_writes();
}

/* The exit status. */
static inline int damaged_end(void)
{
	char command[256];

	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command) == 0 ? test_end() : 1;
}

#endif
