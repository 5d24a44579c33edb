/* A ring of what was taken last, and a judgement of the broker's ids. While the
 * judgement is out, nothing is recognised and hardly anything noted. */
#include "redelivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS 65535
#define STEP_MAX 16384 /* a longer way forward is a way back */
#define NOTE_EVERY REDELIVERY_MOST /* messages, while nothing else makes a commit */
#define RECORD_CHARS 12 /* in a note: 4 hexadecimal digits of id, 8 of hash */
#define HEAD_CHARS 80

struct record {
	uint32_t hash; /* half of it: the id says nearly all */
	uint16_t id;
};

struct redelivery {
	uint64_t session;
	bool present;     /* the session went on with this connection */
	bool broken;      /* ids were seen to come back: only a whole cycle mends that */
	unsigned needed;  /* the run that proves them cyclic */
	unsigned run;     /* new ids that went forward in a row */
	uint16_t last;    /* the newest; 0: none yet */
	size_t batches[REDELIVERY_BATCHES]; /* how many each took; the first since the last note */
	bool judged;      /* the judgement has changed since the last note */
	size_t first, n;  /* in the ring, oldest first */
	struct record ring[REDELIVERY_MOST];
};

struct redelivery *redelivery_open(void)
{
	struct redelivery *redelivery = calloc(1, sizeof *redelivery);

	if (redelivery)
		redelivery->needed = REDELIVERY_RUN;
	return redelivery;
}

void redelivery_close(struct redelivery *redelivery)
{
	free(redelivery);
}

