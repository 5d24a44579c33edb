/* What is in the database file, by version, and how it becomes ours. */
#ifndef TIDEGATE_SCHEMA_H
#define TIDEGATE_SCHEMA_H

#include "store_internal.h"

#define APPLICATION_ID 0x54494445 /* "TIDE" in the file's header */

enum schema_result {
	SCHEMA_OK,
	SCHEMA_FAILED,  /* it cannot be used now or by us: in use, of a newer version, not writable, disk full */
	SCHEMA_DAMAGED, /* it will never be of use as it is: corrupt, or not ours */
};

/* Makes the open database ours: checks what it is, migrates it, proves that it can be
 * written, loads what is kept in memory. Otherwise `why` says why not (without the
 * path), and a file that is not ours was not touched. */
enum schema_result schema_open(struct store *store, enum store_durability durability, char *why, size_t size);

/* The same for one that is only read: nothing is migrated, checked as a whole or written. */
enum schema_result schema_open_to_read(struct store *store, char *why, size_t size);

/* What is synced from now on; not inside a transaction. 0, or -1. */
int schema_set_durability(struct store *store, enum store_durability durability);

/* The present schema in an open, empty database. 0, or -1. */
int schema_create(struct store *store);

/* Small facts about the file, by key: a text cut to `size`, or empty and false if there
 * is none; a number, or 0. */
bool schema_meta(struct store *store, const char *key, char *text, size_t size);
uint64_t schema_meta_number(struct store *store, const char *key);
int schema_set_meta(struct store *store, const char *key, const char *text);

/* The first number that no process has had: kept twice, for the higher one counts, so
 * that no single wrong digit gives a number away a second time. */
uint64_t schema_seq_limit(struct store *store);
int schema_set_seq_limit(struct store *store, uint64_t limit);

#endif
