/* Dead letters, compiled with room for 4 of them or 100 bytes. Links SQLite and
 * nothing of the agent. */
#include "bad_store.h"
#include "dead.h"

static struct dead *dead;

static void shut(void)
{
	dead_close(dead);
	dead = NULL;
	shut_store();
}

static void open_again(void)
{
	shut();
	open_store();
	dead = dead_open(store, err, sizeof err);
	REQUIRE(dead != NULL);
}

static void begin(void)
{
	shut();
	remove_store();
	open_again();
}

static uint64_t add_lost(const char *payload, unsigned *lost)
{
	return dead_add(dead, &(struct dead_letter){.link = "field",
	                                            .script = "rules.lua",
	                                            .reason = "it failed",
	                                            .topic = {"a", 1},
	                                            .payload = {payload, strlen(payload)},
	                                            .time_ms = 1,
	                                            .qos = 1}, lost);
}

static uint64_t add(const char *payload)
{
	return add_lost(payload, NULL);
}

/* The payloads, oldest first. */
static char text[1024];

static void append_text(void *arg, const struct dead_letter *letter)
{
	size_t at = strlen(text);

	(void)arg;
	snprintf(text + at, sizeof text - at, "%s%.*s", at ? " " : "", (int)letter->payload.size,
	         (const char *)letter->payload.data);
}

static const char *letters(void)
{
	text[0] = '\0';
	dead_visit(dead, append_text, NULL);
	return text;
}

#define CHECK_LETTERS(expected) CHECK(strcmp(letters(), expected) == 0)

static void keeps_every_field(void)
{
	uint64_t id;

	begin();
	id = dead_add(dead, &(struct dead_letter){.link = "field",
	                                          .script = "site/rules.lua",
	                                          .reason = "rules.lua:3: no number\n",
	                                          .topic = {"a/b", 3},
	                                          .payload = {"nul\0and\xff", 8},
	                                          .properties = {"\x01\x01", 2},
	                                          .time_ms = -5,
	                                          .qos = 2,
	                                          .retain = true}, NULL);
	CHECK(id > 0);
	for (int from_disk = 0; from_disk < 2; from_disk++) {
		const struct dead_letter *back = dead_get(dead, id);

		REQUIRE(back != NULL);
		CHECK(back->id == id && strcmp(back->link, "field") == 0 && strcmp(back->script, "site/rules.lua") == 0);
		CHECK(strcmp(back->reason, "rules.lua:3: no number\n") == 0);
		CHECK(back->topic.size == 3 && strcmp(back->topic.data, "a/b") == 0);
		CHECK(back->payload.size == 8 && memcmp(back->payload.data, "nul\0and\xff", 8) == 0);
		CHECK(back->properties.size == 2 && memcmp(back->properties.data, "\x01\x01", 2) == 0);
		CHECK(back->time_ms == -5 && back->qos == 2 && back->retain && back->tries == 1 && !back->retry);
		commit();
		open_again();
	}
	CHECK(dead_count(dead) == 1 && dead_get(dead, id + 1) == NULL && !dead_known(dead, id + 1));
	CHECK(add("") > id);
	commit();
	CHECK(dead_get(dead, id + 1) == NULL || dead_get(dead, id + 1)->payload.size == 0);
}

static void is_unsafe_until_committed(void)
{
	struct store_unsafe unsafe;
	uint64_t id;

	begin();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	id = add("one");
	CHECK(add("two") > id);
	CHECK(store_pending(store, &unsafe) == STORE_URGENT);
	CHECK(unsafe.first == id && unsafe.messages == 2 && unsafe.bytes == 8);
	commit();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	dead_failed_again(dead, id, "again");
	CHECK(store_pending(store, &unsafe) == STORE_DELETIONS);
	dead_remove(dead, id);
	CHECK(store_pending(store, &unsafe) == STORE_DELETIONS);
	commit();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	id = add("three");
	CHECK(dead_remove(dead, id)); /* before it was ever written */
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
}

static void loses_only_what_was_not_committed(void)
{
	begin();
	add("one");
	commit();
	add("two");
	open_again();
	CHECK(dead_count(dead) == 1);
	CHECK_LETTERS("one");
}

static void gives_up_the_oldest(void)
{
	unsigned lost = 9;

	begin();
	add("1");
	add("2");
	commit();
	add("3");
	CHECK(add_lost("4", &lost) && lost == 0);
	CHECK(add_lost("5", &lost) && lost == 1);
	CHECK(add_lost("6", &lost) && lost == 1);
	CHECK(add_lost("7", &lost) && lost == 1); /* the first that is not on disk */
	CHECK(dead_count(dead) == 4);
	CHECK_LETTERS("4 5 6 7");
	commit();
	open_again();
	CHECK_LETTERS("4 5 6 7");
	CHECK(store_integer(store, "SELECT count(*) FROM dead", -1) == 4);
}

