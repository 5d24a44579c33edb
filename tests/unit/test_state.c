/* The state of scripts in the store: in the same commit as messages, and when not.
 * Links SQLite and nothing of the agent. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bad_disk.h"
#include "queue.h"
#include "state.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-state-XXXXXX";
static char path[128], err[512];
static struct store *store;
static struct state *state;
static enum bad_disk disk;
static struct participant bad_disk;

/* The source: what is to be written next, "key=value ...", of script 1 and of script 2. */
static const char *to_write[3];
static unsigned times_written[3];
static bool no_memory;

static struct bytes bytes_of(const char *text, size_t size)
{
	return (struct bytes){.data = text, .size = size};
}

static int write_script(void *arg, uint32_t script, struct state *to)
{
	const char *at = to_write[script];

	CHECK(arg == &no_memory && to == state);
	while (at && *at) {
		size_t key = strcspn(at, "="), value = strcspn(at + key + 1, " ");

		if (state_put(state, script, bytes_of(at, key), bytes_of(at + key + 1, value)) < 0)
			return -1;
		at += key + 1 + value;
		at += *at == ' ';
	}
	return no_memory ? -1 : 0;
}

static void script_written(void *arg, uint32_t script)
{
	(void)arg;
	times_written[script]++;
}

static void shut(void)
{
	state_close(state);
	if (store)
		store_leave(store, &bad_disk);
	store_close(store);
	state = NULL;
	store = NULL;
}

static void open_again(void)
{
	shut();
	disk = DISK_GOOD;
	no_memory = false;
	memset(times_written, 0, sizeof times_written);
	store = store_open(path, STORE_OFF, err, sizeof err);
	REQUIRE(store != NULL);
	bad_disk_join(store, &bad_disk, &disk);
	state = state_open(store, &(struct state_source){&no_memory, write_script, script_written}, err, sizeof err);
	REQUIRE(state != NULL);
}

static void begin(void)
{
	shut();
	snprintf(path, sizeof path, "%s/queue.db", directory);
	unlink(path);
	open_again();
}

static char text[1024];

static int append(void *arg, struct bytes key, struct bytes value)
{
	size_t at = strlen(text);
	int *rows = arg;

	snprintf(text + at, sizeof text - at, "%s%.*s=%.*s", at ? " " : "", (int)key.size, (const char *)key.data,
	         (int)value.size, (const char *)value.data);
	return rows && --*rows <= 0 ? -1 : 0;
}

static bool holds(uint32_t script, const char *expected)
{
	text[0] = '\0';
	CHECK(state_load(state, script, append, NULL) == 0);
	if (strcmp(text, expected) != 0)
		fprintf(stderr, "expected: %s\ngot:      %s\n", expected, text);
	return strcmp(text, expected) == 0;
}

static void commit(void)
{
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

static void changed(uint32_t script, const char *what)
{
	to_write[script] = what;
	CHECK(state_changed(state, script, 100) == store_newest_seq(store));
}

/* ---- tests ---- */

static void keeps_entries_of_each_script(void)
{
	begin();
	CHECK(holds(1, "") && holds(2, ""));
	changed(1, "a=1 b=2");
	changed(2, "a=9");
	commit();
	CHECK(times_written[1] == 1 && times_written[2] == 1);
	changed(1, "b= c=33");
	commit();
	CHECK(times_written[1] == 2 && times_written[2] == 1);
	open_again();
	CHECK(holds(1, "a=1 c=33") && holds(2, "a=9") && holds(3, ""));
}

static void is_unsafe_until_a_commit(void)
{
	struct store_unsafe unsafe;
	uint64_t first;

	begin();
	CHECK(holds(1, "") && holds(2, ""));
	commit();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN && unsafe.states == 0);
	changed(1, "a=1");
	first = store_newest_seq(store);
	(void)store_next_seq(store);
	changed(2, "b=1");
	changed(1, "a=2");
	CHECK(store_pending(store, &unsafe) == STORE_UNSAFE);
	CHECK(unsafe.first == first && unsafe.states == 2 && unsafe.state_bytes == 200 && !unsafe.urgent);
	CHECK(unsafe.messages == 0 && unsafe.bytes == 0 && unsafe.deletions == 0);
	commit();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN && unsafe.first == UINT64_MAX);
	CHECK(holds(1, "a=2") && holds(2, "b=1"));
}

