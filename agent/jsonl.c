/* Bytes, properties and kept values to JSON and back, over jansson. */
#include "jsonl.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "properties.h"
#include "value_run.h"

#define CODE_MAX 400000000 /* bytes of base64: more than MQTT's largest payload */

/* ---- bytes ---- */

static json_t *base64(struct bytes bytes)
{
	unsigned char *code = malloc(bytes.size / 3 * 4 + 5);
	int length = code ? EVP_EncodeBlock(code, bytes.data, (int)bytes.size) : 0;
	json_t *text = code ? json_stringn_nocheck((const char *)code, (size_t)length) : NULL;

	free(code);
	return text;
}

/* Without memory the key is missing: the whole fails where it is printed. */
void jsonl_put_bytes(json_t *object, const char *key, struct bytes bytes)
{
	json_t *text = json_stringn(bytes.size > 0 ? bytes.data : "", bytes.size);
	char coded[80];

	if (text) {
		json_object_set_new(object, key, text);
		return;
	}
	snprintf(coded, sizeof coded, "%s_base64", key);
	json_object_set_new(object, coded, base64(bytes));
}

void jsonl_put_text(json_t *object, const char *key, const char *text)
{
	if (text)
		jsonl_put_bytes(object, key, (struct bytes){text, strlen(text)});
}

void jsonl_put_seconds(json_t *object, const char *key, int64_t ms)
{
	json_object_set_new(object, key, json_real((double)ms / 1000));
}

static int decode(const json_t *code, struct buffer *out)
{
	size_t length = json_string_length(code), padding = 0;
	const unsigned char *text = (const unsigned char *)json_string_value(code);
	unsigned char *bytes = text && length <= CODE_MAX ? malloc(length + 1) : NULL;
	int size = bytes ? EVP_DecodeBlock(bytes, text, (int)length) : -1;

	/* EVP_DecodeBlock counts what stands for the padding. */
	while (size > 0 && padding < 2 && text[length - padding - 1] == '=')
		padding++;
	if (size >= 0 && buffer_append(out, bytes, (size_t)size - padding) < 0)
		size = -1;
	free(bytes);
	return size < 0 ? -1 : 1;
}

static int dump(const json_t *value, struct buffer *out)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	int result = text ? buffer_append(out, text, strlen(text)) : -1;

	free(text);
	return result < 0 ? -1 : 1;
}

int jsonl_get_bytes(const json_t *object, const char *key, struct buffer *out, char *err, size_t err_size)
{
	const json_t *value = json_object_get(object, key), *code;
	char coded[80];

	snprintf(coded, sizeof coded, "%s_base64", key);
	code = json_object_get(object, coded);
	if (value && code) {
		snprintf(err, err_size, "expected %s or %s, got both", key, coded);
		return -1;
	}
	if (code && decode(code, out) < 0) {
		snprintf(err, err_size, "%s: expected base64", coded);
		return -1;
	}
	if (!value)
		return code != NULL;
	snprintf(err, err_size, "out of memory");
	if (!json_is_string(value))
		return dump(value, out);
	return buffer_append(out, json_string_value(value), json_string_length(value)) < 0 ? -1 : 1;
}

/* ---- properties ---- */

static const struct {
	const char *name;
	enum property_id id;
	bool number;
	uint32_t max;
} known[] = {
	{"payload_format", PROPERTY_PAYLOAD_FORMAT, true, 1},
	{"message_expiry", PROPERTY_MESSAGE_EXPIRY, true, UINT32_MAX},
	{"content_type", PROPERTY_CONTENT_TYPE, false, 0},
	{"response_topic", PROPERTY_RESPONSE_TOPIC, false, 0},
	{"correlation_data", PROPERTY_CORRELATION, false, 0},
};

