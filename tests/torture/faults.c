/* Injected failures: a workload is run again and again, and in the n-th run the n-th
 * operation of a kind fails, be it a system call of SQLite's or an allocation, once or a
 * few times in a row, until a run has no n-th. Whatever failed: nothing that was committed
 * is lost, at once and after a power cut; store_commit() tells the truth; and when it is
 * over, work goes on.
 *
 *	faults [STEP]	n goes up by 1 to STEP at random, where there are many by more; default: 12
 *
 * TORTURE_SEED repeats a run. */
#include <sqlite3.h>
#include <string.h>

#include "custody.h"
#include "disk.h"
#include "figures.h"
#include "memory.h"
#include "random.h"
#include "test.h"

#define TURNS 24
#define TRIES 40 /* of a commit, or of opening: failures come up to 30 in a row */

struct kind {
	const char *name;
	enum disk_operation operation;
	int code;
	unsigned times; /* in a row */
};

struct run {
	const struct kind *kind;
	struct custody *custody;
	struct disk *disk;
	unsigned n, count;
	bool failed; /* something did */
	struct findings findings;
};

static uint64_t seed;
static unsigned step = 12;

static int on_operation(void *arg, struct disk *disk, enum disk_operation operation, bool after)
{
	struct run *run = arg;

	(void)disk;
	if (after || !run->kind || operation != run->kind->operation)
		return SQLITE_OK;
	run->count++;
	if (run->count < run->n || run->count >= run->n + run->kind->times)
		return SQLITE_OK;
	run->failed = true;
	return run->kind->code;
}

static void complain(struct run *run, const char *what)
{
	fprintf(stderr, "faults: %s %u: %s: %s\n", run->kind ? run->kind->name : "allocation", run->n, what,
	        custody_error(run->custody));
	run->findings.broken++;
}

/* What is on the disk now, and what would be left of it. */
static void check(struct run *run)
{
	static const enum disk_cut cuts[] = {CUT_KEEP, CUT_LOSE, CUT_TEAR};
	uint64_t random = seed;

	for (unsigned i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		struct disk *image = disk_cut(run->disk, "image", cuts[i], &random);

		custody_check(run->custody, "image/queue.db", cuts[i] != CUT_KEEP, false, &run->findings);
		disk_close(image);
	}
}

static void begin(struct run *run)
{
	run->count = 0;
	run->failed = false;
	run->custody = custody_new("main/queue.db", STORE_FULL, STORE_FULL, seed);
	run->disk = disk_open("main", on_operation, run);
}

static void end(struct run *run)
{
	custody_take_findings(run->custody, &run->findings);
	custody_free(run->custody);
	disk_close(run->disk);
}

static bool open_at_last(struct run *run)
{
	for (int i = 0; i < TRIES; i++)
		if (custody_open(run->custody) == 0)
			return true;
	complain(run, "cannot be opened any more");
	return false;
}

static bool settle_at_last(struct run *run)
{
	if (custody_settle(run->custody, TRIES))
		return true;
	complain(run, "commits go on failing");
	return false;
}

/* The failure comes at any moment of opening, working, opening again, working. */
static void work(struct run *run)
{
	for (int life = 0; life < 2 && open_at_last(run); life++) {
		for (int turn = 0; turn < TURNS / 2; turn++) {
			custody_turn(run->custody);
			if (run->failed && turn % 4 == 0)
				check(run);
		}
		if (!settle_at_last(run))
			return;
		if (life == 0)
			custody_close(run->custody);
	}
}

static void fail_in_turn(const struct kind *kind)
{
	struct run run = {.kind = kind, .n = 1};
	double began = seconds_now();
	uint64_t random = seed;
	char name[64], more[64];

	disk_install(seed);
	do {
		begin(&run);
		work(&run);
		check(&run);
		end(&run);
		run.n += 1 + random_below(&random, kind->operation == DISK_WRITE ? 1 + (step - 1) * 4 : step);
	} while (run.failed && !findings_bad(&run.findings));
	snprintf(name, sizeof name, "%s fails%s", kind->name, kind->times > 1 ? " for a while" : "");
	snprintf(more, sizeof more, "of %u", run.count);
	print_figures(name, &run.findings, seconds_now() - began, seed, more);
	CHECK(!findings_bad(&run.findings));
}

static void every_system_call(void)
{
	static const struct kind kinds[] = {
	        {"write (full)", DISK_WRITE, SQLITE_FULL, 1},
	        {"write (full)", DISK_WRITE, SQLITE_FULL, 30},
	        {"write (I/O error)", DISK_WRITE, SQLITE_IOERR_WRITE, 1},
	        {"sync", DISK_SYNC, SQLITE_IOERR_FSYNC, 1},
	        {"sync", DISK_SYNC, SQLITE_IOERR_FSYNC, 10},
	        {"truncate", DISK_TRUNCATE, SQLITE_IOERR_TRUNCATE, 1},
	        {"read", DISK_READ, SQLITE_IOERR_READ, 1},
	        {"read", DISK_READ, SQLITE_IOERR_READ, 10},
	        {"file size", DISK_SIZE, SQLITE_IOERR_FSTAT, 1},
	        {"lock", DISK_LOCK, SQLITE_IOERR_LOCK, 1},
	        {"open", DISK_OPEN, SQLITE_CANTOPEN, 1},
	        {"access", DISK_ACCESS, SQLITE_IOERR_ACCESS, 1},
	        {"delete", DISK_DELETE, SQLITE_IOERR_DELETE, 1},
	};

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		fail_in_turn(&kinds[i]);
}

static void every_allocation(void)
{
	static const unsigned times[] = {1, 20};

	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct run run = {.n = 1};
		double began = seconds_now();
		uint64_t random = seed;
		char more[64];

		disk_install(seed);
		do {
			begin(&run);
			memory_fail(run.n, times[i]);
			work(&run);
			run.failed = memory_failed();
			run.count = (unsigned)memory_allocations();
			memory_fail(0, 0);
			check(&run);
			end(&run);
			run.n += 1 + random_below(&random, 1 + (step - 1) * 16);
		} while (run.failed && !findings_bad(&run.findings));
		snprintf(more, sizeof more, "of %u allocations", run.count);
		print_figures(times[i] > 1 ? "allocation fails for a while" : "allocation fails", &run.findings,
		              seconds_now() - began, seed, more);
		CHECK(!findings_bad(&run.findings));
	}
}

int main(int argc, char **argv)
{
	seed = torture_seed(1);
	if (argc > 1)
		step = (unsigned)strtoul(argv[1], NULL, 10);
	memory_install();
	disk_page_size(512);
	RUN(every_system_call);
	RUN(every_allocation);
	return test_end();
}
