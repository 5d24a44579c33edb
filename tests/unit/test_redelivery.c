/* Which redelivered messages are recognised: brokers that count round, and others. */
#include "redelivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct redelivery *subject;
static int ran, id;

static void begin(void)
{
	subject = redelivery_open();
	REQUIRE(subject != NULL);
	redelivery_session(subject, 7, false, 0); /* a new session, */
	redelivery_session(subject, 7, true, 0);  /* and a later connection to it */
	id = ran = 0;
}

static void end(void)
{
	redelivery_close(subject);
}

static int next_id(int from)
{
	return from % 65535 + 1;
}

/* As run.c does. True if it was run. */
static bool deliver(int packet, const char *payload, bool dup)
{
	struct inbound message = {.topic = "t", .payload = {payload, strlen(payload)}, .qos = 1, .id = packet, .dup = dup};

	if (redelivery_repeats(subject, &message))
		return false;
	redelivery_taken(subject, &message);
	ran++;
	return true;
}

static void deliver_new(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		id = next_id(id);
		CHECK(deliver(id, "21.5", false));
	}
}

static void commit(void)
{
	free(redelivery_note(subject));
}

/* What is not in the last note is forgotten. */
static void crash(const char *note)
{
	redelivery_close(subject);
	subject = redelivery_open();
	REQUIRE(subject != NULL);
	if (note)
		redelivery_restore(subject, note);
	redelivery_session(subject, 7, true, 0);
}

static bool is(const char *state)
{
	return strcmp(redelivery_state(subject), state) == 0;
}

static void learns_before_it_recognises(void)
{
	begin();
	deliver_new(REDELIVERY_RUN - 1);
	CHECK(is("learning") && deliver(id, "21.5", true));
	deliver_new(1);
	CHECK(is("on") && !deliver(id, "21.5", true));
	end();
}

static void needs_a_longer_run_where_more_is_in_flight(void)
{
	begin();
	redelivery_session(subject, 7, true, 3000);
	deliver_new(5999);
	CHECK(is("learning"));
	deliver_new(1);
	CHECK(is("on"));
	end();
}

static void recognises_only_what_was_taken(void)
{
	begin();
	deliver_new(REDELIVERY_RUN);
	CHECK(!deliver(id, "21.5", true));
	CHECK(deliver(id, "21.6", true));           /* another payload */
	CHECK(deliver(next_id(id), "21.5", true)); /* the next one, which never came before */
	id = next_id(id);
	CHECK(!deliver(id, "21.5", true));
	CHECK(is("on"));
	deliver_new(1);
	CHECK(is("on"));
	end();
}

static void knows_no_message_without_an_id(void)
{
	begin();
	deliver_new(REDELIVERY_RUN);
	CHECK(deliver(0, "21.5", true) && deliver(0, "21.5", true));
	CHECK(is("on"));
	end();
}

static void goes_round_with_the_ids(void)
{
	begin();
	deliver_new(70000);
	CHECK(is("on") && id == 70000 - 65535);
	CHECK(!deliver(id, "21.5", true));
	end();
}

static void allows_ids_left_out(void)
{
	begin();
	deliver_new(REDELIVERY_RUN);
	id += 40; /* the broker's queue was full */
	deliver_new(1);
	CHECK(is("on"));
	end();
}

static void is_off_when_ids_come_back(void)
{
	begin();
	deliver_new(REDELIVERY_RUN);
	CHECK(deliver(3, "21.5", false));
	CHECK(is("off: ids are not cyclic"));
	CHECK(deliver(3, "21.5", true));
	id = 3;
	deliver_new(65534);
	CHECK(is("off: ids are not cyclic"));
	deliver_new(1); /* a whole cycle: it was the broker's database that went back */
	CHECK(is("on") && !deliver(id, "21.5", true));
	end();
}

/* With one in flight at a time, and with some; the ids that are free are used first. */
static void stays_off_with_the_lowest_free_ids(void)
{
	bool busy[101] = {false};
	int flights[100];
	size_t n = 0;
	unsigned seed = 1;

	begin();
	for (int i = 0; i < 300000; i++) {
		if (n == 100 || (n > 0 && (seed = seed * 1103515245u + 12345u) >> 16 & 1)) {
			busy[flights[0]] = false;
			memmove(flights, flights + 1, --n * sizeof *flights);
		}
		for (id = 1; busy[id];)
			id++;
		busy[id] = true;
		flights[n++] = id;
		CHECK(deliver(id, "21.5", false));
		CHECK(!is("on"));
	}
	CHECK(is("off: ids are not cyclic"));
	for (size_t i = 0; i < n; i++)
		CHECK(deliver(flights[i], "21.5", true));
	end();
}

static void stays_off_with_a_small_pool(void)
{
	begin();
	for (int i = 0; i < 100000; i++)
		CHECK(deliver(i % 1000 + 1, "21.5", false) && !is("on"));
	end();
}

static void forgets_with_the_session(void)
{
	begin();
	deliver_new(REDELIVERY_RUN);
	CHECK(is("on"));
	commit();
	redelivery_session(subject, 7, false, 0);
	CHECK(is("learning") && redelivery_note_due(subject)); /* before anything of the new session comes */
	CHECK(deliver(id, "21.5", true));
	commit();
	redelivery_session(subject, 7, true, 0);
	CHECK(deliver(id, "21.6", true));
	end();
	begin();
	deliver_new(REDELIVERY_RUN);
	redelivery_session(subject, 8, true, 0); /* another broker */
	CHECK(is("learning") && deliver(id, "21.5", true));
	end();
}

