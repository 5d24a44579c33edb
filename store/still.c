/* SQLite's interface to files, as far as one needs that is read and never changes. A database
 * in a file that is immutable is read without locks and journals; its header says that it
 * has a log, which here is part of the file already, so that is not handed on. */
#include "still.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "store_internal.h"

/* Where SQLite's locks are, in every database file. */
#define LOCK_AT    0x40000002
#define LOCK_BYTES 510

#define HEADER_VERSIONS 18 /* in the first page: how it is written and read; 2: with a log, */
#define WITHOUT_LOG     1

struct still {
	sqlite3_vfs vfs;
	char name[32];
	const char *path;
	struct image image;
	unsigned char *page; /* scratch */
	int lock;            /* a file descriptor */
};

struct still_file {
	sqlite3_file base;
	struct still *still;
};

/* ---- the file ---- */

static bool read_page(struct still *still, uint32_t number)
{
	if (!image_read(&still->image, number, still->page))
		return false;
	if (number == 1)
		memset(still->page + HEADER_VERSIONS, WITHOUT_LOG, 2);
	return true;
}

static int read_bytes(sqlite3_file *file, void *bytes, int size, sqlite3_int64 at)
{
	struct still *still = ((struct still_file *)file)->still;
	uint32_t page_bytes = still->image.page_bytes;
	char *to = bytes;

	memset(bytes, 0, (size_t)size);
	if (page_bytes == 0) /* it is none of SQLite's */
		return SQLITE_IOERR_SHORT_READ;
	while (size > 0) {
		uint32_t number = (uint32_t)(at / page_bytes) + 1, offset = (uint32_t)(at % page_bytes);
		int part = (int)(page_bytes - offset) < size ? (int)(page_bytes - offset) : size;

		if (number > still->image.pages)
			return SQLITE_IOERR_SHORT_READ;
		if (!read_page(still, number))
			return SQLITE_IOERR_READ;
		memcpy(to, still->page + offset, (size_t)part);
		to += part;
		at += part;
		size -= part;
	}
	return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	const struct image *image = &((struct still_file *)file)->still->image;

	*size = (sqlite3_int64)image->pages * image->page_bytes;
	return SQLITE_OK;
}

static int characteristics(sqlite3_file *file)
{
	(void)file;
	return SQLITE_IOCAP_IMMUTABLE;
}

static int close_file(sqlite3_file *file)
{
	(void)file; /* still_close() does it */
	return SQLITE_OK;
}

static int write_bytes(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
	(void)file, (void)bytes, (void)size, (void)at;
	return SQLITE_READONLY;
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 size)
{
	(void)file, (void)size;
	return SQLITE_READONLY;
}

static int with_flags(sqlite3_file *file, int flags) /* to sync, to lock, to unlock: nothing is to be done */
{
	(void)file, (void)flags;
	return SQLITE_OK;
}

static int check_reserved(sqlite3_file *file, int *reserved)
{
	(void)file;
	*reserved = 0;
	return SQLITE_OK;
}

static int control(sqlite3_file *file, int operation, void *arg)
{
	(void)file, (void)operation, (void)arg;
	return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *file)
{
	(void)file;
	return 512;
}

static const sqlite3_io_methods methods = {
        .iVersion = 1,
        .xClose = close_file,
        .xRead = read_bytes,
        .xWrite = write_bytes,
        .xTruncate = truncate_file,
        .xSync = with_flags,
        .xFileSize = file_size,
        .xLock = with_flags,
        .xUnlock = with_flags,
        .xCheckReservedLock = check_reserved,
        .xFileControl = control,
        .xSectorSize = sector_size,
        .xDeviceCharacteristics = characteristics,
};

/* ---- where SQLite finds it ---- */

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
	struct still_file *opened = (struct still_file *)file;

	(void)name;
	file->pMethods = NULL;
	if (!(flags & SQLITE_OPEN_MAIN_DB))
		return SQLITE_CANTOPEN;
	opened->still = (struct still *)vfs; /* its first member */
	file->pMethods = &methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int delete_file(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs, (void)name, (void)sync;
	return SQLITE_READONLY;
}

/* There is no journal, and no log. */
static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
	(void)vfs, (void)name, (void)flags;
	*result = 0;
	return SQLITE_OK;
}

static int full_name(sqlite3_vfs *vfs, const char *name, int size, char *full)
{
	(void)vfs;
	sqlite3_snprintf(size, full, "%s", name);
	return SQLITE_OK;
}

/* Time and chance are the system's. */
static int offer(struct still *still)
{
	const sqlite3_vfs *usual = sqlite3_vfs_find(NULL);

	if (!usual)
		return -1;
	still->vfs = *usual;
	still->vfs.pNext = NULL;
	still->vfs.szOsFile = sizeof(struct still_file);
	still->vfs.zName = still->name;
	still->vfs.xOpen = open_file;
	still->vfs.xDelete = delete_file;
	still->vfs.xAccess = access_file;
	still->vfs.xFullPathname = full_name;
	sqlite3_snprintf(sizeof still->name, still->name, "still-%p", (void *)still);
	return sqlite3_vfs_register(&still->vfs, 0) == SQLITE_OK ? 0 : -1;
}

/* ---- opening ---- */

/* As SQLite does it for who reads: an agent, which locks all others out, cannot begin. */
static int lock(struct still *still, char *why, size_t size)
{
	struct flock range = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = LOCK_AT, .l_len = LOCK_BYTES};

	still->lock = open(still->path, O_RDONLY | O_CLOEXEC);
	if (still->lock < 0) {
		store_fail(why, size, "%s", strerror(errno));
		return -1;
	}
	if (fcntl(still->lock, F_OFD_SETLK, &range) == 0)
		return 0;
	store_fail(why, size, "%s", errno == EAGAIN || errno == EACCES ? IN_USE : strerror(errno));
	return -1;
}

struct still *still_open(const char *path, char *why, size_t size)
{
	struct still *still = calloc(1, sizeof *still);

	store_fail(why, size, "out of memory");
	if (!still)
		return NULL;
	still->path = path;
	still->image = (struct image){.file = -1, .log = -1};
	if (lock(still, why, size) < 0) {
		still_close(still);
		return NULL;
	}
	if (image_open(&still->image, path) == 0 && (still->page = malloc(still->image.page_bytes + 1)) && offer(still) == 0)
		return still;
	store_fail(why, size, "out of memory");
	still_close(still);
	return NULL;
}

void still_close(struct still *still)
{
	if (!still)
		return;
	if (still->vfs.xOpen)
		sqlite3_vfs_unregister(&still->vfs);
	image_close(&still->image);
	if (still->lock >= 0)
		close(still->lock);
	free(still->page);
	free(still);
}

sqlite3 *still_database(struct still *still, char *why, size_t size)
{
	sqlite3 *database = NULL;

	if (sqlite3_open_v2(still->path, &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, still->name) == SQLITE_OK) {
		sqlite3_extended_result_codes(database, 1);
		return database;
	}
	store_fail(why, size, "%s", database ? sqlite3_errmsg(database) : "out of memory");
	sqlite3_close(database);
	return NULL;
}