static void is_bounded_in_bytes(void)
{
	char large[200] = "";
	unsigned lost;

	begin();
	memset(large, 'x', 48);
	add(large);
	add(large);
	commit();
	CHECK(add_lost("y", &lost) && lost == 0); /* 100 bytes in all */
	CHECK(add_lost("", &lost) && lost == 1);
	memset(large, 'z', sizeof large - 1);
	CHECK(add_lost(large, &lost) && lost == 3); /* the newest is kept, whatever its size */
	CHECK_LETTERS(large);
	commit();
	open_again();
	CHECK_LETTERS(large);
	CHECK(add_lost("y", &lost) && lost == 1);
	CHECK_LETTERS("y");
}

static void removes(void)
{
	uint64_t first, second;

	begin();
	first = add("1");
	commit();
	second = add("2");
	CHECK(dead_remove(dead, first) && dead_remove(dead, second));
	CHECK(!dead_remove(dead, first) && !dead_remove(dead, second) && !dead_remove(dead, 4711));
	CHECK(dead_count(dead) == 0 && dead_get(dead, first) == NULL);
	CHECK_LETTERS("");
	open_again(); /* killed before the commit */
	CHECK_LETTERS("1");
	CHECK(dead_remove(dead, first));
	commit();
	open_again();
	CHECK_LETTERS("");
}

static void goes_from_one_to_the_next(void)
{
	uint64_t first, second, third;

	begin();
	CHECK(dead_next(dead, 0) == 0);
	first = add("1");
	second = add("2");
	commit();
	third = add("3");
	CHECK(dead_next(dead, 0) == first && dead_next(dead, first) == second);
	CHECK(dead_next(dead, second) == third && dead_next(dead, third) == 0);
	dead_remove(dead, second); /* its row is there until the commit */
	CHECK(dead_next(dead, first) == third && dead_next(dead, second) == third);
	dead_remove(dead, third);
	CHECK(dead_next(dead, first) == 0 && dead_next(dead, 0) == first);
	commit();
	CHECK(dead_next(dead, first) == 0 && dead_next(dead, 0) == first);
}

static void counts_tries(void)
{
	uint64_t written, fresh;

	begin();
	written = add("1");
	commit();
	fresh = add("2");
	CHECK(dead_retry_later(dead, written, true) && dead_retry_later(dead, fresh, true) && !dead_retry_later(dead, 4711, true));
	CHECK(dead_get(dead, written)->retry && dead_get(dead, fresh)->retry);
	commit();
	open_again();
	CHECK(dead_get(dead, written)->retry && dead_get(dead, fresh)->retry);
	dead_failed_again(dead, written, "worse");
	dead_failed_again(dead, written, dead_get(dead, written)->reason);
	dead_failed_again(dead, 4711, "nothing");
	CHECK(dead_get(dead, written)->tries == 3 && strcmp(dead_get(dead, written)->reason, "worse") == 0);
	CHECK(!dead_get(dead, written)->retry);
	commit();
	open_again();
	CHECK(dead_get(dead, written)->tries == 3 && strcmp(dead_get(dead, written)->reason, "worse") == 0);
	CHECK(!dead_get(dead, written)->retry);
	CHECK(dead_get(dead, fresh)->tries == 1 && strcmp(dead_get(dead, fresh)->reason, "it failed") == 0);
}

static void remove_it(void *arg, const struct dead_letter *letter)
{
	++*(int *)arg;
	CHECK(dead_remove(dead, letter->id));
}

static void fail_it_and_add(void *arg, const struct dead_letter *letter)
{
	++*(int *)arg;
	dead_failed_again(dead, letter->id, "again");
	if (*(int *)arg == 1)
		CHECK(add("new") > 0);
}

static void may_be_changed_while_visited(void)
{
	int n = 0;

	begin();
	add("1");
	add("2");
	commit();
	add("3");
	dead_visit(dead, fail_it_and_add, &n);
	CHECK(n == 4 && dead_count(dead) == 4);
	n = 0;
	dead_visit(dead, remove_it, &n);
	CHECK(n == 4 && dead_count(dead) == 0);
}

static void keeps_all_while_commits_fail(void)
{
	uint64_t first, second;

	begin();
	first = add("1");
	second = add("2");
	commit();
	disk = DISK_FULL;
	dead_remove(dead, first);
	dead_failed_again(dead, second, "again");
	add("3");
	for (int i = 0; i < 3; i++)
		CHECK(store_commit(store, err, sizeof err) == STORE_RETRY); /* the deletion is written */
	CHECK(store_integer(store, "SELECT count(*) FROM dead", -1) == 1);
	CHECK_LETTERS("2 3");
	disk = DISK_BROKEN;
	for (int i = 0; i < 20; i++) {
		CHECK(add("more") > 0);
		CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
	}
	CHECK_LETTERS("more more more more");
	disk = DISK_GOOD;
	commit();
	CHECK_LETTERS("more more more more");
	open_again();
	CHECK_LETTERS("more more more more");
}

int main(void)
{
	bad_store_begin();
	RUN(keeps_every_field);
	RUN(is_unsafe_until_committed);
	RUN(loses_only_what_was_not_committed);
	RUN(gives_up_the_oldest);
	RUN(is_bounded_in_bytes);
	RUN(removes);
	RUN(goes_from_one_to_the_next);
	RUN(counts_tries);
	RUN(may_be_changed_while_visited);
	RUN(keeps_all_while_commits_fail);
	shut();
	return bad_store_end();
}
