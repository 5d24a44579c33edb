/* One page, shared with whoever comes after us. It is read after a death at any
 * point, so what a field says must hold before the field that makes it count is
 * set: fences keep the compiler from changing that order. */
#include "poison.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAGIC 0x31204e4f53494f50 /* what it says changes with the layout below */

struct suspect {
	uint64_t hash;
	uint32_t script, deaths;
};

/* The file. */
struct note {
	uint64_t magic, size;
	volatile uint32_t running; /* the script; 0: none, and what follows says nothing */
	volatile uint32_t message; /* not 0: hash, link and topic are the message's */
	uint64_t hash;
	char handler[16], link[64], topic[256];
	struct suspect suspects[POISON_SUSPECTS]; /* latest last; unused ones have no deaths */
};

struct poison {
	struct note *note;
	char *path;
	bool died;
	struct poison_death death;
	char handler[16], link[64], topic[256]; /* of the death */
};

/* ---- hashing ---- */

static uint64_t stir(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 32;
}

/* Eight bytes at a time: it is done for every message. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
	const char *from = data;
	uint64_t word = 0;

	hash = stir(hash, size);
	for (; size >= sizeof word; size -= sizeof word, from += sizeof word) {
		memcpy(&word, from, sizeof word);
		hash = stir(hash, word);
	}
	word = 0;
	if (size > 0)
		memcpy(&word, from, size);
	return stir(hash, word);
}

/* ---- suspects ---- */

static struct suspect *find(struct note *note, uint32_t script, uint64_t hash)
{
	for (size_t i = 0; i < POISON_SUSPECTS; i++)
		if (note->suspects[i].deaths > 0 && note->suspects[i].hash == hash && note->suspects[i].script == script)
			return &note->suspects[i];
	return NULL;
}

/* The latest is last, the first makes room. */
static void add_last(struct note *note, struct suspect suspect)
{
	memmove(&note->suspects[0], &note->suspects[1], sizeof note->suspects - sizeof note->suspects[0]);
	note->suspects[POISON_SUSPECTS - 1] = suspect;
}

static void count_death(struct poison *poison)
{
	struct note *note = poison->note;
	struct suspect *known = find(note, note->running, note->hash);
	struct suspect suspect = {.hash = note->hash, .script = note->running, .deaths = known ? known->deaths + 1 : 1};

	if (known)
		*known = suspect;
	else
		add_last(note, suspect);
	poison->death.deaths = suspect.deaths;
}

/* ---- the file ---- */

static void copy_text(char *to, size_t size, const char *text)
{
	size_t length = strlen(text);

	length = length < size ? length : size - 1;
	memcpy(to, text, length);
	to[length] = '\0';
}

/* Looks at what the last process left, and begins anew. */
static void examine(struct poison *poison)
{
	struct note *note = poison->note;

	if (note->magic != MAGIC || note->size != sizeof *note) {
		memset(note, 0, sizeof *note);
		note->magic = MAGIC;
		note->size = sizeof *note;
	}
	poison->died = note->running != 0;
	if (!poison->died)
		return;
	snprintf(poison->handler, sizeof poison->handler, "%.*s", (int)sizeof note->handler, note->handler);
	snprintf(poison->link, sizeof poison->link, "%.*s", (int)sizeof note->link, note->link);
	snprintf(poison->topic, sizeof poison->topic, "%.*s", (int)sizeof note->topic, note->topic);
	poison->death = (struct poison_death){.script = note->running, .handler = poison->handler};
	if (note->message) {
		poison->death.link = poison->link;
		poison->death.topic = poison->topic;
		count_death(poison);
	}
	note->running = note->message = 0;
}

/* A file of ours alone, of the right size, whose pages exist: one that is shorter, or
 * for which there is no memory, would be a signal at the first store. -1 with errno. */
static int open_checked(const char *path)
{
	int file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), error = 0;
	struct stat stat;

	if (file < 0)
		return -1;
	if (fstat(file, &stat) < 0)
		error = errno;
	else if (!S_ISREG(stat.st_mode) || stat.st_uid != geteuid() || stat.st_nlink != 1 || (stat.st_mode & 077) != 0)
		error = EPERM;
	else if (stat.st_size != sizeof(struct note) &&
	         (ftruncate(file, 0) < 0 || ftruncate(file, sizeof(struct note)) < 0))
		error = errno;
	else
		error = posix_fallocate(file, 0, sizeof(struct note));
	if (error == 0)
		return file;
	close(file);
	errno = error;
	return -1;
}

