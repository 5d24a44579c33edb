/* What happened to a gateway, or shall: messages that arrive, links that go up and down,
 * as JSON lines in order of time.
 *
 *     {"at":10,"link":"field","topic":"sensors/a","payload":"21.5"}
 *     {"at":12.5,"link":"core","event":"down","reason":"lost"}
 *     {"at":3600}
 *
 * Written by recorder.c from real traffic, or by hand. `at` is in seconds: since the
 * start or, from 1,000,000,000 on, since 1970.
 */
#ifndef TIDEGATE_RECORDING_H
#define TIDEGATE_RECORDING_H

#include <stdio.h>

#include "link.h"

/* Times from here on (in 2001) are of the wall clock. */
#define RECORDING_WALL_MS INT64_C(1000000000000)

enum occurrence_kind {
	OCCURRENCE_PASS, /* nothing but that time passes */
	OCCURRENCE_MESSAGE,
	OCCURRENCE_UP,
	OCCURRENCE_DOWN,
};

struct occurrence {
	int64_t at_ms;
	enum occurrence_kind kind;
	const char *link;
	struct inbound message; /* its times are not set */
	const char *reason;     /* of going down */
};

struct block;

struct recording {
	struct occurrence *items; /* in order of time */
	size_t n, size;
	struct block *blocks; /* what they point to */
	struct names {
		char *name;
		struct names *next;
	} *links; /* each that is named, in the order of their first lines */
};

/* Reads lines until the end of `in`, which is called `name`. `default_link` is where
 * messages arrive that name none. 0; or -1 with "NAME:LINE: what was expected" in `err`.
 * To be released in any case. */
int recording_read(struct recording *recording, FILE *in, const char *name, const char *default_link, char *err,
                   size_t err_size);
void recording_release(struct recording *recording);

#endif
