/* Every page of a database and of its log, flipped, zeroed and cut off in turn: the
 * store opens nevertheless, queues give their messages in order, work goes on. At most
 * those messages are lost that had something on the damaged page, and no others than
 * those are altered; none comes twice, or for another link; none that was
 * deleted comes back.
 *
 *	pages [FLIPS]	bits flipped in each page; default: 3; 0: one bit of each byte
 *
 * TORTURE_SEED repeats a run. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "figures.h"
#include "queue.h"
#include "random.h"
#include "store.h"
#include "test.h"

#define PAGE 512
#define FRAME (PAGE + 24)
#define LOG_HEADER 32
#define MESSAGES 160 /* two thirds on link 0 */
#define SAVED 100    /* of them in the database itself, the rest in its log */
#define GONE 60      /* before them: delivered and deleted, so that there are free pages */
#define DELIVERED "delivered long ago, and longer than some others"
#define CASE_SECONDS 20

static const char *const links[] = {"core", "hist"};

/* A file's contents as they were left. */
struct image {
	unsigned char *bytes;
	size_t size;
};

enum damage { FLIP, ZERO, CUT, DAMAGES };

static const char *const damage_names[] = {"flip", "zero", "cut"};

/* What the cases have come to; shared with the processes they run in. */
struct tally {
	char now[128]; /* the case that runs */
	uint64_t cases, salvaged, refused, kept, lost, altered, apart, out_of_order, reused, over, broken, worst;
	uint64_t invented; /* twice, for another link, altered elsewhere, or deleted before */
};

static const struct queue_limits no_limits;
static char directory[] = "/tmp/tidegate-pages-XXXXXX";
static char path[128], log_path[136], err[512];
static struct image database, log_file;
static struct tally *tally;
static uint64_t seqs[MESSAGES], gone[GONE], flips = 3, random_state;
static char instance[40];

/* ---- messages ---- */

static int link_of(int message)
{
	return message % 3 == 2;
}

/* What is in a message says which it is, on every page that it takes. */
static size_t payload_of(int message, char *payload)
{
	size_t size = message % 20 == 7 ? 2500 : 40 + (size_t)message % 60;
	char mark[16];
	int n = snprintf(mark, sizeof mark, "<m%04d>", message);

	for (size_t i = 0; i < size; i++)
		payload[i] = mark[i % (size_t)n];
	return size;
}

static bool is_on(int message, const unsigned char *page)
{
	char mark[16];
	int n = snprintf(mark, sizeof mark, "m%04d>", message);

	return memmem(page, PAGE, mark, (size_t)n) != NULL;
}

static int use_layout(sqlite3 *opened, char **complaint, const void *routines)
{
	(void)complaint;
	(void)routines;
	sqlite3_wal_autocheckpoint(opened, 0);
	return sqlite3_exec(opened, "PRAGMA page_size = 512", NULL, NULL, NULL);
}

/* ---- files ---- */

static struct image image_read(const char *name)
{
	struct image image = {0};
	FILE *file = fopen(name, "r");

	REQUIRE(file && fseek(file, 0, SEEK_END) == 0);
	image.size = (size_t)ftell(file);
	rewind(file);
	image.bytes = malloc(image.size + 1);
	REQUIRE(image.bytes && fread(image.bytes, 1, image.size, file) == image.size);
	fclose(file);
	return image;
}

static void image_write(const char *name, const struct image *image)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	REQUIRE(fd >= 0 && write(fd, image->bytes, image->size) == (ssize_t)image->size);
	close(fd);
}

static void sweep(void)
{
	DIR *all = opendir(directory);
	struct dirent *entry;
	char name[400];

	REQUIRE(all != NULL);
	while ((entry = readdir(all))) {
		snprintf(name, sizeof name, "%s/%s", directory, entry->d_name);
		if (entry->d_name[0] != '.')
			REQUIRE(unlink(name) == 0);
	}
	closedir(all);
}

/* Nothing here is about power. */
int fdatasync(int fd)
{
	return fd < 0;
}

int fsync(int fd)
{
	return fd < 0;
}

/* ---- making a database, as a killed process leaves it ---- */

static void push(struct store *store, struct queue *const queues[2], int from, int to)
{
	char payload[4096];

	for (int i = from; i < to; i++) {
		struct message message = {.topic = {"t", 1}, .qos = 1, .seq = store_next_seq(store)};

		message.payload.size = payload_of(i, payload);
		message.payload.data = payload;
		seqs[i] = message.seq;
		REQUIRE(queue_push(queues[link_of(i)], &message) == QUEUE_OK);
		if (i % 10 == 9)
			REQUIRE(store_commit(store, err, sizeof err) == STORE_OK);
	}
}