static void put_pair(json_t *properties, const struct property *property)
{
	json_t *list = json_object_get(properties, "user"), *pair = json_object();

	if (!list) {
		list = json_array();
		json_object_set_new(properties, "user", list);
	}
	jsonl_put_bytes(pair, "name", property->name);
	jsonl_put_bytes(pair, "value", property->text);
	if (json_object_get(pair, "name") && json_object_get(pair, "value"))
		json_array_append_new(list, json_pack("[O, O]", json_object_get(pair, "name"), json_object_get(pair, "value")));
	json_decref(pair);
}

static void put_property(json_t *properties, const struct property *property)
{
	if (property->id == PROPERTY_USER)
		put_pair(properties, property);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].id == property->id && known[i].number)
			json_object_set_new(properties, known[i].name, json_integer(property->number));
		else if (known[i].id == property->id)
			jsonl_put_bytes(properties, known[i].name, property->text);
}

void jsonl_put_properties(json_t *object, struct bytes run)
{
	struct property property;
	json_t *properties;

	if (run.size == 0)
		return;
	properties = json_object();
	while (properties_next(&run, &property))
		put_property(properties, &property);
	json_object_set_new(object, "properties", properties);
}

static int get_number(const json_t *value, size_t i, struct buffer *run, char *err, size_t err_size)
{
	struct property property = {.id = known[i].id};

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > (json_int_t)known[i].max) {
		snprintf(err, err_size, "properties.%s: expected a whole number from 0 to %u", known[i].name,
		         (unsigned)known[i].max);
		return -1;
	}
	property.number = (uint32_t)json_integer_value(value);
	return properties_append(run, &property);
}

static int get_text(const json_t *properties, size_t i, struct buffer *run, char *err, size_t err_size)
{
	struct property property = {.id = known[i].id};
	struct buffer text = {0};
	int result = jsonl_get_bytes(properties, known[i].name, &text, err, err_size);

	property.text = (struct bytes){text.data, text.size};
	if (result == 1 && properties_append(run, &property) < 0) {
		snprintf(err, err_size, "properties.%s: expected at most 65535 bytes", known[i].name);
		result = -1;
	}
	buffer_release(&text);
	return result < 0 ? -1 : 0;
}

static struct bytes text_of(const json_t *string)
{
	return (struct bytes){json_string_value(string), json_string_length(string)};
}

static int get_user(const json_t *list, struct buffer *run, char *err, size_t err_size)
{
	const json_t *pair;
	size_t i;

	json_array_foreach(list, i, pair) {
		struct property property = {.id = PROPERTY_USER};

		property.name = text_of(json_array_get(pair, 0));
		property.text = text_of(json_array_get(pair, 1));
		if (json_array_size(pair) != 2 || !property.name.data || !property.text.data ||
		    properties_append(run, &property) < 0)
			break;
	}
	if (json_is_array(list) && i == json_array_size(list))
		return 0;
	snprintf(err, err_size, "properties.user: expected a list of pairs of strings, [[\"site\",\"north\"]]");
	return -1;
}

int jsonl_get_properties(const json_t *object, struct buffer *run, char *err, size_t err_size)
{
	const json_t *properties = json_object_get(object, "properties"), *value;

	if (!properties)
		return 0;
	if (!json_is_object(properties)) {
		snprintf(err, err_size, "properties: expected an object");
		return -1;
	}
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		value = json_object_get(properties, known[i].name);
		if (known[i].number && value && get_number(value, i, run, err, err_size) < 0)
			return -1;
		if (!known[i].number && get_text(properties, i, run, err, err_size) < 0)
			return -1;
	}
	value = json_object_get(properties, "user");
	return value ? get_user(value, run, err, err_size) : 0;
}

/* ---- kept values ---- */

static json_t *integer_value(struct bytes *run)
{
	int64_t integer;

	return value_take_integer(run, &integer) ? json_integer(integer) : NULL;
}

static json_t *float_value(struct bytes *run)
{
	double number;

	if (!value_take_float(run, &number))
		return NULL;
	/* JSON has no infinities and no NaN. */
	return number - number == 0 ? json_real(number) : json_string(number > 0 ? "inf" : number < 0 ? "-inf" : "nan");
}

