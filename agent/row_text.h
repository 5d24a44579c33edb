/* Rows that wait for kdb+ links (agent/kdb_row.h), for people and as JSON. */
#ifndef TIDEGATE_ROW_TEXT_H
#define TIDEGATE_ROW_TEXT_H

#include <jansson.h>

#include "buffer.h"
#include "config.h"
#include "queue.h"

/* Appends the row as q would write it, about `max` bytes of it: 0. -1 if it is no row, or for want of memory. */
int row_print(struct bytes row, struct buffer *out, size_t max);

/* An object by the names of the table's columns; a list if there is none of as many (`table` may be NULL); NULL
 * if it is no row, or for want of memory. Times and infinities are texts as q writes them, nulls but those of texts are
 * null, and what is no UTF-8 stands under "NAME_base64". */
json_t *row_json(struct bytes row, const struct kdb_table *table);

#endif
