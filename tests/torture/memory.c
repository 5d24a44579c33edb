/* The wrappers, and a counter. SQLite wants to know the size of what it was given, so it
 * is kept in front of it. */
#include "memory.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 16 /* keeps the alignment */

/* The C library's own, as the linker calls them now. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);

static struct {
	uint64_t count, nth, times;
	unsigned ours;
	bool failed;
} memory;

static bool refuses(void)
{
	if (memory.ours > 0)
		return false;
	memory.count++;
	if (memory.nth == 0 || memory.count < memory.nth || memory.count >= memory.nth + memory.times)
		return false;
	memory.failed = true;
	return true;
}

void memory_fail(uint64_t nth, uint64_t times)
{
	memory.count = 0;
	memory.failed = false;
	memory.nth = nth;
	memory.times = times;
}

uint64_t memory_allocations(void)
{
	return memory.count;
}

bool memory_failed(void)
{
	return memory.failed;
}

void memory_ours(void)
{
	memory.ours++;
}

void memory_theirs(void)
{
	memory.ours--;
}

void *memory_sure(void *old, size_t size)
{
	void *block = __real_realloc(old, size);

	if (!block)
		abort();
	return block;
}

void *memory_zeroed(size_t size)
{
	return memset(memory_sure(NULL, size), 0, size);
}

/* ---- what the linker puts in the place of the C library's ---- */

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size)
{
	return refuses() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refuses() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return refuses() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return refuses() ? NULL : __real_strdup(text);
}

/* ---- what SQLite uses ---- */

static int size_of(void *block)
{
	size_t size;

	memcpy(&size, (char *)block - HEADER, sizeof size);
	return (int)size;
}

static void *with_size(char *block, int size)
{
	size_t bytes = (size_t)size;

	if (!block)
		return NULL;
	memcpy(block, &bytes, sizeof bytes);
	return block + HEADER;
}

static void *sqlite_malloc(int size)
{
	return with_size(malloc((size_t)size + HEADER), size);
}

static void sqlite_free(void *block)
{
	free((char *)block - HEADER);
}

static void *sqlite_realloc(void *block, int size)
{
	return with_size(realloc((char *)block - HEADER, (size_t)size + HEADER), size);
}

static int sqlite_roundup(int size)
{
	return (size + 7) & ~7;
}

static int sqlite_init(void *arg)
{
	(void)arg;
	return SQLITE_OK;
}

static void sqlite_shutdown(void *arg)
{
	(void)arg;
}

void memory_install(void)
{
	static const sqlite3_mem_methods methods = {sqlite_malloc,  sqlite_free, sqlite_realloc,  size_of,
	                                            sqlite_roundup, sqlite_init, sqlite_shutdown, NULL};

	sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
	sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0); /* so that each is an allocation */
}
