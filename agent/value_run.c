#include "value_run.h"

#include <string.h>

static bool take(struct bytes *run, size_t size, const unsigned char **data)
{
	if (run->size < size)
		return false;
	*data = run->data;
	run->data = *data + size;
	run->size -= size;
	return true;
}

static bool take_word(struct bytes *run, size_t width, uint64_t *word)
{
	const unsigned char *bytes;

	if (!take(run, width, &bytes))
		return false;
	*word = 0;
	for (size_t i = 0; i < width; i++)
		*word |= (uint64_t)bytes[i] << (8 * i);
	return true;
}

bool value_take_tag(struct bytes *run, enum value_tag *tag)
{
	const unsigned char *byte;

	if (!take(run, 1, &byte))
		return false;
	*tag = (enum value_tag)*byte;
	return true;
}

bool value_take_integer(struct bytes *run, int64_t *integer)
{
	uint64_t word;

	if (!take_word(run, 8, &word))
		return false;
	*integer = (int64_t)word;
	return true;
}

bool value_take_float(struct bytes *run, double *number)
{
	uint64_t word;

	if (!take_word(run, 8, &word))
		return false;
	memcpy(number, &word, sizeof word);
	return true;
}

bool value_take_string(struct bytes *run, struct bytes *text)
{
	const unsigned char *data;
	uint64_t size;

	if (!take_word(run, 4, &size) || !take(run, (size_t)size, &data))
		return false;
	*text = (struct bytes){data, (size_t)size};
	return true;
}

bool value_take_close(struct bytes *run)
{
	const unsigned char *byte;

	return run->size > 0 && *(const unsigned char *)run->data == VALUE_CLOSE && take(run, 1, &byte);
}
