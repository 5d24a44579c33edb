/* The notify protocol: where messages go, and whose watchdog it is. */
#include "notify.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static char err[256];

/* A supervisor's socket at `address`; its descriptor. */
static int listen_at(const struct sockaddr_un *address, socklen_t size)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	REQUIRE(fd >= 0 && bind(fd, (const struct sockaddr *)address, size) == 0);
	return fd;
}

static void check_received(int fd, const char *wanted)
{
	char text[2048];
	ssize_t n = recv(fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	CHECK(strcmp(text, wanted) == 0);
}

static void nobody_is_told(void)
{
	struct notify notify;

	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "1000000", 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0);
	CHECK(notify.fd == -1 && notify.watchdog_us == 0);
	CHECK(notify_send(&notify, "READY=1") == 0);
	notify_release(&notify);
	setenv("NOTIFY_SOCKET", "", 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0 && notify.fd == -1);
}

static void a_path(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct notify notify;
	int fd;

	snprintf(address.sun_path, sizeof address.sun_path, "/tmp/test_notify.%d", (int)getpid());
	fd = listen_at(&address, sizeof address);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0);
	CHECK(notify_send(&notify, "READY=1\nSTATUS=%s", "well") == 0);
	check_received(fd, "READY=1\nSTATUS=well");
	close(fd);
	unlink(address.sun_path);
	CHECK(notify_send(&notify, "READY=1") < 0 && (errno == ENOENT || errno == ECONNREFUSED));
	fd = listen_at(&address, sizeof address); /* restarted */
	CHECK(notify_send(&notify, NOTIFY_ALIVE) == 0);
	check_received(fd, "WATCHDOG=1");
	close(fd);
	unlink(address.sun_path);
	notify_release(&notify);
}

static void an_abstract_name(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct notify notify;
	char name[64];
	int fd;

	snprintf(name, sizeof name, "@test_notify.%d", (int)getpid());
	memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
	fd = listen_at(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)));
	setenv("NOTIFY_SOCKET", name, 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0);
	CHECK(notify_send(&notify, "STOPPING=1") == 0);
	check_received(fd, "STOPPING=1");
	notify_release(&notify);
	close(fd);
}

static void what_is_no_address(void)
{
	static const char *const names[] = {"relative", "/", "@", "vsock:2:1234"};
	char longest[200];
	struct notify notify;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		setenv("NOTIFY_SOCKET", names[i], 1);
		CHECK(notify_init(&notify, err, sizeof err) < 0);
		CHECK(strstr(err, names[i]));
		CHECK(notify_send(&notify, "READY=1") == 0);
		notify_release(&notify);
	}
	memset(longest, 'x', sizeof longest);
	longest[0] = '/';
	longest[108] = '\0'; /* no room for the NUL */
	setenv("NOTIFY_SOCKET", longest, 1);
	CHECK(notify_init(&notify, err, sizeof err) < 0);
	longest[107] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0);
	notify_release(&notify);
}

static int64_t watchdog_with(const char *usec, const char *pid)
{
	struct notify notify;

	setenv("NOTIFY_SOCKET", "@nobody", 1);
	setenv("WATCHDOG_USEC", usec, 1);
	unsetenv("WATCHDOG_PID");
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0);
	notify_release(&notify);
	return notify.watchdog_us;
}

static void whose_watchdog_it_is(void)
{
	char own[20];

	snprintf(own, sizeof own, "%d", (int)getpid());
	CHECK(watchdog_with("30000000", NULL) == 30000000);
	CHECK(watchdog_with("30000000", own) == 30000000);
	CHECK(watchdog_with("30000000", "1") == 0);
	CHECK(watchdog_with("30000000", "") == 0);
	CHECK(watchdog_with("-1", own) == 0);
	CHECK(watchdog_with("30s", own) == 0);
	CHECK(watchdog_with("99999999999999999999", own) == 0);
}

static void what_is_too_long(void)
{
	struct notify notify;
	char text[2000];

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	setenv("NOTIFY_SOCKET", "@nobody", 1);
	CHECK(notify_init(&notify, err, sizeof err) == 0);
	CHECK(notify_send(&notify, "STATUS=%s", text) < 0 && errno == EMSGSIZE);
	notify_release(&notify);
}

int main(void)
{
	RUN(nobody_is_told);
	RUN(a_path);
	RUN(an_abstract_name);
	RUN(what_is_no_address);
	RUN(whose_watchdog_it_is);
	RUN(what_is_too_long);
	return test_end();
}
