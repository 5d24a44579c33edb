/* The new database is built under another name while the old one stays where it is.
 * Once it is complete, which a last, synced commit says, it is the record of what is
 * still to be renamed, so that can be taken up again after a crash. Agents exclude each
 * other by a lock on the directory, for neither file keeps its name. */
#include "quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "salvage.h"
#include "schema.h"

#define SUFFIX ".salvage"
#define PATH_SIZE (PATH_MAX + 64)

struct place {
	const char *path;
	char building[PATH_SIZE];
	int directory; /* locked */
};

/* ---- names ---- */

static bool exists(const char *path, const char *suffix)
{
	char whole[PATH_SIZE + 16];
	struct stat status;

	snprintf(whole, sizeof whole, "%s%s", path, suffix);
	return lstat(whole, &status) == 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "queue.db.corrupt-20240131-235959": the date is when it was last written. */
static void choose_name(const char *path, const struct stat *status, char *name, size_t size)
{
	struct tm date = {0};
	char when[32];

	gmtime_r(&status->st_mtime, &date);
	strftime(when, sizeof when, "%Y%m%d-%H%M%S", &date);
	snprintf(name, size, "%s.corrupt-%s", path, when);
	for (int i = 2; exists(name, "") || exists(name, "-wal") || exists(name, "-journal"); i++)
		snprintf(name, size, "%s.corrupt-%s-%d", path, when, i);
}

/* ---- the directory's lock ---- */

static int enter(struct place *place, const char *path, char *err, size_t err_size)
{
	char name[PATH_SIZE];
	int waited_ms = 0;

	place->path = path;
	snprintf(place->building, sizeof place->building, "%s" SUFFIX, path);
	snprintf(name, sizeof name, "%s", path);
	name[base_name(path) - path] = '\0';
	place->directory = open(*name ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->directory < 0) {
		store_fail(err, err_size, "its directory: %s", strerror(errno));
		return -1;
	}
	while (flock(place->directory, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || waited_ms >= LOCK_WAIT_MS) {
			store_fail(err, err_size, "%s", errno == EWOULDBLOCK ? IN_USE : strerror(errno));
			close(place->directory);
			return -1;
		}
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		waited_ms += 50;
	}
	return 0;
}

static void leave(const struct place *place)
{
	close(place->directory);
}

/* ---- the old database ---- */

/* Takes SQLite's lock on it, as far as it goes, and has a transaction undone that a crash
 * has left. *database is NULL afterwards if it makes no sense to SQLite. 0, or -1 if it is in use. */
static int lock_old(const struct place *place, const struct stat *status, sqlite3 **database, char *err,
                    size_t err_size)
{
	int result;

	*database = NULL;
	if (status->st_size == 0) /* SQLite would throw its log away */
		return 0;
	result = sqlite3_open_v2(place->path, database, SQLITE_OPEN_READWRITE, NULL);
	if (result == SQLITE_OK) {
		sqlite3_db_config(*database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
		sqlite3_busy_timeout(*database, LOCK_WAIT_MS);
		result = sqlite3_exec(*database, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL);
	}
	if ((result & 0xff) == SQLITE_BUSY) {
		store_fail(err, err_size, IN_USE);
		sqlite3_close(*database);
		return -1;
	}
	if (result != SQLITE_OK) {
		sqlite3_close(*database);
		*database = NULL;
	}
	return 0;
}

/* ---- the new database ---- */

static int remove_building(const struct place *place)
{
	char journal[PATH_SIZE + 16];

	snprintf(journal, sizeof journal, "%s-journal", place->building);
	return (unlink(place->building) == 0 || errno == ENOENT) && (unlink(journal) == 0 || errno == ENOENT) ? 0 : -1;
}

static int open_building(const struct place *place, struct store *store, int flags)
{
	int result = sqlite3_open_v2(place->building, &store->database, SQLITE_OPEN_READWRITE | flags, NULL);

	if (result == SQLITE_OK)
		sqlite3_busy_timeout(store->database, LOCK_WAIT_MS);
	return result == SQLITE_OK ? 0 : -1;
}

/* The commit that says that all is there, and is on disk with all before it. */
static int complete(struct store *store, const struct store_salvage *salvaged)
{
	char *sql = sqlite3_mprintf("PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; BEGIN;"
	                            "INSERT INTO meta VALUES ('salvage_to', %Q), ('salvage_why', %Q), ('salvage_messages', '%llu'),"
	                            " ('salvage_gaps', '%llu'), ('salvage_untold', '1'); COMMIT",
	                            salvaged->moved_to, salvaged->why, salvaged->messages, salvaged->gaps);
	int result = sql ? store_exec(store, sql) : -1;

	sqlite3_free(sql);
	return result;
}

/* Only root has somebody to give it to, when it salvages for an agent that does not run as root. */
static int give_to_owner(const struct place *place, const struct stat *old)
{
	if (geteuid() == 0 && chown(place->building, old->st_uid, old->st_gid) < 0)
		return -1;
	return chmod(place->building, old->st_mode & 0777);
}

/* Whatever a crash leaves of it is swept away: so nothing is synced before all is there. */
static int build(const struct place *place, const struct image *old, const struct stat *status,
                 struct store_salvage *salvaged, char *err, size_t err_size)
{
	struct store store = {0};
	int result = -1;

	if (remove_building(place) == 0 && open_building(place, &store, SQLITE_OPEN_CREATE) == 0 &&
	    give_to_owner(place, status) == 0 &&
	    store_exec(&store, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1024") == 0 &&
	    schema_create(&store) == 0 && salvage_copy(old, &store, salvaged) == 0 &&
	    complete(&store, salvaged) == 0)
		result = 0;
	else
		store_fail(err, err_size, "cannot build %s: %s", base_name(place->building),
		           store.database ? sqlite3_errmsg(store.database) : strerror(errno));
	sqlite3_close(store.database);
	if (result < 0)
		remove_building(place);
	return result;
}

/* Where the old database is to go, if the new one is complete; else *name is empty.
 * 0, or -1 with the reason if that cannot be told now. */
static int read_moved_to(const struct place *place, char *name, size_t size, char *err, size_t err_size)
{
	struct store store = {0};
	int result = open_building(place, &store, 0);

	*name = '\0';
	if (result == 0 && !schema_meta(&store, "salvage_to", name, size))
		switch (sqlite3_errcode(store.database) & 0xff) {
		case SQLITE_OK:      /* there is a table, but not that */
		case SQLITE_ERROR:   /* there is no table */
		case SQLITE_CORRUPT: /* a power cut came before it was synced */
		case SQLITE_NOTADB:
			break;
		default:
			result = -1;
		}
	if (result < 0)
		store_fail(err, err_size, "%s: %s", base_name(place->building), sqlite3_errmsg(store.database));
	sqlite3_close(store.database);
	return result;
}

/* ---- renaming ---- */

/* A log, if there is one. Reading may have made an empty one. */
static int move_log(const char *path, const char *to, const char *suffix)
{
	char from[PATH_SIZE + 16], target[PATH_SIZE + 16];
	struct stat status;

	snprintf(from, sizeof from, "%s%s", path, suffix);
	snprintf(target, sizeof target, "%s%s", to, suffix);
	if (lstat(from, &status) == 0 && status.st_size == 0)
		return unlink(from);
	return rename(from, target) == 0 || errno == ENOENT ? 0 : -1;
}

/* A second name for it, so that `path` is never nothing; where the file system has no
 * links, it is moved. */
static int move_database(const char *path, const char *to, char *err, size_t err_size)
{
	struct stat old, moved;

	if (lstat(to, &moved) == 0) { /* a crash came between */
		if (lstat(path, &old) < 0 || (old.st_ino == moved.st_ino && old.st_dev == moved.st_dev))
			return 0;
		store_fail(err, err_size, "it came after %s" SUFFIX " was salvaged: remove one of them", base_name(path));
		return -1;
	}
	if (link(path, to) == 0 || rename(path, to) == 0)
		return 0;
	store_fail(err, err_size, "cannot be moved to %s: %s", base_name(to), strerror(errno));
	return -1;
}

static int finish(const struct place *place, const char *name, char *err, size_t err_size)
{
	char to[PATH_SIZE];

	snprintf(to, sizeof to, "%.*s%s", (int)(base_name(place->path) - place->path), place->path, name);
	if (move_database(place->path, to, err, err_size) < 0)
		return -1;
	if (move_log(place->path, to, "-wal") == 0 && move_log(place->path, to, "-journal") == 0 &&
	    fsync(place->directory) == 0 && rename(place->building, place->path) == 0 && fsync(place->directory) == 0)
		return 0;
	store_fail(err, err_size, "cannot be replaced: %s", strerror(errno));
	return -1;
}

/* ---- */

/* In this order: closing a file gives up the locks on it. */
static void unlock_old(sqlite3 *database, struct image *image)
{
	sqlite3_close(database);
	image_close(image);
}

static int replace(const struct place *place, const struct stat *seen, const char *why, char *err, size_t err_size)
{
	struct store_salvage salvaged = {0};
	char name[PATH_SIZE];
	struct stat status;
	struct image image;
	sqlite3 *old;
	int result;

	if (lstat(place->path, &status) < 0 || status.st_ino != seen->st_ino || status.st_dev != seen->st_dev ||
	    exists(place->building, ""))
		return 0; /* somebody was quicker */
	if (lock_old(place, &status, &old, err, err_size) < 0)
		return -1;
	if (image_open(&image, place->path) < 0) {
		sqlite3_close(old);
		store_fail(err, err_size, "out of memory");
		return -1;
	}
	choose_name(place->path, &status, name, sizeof name);
	snprintf(salvaged.moved_to, sizeof salvaged.moved_to, "%.255s", base_name(name));
	snprintf(salvaged.why, sizeof salvaged.why, "%s", why);
	result = build(place, &image, &status, &salvaged, err, err_size);
	if (result == 0)
		result = finish(place, salvaged.moved_to, err, err_size);
	unlock_old(old, &image);
	return result;
}

int quarantine(const char *path, const struct stat *seen, const char *why, char *err, size_t err_size)
{
	struct place place;
	int result;

	if (enter(&place, path, err, err_size) < 0)
		return -1;
	result = replace(&place, seen, why, err, err_size);
	leave(&place);
	return result;
}

int quarantine_resume(const char *path, char *err, size_t err_size)
{
	struct place place;
	char name[NAME_MAX + 1];
	int result = 0;

	if (!exists(path, SUFFIX))
		return 0;
	if (enter(&place, path, err, err_size) < 0)
		return -1;
	if (exists(place.building, "")) {
		result = read_moved_to(&place, name, sizeof name, err, err_size);
		if (result == 0 && *name)
			result = finish(&place, name, err, err_size);
		else if (result == 0 && (result = remove_building(&place)) < 0)
			store_fail(err, err_size, "%s" SUFFIX " cannot be removed: %s", base_name(path), strerror(errno));
	}
	leave(&place);
	return result;
}
