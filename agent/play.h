/* A rehearsal from its beginning to its end: the agent, whole, is run on a recording in
 * simulated time, on a simulated network, with a database of its own that is deleted
 * afterwards. What is printed about it is for others (transcript.c, cli_replay.c).
 */
#ifndef TIDEGATE_PLAY_H
#define TIDEGATE_PLAY_H

#include "network.h"
#include "observer.h"
#include "recording.h"

struct agent;
struct config;

/* Where the clock begins if nobody says: 2026-01-01. */
#define PLAY_START_MS INT64_C(1767225600000)

#define PLAY_FIELD "field" /* where messages arrive that name no link */
#define PLAY_CORE "core"   /* the default link, if there is no configuration */

/* A link is down, from the start on counted. */
struct outage {
	const char *link;
	int64_t from_ms, to_ms; /* INT64_MAX: for good */
};

struct play {
	/* ---- what is given ---- */
	struct config *config; /* its links are taken, its places replaced */
	const struct recording *recording;
	int64_t start_ms;  /* wall clock when `at` is 0; a recording of wall times begins by itself */
	int64_t until_ms;  /* goes on until this `at`, at least; 0: until the last line */
	int64_t lasts_ms;  /* repeats the recording for so long; 0: once */
	int64_t rtt_ms;
	const struct outage *outages;
	size_t n_outages;
	bool any_link; /* a link that is named exists */
	bool drains;   /* goes on until all is delivered that can be; else stops as on SIGTERM */
	bool verbose;
	struct observer observer;
	network_delivered *delivered;
	void *arg; /* of delivered and those below, which may be NULL */
	void (*begins)(void *arg, struct agent *agent); /* nothing is open yet */
	void (*waits)(void *arg, struct agent *agent);  /* all is done that is to be done at this time */
	void (*stops)(void *arg); /* the agent is told to */
	void (*ends)(void *arg, struct agent *agent);

	/* ---- its own ---- */
	struct agent *agent;
	struct network *network;
	int64_t base_ms;   /* `at` when time began */
	int64_t period_ms; /* of repetition */
	int64_t round_ms;  /* when the present one began */
	size_t next;
	struct turn_of_link *turns; /* of the outages, in order of time */
	size_t n_turns, next_turn;
	size_t unread;        /* at the end: brought, and no link has taken it */
	int64_t last_ms;      /* when the last line happened, since the start */
	int64_t arrived_ms;   /* the last time that acknowledgements arrived, */
	unsigned arrivals;    /* and how often it was that time */
	int64_t delivered_ms; /* the last time that anything was */
	bool over;
	char directory[512];
	char err[300];
};

/* The time that the clock must begin with: for clock_simulate(), before the
 * configuration is read. */
int64_t play_start_ms(const struct play *play);

/* Returns the exit status; complaints are on stderr. */
int play_run(struct play *play);

/* The present time as `at`, and since the start. */
int64_t play_now_ms(const struct play *play);
int64_t play_elapsed_ms(void);

#endif
