/* A growing run of bytes. Zero-initialise, append, release. */
#ifndef TIDEGATE_BUFFER_H
#define TIDEGATE_BUFFER_H

#include <stddef.h>

struct buffer {
	char *data;
	size_t size, capacity;
};

/* 0, or -1 if memory is exhausted (the buffer is unchanged). */
int buffer_append(struct buffer *buffer, const void *data, size_t size);
/* Empties it; a large one gives its memory back. */
void buffer_reset(struct buffer *buffer);
void buffer_release(struct buffer *buffer);

#endif
