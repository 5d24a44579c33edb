/* The loss ledger, compiled with room for 4 records. Links SQLite and nothing of
 * the agent. */
#include "bad_store.h"
#include "ledger.h"

static struct ledger *ledger;

static void shut(void)
{
	ledger_close(ledger);
	ledger = NULL;
	shut_store();
}

static void open_again(void)
{
	shut();
	open_store();
	ledger = ledger_open(store, err, sizeof err);
	REQUIRE(ledger != NULL);
}

static void begin(void)
{
	shut();
	remove_store();
	open_again();
}

static int lose(const char *link, const char *topic, const char *reason, uint64_t seq)
{
	return ledger_add(ledger, &(struct loss){.link = link,
	                                         .topic = topic,
	                                         .reason = reason,
	                                         .first_seq = seq,
	                                         .last_seq = seq,
	                                         .first_time_ms = 1000 + (int64_t)seq,
	                                         .last_time_ms = 1000 + (int64_t)seq,
	                                         .count = 1,
	                                         .bytes = 10});
}

/* The records as text: "link topic reason first-last count reported". */
static char text[4096];

static void append_text(void *arg, const struct loss *loss)
{
	size_t at = strlen(text);

	(void)arg;
	snprintf(text + at, sizeof text - at, "%s%s %s %s %llu-%llu %llu%s", at ? "; " : "", loss->link, loss->topic,
	         loss->reason, (unsigned long long)loss->first_seq, (unsigned long long)loss->last_seq, (unsigned long long)loss->count,
	         loss->reported ? " reported" : "");
	CHECK(loss->first_time_ms == 1000 + (int64_t)loss->first_seq && loss->last_time_ms == 1000 + (int64_t)loss->last_seq);
	CHECK(loss->bytes == 10 * loss->count);
}

static const char *records(void)
{
	text[0] = '\0';
	ledger_visit(ledger, append_text, NULL);
	return text;
}

#define CHECK_RECORDS(expected)                                          \
	do {                                                             \
		CHECK(strcmp(records(), expected) == 0);                 \
		if (strcmp(text, expected) != 0)                         \
			fprintf(stderr, "got: %s\n", text);              \
	} while (0)

static int take_all(void *arg, const struct loss *loss)
{
	(void)loss;
	++*(int *)arg;
	return 0;
}

static int refuse(void *arg, const struct loss *loss)
{
	(void)loss;
	++*(int *)arg;
	return -1;
}

static void merges_what_is_alike(void)
{
	begin();
	CHECK(lose("core", "a", "overflow", 5) == 0);
	CHECK(lose("core", "a", "overflow", 9) == 0);
	CHECK(lose("core", "a", "overflow", 7) == 0); /* out of order: refused ones come late */
	CHECK(lose("core", "a", "expired", 3) == 0);
	CHECK(lose("hist", "a", "expired", 4) == 0);
	CHECK_RECORDS("core a overflow 5-9 3; core a expired 3-3 1; hist a expired 4-4 1");
	CHECK(ledger_total(ledger, "core", "overflow") == 3 && ledger_total(ledger, "core", "expired") == 1);
	CHECK(ledger_total(ledger, "core", NULL) == 4 && ledger_total(ledger, "core", "rejected") == 0);
}

static void survives_a_restart_once_committed(void)
{
	begin();
	lose("core", "a", "overflow", 5);
	lose("core", "\x01\xff", "rejected: no", 6);
	commit();
	lose("core", "a", "overflow", 8);
	commit();
	lose("core", "a", "overflow", 9); /* not committed: forgotten, as by a kill */
	open_again();
	CHECK_RECORDS("core a overflow 5-8 2; core \x01\xff rejected: no 6-6 1");
	CHECK(ledger_total(ledger, "core", "overflow") == 2 && ledger_total(ledger, "core", "rejected") == 1);
	CHECK(lose("core", "b", "overflow", 10) == 0);
	commit();
	open_again();
	CHECK_RECORDS("core a overflow 5-8 2; core \x01\xff rejected: no 6-6 1; core b overflow 10-10 1");
}

static void is_unsafe_until_committed(void)
{
	struct store_unsafe unsafe;

	begin();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN);
	lose("core", "a", "overflow", 8);
	lose("core", "a", "overflow", 5);
	CHECK(store_pending(store, &unsafe) == STORE_UNSAFE);
	CHECK(unsafe.first == 5 && unsafe.messages == 2 && unsafe.bytes == 20);
	commit();
	CHECK(store_pending(store, &unsafe) == STORE_CLEAN && unsafe.first == UINT64_MAX);
}

