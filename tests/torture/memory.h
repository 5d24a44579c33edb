/* Allocations that can be made to fail. The program is linked with the linker's --wrap
 * for malloc, calloc, realloc and strdup, and tells SQLite to use those: so this sees
 * every allocation of the store, SQLite's included. */
#ifndef TIDEGATE_TORTURE_MEMORY_H
#define TIDEGATE_TORTURE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before SQLite is used for the first time. */
void memory_install(void);

/* From the `nth` allocation on (1 is the next one), `times` of them fail. 0: none does. */
void memory_fail(uint64_t nth, uint64_t times);

/* How many there have been since memory_fail(), and whether any of them failed. */
uint64_t memory_allocations(void);
bool memory_failed(void);

/* Between these, allocations are the test's own: they do not count and do not fail. */
void memory_ours(void);
void memory_theirs(void);

/* realloc() of the test's own memory, of which there is enough. To be freed as usual. */
void *memory_sure(void *old, size_t size);
void *memory_zeroed(size_t size);

#endif