static struct note *map_file(const char *path)
{
	int file = open_checked(path), error;
	void *note;

	if (file < 0)
		return NULL;
	note = mmap(NULL, sizeof(struct note), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	error = errno;
	close(file);
	errno = error;
	return note == MAP_FAILED ? NULL : note;
}

struct poison *poison_open_file(const char *path, char *err, size_t err_size)
{
	struct poison *poison = calloc(1, sizeof *poison);

	if (!poison || !(poison->path = strdup(path))) {
		free(poison);
		snprintf(err, err_size, "%s: out of memory", path);
		return NULL;
	}
	poison->note = map_file(path);
	if (!poison->note) {
		snprintf(err, err_size, "%s: %s", path, strerror(errno));
		free(poison->path);
		free(poison);
		return NULL;
	}
	examine(poison);
	return poison;
}

static bool is_memory(const char *directory)
{
	struct statfs system;

	if (statfs(directory, &system) < 0)
		return false;
	return (uint32_t)system.f_type == TMPFS_MAGIC || (uint32_t)system.f_type == RAMFS_MAGIC;
}

struct poison *poison_open(const char *store_path, const char *instance, char *err, size_t err_size)
{
	static const char *const directories[] = {"/dev/shm", "/run", "/tmp"};
	struct poison *poison = NULL;
	char path[4200];

	for (size_t i = 0; !poison && i < sizeof directories / sizeof *directories; i++) {
		snprintf(path, sizeof path, "%s/tidegate-%lu-%s", directories[i], (unsigned long)geteuid(), instance);
		if (is_memory(directories[i]))
			poison = poison_open_file(path, err, err_size);
	}
	snprintf(path, sizeof path, "%s-note", store_path);
	return poison ? poison : poison_open_file(path, err, err_size);
}

void poison_close(struct poison *poison)
{
	if (!poison)
		return;
	munmap(poison->note, sizeof *poison->note);
	(void)unlink(poison->path); /* one that stays says that nothing was running */
	free(poison->path);
	free(poison);
}

const struct poison_death *poison_death(const struct poison *poison)
{
	return poison && poison->died ? &poison->death : NULL;
}

/* ---- taking note ---- */

void poison_begin(struct poison *poison, const char *link, const char *topic, struct bytes payload)
{
	struct note *note;

	if (!poison)
		return;
	note = poison->note;
	note->hash = hash_bytes(hash_bytes(0, link, strlen(link)), topic, strlen(topic));
	note->hash = hash_bytes(note->hash, payload.data, payload.size);
	copy_text(note->link, sizeof note->link, link);
	copy_text(note->topic, sizeof note->topic, topic);
	atomic_signal_fence(memory_order_seq_cst);
	note->message = 1;
}

void poison_end(struct poison *poison)
{
	if (poison)
		poison->note->message = 0;
}

void poison_running(struct poison *poison, uint32_t script, const char *handler)
{
	if (!poison)
		return;
	if (handler)
		copy_text(poison->note->handler, sizeof poison->note->handler, handler);
	atomic_signal_fence(memory_order_seq_cst);
	poison->note->running = handler ? script : 0;
	atomic_signal_fence(memory_order_seq_cst);
}

bool poison_suspected(const struct poison *poison, uint32_t script)
{
	const struct suspect *suspect = poison ? find(poison->note, script, poison->note->hash) : NULL;

	return suspect && suspect->deaths >= POISON_DEATHS;
}

void poison_survived(struct poison *poison, uint32_t script)
{
	struct suspect *suspect = poison ? find(poison->note, script, poison->note->hash) : NULL;

	if (suspect)
		suspect->deaths = 0;
}

void poison_mended(struct poison *poison, uint32_t script)
{
	for (size_t i = 0; poison && i < POISON_SUSPECTS; i++)
		if (poison->note->suspects[i].script == script)
			poison->note->suspects[i].deaths = 0;
}
