/* The control socket on the real loop, with clients that behave and clients that
 * do not. Its deadlines are short where they are waited for, and nowhere else. */
static int request_ms, idle_ms;
#define CONTROL_REQUEST_MS request_ms
#define CONTROL_IDLE_MS    idle_ms
#include "../../agent/control.c"
#include "../../agent/peer.c"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "clock.h"
#include "test.h"

/* ---- the loop, until a condition holds ---- */

static struct loop *loop;
static struct control *subject;
static char directory[] = "/tmp/test_control_XXXXXX", path[64], err[256];
static bool (*wanted)(void);
static int64_t give_up_ms;

static void nothing(void *arg)
{
	(void)arg;
}

static void on_signal(void *arg, int number)
{
	(void)arg;
	(void)number;
}

static struct loop_timer poke;

static void on_poke(void *arg)
{
	(void)arg;
	loop_timer_set(loop, &poke, loop_now_ms(loop) + 5);
}

static void acknowledge(void *arg)
{
	(void)arg;
	if (wanted() || loop_now_ms(loop) > give_up_ms)
		loop_stop(loop);
}

static const struct loop_steps steps = {
        .commit = nothing, .send = nothing, .acknowledge = acknowledge, .signal = on_signal};

static bool wait_until(bool (*condition)(void), int ms)
{
	wanted = condition;
	give_up_ms = clock_monotonic_ms() + ms;
	CHECK(loop_run(loop) == 0);
	return condition();
}

static bool never(void)
{
	return false;
}

/* ---- a command whose answer is as long as one likes ---- */

static long lines_made;

static int flood_begin(void *arg, void *state, json_t *request, char *text, size_t size)
{
	(void)arg;
	(void)text;
	(void)size;
	*(json_int_t *)state = json_integer_value(json_object_get(request, "lines"));
	return 0;
}

static bool flood_next(void *arg, void *state, struct answer *answer)
{
	json_int_t *left = state;

	(void)arg;
	if (*left == 0)
		return false;
	(*left)--;
	lines_made++;
	answer_line(answer, json_pack("{s:s, s:I}", "kind", "line", "left", *left));
	return true;
}

static const struct answer_command flood = {
        .name = "flood", .state_size = sizeof(json_int_t), .begin = flood_begin, .next = flood_next};
static const struct answer_command *const commands[] = {&flood, NULL};

static void begin(void)
{
	request_ms = idle_ms = 10000;
	loop = loop_open(&steps, NULL, err, sizeof err);
	REQUIRE(loop != NULL);
	memset(&poke, 0, sizeof poke);
	poke.fire = on_poke;
	loop_timer_set(loop, &poke, 0);
	subject = control_open(loop, path, commands, NULL, err, sizeof err);
	REQUIRE(subject != NULL);
}

static void end(void)
{
	control_close(subject);
	loop_close(loop);
	CHECK(access(path, F_OK) < 0);
}

/* ---- clients ---- */

#define CLIENTS 50

static struct {
	int fd;
	char text[512]; /* the beginning of what came */
	long bytes;
	bool over;
} clients[CLIENTS];
static int n_clients;

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	memset(&clients[n_clients], 0, sizeof clients[0]);
	clients[n_clients].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	REQUIRE(connect(clients[n_clients].fd, (struct sockaddr *)&address, sizeof address) == 0);
	return n_clients++;
}

