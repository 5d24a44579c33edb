/* Damage is found, by whoever meets it or by looking for it; compiled so that a database of 200 KB is
 * large, and with a tiny read-ahead. Links SQLite and nothing of the agent. */
#include <errno.h>

#include "damaged.h"

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

/* ---- what SQLite reads over ---- */

/* Opening finds that it is damaged, and all is salvaged. */
static void check_found(const char *why)
{
	struct store *store = open_store();

	REQUIRE(store != NULL);
	CHECK(store_salvaged(store) && strstr(store_salvaged(store)->why, why));
	CHECK(drain(store, "core", 1) == n_messages && drain(store, "hist", 2) == n_messages);
	store_close(store);
}

/* Then each row's number is NULL, and the queue looks empty. */
static void a_key_that_is_none_is_found(void)
{
	char *bytes, *text;
	size_t size;

	begin();
	fill();
	bytes = contents(path, &size);
	text = memmem(bytes, size, "seq INTEGER PRIMARY", 19);
	REQUIRE(text != NULL);
	overwrite(text - bytes, "seq INTEGES PRIMARY", 19);
	free(bytes);
	check_found("another key");
}

static void a_table_that_is_none_of_its_kind_is_found(void)
{
	begin();
	fill();
	sql("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage ="
	    " (SELECT rootpage FROM sqlite_schema WHERE name = 'link') WHERE name = 'meta'");
	check_found("malformed");
}

static void a_queue_without_its_link_is_found(void)
{
	struct store *store;

	begin();
	fill();
	sql("DELETE FROM link WHERE id = 1");
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(drain(store, "salvaged-1", 1) == N && drain(store, "hist", 2) == N);
	store_close(store);
}

/* The root page of a queue with one child less: cells are counted at byte 3. */
static void shorten(const char *queue)
{
	char query[100], *bytes;
	size_t size, at;

	snprintf(query, sizeof query, "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", queue);
	at = (size_t)(number(query) - 1) * 1024 + 3;
	bytes = contents(path, &size);
	REQUIRE(at < size && bytes[at - 3] == 5 && bytes[at] == 0 && bytes[at + 1] > 1);
	bytes[at + 1]--;
	overwrite((long)at, bytes + at, 2);
	free(bytes);
}

static void a_small_tree_that_is_cut_short_is_found_at_once(void)
{
	n_messages = 300;
	begin();
	fill();
	shorten("queue_2");
	check_found("on page");
	n_messages = N;
}

/* Looking at all of it would take too long, until it is empty: then what is left in it is
 * what was not given. */
static void a_large_tree_that_is_cut_short_is_found_when_all_is_delivered(void)
{
	struct store *store;
	int n;

	begin();
	fill();
	shorten("queue_1");
	store = open_store();
	REQUIRE(store && !store_salvaged(store));
	CHECK(!store_shrink(store) && !store_corrupt(store));
	CHECK(drain(store, "hist", 2) == N);
	n = drain(store, "core", 1);
	CHECK(n > 100 && n < N - 300);
	CHECK(!store_shrink(store) && store_corrupt(store));
	store_close(store);
	REQUIRE(store_set_aside(path, "a test", err, sizeof err) == 0);
	store = open_store();
	REQUIRE(store && store_salvaged(store));
	CHECK(drain(store, "core", 1) == 0 && drain(store, "hist", 2) == 0);
	CHECK(drain(store, "salvaged-3", 1) == N - n); /* whose it was is not known any more */
	store_close(store);
}

/* What is between a key and the one that it was would be passed over; whichever it is of
 * those that are read together. */
static void a_key_out_of_order_is_found(void)
{
	char payload[32], key[] = {(char)(0x80 | 4500 >> 7), 4500 & 0x7f}, *bytes, *at;
	size_t size;

	for (int i = 300; i < 308; i++) {
		struct store *store;

		begin();
		fill();
		snprintf(payload, sizeof payload, "payload-1-%06d", i);
		bytes = contents(path, &size);
		at = memmem(bytes, size, payload, strlen(payload));
		REQUIRE(at != NULL);
		while (((at[0] & 0x7f) << 7 | at[1]) != 1001 + 2 * i || !(at[0] & 0x80))
			at--;
		overwrite(at - bytes, key, sizeof key);
		free(bytes);
		store = open_store();
		REQUIRE(store && !store_salvaged(store));
		while (!store_corrupt(store)) {
			bool failed;
			struct queue *queue = queue_open(store, "core", no_limits, NULL, NULL, err, sizeof err);

			REQUIRE(queue != NULL);
			while (queue_reserve(queue) == 0 && queue_peek(queue, 0, true, &failed, err, sizeof err))
				queue_take(queue);
			CHECK(store_corrupt(store));
			queue_close(queue);
			if (test_broken)
				break;
		}
		store_close(store);
	}
}

/* ---- what is no damage ---- */

static long reads_left = -1;
static ssize_t (*real_read)(int fd, void *data, size_t size, off64_t at);

static ssize_t read_at(int fd, void *data, size_t size, off64_t at)
{
	if (reads_left >= 0 && reads_left-- == 0) {
		errno = ETIMEDOUT; /* EIO, says SQLite, is a corrupt file system */
		return -1;
	}
	return real_read(fd, data, size, at);
}

static void a_disk_that_cannot_be_read_is_no_damage(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	bool done = false;
	long reads = 0;

	real_read = (ssize_t(*)(int, void *, size_t, off64_t))vfs->xGetSystemCall(vfs, "pread64");
	REQUIRE(vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)read_at) == SQLITE_OK);
	n_messages = 300;
	begin();
	fill();
	for (; !done && !test_broken; reads++) {
		struct store *store;

		reads_left = reads;
		store = open_store();
		done = reads_left >= 0;
		reads_left = -1;
		CHECK(!store || !store_salvaged(store));
		store_close(store);
	}
	CHECK(reads > 50 && files("queue.db.corrupt", NULL, 0) == 0);
	n_messages = N;
}

int main(void)
{
	damaged_begin();
	RUN(corruption_is_told_by_whoever_meets_it);
	RUN(corruption_is_told_by_a_commit);
	RUN(a_key_that_is_none_is_found);
	RUN(a_table_that_is_none_of_its_kind_is_found);
	RUN(a_queue_without_its_link_is_found);
	RUN(a_small_tree_that_is_cut_short_is_found_at_once);
	RUN(a_large_tree_that_is_cut_short_is_found_when_all_is_delivered);
	RUN(a_key_out_of_order_is_found);
	RUN(a_disk_that_cannot_be_read_is_no_damage);
	RUN(numbers_are_synced_whatever_the_durability);
	RUN(the_file_shrinks_when_it_is_empty);
	return damaged_end();
}