uint64_t redelivery_hash(const char *text, struct bytes rest)
{
	const unsigned char *bytes = rest.data;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	do /* its NUL too, so that "a" "bc" is not "ab" "c" */
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	while (*text++);
	for (size_t i = 0; i < rest.size; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* ---- judging the ids ---- */

static bool proven(const struct redelivery *redelivery)
{
	return redelivery->run >= (redelivery->broken ? IDS : redelivery->needed);
}

/* How far `id` is ahead of the newest; 0 if it is behind. */
static unsigned step_to(const struct redelivery *redelivery, int id)
{
	unsigned step = (unsigned)(id - redelivery->last + IDS) % IDS;

	return redelivery->last == 0 ? 1 : step > STEP_MAX ? 0 : step;
}

/* Redelivered ones were numbered earlier: they tell where the ids are, not how they go. */
static void follow(struct redelivery *redelivery, int id, bool dup)
{
	bool forward = step_to(redelivery, id) > 0, before = proven(redelivery);

	if (forward || !dup)
		redelivery->last = (uint16_t)id;
	if (dup)
		return;
	redelivery->run = forward ? redelivery->run + (redelivery->run < IDS) : 0;
	redelivery->judged = redelivery->judged || proven(redelivery) != before || (!forward && !redelivery->broken);
	redelivery->broken = (redelivery->broken || !forward) && !proven(redelivery);
}

const char *redelivery_state(const struct redelivery *redelivery)
{
	return proven(redelivery) ? "on" : redelivery->broken ? "off: ids are not cyclic" : "learning";
}

/* ---- what was taken ---- */

static struct record *record_at(struct redelivery *redelivery, size_t i)
{
	return &redelivery->ring[(redelivery->first + i) % REDELIVERY_MOST];
}

static void record(struct redelivery *redelivery, struct record taken)
{
	if (redelivery->n == REDELIVERY_MOST)
		redelivery->first = (redelivery->first + 1) % REDELIVERY_MOST;
	else
		redelivery->n++;
	*record_at(redelivery, redelivery->n - 1) = taken;
	redelivery->batches[0]++;
}

static struct record record_of(const struct inbound *message)
{
	uint64_t hash = redelivery_hash(message->topic, message->payload);

	return (struct record){.id = (uint16_t)message->id, .hash = (uint32_t)(hash ^ hash >> 32)};
}

/* The newest message of that id decides. */
static bool have(struct redelivery *redelivery, struct record wanted)
{
	size_t i = redelivery->n;

	while (i > 0 && record_at(redelivery, i - 1)->id != wanted.id)
		i--;
	return i > 0 && record_at(redelivery, i - 1)->hash == wanted.hash;
}

void redelivery_session(struct redelivery *redelivery, uint64_t session, bool present, unsigned in_flight)
{
	bool same = present && session == redelivery->session;

	if (!same) {
		bool noted = redelivery->last != 0;

		memset(redelivery, 0, sizeof *redelivery);
		redelivery->session = session;
		redelivery->judged = noted; /* before anything of the new session comes */
	}
	redelivery->present = same;
	redelivery->needed = in_flight > REDELIVERY_RUN / 2 ? 2 * in_flight : REDELIVERY_RUN;
}

/* What comes again is once more on its way to be acknowledged: it is remembered like what is new. */
bool redelivery_repeats(struct redelivery *redelivery, const struct inbound *message)
{
	struct record wanted;

	if (message->id == 0 || !message->dup || !redelivery->present || !proven(redelivery))
		return false;
	wanted = record_of(message);
	if (!have(redelivery, wanted))
		return false;
	record(redelivery, wanted);
	return true;
}

void redelivery_taken(struct redelivery *redelivery, const struct inbound *message)
{
	if (message->id == 0)
		return;
	follow(redelivery, message->id, message->dup);
	record(redelivery, record_of(message));
}

/* ---- across processes ---- */

/* How many of the newest the next process may see again. */
static size_t worth_noting(const struct redelivery *redelivery)
{
	size_t n = 0;

	if (!proven(redelivery))
		return 0;
	for (size_t i = 0; i < REDELIVERY_BATCHES; i++)
		n += redelivery->batches[i];
	n = n < REDELIVERY_LEAST ? REDELIVERY_LEAST : n;
	return n < redelivery->n ? n : redelivery->n;
}

static void end_batch(struct redelivery *redelivery)
{
	memmove(redelivery->batches + 1, redelivery->batches, sizeof redelivery->batches - sizeof *redelivery->batches);
	redelivery->batches[0] = 0;
	redelivery->judged = false;
}

bool redelivery_note_due(const struct redelivery *redelivery)
{
	return redelivery->judged || redelivery->batches[0] >= NOTE_EVERY;
}

/* Many in every commit: printf() would cost more than all the rest. */
static char *put_hex(char *at, uint32_t value, int digits)
{
	for (int i = digits - 1; i >= 0; i--, value >>= 4)
		at[i] = "0123456789abcdef"[value & 15];
	return at + digits;
}

char *redelivery_note(struct redelivery *redelivery)
{
	size_t n = worth_noting(redelivery);
	char *text, *at;

	if (!redelivery_note_due(redelivery) && (n == 0 || redelivery->batches[0] == 0))
		return NULL;
	text = malloc(HEAD_CHARS + n * RECORD_CHARS + 1);
	if (!text)
		return NULL;
	at = text + snprintf(text, HEAD_CHARS, "%016" PRIx64 " %d %u %u ", redelivery->session, redelivery->broken,
	                     redelivery->run, (unsigned)redelivery->last);
	for (size_t i = redelivery->n - n; i < redelivery->n; i++) {
		const struct record *taken = record_at(redelivery, i);

		at = put_hex(put_hex(at, taken->id, 4), taken->hash, 8);
	}
	*at = '\0';
	end_batch(redelivery);
	return text;
}

void redelivery_restore(struct redelivery *redelivery, const char *note)
{
	uint64_t session;
	unsigned broken, run, last;
	int used = 0;
	struct record taken;

	if (sscanf(note, "%16" SCNx64 " %1u %5u %5u %n", &session, &broken, &run, &last, &used) < 4 || !used || run > IDS ||
	    last > IDS)
		return;
	redelivery->session = session;
	redelivery->broken = broken;
	redelivery->run = run;
	redelivery->last = (uint16_t)last;
	for (note += used; sscanf(note, "%4" SCNx16 "%8" SCNx32, &taken.id, &taken.hash) == 2; note += RECORD_CHARS)
		record(redelivery, taken);
	redelivery->batches[0] = 0;
}
