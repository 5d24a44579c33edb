/* kdb decode: captured bytes of kdb+ IPC, as text. What passes over a connection is a
 * handshake one way, a byte the other way, then messages back to back; a file may begin
 * with any of them. Damaged messages are passed over as long as their heads can be read.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "cli.h"
#include "hex.h"
#include "jsonl.h"
#include "kdb_print.h"

#define INPUT_MAX      ((size_t)1 << 30)
#define MESSAGE_MAX    ((size_t)256 << 20) /* uncompressed */
#define PRINT_MAX      65536               /* of an object */
#define HANDSHAKE_MAX  1024
#define CAPABILITY_MAX 6

struct decoder {
	const char *name; /* of what is read */
	const unsigned char *data;
	size_t size, at;
	bool json;
	struct buffer text; /* of the object at hand */
	int status;
};

static int complain(struct decoder *decoder, size_t at, const char *err)
{
	fprintf(stderr, "tidegate kdb decode: %s: message at byte %zu: %s\n", decoder->name, at, err);
	decoder->status = CLI_FAILED;
	return -1;
}

/* ---- the input ---- */

static int read_all(FILE *file, const char *name, struct buffer *out)
{
	char block[65536];
	size_t n;

	while ((n = fread(block, 1, sizeof block, file)) > 0) {
		if (out->size > INPUT_MAX || buffer_append(out, block, n)) {
			fprintf(stderr, "tidegate kdb decode: %s: too large\n", name);
			return -1;
		}
	}
	if (ferror(file)) {
		fprintf(stderr, "tidegate kdb decode: %s: %s\n", name, strerror(errno));
		return -1;
	}
	return 0;
}

