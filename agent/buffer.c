/* A growing run of bytes: doubles, so that appending is cheap on average. */
#include "buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES 65536

static int grow(struct buffer *buffer, size_t needed)
{
	size_t capacity = buffer->capacity ? buffer->capacity : 64;
	char *data;

	while (capacity < needed) {
		if (capacity > SIZE_MAX / 2)
			return -1;
		capacity *= 2;
	}
	data = realloc(buffer->data, capacity);
	if (!data)
		return -1;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t size)
{
	if (size > SIZE_MAX - buffer->size)
		return -1;
	if (buffer->size + size > buffer->capacity && grow(buffer, buffer->size + size))
		return -1;
	if (size)
		memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	return 0;
}

void buffer_reset(struct buffer *buffer)
{
	buffer->size = 0;
	if (buffer->capacity > KEPT_BYTES)
		buffer_release(buffer);
}

void buffer_release(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}