/* What is delivered leaves free pages with what was on them. */
static void deliver(struct store *store, struct queue *const queues[2])
{
	for (int i = 0; i < GONE; i++) {
		struct message message = {.topic = {"t", 1}, .payload = {DELIVERED, sizeof DELIVERED}, .qos = 1,
		                          .seq = store_next_seq(store)};

		gone[i] = message.seq;
		REQUIRE(queue_push(queues[link_of(i)], &message) == QUEUE_OK);
	}
	REQUIRE(store_commit(store, err, sizeof err) == STORE_OK);
	for (int i = 0; i < GONE; i++) {
		struct queue *queue = queues[link_of(i)];
		bool failed = false;

		REQUIRE(queue_reserve(queue) == 0 && queue_peek(queue, 0, true, &failed, err, sizeof err));
		queue_take(queue);
		queue_acknowledged(queue, gone[i]);
	}
	REQUIRE(store_commit(store, err, sizeof err) == STORE_OK);
}

static void fill_and_die(int from, int to)
{
	struct store *store = store_open(path, STORE_FULL, err, sizeof err);
	struct queue *queues[2];

	REQUIRE(store != NULL);
	for (int i = 0; i < 2; i++)
		REQUIRE((queues[i] = queue_open(store, links[i], no_limits, NULL, NULL, err, sizeof err)));
	if (from == 0)
		deliver(store, queues);
	push(store, queues, from, to);
	free(database.bytes);
	free(log_file.bytes);
	database = image_read(path);
	log_file = image_read(log_path);
	snprintf(instance, sizeof instance, "%s", store_instance(store));
	for (int i = 0; i < 2; i++)
		queue_close(queues[i]);
	store_close(store);
}

/* ---- looking at what is left ---- */

struct seen {
	bool kept[MESSAGES];
	int altered, apart;
	uint64_t last; /* of the intact ones in this queue */
};

static void invented(const char *what, uint64_t seq)
{
	fprintf(stderr, "%s: message %" PRIu64 " %s\n", tally->now, seq, what);
	tally->invented++;
}

/* `link`: whose queue it was in; -1: it is of a name that was lost. */
static void look_at(struct seen *seen, int link, const struct message *message)
{
	char payload[4096];
	int number = 0;

	while (number < MESSAGES && seqs[number] != message->seq)
		number++;
	if (link >= 0 && message->payload.size == sizeof DELIVERED &&
	    memcmp(message->payload.data, DELIVERED, sizeof DELIVERED) == 0)
		invented("was delivered before", message->seq);
	if (number == MESSAGES || payload_of(number, payload) != message->payload.size ||
	    memcmp(payload, message->payload.data, message->payload.size) != 0) {
		seen->altered++;
		return;
	}
	if (link >= 0 && link_of(number) != link)
		invented("is another link's", message->seq);
	if (seen->kept[number])
		invented("comes twice", message->seq);
	tally->out_of_order += message->seq <= seen->last;
	seen->last = message->seq;
	seen->kept[number] = true;
	seen->apart += link < 0;
}

/* 0, or -1 if the database turned out corrupt. */
static int drain(struct store *store, const char *name, int link, struct seen *seen)
{
	struct queue *queue = queue_open(store, name, no_limits, NULL, NULL, err, sizeof err);
	const struct message *message;
	bool failed = !queue;

	seen->last = 0;
	while (queue && queue_reserve(queue) == 0 && (message = queue_peek(queue, 0, true, &failed, err, sizeof err))) {
		look_at(seen, link, message);
		queue_take(queue);
	}
	queue_close(queue);
	return failed || store_corrupt(store) ? -1 : 0;
}

struct names {
	char name[8][64];
	int n;
};

static void add_name(void *arg, const char *name, uint64_t messages)
{
	struct names *names = arg;

	if (messages > 0 && names->n < 8 && strcmp(name, links[0]) != 0 && strcmp(name, links[1]) != 0)
		snprintf(names->name[names->n++], sizeof names->name[0], "%s", name);
}

