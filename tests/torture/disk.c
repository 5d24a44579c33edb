/* Each file has two contents, what reading shows and what is certain to be on the
 * platter, and a list of the changes between them. A sync applies the list to the
 * second; a power cut applies what it likes of it to a copy. Names have the same two
 * sides. Nothing is freed before the disk is: there are few files. */
#include "disk.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "random.h"

#define SECTOR 512

struct content {
	unsigned char *data;
	size_t size, room;
};

/* A write, or a truncation to `offset` if there is no data. */
struct change {
	struct change *next;
	size_t offset, size;
	unsigned char data[];
};

struct file {
	struct file *next;
	struct content now, durable;
	struct change *changes, **end;
	bool sync_directory; /* its first sync makes the names certain */
};

struct name {
	struct name *next;
	struct file *now, *durable; /* NULL: there is none of that name */
	char text[];
};

struct disk {
	struct disk *next;
	struct file *files;
	struct name *names;
	disk_hook *hook;
	void *arg;
	bool frozen;
	char name[32];
};

/* What SQLite calls an open file. */
struct handle {
	sqlite3_file base;
	struct disk *disk;
	struct file *file;
};

/* SQLite knows file systems by registration only, so here is the one list of disks. */
static struct disk *all_disks;
static uint64_t randomness;
static int page_bytes = 4096;

/* ---- contents ---- */

static void content_resize(struct content *content, size_t size)
{
	if (size > content->room) {
		content->room = size * 2;
		content->data = memory_sure(content->data, content->room);
	}
	if (size > content->size)
		memset(content->data + content->size, 0, size - content->size);
	content->size = size;
}

static void content_write(struct content *content, size_t offset, const unsigned char *data, size_t size)
{
	if (offset + size > content->size)
		content_resize(content, offset + size);
	memcpy(content->data + offset, data, size);
}

static void content_copy(struct content *to, const struct content *from)
{
	content_resize(to, from->size);
	if (from->size > 0)
		memcpy(to->data, from->data, from->size);
}

static void content_apply(struct content *content, const struct change *change)
{
	if (change->size > 0)
		content_write(content, change->offset, change->data, change->size);
	else if (change->offset < content->size)
		content_resize(content, change->offset);
}

/* ---- files and names ---- */

static struct file *file_new(struct disk *disk)
{
	struct file *file = memory_zeroed(sizeof *file);

	file->end = &file->changes;
	file->next = disk->files;
	disk->files = file;
	return file;
}

static void file_change(struct file *file, size_t offset, const void *data, size_t size)
{
	struct change *change = memory_sure(NULL, sizeof *change + size);

	*change = (struct change){.offset = offset, .size = size};
	if (size > 0)
		memcpy(change->data, data, size);
	*file->end = change;
	file->end = &change->next;
	content_apply(&file->now, change);
}

static void file_forget_changes(struct file *file)
{
	while (file->changes) {
		struct change *change = file->changes;

		file->changes = change->next;
		free(change);
	}
	file->end = &file->changes;
}

static struct name *name_of(const struct disk *disk, const char *text)
{
	struct name *name = disk->names;

	while (name && strcmp(name->text, text) != 0)
		name = name->next;
	return name;
}

static struct name *name_new(struct disk *disk, const char *text)
{
	struct name *name = memory_sure(NULL, sizeof *name + strlen(text) + 1);

	*name = (struct name){.next = disk->names};
	strcpy(name->text, text);
	disk->names = name;
	return name;
}

static void sync_names(struct disk *disk)
{
	for (struct name *name = disk->names; name; name = name->next)
		name->durable = name->now;
}

/* ---- the power cut ---- */

/* Applies a write by sectors: each is there, or not, or was being written. */
static void tear_write(struct content *content, const struct change *change, unsigned percent, uint64_t *random)
{
	size_t at = 0;

	while (at < change->size) {
		size_t offset = change->offset + at, size = SECTOR - offset % SECTOR;

		if (size > change->size - at)
			size = change->size - at;
		if (random_chance(random, percent)) {
			content_write(content, offset, change->data + at, size);
			if (random_chance(random, 3))
				for (size_t i = 0; i < size; i++)
					content->data[offset + i] = (unsigned char)random_next(random);
		} else if (offset + size > content->size && random_chance(random, 30)) {
			content_resize(content, offset + size); /* the size was written before the bytes */
		}
		at += size;
	}
}

