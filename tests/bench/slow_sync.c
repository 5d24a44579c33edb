/* Makes every fsync() and fdatasync() of a program take $SLOW_SYNC_MS longer, as on
 * eMMC and SD cards, and counts them: $SLOW_SYNC_COUNT names a file whose first
 * eight bytes are the count, in the machine's order, at any moment.
 *
 *	LD_PRELOAD=build/slow_sync.so SLOW_SYNC_MS=5 SLOW_SYNC_COUNT=syncs program
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int sync_function(int fd);

static _Atomic uint64_t uncounted;
static _Atomic uint64_t *count = &uncounted;
static long delay_ms;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SLOW_SYNC_COUNT"), *delay = getenv("SLOW_SYNC_MS");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	void *map = MAP_FAILED;

	delay_ms = delay ? atol(delay) : 0;
	if (fd >= 0 && ftruncate(fd, sizeof(*count)) == 0)
		map = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		count = map;
	if (fd >= 0)
		close(fd);
}

static int slowly(const char *name, int fd)
{
	struct timespec delay = { delay_ms / 1000, delay_ms % 1000 * 1000000 };
	sync_function *next;

	*(void **)&next = dlsym(RTLD_NEXT, name);
	if (!next) {
		errno = ENOSYS;
		return -1;
	}
	atomic_fetch_add(count, 1);
	while (nanosleep(&delay, &delay) < 0 && errno == EINTR) /* a signal does not make a disk quicker */
		;
	return next(fd);
}

int fsync(int fd)
{
	return slowly("fsync", fd);
}

int fdatasync(int fd)
{
	return slowly("fdatasync", fd);
}
