/* MQTT 5 properties in wire form: one identifier byte, then a value whose shape
 * the identifier decides. Big-endian, texts with a 16-bit length in front.
 */
#include "properties.h"

enum shape { SHAPE_NONE, SHAPE_BYTE, SHAPE_WORD, SHAPE_TEXT, SHAPE_PAIR };

static enum shape shape_of(unsigned id)
{
	switch (id) {
	case PROPERTY_PAYLOAD_FORMAT:
		return SHAPE_BYTE;
	case PROPERTY_MESSAGE_EXPIRY:
		return SHAPE_WORD;
	case PROPERTY_CONTENT_TYPE:
	case PROPERTY_RESPONSE_TOPIC:
	case PROPERTY_CORRELATION:
		return SHAPE_TEXT;
	case PROPERTY_USER:
		return SHAPE_PAIR;
	default:
		return SHAPE_NONE;
	}
}

static int append_number(struct buffer *run, uint32_t number, size_t width)
{
	unsigned char bytes[4];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (unsigned char)(number >> (8 * (width - 1 - i)));
	return buffer_append(run, bytes, width);
}

static int append_text(struct buffer *run, struct bytes text)
{
	if (text.size > UINT16_MAX || append_number(run, (uint32_t)text.size, 2))
		return -1;
	return buffer_append(run, text.data, text.size);
}

static int append_value(struct buffer *run, const struct property *property)
{
	switch (shape_of(property->id)) {
	case SHAPE_BYTE:
		return append_number(run, property->number, 1);
	case SHAPE_WORD:
		return append_number(run, property->number, 4);
	case SHAPE_TEXT:
		return append_text(run, property->text);
	case SHAPE_PAIR:
		if (append_text(run, property->name))
			return -1;
		return append_text(run, property->text);
	default:
		return -1;
	}
}

int properties_append(struct buffer *run, const struct property *property)
{
	size_t before = run->size;

	if (append_number(run, property->id, 1) || append_value(run, property)) {
		run->size = before;
		return -1;
	}
	return 0;
}

static bool take_number(struct bytes *run, size_t width, uint32_t *number)
{
	const unsigned char *bytes = run->data;

	if (run->size < width)
		return false;
	*number = 0;
	for (size_t i = 0; i < width; i++)
		*number = *number << 8 | bytes[i];
	run->data = bytes + width;
	run->size -= width;
	return true;
}

static bool take_text(struct bytes *run, struct bytes *text)
{
	uint32_t size;

	if (!take_number(run, 2, &size) || run->size < size)
		return false;
	*text = (struct bytes){ run->data, size };
	run->data = (const char *)run->data + size;
	run->size -= size;
	return true;
}

static bool take_value(struct bytes *run, struct property *property)
{
	switch (shape_of(property->id)) {
	case SHAPE_BYTE:
		return take_number(run, 1, &property->number);
	case SHAPE_WORD:
		return take_number(run, 4, &property->number);
	case SHAPE_TEXT:
		return take_text(run, &property->text);
	case SHAPE_PAIR:
		return take_text(run, &property->name) && take_text(run, &property->text);
	default:
		return false;
	}
}

bool properties_next(struct bytes *run, struct property *property)
{
	struct bytes rest = *run;
	uint32_t id;

	*property = (struct property){ 0 };
	if (!take_number(&rest, 1, &id))
		return false;
	property->id = (enum property_id)id;
	if (!take_value(&rest, property))
		return false;
	*run = rest;
	return true;
}