/* The changes in an order that they may have reached the platter in. */
static size_t shuffled(const struct file *file, const struct change ***list, uint64_t *random)
{
	size_t n = 0;

	for (const struct change *change = file->changes; change; change = change->next)
		n++;
	*list = memory_sure(NULL, (n + 1) * sizeof **list);
	n = 0;
	for (const struct change *change = file->changes; change; change = change->next)
		(*list)[n++] = change;
	if (random_chance(random, 50))
		for (size_t i = n; i > 1; i--) {
			size_t other = random_below(random, (unsigned)i);
			const struct change *change = (*list)[i - 1];

			(*list)[i - 1] = (*list)[other];
			(*list)[other] = change;
		}
	return n;
}

static void tear(struct content *content, const struct file *file, uint64_t *random)
{
	static const unsigned percents[] = {10, 50, 90, 99};
	unsigned percent = percents[random_below(random, 4)];
	const struct change **list;
	size_t n = shuffled(file, &list, random);

	for (size_t i = 0; i < n; i++)
		if (list[i]->size > 0)
			tear_write(content, list[i], percent, random);
		else if (random_chance(random, percent))
			content_apply(content, list[i]);
	free(list);
}

static const struct file *found_after(const struct name *name, enum disk_cut cut, uint64_t *random)
{
	if (cut == CUT_TEAR)
		return random_chance(random, 50) ? name->now : name->durable;
	return cut == CUT_KEEP ? name->now : name->durable;
}

struct disk *disk_cut(const struct disk *disk, const char *text, enum disk_cut cut, uint64_t *random)
{
	struct disk *image = disk_open(text, NULL, NULL);

	for (const struct name *name = disk->names; name; name = name->next) {
		const struct file *file = found_after(name, cut, random);
		struct name *copy;

		if (!file)
			continue;
		copy = name_new(image, name->text);
		copy->now = copy->durable = file_new(image);
		content_copy(&copy->now->durable, cut == CUT_KEEP ? &file->now : &file->durable);
		if (cut == CUT_TEAR)
			tear(&copy->now->durable, file, random);
		content_copy(&copy->now->now, &copy->now->durable);
	}
	return image;
}

/* ---- SQLite's side: open files ---- */

static int ask(struct disk *disk, enum disk_operation operation, bool after, int if_frozen)
{
	if (disk->frozen)
		return if_frozen;
	return disk->hook ? disk->hook(disk->arg, disk, operation, after) : SQLITE_OK;
}

static int handle_close(sqlite3_file *base)
{
	(void)base;
	return SQLITE_OK;
}

static int handle_read(sqlite3_file *base, void *to, int amount, sqlite3_int64 from)
{
	struct handle *handle = (struct handle *)base;
	const struct content *content = &handle->file->now;
	size_t offset = (size_t)from, size = (size_t)amount, there = 0;
	int result = ask(handle->disk, DISK_READ, false, SQLITE_IOERR_READ);

	if (result != SQLITE_OK)
		return result;
	if (offset < content->size)
		there = content->size - offset < size ? content->size - offset : size;
	if (there > 0)
		memcpy(to, content->data + offset, there);
	memset((char *)to + there, 0, size - there);
	ask(handle->disk, DISK_READ, true, SQLITE_OK);
	return there < size ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int handle_write(sqlite3_file *base, const void *data, int amount, sqlite3_int64 offset)
{
	struct handle *handle = (struct handle *)base;
	int result = ask(handle->disk, DISK_WRITE, false, SQLITE_IOERR_WRITE);

	if (result == SQLITE_OK)
		file_change(handle->file, (size_t)offset, data, (size_t)amount);
	else if (!handle->disk->frozen && amount > 1)
		file_change(handle->file, (size_t)offset, data, (size_t)amount / 2);
	ask(handle->disk, DISK_WRITE, true, SQLITE_OK);
	return result;
}

static int handle_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct handle *handle = (struct handle *)base;
	int result = ask(handle->disk, DISK_TRUNCATE, false, SQLITE_IOERR_TRUNCATE);

	if (result == SQLITE_OK)
		file_change(handle->file, (size_t)size, NULL, 0);
	ask(handle->disk, DISK_TRUNCATE, true, SQLITE_OK);
	return result;
}

