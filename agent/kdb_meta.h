/* check_meta: do the collector's tables have the columns that are declared? Each table is
 * asked about when the connection is up, and no row goes to one that is not known to fit:
 * a tickerplant would take it, log it, and fail at every replay of that log.
 */
#ifndef TIDEGATE_KDB_META_H
#define TIDEGATE_KDB_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "config.h"

struct kdb_meta {
	const struct link_config *config;
	const struct kdb_table *tables; /* of config, to see when they are others */
	enum kdb_fit { KDB_UNASKED, KDB_FITS, KDB_MISFIT } *fits; /* [i] for tables[i] */
	size_t n;
	size_t asked;     /* the one whose answer is awaited, from 1; 0: none */
	int64_t since_ms; /* when it was asked */
	int64_t again_ms; /* when those that do not fit are asked about once more */
	char component[80];
};

void kdb_meta_init(struct kdb_meta *meta, const struct link_config *config);
void kdb_meta_release(struct kdb_meta *meta);

/* A connection is up: what was known was another's. */
void kdb_meta_forget(struct kdb_meta *meta);

/* May rows go to that table? */
bool kdb_meta_admits(const struct kdb_meta *meta, const char *table);

/* There is something to ask. */
bool kdb_meta_due(const struct kdb_meta *meta, int64_t now_ms);
/* Appends the question to `out`. 0, or -1: no memory, later then. */
int kdb_meta_ask(struct kdb_meta *meta, int64_t now_ms, struct buffer *out);
/* The whole message that answers it, little- or big-endian, plain. */
void kdb_meta_answered(struct kdb_meta *meta, struct bytes message, int64_t now_ms);
/* When it wants to ask again, or INT64_MAX. */
int64_t kdb_meta_due_ms(const struct kdb_meta *meta);

/* Pure: do the columns of such an answer fit the declaration? A time column at the front that the
 * tickerplant fills may be more. 0, or -1 with `err` saying what is different. */
int kdb_meta_compare(const struct kdb_table *table, enum kdb_time_column time_column, struct bytes message, char *err,
                     size_t err_size);

#endif
