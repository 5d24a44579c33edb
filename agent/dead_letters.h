/* What becomes of a message: every script handles it, and where one fails, or the
 * message has ended the process in it twice, that script's letter goes to the dead
 * letters (store/dead.h), from where it can be retried.
 */
#ifndef TIDEGATE_DEAD_LETTERS_H
#define TIDEGATE_DEAD_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent;
struct inbound;
struct link;
struct message;
struct route;
struct script;

/* Opens the dead letters and the note of what is being handled, and says what the last
 * process died of. 0, or -1 with the reason in `err`. Close before the store. */
int dead_letters_open(struct agent *agent, char *err, size_t err_size);
void dead_letters_close(struct agent *agent);

/* Gives a message to all scripts. False: it could not be handled, and not even be kept. */
bool dead_letters_handle(struct agent *agent, const struct link *link, const struct inbound *message);

/* Keeps a row that the collector of a kdb+ link will not take: a letter without a script. False: no memory. */
bool dead_letters_keep_row(struct agent *agent, const struct route *route, const struct message *message,
                           const char *reason);

/* A handler of that script begins; NULL: it is over. For struct script_host. */
void dead_letters_running(void *agent, const struct script *script, const char *handler);

enum dead_retry {
	DEAD_HANDLED,   /* and gone */
	DEAD_FAILED,    /* it failed again */
	DEAD_NO_SCRIPT, /* the script is not loaded any more, or there is no such kdb+ link: it stays */
	DEAD_UNKNOWN,   /* there is no such letter, or it cannot be read */
};

/* Gives a letter to the script that failed, and to no other, as a message that has just
 * come: all of its handlers for it run; a row goes into the queue of its link again, behind all others. `why` says, in all but the first case, what is
 * wrong. Not from inside a handler. */
enum dead_retry dead_letters_retry(struct agent *agent, uint64_t id, char *why, size_t why_size);

/* Retries those that dead_retry_later() was asked for; once, also if the process dies of it. */
void dead_letters_retry_marked(struct agent *agent);

#endif
