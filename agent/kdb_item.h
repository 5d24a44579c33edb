/* Single values of kdb+ as q writes them: 2026.11.21D23:59:59.000000000, 0Wi, 1.5e. */
#ifndef TIDEGATE_KDB_ITEM_H
#define TIDEGATE_KDB_ITEM_H

#include "kdb_ipc.h"

#define KDB_ITEM_SIZE 64

/* Writes item i of an atom or vector of a type with kdb_item_size, as it stands in a vector: without what a vector has
 * before or behind all of its items, which is kdb_prefix and kdb_suffix ("0x", "i", ...). */
void kdb_format_item(const struct kdb_object *object, size_t i, char text[KDB_ITEM_SIZE]);

const char *kdb_prefix(int type);
const char *kdb_suffix(int type);

#endif
