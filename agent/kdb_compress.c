/* A message's body as groups of eight tokens: a byte as it is, or "as many bytes as stood
 * where this pair was seen last". Both sides keep the same table of pairs, filled as they go;
 * which pairs are entered when is part of the format.
 */
#include "kdb_compress.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kdb_bytes.h"
#include "kdb_ipc.h"

#define STREAM     12   /* where it begins: behind the head and the plain size */
#define PLAIN_MAX  2000 /* messages up to this are not worth it */
#define GROUP_MAX  17   /* bytes that a group can take: flags and eight pairs */
#define RUN_MAX    255  /* bytes behind a pair */
#define RATIO_MAX  129  /* two bytes stand for 257 at most */

/* ---- compressing ---- */

struct compressor {
	const unsigned char *in;
	unsigned char *out;
	size_t size, limit;   /* of `in`, and what `out` must stay below */
	size_t s, d, group;   /* where they are, and where the group's flags go */
	size_t pending, hash; /* the last literal byte's pair is entered only at the next token */
	size_t table[256];    /* where a pair was, by its XOR; 0: nowhere */
	unsigned flags;
};

/* Is there a pair like the one at s? Equal XOR and equal first byte are equal pairs. */
static size_t find_pair(struct compressor *c, size_t *hash)
{
	if (c->size < 3 || c->s > c->size - 3)
		return 0;
	*hash = c->in[c->s] ^ c->in[c->s + 1];
	size_t found = c->table[*hash];
	bool same = found != 0 && c->in[found] == c->in[c->s];

	/* looked up before it is entered: a pair is not its own neighbour's */
	if (c->pending)
		c->table[c->hash] = c->pending;
	c->pending = 0;
	if (!same) {
		c->hash = *hash;
		c->pending = c->s;
	}
	return same ? found : 0;
}

static void put_run(struct compressor *c, size_t from, size_t hash)
{
	size_t end, start;

	c->table[hash] = c->s;
	from += 2;
	start = c->s += 2;
	end = c->size - start < RUN_MAX ? c->size : start + RUN_MAX;
	while (c->in[from] == c->in[c->s] && ++c->s < end)
		from++;
	c->out[c->d++] = (unsigned char)hash;
	c->out[c->d++] = (unsigned char)(c->s - start);
}

/* Up to eight tokens. False if the message does not shrink enough. */
static bool put_group(struct compressor *c)
{
	if (c->d + GROUP_MAX > c->limit)
		return false;
	c->group = c->d++;
	c->flags = 0;
	for (unsigned bit = 1; bit < 256 && c->s < c->size; bit <<= 1) {
		size_t hash = 0, from = find_pair(c, &hash);

		if (from) {
			c->flags |= bit;
			put_run(c, from, hash);
		} else {
			c->out[c->d++] = c->in[c->s++];
		}
	}
	c->out[c->group] = (unsigned char)c->flags;
	return true;
}

static void put_number(unsigned char *bytes, uint64_t value, bool big_endian)
{
	for (unsigned i = 0; i < 4; i++)
		bytes[i] = (unsigned char)(value >> (8 * (big_endian ? 3 - i : i)));
}

int kdb_compress(struct bytes plain, struct buffer *out)
{
	const unsigned char *in = plain.data;
	struct compressor *c;
	int status = 1;

	if (plain.size <= PLAIN_MAX || plain.size > KDB_SIZE_MAX)
		return 0;
	c = calloc(1, sizeof *c + plain.size / 2);
	if (!c)
		return -1;
	c->in = in;
	c->out = (unsigned char *)(c + 1);
	c->size = plain.size;
	c->limit = plain.size / 2;
	c->s = KDB_HEAD_SIZE;
	c->d = STREAM;
	while (status == 1 && c->s < c->size)
		status = put_group(c);
	if (status == 1) {
		memcpy(c->out, in, 4);
		c->out[2] = 1;
		put_number(c->out + 4, c->d, in[0] == 0);
		put_number(c->out + KDB_HEAD_SIZE, c->size, in[0] == 0);
		status = buffer_append(out, c->out, c->d) ? -1 : 1;
	}
	free(c);
	return status;
}

/* ---- uncompressing ---- */

struct expander {
	const unsigned char *in;
	unsigned char *out;
	size_t in_size, out_size;
	size_t d, s;   /* where they are */
	size_t paired; /* pairs of `out` that begin before this were entered, or are never */
	size_t table[256];
	char *err;
	size_t err_size;
};

