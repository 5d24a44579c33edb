/* The control socket: a local stream socket on which tools of ours ask the running
 * agent, one request for each connection (agent/answer.h has what is said).
 *
 * It lives on the agent's loop and never waits: a client that is slow, silent or
 * talks nonsense costs one of a few places and some kilobytes, for a while. The
 * file's mode is 0660; and whoever gets in all the same, as somebody has loosened it, is told
 * that only root, the agent's own user and members of the file's group are answered (agent/peer.h).
 * Who asked is in the log, and who was refused.
 */
#ifndef TIDEGATE_CONTROL_H
#define TIDEGATE_CONTROL_H

#include <stddef.h>

#include "answer.h"

#define CONTROL_REQUEST_MAX 4096 /* bytes of a request, line feed included */
#define CONTROL_CLIENTS_MAX 8    /* at a time; more wait to be accepted */
#ifndef CONTROL_REQUEST_MS
#define CONTROL_REQUEST_MS 5000 /* for the request to arrive */
#define CONTROL_IDLE_MS 30000   /* without any of the answer being taken */
#endif

struct control;
struct loop;

/* Listens at `path`. The socket that a dead agent left there is replaced; one that
 * is served, or a file that is no socket, is not touched. `commands` ends with NULL;
 * they are called with `arg`, in the loop's step "read". NULL with the reason in `err`. */
struct control *control_open(struct loop *loop, const char *path, const struct answer_command *const *commands,
                             void *arg, char *err, size_t err_size);

/* Removes the socket and hangs up on whoever is connected. NULL is allowed. */
void control_close(struct control *control);

#endif