static int drain_all(struct store *store, struct seen *seen)
{
	struct names names = {0};

	for (int i = 0; i < 2; i++)
		if (drain(store, links[i], i, seen) < 0)
			return -1;
	queue_visit(store, add_name, &names); /* of which a name was damaged */
	for (int i = 0; i < names.n; i++)
		if (drain(store, names.name[i], -1, seen) < 0)
			return -1;
	return store_corrupt(store) ? -1 : 0;
}

/* It can be worked with: something new is queued and comes out again. */
static int work(struct store *store)
{
	struct queue *queue = queue_open(store, "new", no_limits, NULL, NULL, err, sizeof err);
	struct message message = {.topic = {"t", 1}, .qos = 1, .seq = store_next_seq(store)};
	int result = -1;

	if (queue && queue_push(queue, &message) == QUEUE_OK && store_commit(store, err, sizeof err) == STORE_OK)
		result = 0;
	if (strcmp(store_instance(store), instance) == 0)
		tally->reused += message.seq <= seqs[MESSAGES - 1];
	queue_close(queue);
	while (result == 0 && store_shrink(store))
		;
	return store_corrupt(store) ? -1 : result;
}

enum outcome { LOOKED, REFUSED, BROKEN };

/* As the agent does it: whenever corruption shows, once more with what can be salvaged. */
static enum outcome open_and_look(struct seen *seen)
{
	for (int tries = 0; tries < 2; tries++) {
		struct store *store = store_open(path, STORE_FULL, err, sizeof err);
		bool corrupt;

		if (!store)
			return strstr(err, "schema version") ? REFUSED : BROKEN;
		memset(seen, 0, sizeof *seen);
		tally->salvaged += store_salvaged(store) != NULL;
		if (drain_all(store, seen) == 0 && work(store) == 0) {
			store_close(store);
			return LOOKED;
		}
		corrupt = store_corrupt(store);
		store_close(store);
		if (!corrupt || store_set_aside(path, "found while in use", err, sizeof err) < 0)
			return BROKEN;
	}
	snprintf(err, sizeof err, "corrupt again");
	return BROKEN;
}

/* ---- cases ---- */

/* How many messages of each link have something on these pages: so many can be lost. */
static void price(const unsigned char *pages, size_t size, int most[2])
{
	most[0] = most[1] = 0;
	for (int i = 0; i < MESSAGES; i++)
		for (size_t at = 0; at < size; at += PAGE)
			if (is_on(i, pages + at)) {
				most[link_of(i)]++;
				break;
			}
}

static void judge(const struct seen *seen, const int most[2])
{
	uint64_t lost[2] = {0, 0};

	for (int i = 0; i < MESSAGES; i++)
		lost[link_of(i)] += !seen->kept[i];
	tally->lost += lost[0] + lost[1];
	tally->kept += MESSAGES - lost[0] - lost[1];
	tally->altered += (uint64_t)seen->altered;
	tally->apart += (uint64_t)seen->apart;
	for (int i = 0; i < 2; i++)
		if (lost[i] > (uint64_t)most[i]) {
			fprintf(stderr, "%s: %s lost %" PRIu64 " messages, %d were there\n", tally->now, links[i], lost[i], most[i]);
			tally->over++;
		}
	if (seen->altered > most[0] + most[1])
		invented("and others are altered", (uint64_t)seen->altered);
	if (lost[0] + lost[1] > tally->worst)
		tally->worst = lost[0] + lost[1];
}

static void run_case(const char *name, size_t at, enum damage damage, const int most[2])
{
	struct seen seen;

	snprintf(tally->now, sizeof tally->now, "%s %s at %zu", damage_names[damage], name, at);
	alarm(CASE_SECONDS);
	tally->cases++;
	switch (open_and_look(&seen)) {
	case LOOKED:
		judge(&seen, most);
		break;
	case REFUSED:
		tally->refused++;
		break;
	case BROKEN:
		fprintf(stderr, "%s: %s\n", tally->now, err);
		tally->broken++;
	}
	alarm(0);
	err[0] = '\0';
}

static void write_files(bool in_log, const struct image *damaged)
{
	sweep();
	image_write(path, in_log ? &database : damaged);
	image_write(log_path, in_log ? damaged : &log_file);
}

static struct image copy_of(const struct image *image)
{
	struct image copy = {.bytes = malloc(image->size), .size = image->size};

	REQUIRE(copy.bytes != NULL);
	memcpy(copy.bytes, image->bytes, image->size);
	return copy;
}

