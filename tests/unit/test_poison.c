/* The note of what is being handled: processes die here, and the next one reads. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "poison.h"
#include "test.h"

#define RULES 7
#define OTHERS 8

static char directory[] = "/tmp/tidegate-poison-XXXXXX";
static char path[128], err[512];

static struct poison *open_note(void)
{
	struct poison *poison = poison_open_file(path, err, sizeof err);

	REQUIRE(poison != NULL);
	return poison;
}

static void begin(void)
{
	snprintf(path, sizeof path, "%s/note", directory);
	unlink(path);
}

static void handle(struct poison *poison, const char *payload, uint32_t script, void (*handler)(void))
{
	poison_begin(poison, "field", "a/b", (struct bytes){payload, strlen(payload)});
	if (!poison_suspected(poison, script)) {
		poison_running(poison, script, "on_message");
		handler();
		poison_running(poison, script, NULL);
		poison_survived(poison, script);
	}
	poison_end(poison);
}

static void die(void)
{
	(void)raise(SIGKILL);
}

static void live(void)
{
}

/* A process that handles a message and dies of it; false: it did not. */
static bool process(const char *payload, uint32_t script, void (*handler)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct poison *poison = open_note();

		handle(poison, "before", script, live);
		handle(poison, payload, script, handler);
		_exit(0);
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	return WIFSIGNALED(status);
}

static void tells_what_the_last_process_died_of(void)
{
	const struct poison_death *death;
	struct poison *poison;

	begin();
	poison = open_note();
	CHECK(poison_death(poison) == NULL);
	poison_close(poison);
	CHECK(access(path, F_OK) != 0);
	CHECK(process("bad", RULES, die));
	poison = open_note();
	death = poison_death(poison);
	REQUIRE(death != NULL);
	CHECK(death->script == RULES && strcmp(death->handler, "on_message") == 0 && death->deaths == 1);
	CHECK(death->link && strcmp(death->link, "field") == 0 && strcmp(death->topic, "a/b") == 0);
	poison_close(poison);
	poison = open_note(); /* a stop in good order forgets */
	CHECK(poison_death(poison) == NULL);
	poison_close(poison);
}

static void suspects_after_the_second_death(void)
{
	struct poison *poison;

	begin();
	CHECK(process("bad", RULES, die));
	CHECK(!process("good", RULES, live)); /* dies of nothing */
	CHECK(process("bad", RULES, die));
	CHECK(!process("bad", RULES, die)); /* is not run any more */
	CHECK(process("bad", OTHERS, die)); /* by other scripts it is */
	poison = open_note();
	CHECK(poison_death(poison) && poison_death(poison)->script == OTHERS && poison_death(poison)->deaths == 1);
	poison_begin(poison, "field", "a/b", (struct bytes){"bad", 3});
	CHECK(poison_suspected(poison, RULES) && !poison_suspected(poison, OTHERS));
	poison_end(poison);
	poison_begin(poison, "core", "a/b", (struct bytes){"bad", 3});
	CHECK(!poison_suspected(poison, RULES));
	poison_begin(poison, "field", "a/bb", (struct bytes){"ad", 2});
	CHECK(!poison_suspected(poison, RULES));
	poison_close(poison);
}

static void a_success_clears_the_innocent(void)
{
	struct poison *poison;

	begin();
	for (int i = 0; i < 5; i++) {
		CHECK(process("21.5", RULES, die));
		CHECK(!process("21.5", RULES, live));
	}
	poison = open_note();
	poison_begin(poison, "field", "a/b", (struct bytes){"21.5", 4});
	CHECK(!poison_suspected(poison, RULES));
	poison_close(poison);
}

static void remembers_the_latest_suspects(void)
{
	char payload[16];
	struct poison *poison;
	int suspected = 0;

	begin();
	for (int i = 0; i < POISON_SUSPECTS + 4; i++) {
		snprintf(payload, sizeof payload, "%d", i);
		CHECK(process(payload, RULES, die) && process(payload, RULES, die));
	}
	poison = open_note();
	for (int i = 0; i < POISON_SUSPECTS + 4; i++) {
		snprintf(payload, sizeof payload, "%d", i);
		poison_begin(poison, "field", "a/b", (struct bytes){payload, strlen(payload)});
		CHECK(poison_suspected(poison, RULES) == (i >= 4));
		suspected += poison_suspected(poison, RULES);
	}
	CHECK(suspected == POISON_SUSPECTS);
	poison_close(poison);
}

static void accuses_nobody_where_there_was_no_message(void)
{
	struct poison *poison;
	pid_t child;

	begin();
	child = fork();
	if (child == 0) {
		poison = open_note();
		handle(poison, "fine", RULES, live);
		poison_running(poison, RULES, "on_start");
		(void)raise(SIGKILL);
	}
	waitpid(child, NULL, 0);
	poison = open_note();
	REQUIRE(poison_death(poison) != NULL);
	CHECK(poison_death(poison)->link == NULL && poison_death(poison)->deaths == 0);
	CHECK(strcmp(poison_death(poison)->handler, "on_start") == 0);
	poison_close(poison);
}

