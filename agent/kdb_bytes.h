/* What the files of the kdb+ codec share: numbers of any byte order, and a few bytes'
 * meaning. */
#ifndef TIDEGATE_KDB_BYTES_H
#define TIDEGATE_KDB_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KDB_WIDE_COUNT      0x80u /* in an attribute: the count has 8 bytes */
#define KDB_NULL_REAL_BITS  0x7fc00000u
#define KDB_NULL_FLOAT_BITS 0x7ff8000000000000u
#define KDB_BIG_ENDIAN_HOST (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

/* The low `size` bytes of the value, little-endian. */
static inline void kdb_store(unsigned char *bytes, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(value >> (8 * i));
}

/* Unsigned, of `size` bytes. */
static inline uint64_t kdb_load(const unsigned char *bytes, size_t size, bool big_endian)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << (8 * (big_endian ? size - 1 - i : i));
	return value;
}

#endif