__attribute__((format(printf, 3, 4))) static int fail(struct expander *e, size_t at, const char *format, ...)
{
	va_list arguments;
	int n = snprintf(e->err, e->err_size, "byte %zu: ", at);

	va_start(arguments, format);
	if (n >= 0 && (size_t)n < e->err_size)
		(void)vsnprintf(e->err + n, e->err_size - (size_t)n, format, arguments);
	va_end(arguments);
	return -1;
}

static void enter_pairs(struct expander *e)
{
	for (; e->paired + 1 < e->s; e->paired++)
		e->table[e->out[e->paired] ^ e->out[e->paired + 1]] = e->paired;
}

static int take_run(struct expander *e)
{
	size_t from, n;

	if (e->in_size - e->d < 2)
		return fail(e, e->d, "the compressed stream is cut off");
	from = e->table[e->in[e->d]];
	n = e->in[e->d + 1];
	if (from == 0)
		return fail(e, e->d, "the compressed stream refers to what has not been");
	if (n + 2 > e->out_size - e->s)
		return fail(e, e->d, "the compressed stream gives more than the %zu bytes it says", e->out_size);
	e->d += 2;
	/* byte by byte: what is copied may be what is being written */
	for (size_t i = 0; i < 2; i++)
		e->out[e->s++] = e->out[from++];
	enter_pairs(e);
	for (size_t i = 0; i < n; i++)
		e->out[e->s++] = e->out[from++];
	e->paired = e->s; /* pairs inside a run are not entered: the other side has not, either */
	return 0;
}

static int take_group(struct expander *e)
{
	unsigned flags;

	if (e->d >= e->in_size)
		return fail(e, e->d, "the compressed stream is cut off");
	flags = e->in[e->d++];
	for (unsigned bit = 1; bit < 256 && e->s < e->out_size; bit <<= 1) {
		if (flags & bit) {
			if (take_run(e))
				return -1;
			continue;
		}
		if (e->d >= e->in_size)
			return fail(e, e->d, "the compressed stream is cut off");
		e->out[e->s++] = e->in[e->d++];
		enter_pairs(e);
	}
	return 0;
}

/* The plain size, if it can be true. */
static int check_size(struct expander *e, size_t max_size)
{
	if (e->in_size <= STREAM)
		return fail(e, e->in_size, "a compressed message is cut off");
	e->out_size = (size_t)kdb_load(e->in + KDB_HEAD_SIZE, 4, e->in[0] == 0);
	if (e->out_size <= KDB_HEAD_SIZE)
		return fail(e, KDB_HEAD_SIZE, "%zu bytes uncompressed would hold nothing", e->out_size);
	if (e->out_size > max_size)
		return fail(e, KDB_HEAD_SIZE, "%zu bytes uncompressed are more than the %zu that are allowed",
		            e->out_size, max_size);
	if (e->out_size - KDB_HEAD_SIZE > (e->in_size - STREAM) * (uint64_t)RATIO_MAX)
		return fail(e, KDB_HEAD_SIZE, "%zu compressed bytes cannot be %zu uncompressed", e->in_size, e->out_size);
	return 0;
}

static int expand(struct expander *e)
{
	e->s = e->paired = KDB_HEAD_SIZE;
	e->d = STREAM;
	while (e->s < e->out_size)
		if (take_group(e))
			return -1;
	if (e->d < e->in_size)
		return fail(e, e->d, "%zu bytes too many behind the compressed stream", e->in_size - e->d);
	memcpy(e->out, e->in, 4);
	e->out[2] = 0;
	put_number(e->out + 4, e->out_size, e->in[0] == 0);
	return 0;
}

int kdb_uncompress(struct bytes message, size_t max_size, struct buffer *out, char *err, size_t err_size)
{
	struct expander e = { .in = message.data, .in_size = message.size, .err = err, .err_size = err_size };
	int status;

	if (check_size(&e, max_size))
		return -1;
	e.out = malloc(e.out_size);
	if (!e.out)
		return fail(&e, KDB_HEAD_SIZE, "no memory for %zu bytes", e.out_size);
	status = expand(&e);
	if (status == 0 && buffer_append(out, e.out, e.out_size))
		status = fail(&e, KDB_HEAD_SIZE, "no memory for %zu bytes", e.out_size);
	free(e.out);
	return status;
}