static void say(int client, const char *text)
{
	CHECK(send(clients[client].fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static void listen_to_all(void)
{
	static char data[65536];

	for (int i = 0; i < n_clients; i++) {
		ssize_t n = clients[i].over ? -1 : recv(clients[i].fd, data, sizeof data, 0);

		if (n > 0 && clients[i].bytes < (long)sizeof clients[i].text - 1) {
			size_t room = sizeof clients[i].text - 1 - (size_t)clients[i].bytes;

			memcpy(clients[i].text + clients[i].bytes, data, (size_t)n < room ? (size_t)n : room);
		}
		if (n > 0)
			clients[i].bytes += n;
		if (n == 0 || (n < 0 && errno != EAGAIN))
			clients[i].over = true;
	}
}

static bool all_over(void)
{
	listen_to_all();
	for (int i = 0; i < n_clients; i++)
		if (!clients[i].over)
			return false;
	return true;
}

static bool last_over(void)
{
	listen_to_all();
	return clients[n_clients - 1].over;
}

static void close_all(void)
{
	while (n_clients > 0)
		close(clients[--n_clients].fd);
}

/* ---- tests ---- */

static void answers_and_hangs_up(void)
{
	begin();
	say(dial(), "{\"command\":\"flood\",\"lines\":1}\nand what follows is ignored\n");
	say(dial(), "{\"command\":\"fly\"}\n");
	say(dial(), "nonsense\n");
	say(dial(), "\n");
	CHECK(wait_until(all_over, 5000));
	CHECK(strcmp(clients[0].text, "{\"kind\":\"line\",\"left\":0}\n{\"ok\":true}\n") == 0);
	CHECK(strcmp(clients[1].text, "{\"error\":\"unknown command \\\"fly\\\"\"}\n") == 0);
	CHECK(strncmp(clients[2].text, "{\"error\":\"expected", 18) == 0);
	CHECK(strncmp(clients[3].text, "{\"error\":\"expected", 18) == 0);
	close_all();
	end();
}

static void takes_a_request_in_pieces(void)
{
	enum { PIECE = 5 };
	static const char request[] = "{\"command\":\"flood\",\"lines\":1}\n";

	begin();
	dial();
	for (size_t i = 0; i < sizeof request - 1; i += PIECE) { /* there is a deadline for all of it */
		CHECK(send(clients[0].fd, &request[i], PIECE, 0) == PIECE);
		CHECK(!wait_until(never, 1));
	}
	CHECK(wait_until(all_over, 5000));
	CHECK(strstr(clients[0].text, "{\"ok\":true}\n") != NULL);
	close_all();
	end();
}

static void refuses_a_line_without_end(void)
{
	static char line[CONTROL_REQUEST_MAX + 1];

	begin();
	memset(line, 'x', sizeof line - 1);
	say(dial(), line);
	CHECK(wait_until(all_over, 5000));
	CHECK(strcmp(clients[0].text, "{\"error\":\"the request is too long\"}\n") == 0);
	line[sizeof line - 2] = '\n'; /* just fits */
	say(dial(), line);
	CHECK(wait_until(all_over, 5000));
	CHECK(strncmp(clients[1].text, "{\"error\":\"expected", 18) == 0);
	close_all();
	end();
}

static void hangs_up_on_the_silent(void)
{
	int64_t before;

	begin();
	request_ms = 150;
	before = clock_monotonic_ms();
	dial();
	say(dial(), "{\"comm");
	CHECK(wait_until(all_over, 5000));
	CHECK(clock_monotonic_ms() - before >= request_ms);
	CHECK(clients[0].bytes == 0 && clients[1].bytes == 0);
	CHECK(subject->n_clients == 0);
	close_all();
	end();
}

static bool is_gone(void)
{
	return subject->n_clients == 0;
}

static bool three_are_served(void)
{
	return subject->n_clients == 3;
}

static bool is_full(void)
{
	return subject->n_clients == CONTROL_CLIENTS_MAX && !subject->accepting;
}

static void does_not_mind_who_leaves(void)
{
	begin();
	dial();
	say(dial(), "{\"comm");
	say(dial(), "{\"command\":\"flood\",\"lines\":1000000}\n");
	CHECK(wait_until(three_are_served, 5000));
	close_all();
	CHECK(wait_until(is_gone, request_ms / 2)); /* long before their deadlines */
	end();
}

/* A reader that stops costs a piece or two, and is given up after a while. */
static void makes_no_more_than_is_taken(void)
{
	begin();
	idle_ms = 300;
	lines_made = 0;
	say(dial(), "{\"command\":\"flood\",\"lines\":1000000}\n");
	CHECK(!wait_until(never, idle_ms / 2));
	CHECK(lines_made > 100 && lines_made < 50000);
	CHECK(wait_until(is_gone, 5000));
	CHECK(lines_made < 50000);
	CHECK(!last_over() && wait_until(last_over, 5000));
	CHECK(strstr(clients[0].text, "ok") == NULL);
	close_all();
	idle_ms = 10000;
	lines_made = 0;
	say(dial(), "{\"command\":\"flood\",\"lines\":200000}\n"); /* and one that reads gets all of it */
	CHECK(wait_until(last_over, 10000));
	CHECK(lines_made == 200000 && clients[0].bytes > 4000000);
	close_all();
	end();
}

static void serves_a_few_at_a_time_and_then_the_rest(void)
{
	begin();
	for (int i = 0; i < CLIENTS; i++)
		dial();
	CHECK(wait_until(is_full, 5000));
	for (int i = 0; i < CLIENTS; i++)
		say(i, "{\"command\":\"flood\",\"lines\":3}\n");
	CHECK(wait_until(all_over, 5000));
	for (int i = 0; i < CLIENTS; i++)
		CHECK(strstr(clients[i].text, "{\"ok\":true}\n") != NULL);
	CHECK(subject->n_clients == 0 && subject->accepting);
	close_all();
	end();
}

static bool waits(void)
{
	return !subject->accepting;
}

static bool accepts_again(void)
{
	return subject->accepting;
}

static void waits_when_descriptors_run_out(void)
{
	int fds[1024], n = 0;
	int64_t before;

	begin();
	dial();
	while (n < 1024 && (fds[n] = dup(0)) >= 0)
		n++;
	CHECK(n < 1024);
	before = clock_monotonic_ms();
	CHECK(wait_until(waits, 5000));
	CHECK(subject->n_clients == 0);
	while (n > 0)
		close(fds[--n]);
	CHECK(wait_until(accepts_again, 5000));
	CHECK(clock_monotonic_ms() - before >= REFUSED_MS / 2);
	say(0, "{\"command\":\"flood\",\"lines\":3}\n");
	CHECK(wait_until(all_over, 5000));
	CHECK(strstr(clients[0].text, "{\"ok\":true}\n") != NULL);
	close_all();
	end();
}

static void hangs_up_when_it_closes(void)
{
	begin();
	dial();
	say(dial(), "{\"command\":\"flood\",\"lines\":1000000}\n");
	CHECK(!wait_until(never, 30));
	end();
	for (int i = 0; i < 100 && !all_over(); i++) /* after what had left already */
		;
	CHECK(all_over());
	close_all();
}

/* ---- who may ask ---- */

#define STRANGER 54321
#define GROUP    54322 /* of the socket */

static int answer_pipe;
static char stranger_got[512];

/* Another user's process: asks, and hands on what it got. */
static void ask_as(gid_t gid, const gid_t *groups, size_t n_groups)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	static const char request[] = "{\"command\":\"flood\",\"lines\":1}\n";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char got[512];
	ssize_t n;

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (setgroups(n_groups, groups) < 0 || setgid(gid) < 0 || setuid(STRANGER) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || write(fd, request, sizeof request - 1) < 0)
		_exit(1);
	while ((n = read(fd, got, sizeof got)) > 0)
		if (write(answer_pipe, got, (size_t)n) != n)
			_exit(1);
	_exit(0);
}

static pid_t stranger;
static int stranger_status;

static bool stranger_done(void)
{
	if (stranger > 0 && waitpid(stranger, &stranger_status, WNOHANG) == stranger)
		stranger = 0;
	return stranger == 0;
}

/* What the agent tells a process of that user, with the group and supplementary groups. */
static const char *told(gid_t gid, const gid_t *groups, size_t n_groups)
{
	int ends[2];
	ssize_t n;

	REQUIRE(pipe(ends) == 0);
	answer_pipe = ends[1];
	stranger = fork();
	if (stranger == 0)
		ask_as(gid, groups, n_groups);
	close(ends[1]);
	CHECK(wait_until(stranger_done, 5000) && stranger_status == 0);
	n = read(ends[0], stranger_got, sizeof stranger_got - 1);
	stranger_got[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	return stranger_got;
}

/* Even where somebody has opened the file to all. */
static void answers_its_group_and_no_stranger(void)
{
	static const char line[] = "{\"kind\":\"line\",\"left\":0}\n{\"ok\":true}\n";
	static const char refusal[] = "{\"error\":\"user 54321 may not ask: only root, the agent's user and members of the "
				      "socket's group (54322) may\"}\n";
	enum { MANY = 1000 };
	static gid_t many[MANY];

	if (geteuid() != 0) {
		printf("  (only root can be somebody else)\n");
		return;
	}
	begin();
	CHECK(chmod(directory, 0755) == 0 && chmod(path, 0666) == 0 && chown(path, (uid_t)-1, GROUP) == 0);
	for (gid_t i = 0; i < MANY; i++)
		many[i] = 60000 + i;
	CHECK(strcmp(told(STRANGER, NULL, 0), refusal) == 0);
	CHECK(strcmp(told(STRANGER, many, MANY), refusal) == 0);
	CHECK(strcmp(told(GROUP, NULL, 0), line) == 0);
	many[3] = GROUP;
	CHECK(strcmp(told(STRANGER, many, 4), line) == 0);
	many[3] = 60003;
	many[MANY - 1] = GROUP;
	CHECK(strcmp(told(STRANGER, many, MANY), line) == 0);
	CHECK(chown(path, (uid_t)-1, STRANGER) == 0); /* it is the group that the file has now */
	CHECK(strcmp(told(STRANGER, NULL, 0), line) == 0);
	end();
}

/* As before Linux 4.13. */
static void a_list_knows_members(void)
{
	const struct group *group = getgrgid(getegid());
	const struct passwd *user = getpwuid(geteuid());

	if (!user || !group)
		return;
	CHECK(is_listed(geteuid(), user->pw_gid) && !is_listed(geteuid(), GROUP) && !is_listed(STRANGER, GROUP));
}

/* ---- the file ---- */

static void makes_a_socket_of_its_mode(void)
{
	struct stat file;
	mode_t before = umask(0);

	begin();
	CHECK(lstat(path, &file) == 0 && S_ISSOCK(file.st_mode) && (file.st_mode & 07777) == 0660);
	CHECK(umask(before) == 0); /* as it was */
	end();
}

static void does_not_open_twice(void)
{
	begin();
	CHECK(control_open(loop, path, commands, NULL, err, sizeof err) == NULL);
	CHECK(strstr(err, path) && strstr(err, "another process serves it"));
	say(dial(), "{\"command\":\"flood\",\"lines\":1}\n"); /* unharmed */
	CHECK(wait_until(all_over, 5000));
	CHECK(strstr(clients[0].text, "{\"ok\":true}\n") != NULL);
	close_all();
	end();
}

static void replaces_what_a_dead_agent_left(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
	close(fd);
	CHECK(access(path, F_OK) == 0);
	begin();
	end();
}

static void leaves_alone_what_is_not_its_own(void)
{
	static char long_path[200];
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	loop = loop_open(&steps, NULL, err, sizeof err);
	close(fd);
	CHECK(control_open(loop, path, commands, NULL, err, sizeof err) == NULL);
	CHECK(strstr(err, "no socket") && access(path, F_OK) == 0);
	unlink(path);
	CHECK(symlink("/nowhere/at/all", path) == 0);
	CHECK(control_open(loop, path, commands, NULL, err, sizeof err) == NULL);
	CHECK(access(path, F_OK) < 0 && unlink(path) == 0);
	memset(long_path, 'x', sizeof long_path - 1);
	CHECK(control_open(loop, long_path, commands, NULL, err, sizeof err) == NULL);
	CHECK(strstr(err, "too long"));
	CHECK(control_open(loop, "/nowhere/control.sock", commands, NULL, err, sizeof err) == NULL);
	CHECK(strcmp(err, "/nowhere/control.sock: No such file or directory") == 0);
	loop_close(loop);
	/* Removed and made anew by another while it was open. */
	begin();
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	control_close(subject);
	loop_close(loop);
	CHECK(unlink(path) == 0);
}

int main(void)
{
	struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};

	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0 && mkdtemp(directory) != NULL);
	snprintf(path, sizeof path, "%s/control.sock", directory);
	RUN(answers_and_hangs_up);
	RUN(takes_a_request_in_pieces);
	RUN(refuses_a_line_without_end);
	RUN(hangs_up_on_the_silent);
	RUN(does_not_mind_who_leaves);
	RUN(makes_no_more_than_is_taken);
	RUN(serves_a_few_at_a_time_and_then_the_rest);
	RUN(waits_when_descriptors_run_out);
	RUN(hangs_up_when_it_closes);
	RUN(answers_its_group_and_no_stranger);
	RUN(a_list_knows_members);
	RUN(makes_a_socket_of_its_mode);
	RUN(does_not_open_twice);
	RUN(replaces_what_a_dead_agent_left);
	RUN(leaves_alone_what_is_not_its_own);
	rmdir(directory);
	return test_end();
}
