/* Secrets, and who may read the files that they come from. A text is known by
 * where it came from: file() and env() note what they gave; any other that stands
 * in agent.lua as it is was written there. Of what was computed from texts nobody
 * can tell, so that is a warning and no problem.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <lua.h>

#include "config_read.h"

enum exposure {
	EXPOSURE_NONE,
	EXPOSURE_UNSURE, /* so its mode says, which the file system may have made up, or not let anybody change */
	EXPOSURE_SURE,
};

static const char sources_key; /* in the registry: text -> path of a file that everyone may read, or true */

/* File systems without owners and modes: what they show is a mount option. */
static bool makes_modes_up(const struct statfs *fs)
{
	static const unsigned long magic[] = {
		0x4d44,     /* FAT */
		0x2011bab0, /* exFAT */
		0x5346544e, /* NTFS */
		0x7366746e, /* NTFS3 */
		0x65735546, /* FUSE: NTFS-3G and many more */
		0x517b,     /* SMB */
		0xff534d42, /* CIFS */
		0xfe534d42, /* SMB2 */
		0x01021997, /* 9P */
	};

	for (size_t i = 0; i < sizeof magic / sizeof *magic; i++)
		if ((fs->f_type & 0xffffffffUL) == magic[i])
			return true;
	return false;
}

/* A file that others may read, in directories that let them in. */
static bool others_reach(char *path)
{
	struct stat st;

	if (stat(path, &st) != 0 || !(st.st_mode & S_IROTH))
		return false;
	for (char *slash; (slash = strrchr(path, '/')) && *path;) {
		slash[slash == path] = 0; /* the last one stays, as the root */
		if (stat(path, &st) != 0 || !(st.st_mode & S_IXOTH))
			return false;
		if (slash == path)
			break;
	}
	return true;
}

static enum exposure exposure_of(const char *path)
{
	char *real = realpath(path, NULL);
	enum exposure exposure = EXPOSURE_NONE;
	struct statfs fs;

	if (real && statfs(real, &fs) == 0 && others_reach(real))
		exposure = makes_modes_up(&fs) || (fs.f_flags & ST_RDONLY) ? EXPOSURE_UNSURE : EXPOSURE_SURE;
	free(real);
	return exposure;
}

void secrets_begin(lua_State *L)
{
	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &sources_key);
}

/* Notes of the text on top of the stack that it came from a file that everyone may read; NULL: from
 * anywhere else that is not agent.lua. */
static void note(lua_State *L, const char *path)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &sources_key);
	lua_pushvalue(L, -2);
	if (path)
		lua_pushstring(L, path);
	else
		lua_pushboolean(L, true);
	lua_rawset(L, -3);
	lua_pop(L, 1);
}

void secrets_from_environment(lua_State *L)
{
	note(L, NULL);
}

void secrets_from_file(struct reader *reader, const char *path, int line)
{
	enum exposure exposure = reader->elsewhere ? EXPOSURE_NONE : exposure_of(path);

	if (exposure != EXPOSURE_NONE)
		reader_warning_at(reader, line, "file: every user of this machine may read %s: if it holds a secret, "
		                                "chmod o-r %s", path, path);
	note(reader->L, exposure == EXPOSURE_SURE ? path : NULL);
}

/* Whether it is known where the text on top of the stack came from, which is popped. */
static bool judge_source(struct reader *reader)
{
	lua_State *L = reader->L;
	bool known;

	lua_rawgetp(L, LUA_REGISTRYINDEX, &sources_key);
	lua_insert(L, -2);
	lua_rawget(L, -2);
	known = !lua_isnil(L, -1);
	if (lua_type(L, -1) == LUA_TSTRING)
		reader_problem(reader, "comes from %s, which every user of this machine may read: chmod o-r %s",
		               lua_tostring(L, -1), lua_tostring(L, -1));
	lua_pop(L, 2);
	return known;
}

/* `text`: as it was written, if it was. */
static void judge(struct reader *reader, const char *text, size_t size)
{
	enum exposure exposure;

	lua_pushlstring(reader->L, text, size);
	if (judge_source(reader))
		return;
	exposure = exposure_of(reader->file);
	if (exposure == EXPOSURE_SURE && memmem(reader->source, reader->source_size, text, size))
		reader_problem(reader, "stands in %s, which every user of this machine may read: chmod o-r %s",
		               reader->file, reader->file);
	else if (exposure != EXPOSURE_NONE)
		reader_warning(reader, "every user of this machine may read %s: if this stands in it, chmod o-r %s",
		               reader->file, reader->file);
}

static bool judges(const struct reader *reader)
{
	return reader->file && !reader->elsewhere; /* scripts' tables have no file of their own */
}

void read_secret(struct reader *reader, const struct field *field, void *target)
{
	const char *text = reader_copy(reader, target);

	(void)field;
	if (text && *text && judges(reader))
		judge(reader, text, strlen(text));
}

void secrets_check_address(struct reader *reader)
{
	const char *text = lua_tostring(reader->L, -1), *begin = strstr(text, "://"), *at = strrchr(text, '@'), *colon;

	begin = begin ? begin + strlen("://") : strncmp(text, "kdb+unix:", 9) == 0 ? text + 9 : text;
	colon = at && at > begin ? memchr(begin, ':', (size_t)(at - begin)) : NULL;
	if (!colon || colon + 1 == at || !judges(reader))
		return;
	lua_pushvalue(reader->L, -1);
	if (!judge_source(reader))
		judge(reader, colon + 1, (size_t)(at - colon - 1));
}

void read_key_file(struct reader *reader, const struct field *field, void *target)
{
	const char *path;
	enum exposure exposure;

	read_file(reader, field, target);
	path = *(char **)target;
	exposure = path && !reader->elsewhere ? exposure_of(path) : EXPOSURE_NONE;
	if (exposure == EXPOSURE_SURE)
		reader_problem(reader, "every user of this machine may read %s: chmod o-r %s", path, path);
	else if (exposure == EXPOSURE_UNSURE)
		reader_warning(reader, "every user of this machine may read %s, so it seems", path);
}
