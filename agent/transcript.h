/* What `tidegate test` prints: everything that happens in a rehearsal, in order; for
 * people, or as JSON lines. The same input gives the same bytes.
 */
#ifndef TIDEGATE_TRANSCRIPT_H
#define TIDEGATE_TRANSCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "script.h"

struct agent;
struct play;

struct transcript {
	FILE *out;
	bool json;
	struct play *play;
	struct agent *agent;
	struct script_host host; /* as it was before we looked on */
	const struct script *script; /* that runs now, */
	const char *handler;         /* and what of it */
	uint64_t failures; /* handlers that raised */
	struct known_entry *known; /* what is known of the scripts' state */
};

/* Fills what `play` tells. Both must live until it is over. */
void transcript_attach(struct transcript *transcript, struct play *play);
void transcript_release(struct transcript *transcript);

#endif