static void a_commit_that_fails_leaves_it_unsafe(void)
{
	struct store_unsafe unsafe;

	begin();
	CHECK(holds(1, ""));
	changed(1, "a=1");
	disk = DISK_BROKEN;
	CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
	disk = DISK_FULL; /* deletions are written, and nothing of this */
	to_write[1] = "a= b=1";
	CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
	CHECK(times_written[1] == 0 && store_pending(store, &unsafe) == STORE_UNSAFE && unsafe.states == 1);
	disk = DISK_GOOD;
	no_memory = true;
	CHECK(store_commit(store, err, sizeof err) == STORE_RETRY && strcmp(err, "out of memory") == 0);
	CHECK(holds(1, ""));
	no_memory = false;
	to_write[1] = "c=1";
	commit();
	CHECK(times_written[1] == 1 && holds(1, "c=1"));
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
}

static void ignore(void *arg, struct queue *queue, const struct message *message, enum queue_drop why)
{
	(void)arg;
	(void)queue;
	(void)message;
	(void)why;
}

/* What a handler published and what it changed: both or neither. */
static void goes_with_what_was_published(void)
{
	static const struct queue_limits no_limits;

	for (int failing = 0; failing < 2; failing++) {
		struct queue *queue;

		begin();
		CHECK(holds(1, ""));
		queue = queue_open(store, "core", no_limits, ignore, NULL, err, sizeof err);
		REQUIRE(queue != NULL);
		CHECK(queue_push(queue, &(struct message){.seq = store_next_seq(store), .topic = {"t", 1}}) == QUEUE_OK);
		changed(1, "n=1");
		if (failing) {
			no_memory = true;
			CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
		} else {
			commit();
		}
		queue_close(queue);
		open_again();
		queue = queue_open(store, "core", no_limits, ignore, NULL, err, sizeof err);
		while (queue_count(queue))
			;
		CHECK(queue_messages(queue) == (failing ? 0 : 1) && holds(1, failing ? "" : "n=1"));
		queue_close(queue);
	}
}

static void reading_may_be_broken_off(void)
{
	int rows = 2;

	begin();
	CHECK(holds(1, ""));
	changed(1, "a=1 b=2 c=3");
	commit();
	text[0] = '\0';
	CHECK(state_load(state, 1, append, &rows) == -1 && strcmp(text, "a=1 b=2") == 0);
	CHECK(holds(1, "a=1 b=2 c=3"));
}

static void any_bytes(void)
{
	begin();
	CHECK(holds(1, ""));
	to_write[1] = NULL;
	CHECK(state_changed(state, 1, 0) > 0);
	CHECK(store_exec(store, "BEGIN") == 0);
	CHECK(state_put(state, 1, bytes_of("\0k", 2), bytes_of("v\0\xff", 3)) == 0);
	CHECK(state_put(state, 1, bytes_of("\0l", 2), bytes_of("w", 1)) == 0);
	CHECK(state_put(state, 1, bytes_of("\0l", 2), bytes_of(NULL, 0)) == 0);
	CHECK(state_put(state, 1, bytes_of("\0m", 2), bytes_of(NULL, 0)) == 0);
	CHECK(store_exec(store, "COMMIT") == 0);
	CHECK(store_integer(store, "SELECT count(*) FROM state WHERE key = x'006b' AND value = x'7600ff'", 0) == 1);
	CHECK(store_integer(store, "SELECT count(*) FROM state", 0) == 1);
}

static void add_id(void *arg, uint32_t script, uint64_t entries)
{
	size_t at = strlen(text);

	(void)arg;
	snprintf(text + at, sizeof text - at, "%u:%u ", (unsigned)script, (unsigned)entries);
}

static void tells_whose_there_is(void)
{
	begin();
	CHECK(holds(1, "") && holds(2, ""));
	changed(1, "a=1 b=1");
	changed(2, "a=1");
	commit();
	text[0] = '\0';
	state_visit(state, add_id, NULL);
	CHECK(strcmp(text, "1:2 2:1 ") == 0);
	CHECK(state_changed(state, 3, 1) == store_newest_seq(store)); /* not loaded: a number is all it gets */
	commit();
}

int main(void)
{
	REQUIRE(mkdtemp(directory) != NULL);
	RUN(keeps_entries_of_each_script);
	RUN(is_unsafe_until_a_commit);
	RUN(a_commit_that_fails_leaves_it_unsafe);
	RUN(goes_with_what_was_published);
	RUN(reading_may_be_broken_off);
	RUN(any_bytes);
	RUN(tells_whose_there_is);
	shut();
	unlink(path);
	rmdir(directory);
	return test_end();
}