static void remembers_across_processes(void)
{
	char *note;

	begin();
	deliver_new(REDELIVERY_RUN);
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	CHECK(redelivery_note(subject) == NULL); /* nothing new */
	deliver_new(5); /* never committed */
	crash(note);
	CHECK(is("on"));
	CHECK(!deliver(id - 5, "21.5", true) && !deliver(id - 5 - REDELIVERY_LEAST + 1, "21.5", true));
	for (int i = 4; i >= 0; i--)
		CHECK(deliver(id - i, "21.5", true));
	deliver_new(1);
	CHECK(is("on"));
	free(note);
	end();
}

/* Nothing of the note may outlive the session that it is about. */
static void another_process_sees_another_session(void)
{
	char *note;

	begin();
	deliver_new(REDELIVERY_RUN);
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	redelivery_close(subject);
	subject = redelivery_open();
	REQUIRE(subject != NULL);
	redelivery_restore(subject, note);
	free(note);
	redelivery_session(subject, 7, false, 0);
	CHECK(is("learning") && redelivery_note_due(subject));
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	crash(note);
	CHECK(is("learning") && deliver(id, "21.5", true));
	free(note);
	end();
}

static void remembers_that_it_is_off(void)
{
	char *note;

	begin();
	deliver_new(10);
	CHECK(redelivery_note(subject) == NULL); /* nothing worth a write yet */
	CHECK(!redelivery_note_due(subject));
	deliver(1, "21.5", false);
	CHECK(redelivery_note_due(subject));
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	crash(note);
	CHECK(is("off: ids are not cyclic"));
	id = 1;
	deliver_new(REDELIVERY_RUN * 2);
	CHECK(is("off: ids are not cyclic"));
	free(note);
	end();
}

/* As the acknowledgements of the batches before may be on their way, too. */
static void remembers_the_last_batches(void)
{
	char *note;

	begin();
	deliver_new(REDELIVERY_RUN);
	commit();
	for (int i = 0; i < REDELIVERY_BATCHES - 1; i++) {
		deliver_new(60);
		commit();
	}
	deliver_new(80);
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	crash(note);
	CHECK(!deliver(id - 499, "21.5", true) && !deliver(id, "21.5", true));
	CHECK(deliver(id - 500, "21.5", true));
	free(note);
	for (int i = 0; i < REDELIVERY_BATCHES; i++) {
		deliver_new(1);
		commit();
	}
	deliver_new(1);
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	CHECK(strlen(note) < 80 + 12 * REDELIVERY_LEAST);
	CHECK(!deliver(id - 200, "21.5", true)); /* this process remembers more */
	free(note);
	end();
}

static void remembers_what_came_again_once_more(void)
{
	char *note;

	begin();
	deliver_new(REDELIVERY_RUN + 20);
	commit();
	for (int i = 19; i >= 0; i--)
		CHECK(!deliver(id - i, "21.5", true));
	deliver_new(200);
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	crash(note);
	for (int i = 219; i >= 0; i--)
		CHECK(!deliver(id - i, "21.5", true));
	free(note);
	end();
}

static void is_bounded(void)
{
	char *note;

	begin();
	deliver_new(10000);
	note = redelivery_note(subject);
	REQUIRE(note != NULL);
	CHECK(strlen(note) < 80 + 12 * REDELIVERY_MOST);
	crash(note);
	CHECK(!deliver(id - REDELIVERY_MOST + 1, "21.5", true));
	CHECK(deliver(id - REDELIVERY_MOST, "21.5", true));
	free(note);
	end();
}

static void a_note_is_due_now_and_then(void)
{
	begin();
	deliver_new(REDELIVERY_MOST - 1);
	CHECK(!redelivery_note_due(subject));
	deliver_new(1);
	CHECK(redelivery_note_due(subject));
	commit();
	CHECK(!redelivery_note_due(subject));
	end();
}

static void takes_no_nonsense(void)
{
	static const char *const notes[] = {"", "x", "0000000000000007", "0000000000000007 0 99999 1 ",
	                                    "0000000000000007 0 9999 99999 ", "0000000000000007 0 -1 1 ",
	                                    "0000000000000007 2 1"};

	for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
		begin();
		crash(notes[i]);
		CHECK(is("learning"));
		deliver_new(REDELIVERY_RUN);
		CHECK(is("on"));
		end();
	}
	begin();
	crash("0000000000000007 0 9999 9999 27zz0000"); /* cut off or spoilt: what can be read counts */
	CHECK(is("on") && deliver(9999, "21.5", true));
	end();
}

static void hashes_tell_apart(void)
{
	CHECK(redelivery_hash("a", (struct bytes){"bc", 2}) != redelivery_hash("ab", (struct bytes){"c", 1}));
	CHECK(redelivery_hash("a", (struct bytes){NULL, 0}) != redelivery_hash("a", (struct bytes){"\0", 1}));
	CHECK(redelivery_hash("a", (struct bytes){"b", 1}) == redelivery_hash("a", (struct bytes){"b", 1}));
}

int main(void)
{
	RUN(learns_before_it_recognises);
	RUN(needs_a_longer_run_where_more_is_in_flight);
	RUN(recognises_only_what_was_taken);
	RUN(knows_no_message_without_an_id);
	RUN(goes_round_with_the_ids);
	RUN(allows_ids_left_out);
	RUN(is_off_when_ids_come_back);
	RUN(stays_off_with_the_lowest_free_ids);
	RUN(stays_off_with_a_small_pool);
	RUN(forgets_with_the_session);
	RUN(remembers_across_processes);
	RUN(another_process_sees_another_session);
	RUN(remembers_that_it_is_off);
	RUN(remembers_the_last_batches);
	RUN(remembers_what_came_again_once_more);
	RUN(is_bounded);
	RUN(a_note_is_due_now_and_then);
	RUN(takes_no_nonsense);
	RUN(hashes_tell_apart);
	return test_end();
}
