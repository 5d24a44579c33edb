/* Preloaded into an agent under test (LD_PRELOAD), stands between it and the system:
 *
 *	SHIM_CLOCK=FILE       8 bytes: milliseconds to add to the wall clock, 8 bytes: to
 *	                      the time since the boot, 37 bytes: this boot's name; empty: the
 *	                      true one. Looked at anew each time, so the file may be
 *	                      overwritten (not truncated) while the agent runs.
 *	SHIM_KILL_PUBACK=N    kills the agent when it begins to write its n-th PUBACK
 *
 * Raw system calls, so that it works below a sanitizer's own wrappers. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct fake {
	int64_t wall_ms, boot_ms;
	char boot[40];
};

static const struct fake *map_fake(void)
{
	static const struct fake none;
	const char *path = getenv("SHIM_CLOCK");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	return map == MAP_FAILED ? &none : map;
}

static const struct fake *fake(void)
{
	static const struct fake *mapped;

	if (!mapped)
		mapped = map_fake();
	return mapped;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int64_t add_ms = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE ? fake()->wall_ms :
	                 id == CLOCK_BOOTTIME                                ? fake()->boot_ms : 0;
	int64_t ms;

	if (syscall(SYS_clock_gettime, id, now) < 0)
		return -1;
	if (add_ms == 0)
		return 0;
	ms = (int64_t)now->tv_sec * 1000 + now->tv_nsec / 1000000 + add_ms;
	now->tv_sec = ms / 1000;
	now->tv_nsec = ms % 1000 * 1000000 + now->tv_nsec % 1000000;
	return 0;
}

time_t time(time_t *result)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	*result = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
	return 0;
}

int open(const char *path, int flags, ...)
{
	va_list more;
	mode_t mode;
	int fd;

	va_start(more, flags);
	mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
	va_end(more);
	if (strcmp(path, "/proc/sys/kernel/random/boot_id") != 0 || !fake()->boot[0])
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	fd = memfd_create("boot", MFD_CLOEXEC);
	if (fd < 0 || write(fd, fake()->boot, strlen(fake()->boot)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		abort();
	return fd;
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

/* How long the packet at the start of a run of whole ones is (MQTT 5, 2.1); all of it, if that is none. */
static size_t packet_size(const unsigned char *run, size_t size)
{
	size_t length = 0, at = 1;

	for (int shift = 0; at < size && shift < 28; shift += 7) {
		length |= (size_t)(run[at] & 0x7f) << shift;
		if (!(run[at++] & 0x80))
			return at + length < size ? at + length : size;
	}
	return size;
}

/* Where the `n`-th PUBACK of all begins, if it is in this run of packets; else `size`. */
static size_t find_puback(const unsigned char *run, size_t size, long n)
{
	static long pubacks;
	size_t at = 0;

	while (at < size && !(run[at] == 0x40 && ++pubacks == n))
		at += packet_size(run + at, size - at);
	return at;
}

ssize_t write(int fd, const void *data, size_t size)
{
	const char *limit = getenv("SHIM_KILL_PUBACK");
	size_t before = limit ? find_puback(data, size, atol(limit)) : size;

	if (before < size) {
		if (before > 0)
			syscall(SYS_write, fd, data, before);
		kill(getpid(), SIGKILL);
	}
	return syscall(SYS_write, fd, data, size);
}