static int handle_sync(sqlite3_file *base, int flags)
{
	struct handle *handle = (struct handle *)base;
	struct file *file = handle->file;
	int result = ask(handle->disk, DISK_SYNC, false, SQLITE_IOERR_FSYNC);

	(void)flags;
	if (handle->disk->frozen)
		return SQLITE_IOERR_FSYNC;
	if (result == SQLITE_OK) {
		for (const struct change *change = file->changes; change; change = change->next)
			content_apply(&file->durable, change);
		if (file->sync_directory)
			sync_names(handle->disk);
		file->sync_directory = false;
	}
	file_forget_changes(file);
	ask(handle->disk, DISK_SYNC, true, SQLITE_OK);
	return result;
}

static int handle_size(sqlite3_file *base, sqlite3_int64 *size)
{
	struct handle *handle = (struct handle *)base;

	*size = (sqlite3_int64)handle->file->now.size;
	return ask(handle->disk, DISK_SIZE, false, SQLITE_IOERR_FSTAT);
}

static int handle_lock(sqlite3_file *base, int level)
{
	(void)level;
	return ask(((struct handle *)base)->disk, DISK_LOCK, false, SQLITE_IOERR_LOCK);
}

static int handle_unlock(sqlite3_file *base, int level)
{
	(void)base;
	(void)level;
	return SQLITE_OK;
}

static int handle_reserved(sqlite3_file *base, int *reserved)
{
	(void)base;
	*reserved = 0;
	return SQLITE_OK;
}

static int handle_control(sqlite3_file *base, int what, void *arg)
{
	(void)base;
	(void)what;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int handle_sector(sqlite3_file *base)
{
	(void)base;
	return SECTOR;
}

/* As SQLite takes for granted of Linux. */
static int handle_characteristics(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
        .iVersion = 1,
        .xClose = handle_close,
        .xRead = handle_read,
        .xWrite = handle_write,
        .xTruncate = handle_truncate,
        .xSync = handle_sync,
        .xFileSize = handle_size,
        .xLock = handle_lock,
        .xUnlock = handle_unlock,
        .xCheckReservedLock = handle_reserved,
        .xFileControl = handle_control,
        .xSectorSize = handle_sector,
        .xDeviceCharacteristics = handle_characteristics,
};

/* ---- SQLite's side: the file system ---- */

/* The disk that "DISK/FILE" is on, and where FILE begins. */
static struct disk *disk_of(const char *path, const char **file)
{
	const char *slash = path ? strchr(path, '/') : NULL;
	size_t length = slash ? (size_t)(slash - path) : 0;
	struct disk *disk = all_disks;

	if (!slash)
		return NULL;
	while (disk && (strlen(disk->name) != length || strncmp(disk->name, path, length) != 0))
		disk = disk->next;
	*file = slash + 1;
	return disk;
}

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *base, int flags, int *out_flags)
{
	struct handle *handle = (struct handle *)base;
	const char *text;
	struct disk *disk = disk_of(path, &text);
	struct name *name;
	int result;

	(void)vfs;
	handle->base.pMethods = NULL;
	if (!disk)
		return SQLITE_CANTOPEN;
	result = ask(disk, DISK_OPEN, false, SQLITE_CANTOPEN);
	if (result != SQLITE_OK)
		return result;
	name = name_of(disk, text);
	if ((!name || !name->now) && !(flags & SQLITE_OPEN_CREATE))
		return SQLITE_CANTOPEN;
	if (!name)
		name = name_new(disk, text);
	if (!name->now) {
		name->now = file_new(disk);
		name->now->sync_directory = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
	}
	handle->disk = disk;
	handle->file = name->now;
	handle->base.pMethods = &methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
	const char *text;
	struct disk *disk = disk_of(path, &text);
	struct name *name = disk ? name_of(disk, text) : NULL;
	int result;

	(void)vfs;
	if (!name || !name->now)
		return SQLITE_IOERR_DELETE_NOENT;
	result = ask(disk, DISK_DELETE, false, SQLITE_IOERR_DELETE);
	if (result != SQLITE_OK)
		return result;
	name->now = NULL;
	if (sync_directory)
		sync_names(disk);
	ask(disk, DISK_DELETE, true, SQLITE_OK);
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *answer)
{
	const char *text;
	struct disk *disk = disk_of(path, &text);
	struct name *name = disk ? name_of(disk, text) : NULL;

	(void)vfs;
	/* As SQLite's own: an empty file does not exist. */
	*answer = name && name->now && (flags != SQLITE_ACCESS_EXISTS || name->now->now.size > 0);
	return disk ? ask(disk, DISK_ACCESS, false, SQLITE_IOERR_ACCESS) : SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *full)
{
	(void)vfs;
	snprintf(full, (size_t)size, "%s", path);
	return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *bytes)
{
	(void)vfs;
	for (int i = 0; i < size; i++)
		bytes[i] = (char)random_next(&randomness);
	return size;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
	(void)vfs;
	return microseconds;
}

