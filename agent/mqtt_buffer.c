#include "mqtt_buffer.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local struct mqtt_buffer *current;

void mqtt_buffer_clear(struct mqtt_buffer *buffer)
{
	buffer->in.at = buffer->in.end = 0;
	buffer->out.at = buffer->out.end = 0;
}

void mqtt_buffer_begin(struct mqtt_buffer *buffer, int fd)
{
	buffer->fd = fd;
	current = buffer;
}

void mqtt_buffer_end(void)
{
	current = NULL;
}

bool mqtt_buffer_unread(const struct mqtt_buffer *buffer)
{
	return buffer->in.at < buffer->in.end;
}

bool mqtt_buffer_unsent(const struct mqtt_buffer *buffer)
{
	return buffer->out.at < buffer->out.end;
}

/* ---- the ones that would be called if there were none here ---- */

typedef ssize_t read_function(int fd, void *to, size_t size);
typedef ssize_t write_function(int fd, const void *from, size_t size);

static ssize_t kernel_read(int fd, void *to, size_t size)
{
	return syscall(SYS_read, fd, to, size);
}

static ssize_t kernel_write(int fd, const void *from, size_t size)
{
	return syscall(SYS_write, fd, from, size);
}

/* Looked up once; it does not matter by whom. A program that is linked statically has no other. */
static uintptr_t find(_Atomic uintptr_t *next, const char *name, uintptr_t kernel)
{
	uintptr_t found = atomic_load_explicit(next, memory_order_relaxed);

	if (!found) {
		found = (uintptr_t)dlsym(RTLD_NEXT, name);
		found = found ? found : kernel;
		atomic_store_explicit(next, found, memory_order_relaxed);
	}
	return found;
}

static ssize_t next_read(int fd, void *to, size_t size)
{
	static _Atomic uintptr_t next;

	return ((read_function *)find(&next, "read", (uintptr_t)kernel_read))(fd, to, size);
}

static ssize_t next_write(int fd, const void *from, size_t size)
{
	static _Atomic uintptr_t next;

	return ((write_function *)find(&next, "write", (uintptr_t)kernel_write))(fd, from, size);
}

/* ---- reading ---- */

/* What the kernel says: the bytes that wait now, 0 at the end of the stream, or -1 with errno. */
static ssize_t fill(struct mqtt_buffer *buffer)
{
	ssize_t n = next_read(buffer->fd, buffer->in.data, sizeof buffer->in.data);

	if (n > 0) {
		buffer->in.at = 0;
		buffer->in.end = (size_t)n;
	}
	return n;
}

/* In place of libc's, for the whole process; see mqtt_buffer.h. */
ssize_t read(int fd, void *to, size_t size)
{
	struct mqtt_buffer *buffer = current;
	struct mqtt_pile *in;
	ssize_t n;

	if (!buffer || fd != buffer->fd)
		return next_read(fd, to, size);
	in = &buffer->in;
	if (in->at == in->end && size >= sizeof in->data)
		return next_read(fd, to, size);
	if (in->at == in->end && (n = fill(buffer)) <= 0)
		return n;
	if (size > in->end - in->at)
		size = in->end - in->at;
	memcpy(to, in->data + in->at, size);
	in->at += size;
	return (ssize_t)size;
}

/* ---- writing ---- */

int mqtt_buffer_flush(struct mqtt_buffer *buffer)
{
	struct mqtt_pile *out = &buffer->out;

	while (out->at < out->end) {
		ssize_t n = next_write(buffer->fd, out->data + out->at, out->end - out->at);

		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
		out->at += (size_t)n;
	}
	out->at = out->end = 0;
	return 0;
}

/* In place of libc's, likewise. What does not fit in beside what waits is told to come again. */
ssize_t write(int fd, const void *from, size_t size)
{
	struct mqtt_buffer *buffer = current;
	struct mqtt_pile *out;

	if (!buffer || fd != buffer->fd)
		return next_write(fd, from, size);
	out = &buffer->out;
	if (size > sizeof out->data - out->end && mqtt_buffer_flush(buffer) < 0)
		return -1;
	if (out->end == 0 && size >= sizeof out->data)
		return next_write(fd, from, size);
	if (size > sizeof out->data - out->end)
		size = sizeof out->data - out->end;
	if (size == 0) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(out->data + out->end, from, size);
	out->end += size;
	return (ssize_t)size;
}
