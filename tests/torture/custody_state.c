/* A script's state of which everything follows from one number, which counts how often it
 * changed: so what is found on disk is as a whole what was there at some moment, or wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "custody_internal.h"
#include "random.h"

/* Of each number: the number itself, and some entries that are there or not, of any size. */
#define ENTRIES 5

static size_t make_entry(uint64_t number, unsigned entry, char *value)
{
	uint64_t random = custody_mark(STATE, number / (entry + 1) * ENTRIES + entry);
	size_t size = 1 + random_below(&random, random_chance(&random, 10) ? PAYLOAD_MAX : 60);

	if (entry == 0)
		return (size_t)snprintf(value, PAYLOAD_MAX, "%llu", (unsigned long long)number);
	if (random_chance(&random, 20))
		return 0;
	for (size_t i = 0; i < size; i++)
		value[i] = (char)(random + i * 5);
	return size;
}

static int write_state(void *arg, uint32_t script, struct state *state)
{
	const struct custody *custody = arg;
	char value[PAYLOAD_MAX + 1];

	for (unsigned entry = 0; entry < ENTRIES; entry++) {
		char key = (char)('a' + entry);
		size_t size = make_entry(custody->state, entry, value);

		if (state_put(state, script, (struct bytes){&key, 1}, (struct bytes){value, size}) < 0)
			return -1;
	}
	return 0;
}

static void state_written(void *arg, uint32_t script)
{
	(void)arg;
	(void)script;
}

struct found_state {
	uint64_t number;
	unsigned entries; /* one bit each */
	bool wrong;
};

static int find_number(void *arg, struct bytes key, struct bytes value)
{
	struct found_state *found = arg;
	char text[32];

	if (key.size == 1 && *(const char *)key.data == 'a' && value.size < sizeof text) {
		memcpy(text, value.data, value.size);
		text[value.size] = '\0';
		found->number = strtoull(text, NULL, 10);
	}
	return 0;
}

static bool is_entry(struct bytes value, uint64_t number, unsigned entry)
{
	char expected[PAYLOAD_MAX + 1];
	size_t size = make_entry(number, entry, expected);

	return value.size == size && memcmp(value.data, expected, size) == 0;
}

static int compare_entry(void *arg, struct bytes key, struct bytes value)
{
	struct found_state *found = arg;
	unsigned entry = key.size == 1 ? (unsigned)(*(const unsigned char *)key.data - 'a') : ENTRIES;

	if (entry >= ENTRIES || !is_entry(value, found->number, entry))
		found->wrong = true;
	else
		found->entries |= 1u << entry;
	return 0;
}

enum found custody_read_state(struct state *state, uint64_t *number)
{
	struct found_state found = {0};
	char ignored[PAYLOAD_MAX + 1];

	if (state_load(state, 1, find_number, &found) < 0 || state_load(state, 1, compare_entry, &found) < 0)
		return STATE_UNREADABLE;
	*number = found.number;
	for (unsigned entry = 0; entry < ENTRIES && found.number > 0; entry++)
		if (make_entry(found.number, entry, ignored) > 0 && !(found.entries & 1u << entry))
			found.wrong = true;
	return found.wrong ? STATE_WRONG : STATE_RIGHT;
}

struct state_source custody_state_source(struct custody *custody)
{
	return (struct state_source){custody, write_state, state_written};
}