/* What is no UTF-8 stands there in base64. */
static json_t *string_value(struct bytes *run)
{
	struct bytes bytes;
	json_t *text;

	if (!value_take_string(run, &bytes))
		return NULL;
	text = json_stringn(bytes.data, bytes.size);
	return text ? text : base64(bytes);
}

struct pair {
	json_t *key, *value;
};

static int kind(const json_t *key)
{
	return json_is_integer(key) ? 0 : json_is_real(key) ? 1 : json_is_string(key) ? 2 : 3;
}

static int by_key(const void *a, const void *b)
{
	const json_t *one = ((const struct pair *)a)->key, *other = ((const struct pair *)b)->key;

	if (kind(one) != kind(other))
		return kind(one) - kind(other);
	if (json_is_number(one))
		return (json_number_value(one) > json_number_value(other)) - (json_number_value(one) < json_number_value(other));
	if (json_is_string(one))
		return strcmp(json_string_value(one), json_string_value(other));
	return json_is_true(one) - json_is_true(other);
}

static bool is_list(const struct pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!json_is_integer(pairs[i].key) || json_integer_value(pairs[i].key) != (json_int_t)i + 1)
			return false;
	return true;
}

/* Without entries only the mark tells a list. */
static json_t *table(const struct pair *pairs, size_t n, bool marked)
{
	bool list = is_list(pairs, n) && (n > 0 || marked);
	json_t *whole = list ? json_array() : json_object();

	for (size_t i = 0; i < n; i++) {
		char *key = json_is_string(pairs[i].key) ? strdup(json_string_value(pairs[i].key))
		                                         : json_dumps(pairs[i].key, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));

		if (list)
			json_array_append(whole, pairs[i].value);
		else if (key)
			json_object_set(whole, key, pairs[i].value);
		free(key);
	}
	return whole;
}

static json_t *any_value(struct bytes *run, int depth);

static bool add_pair(struct pair **pairs, size_t n, struct bytes *run, int depth)
{
	struct pair *more = realloc(*pairs, (n + 1) * sizeof *more);

	if (!more)
		return false;
	*pairs = more;
	more[n].key = any_value(run, depth);
	more[n].value = more[n].key ? any_value(run, depth) : NULL;
	if (more[n].value)
		return true;
	json_decref(more[n].key);
	return false;
}

static json_t *table_value(struct bytes *run, int depth, bool marked)
{
	struct pair *pairs = NULL;
	json_t *whole = NULL;
	bool closed = false;
	size_t n = 0;

	while (depth < VALUE_DEPTH_MAX && !(closed = value_take_close(run)) && add_pair(&pairs, n, run, depth + 1))
		n++;
	if (closed) {
		if (n > 0)
			qsort(pairs, n, sizeof *pairs, by_key);
		whole = table(pairs, n, marked);
	}
	for (size_t i = 0; i < n; i++) {
		json_decref(pairs[i].key);
		json_decref(pairs[i].value);
	}
	free(pairs);
	return whole;
}

static json_t *any_value(struct bytes *run, int depth)
{
	enum value_tag tag;

	if (!value_take_tag(run, &tag))
		return NULL;
	switch (tag) {
	case VALUE_NIL:
	case VALUE_NULL:
		return json_null();
	case VALUE_TRUE:
	case VALUE_FALSE:
		return json_boolean(tag == VALUE_TRUE);
	case VALUE_INTEGER:
		return integer_value(run);
	case VALUE_FLOAT:
		return float_value(run);
	case VALUE_STRING:
		return string_value(run);
	case VALUE_OPEN:
	case VALUE_ARRAY:
		return table_value(run, depth, tag == VALUE_ARRAY);
	case VALUE_CLOSE:
		return NULL;
	}
	return NULL;
}

json_t *jsonl_value(struct bytes run)
{
	json_t *value = any_value(&run, 0);

	return value ? value : json_null();
}
