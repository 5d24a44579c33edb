/* What the running agent tells about itself: the command "status" of the control
 * socket. Its lines, by their "kind":
 *
 *     agent, problem..., link..., queue..., script..., metric..., loss..., dead_letters, store
 *
 * Names follow the metrics. Something new to tell is one more field of a line, or
 * one more function in the list of status.c. */
#ifndef TIDEGATE_STATUS_H
#define TIDEGATE_STATUS_H

#include "answer.h"

extern const struct answer_command status_command; /* its `arg` is the struct agent */

#endif
