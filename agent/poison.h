/* A note of what is being handled, for the next process to find if this one dies
 * of it: a message that ends the process twice is recognised and can be set aside.
 *
 * The note is a file mapped into memory, on a file system that is memory itself, so
 * that taking note is a few stores: no system call, nothing written to flash. A
 * reboot forgets it, and so does a stop in good order, since somebody may have
 * mended the script.
 */
#ifndef TIDEGATE_POISON_H
#define TIDEGATE_POISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h" /* struct bytes */

#define POISON_DEATHS 2    /* from then on a message counts as poison */
#define POISON_SUSPECTS 16 /* remembered at a time, the latest */

struct poison;

/* What an earlier process was doing when it died. */
struct poison_death {
	uint32_t script;                    /* as given to poison_running() */
	const char *handler, *link, *topic; /* link and topic are NULL if it had no message; long ones are cut */
	unsigned deaths;                    /* of that script with that message; 0 without one */
};

/* Opens the note that goes with a database, or makes one: "tidegate-UID-INSTANCE" in the first
 * of /dev/shm, /run and /tmp that is memory, else beside the database. One process at a
 * time, which the database's own lock sees to. NULL with the reason in `err`: then
 * nothing is recognised; the calls below take NULL and do nothing. */
struct poison *poison_open(const char *store_path, const char *instance, char *err, size_t err_size);

/* The same with the file given. */
struct poison *poison_open_file(const char *path, char *err, size_t err_size);

/* A stop in good order: forgets everything. */
void poison_close(struct poison *poison);

/* What the process before this one was doing when it died, or NULL: nothing. Valid
 * until poison_close(). */
const struct poison_death *poison_death(const struct poison *poison);

/* A message is about to be handled; and has been by all scripts. */
void poison_begin(struct poison *poison, const char *link, const char *topic, struct bytes payload);
void poison_end(struct poison *poison);

/* A handler of a script (any number but 0) begins, with the message if there is one;
 * NULL: it is over. */
void poison_running(struct poison *poison, uint32_t script, const char *handler);

/* True if this message has ended the process in this script, twice or more. */
bool poison_suspected(const struct poison *poison, uint32_t script);

/* This script has handled this message: whatever it was suspected of, it was not that. */
void poison_survived(struct poison *poison, uint32_t script);

/* The script is another one now: it is suspected of nothing. */
void poison_mended(struct poison *poison, uint32_t script);

#endif