static void reports_each_record_once(void)
{
	int n = 0;
	struct store_unsafe unsafe;

	begin();
	lose("core", "a", "overflow", 1);
	lose("core", "b", "overflow", 2);
	lose("hist", "a", "overflow", 3);
	commit();
	CHECK(ledger_unreported(ledger, "core") && ledger_unreported(ledger, "hist") && !ledger_unreported(ledger, "x"));
	ledger_report(ledger, "core", refuse, &n);
	CHECK(n == 2 && ledger_unreported(ledger, "core"));
	ledger_report(ledger, "core", take_all, &n);
	CHECK(n == 4 && !ledger_unreported(ledger, "core") && ledger_unreported(ledger, "hist"));
	CHECK(store_pending(store, &unsafe) == STORE_DELETIONS);
	ledger_report(ledger, "core", take_all, &n);
	CHECK(n == 4);
	open_again(); /* killed before the commit: they are reported again */
	ledger_report(ledger, "core", take_all, &n);
	CHECK(n == 6);
	lose("core", "a", "overflow", 4); /* what comes later is a new record */
	CHECK_RECORDS("core a overflow 1-1 1 reported; core b overflow 2-2 1 reported; "
	              "hist a overflow 3-3 1; core a overflow 4-4 1");
	commit();
	open_again();
	CHECK_RECORDS("core a overflow 1-1 1 reported; core b overflow 2-2 1 reported; "
	              "hist a overflow 3-3 1; core a overflow 4-4 1");
}

static void forgets_reported_ones_first(void)
{
	int n = 0;

	begin();
	for (uint64_t i = 1; i <= 3; i++)
		lose("core", i == 1 ? "a" : i == 2 ? "b" : "c", "overflow", i);
	ledger_report(ledger, "core", take_all, &n);
	commit();
	lose("core", "d", "overflow", 4);
	lose("core", "e", "overflow", 5);
	CHECK_RECORDS("core b overflow 2-2 1 reported; core c overflow 3-3 1 reported; "
	              "core d overflow 4-4 1; core e overflow 5-5 1");
	commit();
	open_again();
	CHECK_RECORDS("core b overflow 2-2 1 reported; core c overflow 3-3 1 reported; "
	              "core d overflow 4-4 1; core e overflow 5-5 1");
}

static void merges_topics_when_there_are_too_many(void)
{
	begin();
	lose("hist", "a", "overflow", 1);
	lose("core", "a", "overflow", 2);
	lose("core", "b", "overflow", 3);
	lose("core", "a", "expired", 4);
	commit();
	lose("core", "c", "overflow", 5);
	CHECK_RECORDS("hist a overflow 1-1 1; core # overflow 2-5 3; core a expired 4-4 1");
	lose("core", "d", "overflow", 6); /* not a record of its own again */
	lose("core", "d", "expired", 7);
	CHECK_RECORDS("hist a overflow 1-1 1; core # overflow 2-6 4; core a expired 4-4 1; core d expired 7-7 1");
	commit();
	open_again();
	CHECK_RECORDS("hist a overflow 1-1 1; core # overflow 2-6 4; core a expired 4-4 1; core d expired 7-7 1");
}

static void merges_reasons_of_one_kind(void)
{
	begin();
	lose("core", "a", "rejected: one", 1);
	lose("core", "a", "rejected: two", 2);
	lose("core", "a", "expired", 3);
	lose("core", "a", "overflow", 4);
	lose("hist", "a", "rejected: two", 5);
	CHECK_RECORDS("core # rejected 1-2 2; core a expired 3-3 1; core a overflow 4-4 1; hist a rejected: two 5-5 1");
	lose("core", "b", "rejected: three", 6);
	CHECK_RECORDS("core # rejected 1-6 3; core a expired 3-3 1; core a overflow 4-4 1; hist a rejected: two 5-5 1");
	CHECK(ledger_total(ledger, "core", "rejected") == 3);
	lose("third", "a", "overflow", 7); /* nothing can be merged: the oldest goes, its total stays */
	CHECK_RECORDS("core a expired 3-3 1; core a overflow 4-4 1; hist a rejected: two 5-5 1; third a overflow 7-7 1");
	CHECK(ledger_total(ledger, "core", "rejected") == 3);
	commit();
	open_again();
	CHECK(ledger_total(ledger, "core", "rejected") == 3 && ledger_total(ledger, "core", NULL) == 5);
}