static void takes_texts_of_any_length(void)
{
	static char topic[70000];
	struct poison *poison, *next;

	begin();
	memset(topic, 't', sizeof topic);
	topic[sizeof topic - 1] = '\0';
	poison = open_note();
	poison_begin(poison, topic, topic, (struct bytes){NULL, 0});
	poison_running(poison, RULES, topic);
	next = open_note(); /* as if the first had died here */
	REQUIRE(poison_death(next) != NULL);
	CHECK(strlen(poison_death(next)->topic) == 255 && strlen(poison_death(next)->link) == 63);
	poison_close(next);
	poison_close(poison);
}

static void write_file(const char *text, size_t size)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(file >= 0 && write(file, text, size) == (ssize_t)size);
	close(file);
}

static void begins_anew_with_what_is_no_note(void)
{
	char junk[5000];

	begin();
	memset(junk, 0xff, sizeof junk);
	for (size_t size = 0; size < sizeof junk; size += 97) {
		struct poison *poison;

		write_file(junk, size);
		poison = open_note();
		CHECK(poison_death(poison) == NULL);
		handle(poison, "x", RULES, live);
		poison_close(poison);
	}
	CHECK(process("bad", RULES, die) && truncate(path, 100) == 0); /* would be SIGBUS */
	CHECK(process("bad", RULES, die) && process("bad", RULES, die));
}

static void leaves_foreign_files_alone(void)
{
	char other[160];

	begin();
	snprintf(other, sizeof other, "%s/other", directory);
	CHECK(symlink(other, path) == 0);
	CHECK(poison_open_file(path, err, sizeof err) == NULL && strstr(err, path));
	CHECK(access(other, F_OK) != 0);
	unlink(path);
	write_file("mine", 4);
	CHECK(chmod(path, 0666) == 0 && poison_open_file(path, err, sizeof err) == NULL);
	CHECK(chmod(path, 0600) == 0 && link(path, other) == 0 && poison_open_file(path, err, sizeof err) == NULL);
	unlink(other);
	unlink(path);
	CHECK(mkdir(path, 0700) == 0 && poison_open_file(path, err, sizeof err) == NULL && rmdir(path) == 0);
	if (geteuid() == 0) {
		write_file("theirs", 6);
		CHECK(chown(path, 1, 1) == 0 && poison_open_file(path, err, sizeof err) == NULL);
	}
}

static void finds_a_place_of_its_own(void)
{
	char name[160];
	struct poison *one, *two;

	snprintf(path, sizeof path, "%s/queue.db", directory);
	snprintf(name, sizeof name, "/dev/shm/tidegate-%lu-test%lu", (unsigned long)geteuid(), (unsigned long)getpid());
	CHECK(mkdir(name, 0700) == 0 || access("/dev/shm", W_OK) != 0); /* in the way: the next place is taken */
	one = poison_open(path, strrchr(name, '-') + 1, err, sizeof err);
	CHECK(one != NULL);
	poison_close(one);
	rmdir(name);
	one = poison_open(path, "instance", err, sizeof err);
	REQUIRE(one != NULL);
	poison_begin(one, "field", "a", (struct bytes){NULL, 0});
	poison_running(one, RULES, "on_message");
	two = poison_open(path, "another", err, sizeof err);
	CHECK(two && !poison_death(two));
	poison_close(two);
	two = poison_open(path, "instance", err, sizeof err);
	CHECK(two && poison_death(two));
	poison_close(two);
	poison_close(one);
}

static void does_nothing_without_a_note(void)
{
	handle(NULL, "x", RULES, live);
	CHECK(poison_death(NULL) == NULL && !poison_suspected(NULL, RULES));
	poison_close(NULL);
	snprintf(path, sizeof path, "%s/nowhere/note", directory);
	CHECK(poison_open_file(path, err, sizeof err) == NULL && strstr(err, "No such file"));
}

static void costs_next_to_nothing(void)
{
	static const size_t sizes[] = {64, 1024, 65536};
	static char payload[65536];
	struct poison *poison;

	begin();
	poison = open_note();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct timespec from, to;
		double ns;

		(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
		for (int n = 0; n < 100000; n++) {
			payload[0] = (char)n;
			poison_begin(poison, "field", "sensors/hall/temperature", (struct bytes){payload, sizes[i]});
			if (!poison_suspected(poison, RULES)) {
				poison_running(poison, RULES, "on_message");
				poison_running(poison, RULES, NULL);
				poison_survived(poison, RULES);
			}
			poison_end(poison);
			if (sizes[i] > 10000 && n >= 1000)
				n += 99;
		}
		(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
		ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
		ns /= sizes[i] > 10000 ? 1991 : 100000;
		printf("a message of %zu bytes: %.0f ns\n", sizes[i], ns);
		CHECK(ns < 1000000); /* also with sanitizers, on a slow machine */
	}
	poison_close(poison);
}

int main(void)
{
	char command[256];

	if (!mkdtemp(directory))
		return 1;
	RUN(tells_what_the_last_process_died_of);
	RUN(suspects_after_the_second_death);
	RUN(a_success_clears_the_innocent);
	RUN(remembers_the_latest_suspects);
	RUN(accuses_nobody_where_there_was_no_message);
	RUN(takes_texts_of_any_length);
	RUN(begins_anew_with_what_is_no_note);
	RUN(leaves_foreign_files_alone);
	RUN(finds_a_place_of_its_own);
	RUN(does_nothing_without_a_note);
	RUN(costs_next_to_nothing);
	snprintf(command, sizeof command, "rm -rf %s", directory);
	if (system(command) != 0)
		return 1;
	return test_end();
}
