/* For each packet id how many messages wait, and two sets of ids. */
#include "mqtt_halves.h"

#include <stdlib.h>

#define IDS 65536

struct half_sets {
	uint8_t waiting[IDS];
	unsigned char is_old[IDS / 8], is_spoilt[IDS / 8];
};

static bool has(const unsigned char *set, uint16_t id)
{
	return (set[id / 8] >> id % 8 & 1) != 0;
}

static void put(unsigned char *set, uint16_t id, bool in)
{
	set[id / 8] = (unsigned char)((set[id / 8] & ~(1 << id % 8)) | in << id % 8);
}

void mqtt_halves_release(struct mqtt_halves *halves)
{
	free(halves->sets);
	*halves = (struct mqtt_halves){0};
}

void mqtt_halves_reconnect(struct mqtt_halves *halves)
{
	struct half_sets *sets = halves->sets;

	for (unsigned id = 0; id < IDS && halves->waiting > 0; id++)
		if (sets->waiting[id] > 0)
			put(sets->is_old, (uint16_t)id, true);
}

bool mqtt_halves_begin(struct mqtt_halves *halves, uint16_t id, bool again)
{
	struct half_sets *sets = halves->sets;

	if (!sets && !(sets = halves->sets = calloc(1, sizeof *sets)))
		return false;
	if (sets->waiting[id] > 0 && again) {
		halves->spoilt += !has(sets->is_spoilt, id);
		put(sets->is_spoilt, id, true);
		return true;
	}
	if (has(sets->is_spoilt, id) || has(sets->is_old, id) || sets->waiting[id] == UINT8_MAX)
		return false;
	sets->waiting[id]++;
	halves->waiting++;
	return true;
}

bool mqtt_halves_end(struct mqtt_halves *halves, uint16_t id)
{
	struct half_sets *sets = halves->sets;

	if (sets && sets->waiting[id] > 0) {
		halves->waiting--;
		if (--sets->waiting[id] == 0)
			put(sets->is_old, id, false);
	}
	return halves->spoilt == 0 || halves->waiting > 0;
}
