/* Records what really happens, for `tidegate test` and `tidegate replay`: every message
 * that arrives, links going up and down, as agent/recording.h has them. The file is added
 * to; a little is kept in memory and written every second.
 *
 * What cannot be recorded never holds the agent up: a full disk ends the recording, with
 * a line in the log, after the last whole line that had room.
 */
#ifndef TIDEGATE_RECORDER_H
#define TIDEGATE_RECORDER_H

#include <stddef.h>

struct agent;
struct recorder;

/* Opens the file and begins: agent->observer is set. Once the loop and the links are
 * there. NULL with the reason in `err`. */
struct recorder *recorder_open(struct agent *agent, const char *path, char *err, size_t err_size);

/* Writes what is left. NULL is allowed. */
void recorder_close(struct recorder *recorder);

#endif