static void keeps_all_while_commits_fail(void)
{
	begin();
	for (uint64_t seq = 1; seq <= 4; seq++)
		lose("core", seq % 2 ? "a" : "b", seq < 3 ? "overflow" : "expired", seq);
	commit();
	disk = DISK_BROKEN;
	for (uint64_t seq = 5; seq <= 300; seq++) {
		char topic[16];

		snprintf(topic, sizeof topic, "t%llu", (unsigned long long)seq % 7);
		CHECK(lose(seq % 3 ? "core" : "hist", topic, seq % 5 ? "overflow" : "rejected: x", seq) == 0);
		CHECK(store_commit(store, err, sizeof err) == STORE_RETRY);
	}
	CHECK(ledger_total(ledger, "core", NULL) + ledger_total(ledger, "hist", NULL) == 300);
	disk = DISK_GOOD;
	commit();
	snprintf(text, sizeof text, "%s", records());
	open_again();
	CHECK(ledger_total(ledger, "core", NULL) + ledger_total(ledger, "hist", NULL) == 300);
	CHECK(store_integer(store, "SELECT count(*) FROM loss", -1) <= 4);
	CHECK(store_integer(store, "SELECT sum(count) FROM loss", -1) > 0);
}

static void is_written_with_deletions(void)
{
	begin();
	lose("core", "a", "overflow", 1);
	disk = DISK_FULL;
	CHECK(store_commit(store, err, sizeof err) == STORE_RETRY); /* deletions were written */
	open_again();
	CHECK_RECORDS("core a overflow 1-1 1");
}

static void widens_a_long_topic(void)
{
	char topic[1000], reason[1000], expected[2100];

	begin();
	memset(topic, 't', sizeof topic - 1);
	topic[999] = '\0';
	lose("core", topic, "overflow", 1);
	topic[5] = topic[100] = topic[600] = '/';
	lose("core", topic, "overflow", 2);
	memset(reason, 'r', sizeof reason - 1);
	memcpy(reason, "rejected: ", 10);
	memcpy(reason + 253, "\xe2\x82\xac", 3); /* a character across the limit */
	reason[999] = '\0';
	lose("core", "a", reason, 3);
	snprintf(expected, sizeof expected, "core # overflow 1-2 2; core a %.253s 3-3 1", reason);
	CHECK_RECORDS(expected); /* "#" covers all topics, so the second joins it */
	commit();
	open_again();
	CHECK_RECORDS(expected);
	begin();
	lose("core", topic, "overflow", 2);
	snprintf(expected, sizeof expected, "core %.101s# overflow 2-2 1", topic);
	CHECK_RECORDS(expected);
}

static void takes_a_ledger_of_a_version_that_keeps_more(void)
{
	begin();
	for (int i = 1; i <= 9; i++) {
		char sql[200];

		snprintf(sql, sizeof sql, "INSERT INTO loss VALUES (%d, 'core', 't%d', 'overflow', %d, %d, %d, %d, 1, 10, 0)", i, i, i,
		         i, 1000 + i, 1000 + i);
		CHECK(store_exec(store, sql) == 0);
	}
	open_again();
	CHECK_RECORDS("core t6 overflow 6-6 1; core t7 overflow 7-7 1; core t8 overflow 8-8 1; core t9 overflow 9-9 1");
	CHECK(store_integer(store, "SELECT count(*) FROM loss", -1) == 4);
}

int main(void)
{
	bad_store_begin();
	RUN(merges_what_is_alike);
	RUN(survives_a_restart_once_committed);
	RUN(is_unsafe_until_committed);
	RUN(reports_each_record_once);
	RUN(forgets_reported_ones_first);
	RUN(merges_topics_when_there_are_too_many);
	RUN(merges_reasons_of_one_kind);
	RUN(keeps_all_while_commits_fail);
	RUN(is_written_with_deletions);
	RUN(widens_a_long_topic);
	RUN(takes_a_ledger_of_a_version_that_keeps_more);
	shut();
	return bad_store_end();
}