static void flip(bool in_log, size_t at, const int most[2])
{
	struct image copy = copy_of(in_log ? &log_file : &database);

	copy.bytes[at] ^= (unsigned char)(1u << random_below(&random_state, 8));
	write_files(in_log, &copy);
	run_case(in_log ? "log" : "database", at, FLIP, most);
	free(copy.bytes);
}

static void zero(bool in_log, size_t at, size_t size, const int most[2])
{
	struct image copy = copy_of(in_log ? &log_file : &database);

	memset(copy.bytes + at, 0, size);
	write_files(in_log, &copy);
	run_case(in_log ? "log" : "database", at, ZERO, most);
	free(copy.bytes);
}

static void cut(bool in_log, size_t at)
{
	struct image copy = in_log ? log_file : database;
	int most[2] = {MESSAGES, MESSAGES};

	if (!in_log)
		price(database.bytes + at / PAGE * PAGE, database.size - at / PAGE * PAGE, most);
	copy.size = at;
	write_files(in_log, &copy);
	run_case(in_log ? "log" : "database", at, CUT, most);
}

/* All that is done to one page, or one frame of the log. */
static void damage_page(bool in_log, size_t at, size_t size)
{
	int most[2];

	/* What the log has is not read in the database, and a log is valid up to its first mistake. */
	if (in_log)
		most[0] = most[1] = MESSAGES - SAVED;
	else
		price(database.bytes + at, size, most);
	for (size_t i = 0; i < (flips ? flips : size); i++)
		flip(in_log, at + (flips ? random_below(&random_state, (uint32_t)size) : i), most);
	zero(in_log, at, size, most);
	cut(in_log, at);
	cut(in_log, at + size / 3);
}

/* A process for each page: one that crashes or hangs says so, and the next page follows. */
static void damage_in_child(bool in_log, size_t at, size_t size)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	random_next(&random_state);
	if (pid == 0) {
		damage_page(in_log, at, size);
		_exit(0);
	}
	REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "%s: %s\n", tally->now,
		        WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hangs" : "crashes");
		tally->broken++;
	}
}

static void print_tally(const char *test, double seconds, uint64_t seed)
{
	struct findings findings = {.checks = tally->cases, .promised = tally->kept + tally->lost, .lost = 0,
	                            .invented = tally->invented, .out_of_order = tally->out_of_order,
	                            .reused = tally->reused, .broken = tally->broken + tally->over};
	char more[320];

	snprintf(more, sizeof more,
	         "kept %" PRIu64 ", gone with the damaged page %" PRIu64 " (worst case %" PRIu64 " of %d), altered on it %" PRIu64
	         ", set apart %" PRIu64 ", databases salvaged %" PRIu64 ", refused %" PRIu64,
	         tally->kept, tally->lost, tally->worst, MESSAGES, tally->altered, tally->apart, tally->salvaged, tally->refused);
	print_figures(test, &findings, seconds, seed, more);
}

static void damage(const char *test, bool in_log, uint64_t seed)
{
	size_t size = in_log ? log_file.size : database.size;
	double began = seconds_now();

	memset(tally, 0, sizeof *tally);
	if (in_log)
		damage_in_child(true, 0, LOG_HEADER);
	for (size_t at = in_log ? LOG_HEADER : 0; at < size; at += in_log ? FRAME : PAGE)
		damage_in_child(in_log, at, in_log ? FRAME : PAGE);
	print_tally(test, seconds_now() - began, seed);
	CHECK(tally->cases > 100 && tally->invented == 0 && tally->out_of_order == 0 && tally->reused == 0 &&
	      tally->broken == 0 && tally->over == 0);
}

static uint64_t seed;

static void pages_of_the_database(void)
{
	damage("pages of the database", false, seed);
}

static void frames_of_the_log(void)
{
	damage("frames of the log", true, seed);
}

int main(int argc, char **argv)
{
	seed = random_state = torture_seed(1);
	if (argc > 1)
		flips = strtoull(argv[1], NULL, 10);
	tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(tally != MAP_FAILED && mkdtemp(directory));
	snprintf(path, sizeof path, "%s/queue.db", directory);
	snprintf(log_path, sizeof log_path, "%s-wal", path);
	sqlite3_auto_extension((void (*)(void))use_layout);
	fill_and_die(0, SAVED);
	fill_and_die(SAVED, MESSAGES);
	RUN(pages_of_the_database);
	RUN(frames_of_the_log);
	sweep();
	rmdir(directory);
	free(database.bytes);
	free(log_file.bytes);
	return test_end();
}
