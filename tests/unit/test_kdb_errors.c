/* What a collector's error texts are taken for. */
#include <string.h>

#include "kdb_errors.h"
#include "test.h"

static enum kdb_fault fault(const char *text)
{
	return kdb_fault_of((struct bytes){text, strlen(text)}, ".u.upd", "sensor");
}

static void test_what_rows_are_guilty_of(void)
{
	static const char *const texts[] = {"type", "length", "mismatch", "rank", "cast", "nyi", "domain",
	                                    "tidegate.overlap"};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		CHECK(fault(texts[i]) == KDB_FAULT_ROWS);
}

static void test_what_passes(void)
{
	CHECK(fault("stop") == KDB_FAULT_MOMENT);
	CHECK(fault("more than one day?") == KDB_FAULT_MOMENT);
	CHECK(fault("wsfull") == KDB_FAULT_SIZE);
	CHECK(fault("limit") == KDB_FAULT_SIZE);
	CHECK(fault("No space left on device") == KDB_FAULT_DISK);
	CHECK(fault("/data/tp: No space left on device") == KDB_FAULT_DISK);
	CHECK(fault("os") == KDB_FAULT_DISK);
	CHECK(fault("os: 28") == KDB_FAULT_DISK);
	CHECK(fault("oscillator") == KDB_FAULT_UNKNOWN);
}

static void test_what_is_not_there(void)
{
	CHECK(fault("sensor") == KDB_FAULT_MISSING);
	CHECK(fault(".u.upd") == KDB_FAULT_MISSING);
	CHECK(fault("u.upd") == KDB_FAULT_MISSING);
	CHECK(fault("sensors") == KDB_FAULT_UNKNOWN);
	CHECK(kdb_fault_of((struct bytes){"type", 4}, ".u.upd", "type") == KDB_FAULT_MISSING);
}

static void test_permission(void)
{
	CHECK(fault("access") == KDB_FAULT_DENIED);
	CHECK(fault("noupdate: `. `sensor") == KDB_FAULT_DENIED);
	CHECK(fault("Not allowed for gw") == KDB_FAULT_DENIED);
	CHECK(fault("user gw: permission missing") == KDB_FAULT_DENIED);
}

static void test_anything_else(void)
{
	CHECK(fault("") == KDB_FAULT_UNKNOWN);
	CHECK(fault("types") == KDB_FAULT_UNKNOWN);
	CHECK(fault("Type") == KDB_FAULT_UNKNOWN);
	CHECK(kdb_fault_of((struct bytes){NULL, 0}, ".u.upd", "sensor") == KDB_FAULT_UNKNOWN);
	CHECK(kdb_fault_of((struct bytes){"typeless", 4}, ".u.upd", "sensor") == KDB_FAULT_ROWS);
}

int main(void)
{
	RUN(test_what_rows_are_guilty_of);
	RUN(test_what_passes);
	RUN(test_what_is_not_there);
	RUN(test_permission);
	RUN(test_anything_else);
	return test_end();
}
