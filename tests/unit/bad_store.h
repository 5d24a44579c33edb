/* A store in a directory of its own, whose commits fail when a test says so. For one source
 * of each program.
 */
#ifndef TIDEGATE_BAD_STORE_H
#define TIDEGATE_BAD_STORE_H

#include <string.h>
#include <unistd.h>

#include "bad_disk.h"
#include "test.h"

static char directory[] = "/tmp/tidegate-disk-XXXXXX";
static char path[128], err[512];
static struct store *store;
static enum bad_disk disk;
static struct participant bad_disk;

static inline void shut_store(void)
{
	if (store)
		store_leave(store, &bad_disk);
	store_close(store);
	store = NULL;
}

static inline void open_store(void)
{
	shut_store();
	disk = DISK_GOOD;
	store = store_open(path, STORE_OFF, err, sizeof err);
	REQUIRE(store != NULL);
	bad_disk_join(store, &bad_disk, &disk);
}

static inline void remove_store(void)
{
	snprintf(path, sizeof path, "%s/queue.db", directory);
	unlink(path);
}

static inline void commit(void)
{
	CHECK(store_commit(store, err, sizeof err) == STORE_OK);
}

static inline void bad_store_begin(void)
{
	REQUIRE(mkdtemp(directory));
}

/* The exit status. */
static inline int bad_store_end(void)
{
	char command[256];

	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command) == 0 ? test_end() : 1;
}

#endif
