/* kdb+ objects as text that looks like q: (`.u.upd;`sensor;(`a`b;1 2f)). For people; q reads most of it. */
#ifndef TIDEGATE_KDB_PRINT_H
#define TIDEGATE_KDB_PRINT_H

#include "buffer.h"
#include "kdb_ipc.h"

/* Appends the next object of `input` with all that it holds as one line of printable text, about `max` bytes of it;
 * ".." stands for the rest. 0, or -1 for want of memory. `input` is then somewhere behind the object's beginning. */
int kdb_print(struct buffer *out, struct kdb_input *input, size_t max);

/* The same for a message of any quality: what is wrong with it stands in its place. */
int kdb_print_message(struct buffer *out, struct bytes message, size_t max_size, size_t max);

#endif