static int read_input(const char *path, const char *name, struct buffer *out)
{
	FILE *file = path ? fopen(path, "rb") : stdin;
	int status;

	if (!file) {
		fprintf(stderr, "tidegate kdb decode: %s: %s\n", name, strerror(errno));
		return -1;
	}
	status = read_all(file, name, out);
	if (path && fclose(file) && status == 0) {
		fprintf(stderr, "tidegate kdb decode: %s: %s\n", name, strerror(errno));
		status = -1;
	}
	return status;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Text of hexadecimal digits, with blanks and 0x between bytes, becomes the bytes; what is not such text stays. */
static void read_hex(struct buffer *input)
{
	char *data = input->data;
	size_t size = 0;

	for (int pass = 0; pass < 2; pass++) {
		size = 0;
		for (size_t i = 0; i < input->size; i++) {
			bool pair = i + 1 < input->size;

			if (is_blank(data[i]))
				continue;
			if (pair && data[i] == '0' && (data[i + 1] == 'x' || data[i + 1] == 'X')) {
				i++;
				continue;
			}
			if (!pair || hex_digit(data[i]) < 0 || hex_digit(data[i + 1]) < 0)
				return;
			if (pass == 1) /* never ahead of what is read */
				data[size] = (char)(hex_digit(data[i]) << 4 | hex_digit(data[i + 1]));
			size++;
			i++;
		}
	}
	input->size = size;
}

/* ---- handshakes ---- */

static void print_handshake(struct decoder *decoder, struct bytes user, bool password, unsigned capability)
{
	if (decoder->json) {
		json_t *line = json_pack("{s:I, s:s, s:b, s:i}", "at", (json_int_t)decoder->at, "kind", "handshake",
		                         "password", password, "capability", (int)capability);

		jsonl_put_bytes(line, "user", user);
		(void)json_dumpf(line, stdout, JSONL_DUMP);
		json_decref(line);
		printf("\n");
		return;
	}
	printf("byte %zu: handshake, user \"", decoder->at);
	for (size_t i = 0; i < user.size; i++) {
		unsigned char c = ((const unsigned char *)user.data)[i];

		printf(c >= ' ' && c < 0x7f ? "%c" : "\\%03o", c);
	}
	printf("\", %s password, capability %u\n", password ? "with a" : "no", capability);
}

/* "user:password", a byte that says what the client understands, and a NUL. A password is not shown. */
static bool take_handshake(struct decoder *decoder)
{
	const unsigned char *data = decoder->data, *nul, *colon;
	size_t size;

	if (decoder->size == 0 || data[0] <= 1)
		return false;
	nul = memchr(data, 0, decoder->size < HANDSHAKE_MAX ? decoder->size : HANDSHAKE_MAX);
	if (!nul || nul == data || nul[-1] > CAPABILITY_MAX)
		return false;
	size = (size_t)(nul - data) - 1;
	colon = memchr(data, ':', size);
	print_handshake(decoder, (struct bytes){ data, colon ? (size_t)(colon - data) : size }, colon != NULL, nul[-1]);
	decoder->at = size + 2;
	return true;
}

/* The one byte that a server answers with, with a message behind it. */
static void take_acceptance(struct decoder *decoder)
{
	const unsigned char *data = decoder->data;

	if (decoder->size == 0 || data[0] <= 1 || data[0] > CAPABILITY_MAX || (decoder->size > 1 && data[1] > 1))
		return;
	if (decoder->json)
		printf("{\"at\":0,\"kind\":\"accepted\",\"capability\":%u}\n", data[0]);
	else
		printf("byte 0: handshake accepted, capability %u\n", data[0]);
	decoder->at = 1;
}

static bool begins_message(const struct decoder *decoder, size_t at)
{
	struct kdb_head head;
	char err[200];

	return decoder->size >= at + KDB_HEAD_SIZE &&
	       kdb_read_head(decoder->data + at, decoder->size - at, &head, err, sizeof err) == 0;
}

/* `03 00` is a handshake without credentials, or an answer and the first byte of a message: what is behind it tells. */
static void take_greeting(struct decoder *decoder)
{
	bool answer = begins_message(decoder, 1) && !begins_message(decoder, 2);

	if (answer || !take_handshake(decoder))
		take_acceptance(decoder);
}

/* ---- messages ---- */

static const char *const kinds[] = { "async", "sync", "response" };

static void print_head(const struct decoder *decoder, const struct kdb_head *head, size_t plain)
{
	printf("byte %zu: %s, %s-endian, %zu bytes", decoder->at, kinds[head->kind], head->big_endian ? "big" : "little",
	       head->size);
	if (head->compressed)
		printf(", %zu uncompressed", plain);
	printf("\n  %.*s\n", (int)decoder->text.size, decoder->text.data);
}

static void print_json(const struct decoder *decoder, const struct kdb_head *head, size_t plain)
{
	json_t *line = json_pack("{s:I, s:s, s:s, s:I, s:b, s:I}", "at", (json_int_t)decoder->at, "kind",
	                         kinds[head->kind], "order", head->big_endian ? "big" : "little", "size",
	                         (json_int_t)head->size, "compressed", head->compressed, "plain_size",
	                         (json_int_t)plain);

	jsonl_put_bytes(line, "object", (struct bytes){ decoder->text.data, decoder->text.size });
	(void)json_dumpf(line, stdout, JSONL_DUMP);
	json_decref(line);
	printf("\n");
}

static void decode_message(struct decoder *decoder, const struct kdb_head *head)
{
	struct bytes message = { decoder->data + decoder->at, head->size };
	struct buffer scratch = { 0 };
	struct kdb_input input;
	char err[200];

	decoder->text.size = 0;
	if (kdb_open(&input, message, MESSAGE_MAX, &scratch, err, sizeof err))
		(void)complain(decoder, decoder->at, err);
	else if (kdb_print(&decoder->text, &input, PRINT_MAX))
		(void)complain(decoder, decoder->at, "not enough memory");
	else if (decoder->json)
		print_json(decoder, head, input.bytes.size);
	else
		print_head(decoder, head, input.bytes.size);
	buffer_release(&scratch);
}

static int take_message(struct decoder *decoder)
{
	size_t left = decoder->size - decoder->at;
	struct kdb_head head;
	char err[200];

	if (left < KDB_HEAD_SIZE) {
		(void)snprintf(err, sizeof err, "a head has %d bytes, and there are %zu", KDB_HEAD_SIZE, left);
		return complain(decoder, decoder->at, err);
	}
	if (kdb_read_head(decoder->data + decoder->at, KDB_SIZE_MAX, &head, err, sizeof err))
		return complain(decoder, decoder->at, err);
	if (head.size > left) {
		(void)snprintf(err, sizeof err, "says that it has %zu bytes, and there are %zu", head.size, left);
		return complain(decoder, decoder->at, err);
	}
	decode_message(decoder, &head);
	decoder->at += head.size;
	return 0;
}

int cli_kdb_decode(const struct options *options)
{
	const char *path = options->n_operands > 1 ? options->operands[1] : NULL;
	struct buffer input = { 0 };
	struct decoder decoder = { .name = path ? path : "stdin", .json = options->json };

	if (path && strcmp(path, "-") == 0)
		path = NULL;
	if (read_input(path, decoder.name, &input)) {
		buffer_release(&input);
		return CLI_FAILED;
	}
	read_hex(&input);
	decoder.data = (const unsigned char *)input.data;
	decoder.size = input.size;
	if (decoder.size == 0)
		(void)complain(&decoder, 0, "there is none");
	take_greeting(&decoder);
	while (decoder.at < decoder.size && take_message(&decoder) == 0)
		continue;
	buffer_release(&decoder.text);
	buffer_release(&input);
	return cli_flush() ? CLI_FAILED : decoder.status;
}
