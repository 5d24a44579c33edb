/* kdb+'s compression of messages: back-references found by the XOR of two bytes.
 * What comes out is byte for byte what q makes of it.
 */
#ifndef TIDEGATE_KDB_COMPRESS_H
#define TIDEGATE_KDB_COMPRESS_H

#include "buffer.h"
#include "queue.h"

/* Appends the message, compressed, to `out`: 1. 0 if q would send it as it is, because it has 2,000 bytes at most or
 * does not shrink to less than half: `out` is unchanged. -1 for want of memory. `plain` is a whole message in either
 * byte order; whether the peer is on this host, where q never compresses, is the caller's matter. */
int kdb_compress(struct bytes plain, struct buffer *out);

/* Appends the plain message to `out`: 0. -1 with `err` if it is damaged or would be longer than `max_size` (looked at
 * before memory is taken); `out` is unchanged. `message` is a whole one, whose head says that it is compressed. */
int kdb_uncompress(struct bytes message, size_t max_size, struct buffer *out, char *err, size_t err_size);

#endif
