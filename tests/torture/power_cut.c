/* Power cuts: the real store on a disk that forgets (disk.h), driven by an agent
 * without links that knows what was promised (custody.h). The power is cut before and
 * after every sync and between writes, in three ways, and each time the store is opened
 * on what is left; now and then the cut is real, and work goes on with what was found.
 *
 *	power_cut [CUTS]	with durability full, and fewer with the others; default: 500
 *
 * TORTURE_SEED repeats a run. */
#include <sqlite3.h>
#include <string.h>

#include "custody.h"
#include "disk.h"
#include "figures.h"
#include "random.h"
#include "test.h"

#define LIVES 8           /* of a machine, before it gets a new disk */
#define LIFE_OPERATIONS 900

struct run {
	enum store_durability durability, promised;
	struct custody *custody;
	struct disk *disk;
	struct disk *left; /* what the real cut has left */
	uint64_t random;
	unsigned operations_left; /* until the real cut */
	uint64_t cuts, wanted, syncs, commits, messages;
	struct findings findings;
};

static uint64_t seed, cuts_wanted = 500;

/* What is not synced is promised to survive the death of the process only. */
static enum disk_cut possible(const struct run *run, enum disk_cut cut)
{
	return run->promised == STORE_OFF ? CUT_KEEP : cut;
}

static void probe(struct run *run, enum disk_cut cut)
{
	struct disk *image = disk_cut(run->disk, "image", cut, &run->random);

	custody_check(run->custody, "image/queue.db", cut != CUT_KEEP, false, &run->findings);
	disk_close(image);
	run->cuts++;
}

static void cut_for_real(struct run *run)
{
	enum disk_cut cut = possible(run, (enum disk_cut)random_below(&run->random, 3));
	struct disk *copy;

	run->left = disk_cut(run->disk, "left", cut, &run->random);
	disk_freeze(run->disk);
	copy = disk_cut(run->left, "image", CUT_KEEP, &run->random);
	custody_check(run->custody, "image/queue.db", cut != CUT_KEEP, true, &run->findings);
	disk_close(copy);
	run->cuts++;
}

static int on_operation(void *arg, struct disk *disk, enum disk_operation operation, bool after)
{
	struct run *run = arg;

	(void)disk;
	if (operation < DISK_WRITE || operation == DISK_SIZE || operation == DISK_LOCK || operation == DISK_ACCESS)
		return SQLITE_OK;
	if (run->operations_left-- == 0) {
		cut_for_real(run);
		return after ? SQLITE_OK : SQLITE_IOERR;
	}
	if (operation == DISK_SYNC) {
		run->syncs += after;
		probe(run, possible(run, CUT_LOSE));
		probe(run, possible(run, CUT_TEAR));
		probe(run, CUT_KEEP);
	} else if (random_chance(&run->random, 5)) {
		probe(run, possible(run, (enum disk_cut)random_below(&run->random, 3)));
	}
	return SQLITE_OK;
}

/* From switching on to the cut. */
static void live(struct run *run)
{
	run->operations_left = 1 + random_below(&run->random, LIFE_OPERATIONS);
	if (custody_open(run->custody) < 0 && !disk_frozen(run->disk)) {
		fprintf(stderr, "power_cut: cannot go on: %s\n", custody_error(run->custody));
		run->findings.broken++;
		disk_freeze(run->disk);
		return;
	}
	while (!disk_frozen(run->disk))
		custody_turn(run->custody);
	custody_close(run->custody);
}

static void use_a_machine(struct run *run)
{
	static const int page_sizes[] = {512, 1024, 4096};

	disk_page_size(page_sizes[random_below(&run->random, 3)]);
	run->custody = custody_new("main/queue.db", run->durability, run->promised, random_next(&run->random));
	run->disk = disk_open("main", on_operation, run);
	for (int life = 0; life < LIVES && run->cuts < run->wanted && !findings_bad(&run->findings); life++) {
		run->left = NULL;
		live(run);
		disk_close(run->disk);
		if (!run->left) {
			run->disk = NULL;
			break;
		}
		run->disk = disk_cut(run->left, "main", CUT_KEEP, &run->random);
		disk_close(run->left);
		disk_set_hook(run->disk, on_operation, run);
	}
	custody_take_findings(run->custody, &run->findings);
	run->commits += custody_commits(run->custody);
	run->messages += custody_messages(run->custody);
	custody_free(run->custody);
	if (run->disk)
		disk_close(run->disk);
}

static void cut_power(const char *name, enum store_durability durability, uint64_t cuts)
{
	struct run run = {.durability = durability, .promised = durability, .random = seed, .wanted = cuts};
	double began = seconds_now();
	char more[128];

	disk_install(seed);
	while (run.cuts < run.wanted && !findings_bad(&run.findings))
		use_a_machine(&run);
	snprintf(more, sizeof more, "%" PRIu64 " syncs, %" PRIu64 " commits, %" PRIu64 " messages", run.syncs, run.commits,
	         run.messages);
	print_figures(name, &run.findings, seconds_now() - began, seed, more);
	CHECK(!findings_bad(&run.findings));
}

static void power_cut_full(void)
{
	cut_power("power cut, durability full", STORE_FULL, cuts_wanted);
}

static void power_cut_normal(void)
{
	cut_power("power cut, durability normal", STORE_NORMAL, cuts_wanted / 4);
}

static void kill_off(void)
{
	cut_power("kill, durability off", STORE_OFF, cuts_wanted / 4);
}

/* Would it be seen if the store did not sync? */
static void what_is_not_synced_is_missed(void)
{
	struct run run = {.durability = STORE_NORMAL, .promised = STORE_FULL, .random = seed, .wanted = 10000};

	while (run.cuts < run.wanted && !run.findings.lost)
		use_a_machine(&run);
	printf("a store that does not sync its commits is found out after %" PRIu64 " cuts\n", run.cuts);
	CHECK(run.findings.lost > 0);
}

int main(int argc, char **argv)
{
	seed = torture_seed(1);
	if (argc > 1)
		cuts_wanted = strtoull(argv[1], NULL, 10);
	RUN(power_cut_full);
	RUN(power_cut_normal);
	RUN(kill_off);
	RUN(what_is_not_synced_is_missed);
	return test_end();
}