static int vfs_time(sqlite3_vfs *vfs, double *julian_day)
{
	(void)vfs;
	*julian_day = 2460000.5;
	return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *text)
{
	(void)vfs;
	(void)size;
	(void)text;
	return 0;
}

/* ---- disks ---- */

void disk_install(uint64_t seed)
{
	static sqlite3_vfs vfs = {
	        .iVersion = 1,
	        .szOsFile = sizeof(struct handle),
	        .mxPathname = 256,
	        .zName = "forgetful",
	        .xOpen = vfs_open,
	        .xDelete = vfs_delete,
	        .xAccess = vfs_access,
	        .xFullPathname = vfs_full_path,
	        .xRandomness = vfs_randomness,
	        .xSleep = vfs_sleep,
	        .xCurrentTime = vfs_time,
	        .xGetLastError = vfs_last_error,
	};

	randomness = seed;
	sqlite3_vfs_register(&vfs, 1);
}

static int use_page_size(sqlite3 *database, char **err, const void *routines)
{
	char sql[64];

	(void)err;
	(void)routines;
	snprintf(sql, sizeof sql, "PRAGMA page_size = %d", page_bytes);
	return sqlite3_exec(database, sql, NULL, NULL, NULL);
}

/* SQLite calls it for each database that it opens. */
void disk_page_size(int bytes)
{
	page_bytes = bytes;
	sqlite3_auto_extension((void (*)(void))use_page_size);
}

struct disk *disk_open(const char *name, disk_hook *hook, void *arg)
{
	struct disk *disk = memory_zeroed(sizeof *disk);

	snprintf(disk->name, sizeof disk->name, "%s", name);
	disk_set_hook(disk, hook, arg);
	disk->next = all_disks;
	all_disks = disk;
	return disk;
}

void disk_set_hook(struct disk *disk, disk_hook *hook, void *arg)
{
	disk->hook = hook;
	disk->arg = arg;
}

void disk_close(struct disk *disk)
{
	struct disk **at = &all_disks;

	while (*at != disk)
		at = &(*at)->next;
	*at = disk->next;
	while (disk->files) {
		struct file *file = disk->files;

		disk->files = file->next;
		file_forget_changes(file);
		free(file->now.data);
		free(file->durable.data);
		free(file);
	}
	while (disk->names) {
		struct name *name = disk->names;

		disk->names = name->next;
		free(name);
	}
	free(disk);
}

void disk_freeze(struct disk *disk)
{
	disk->frozen = true;
}

bool disk_frozen(const struct disk *disk)
{
	return disk->frozen;
}
