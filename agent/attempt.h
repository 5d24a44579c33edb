/* One connection attempt on a helper thread: name look-up and connect() block,
 * and the loop must not. The thread owns the transport until the attempt is
 * finished or abandoned. */
#ifndef TIDEGATE_ATTEMPT_H
#define TIDEGATE_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>

struct attempt;
struct transport_ops;
struct link_config;
struct url;

/* Starts connecting `transport` to `url`; `discard_session` as in struct
 * transport_ops. When the attempt is over, `done_fd`
 * (an eventfd) becomes readable. `url` and `config` must live until
 * attempt_finish(), or are taken over by attempt_abandon(). NULL: no thread. */
struct attempt *attempt_start(const struct transport_ops *ops, void *transport, const struct url *url, bool discard_session,
                              int done_fd);

/* After done_fd became readable: frees the attempt and gives the transport
 * back. 0 if connected, or -1 with the reason in `err`. */
int attempt_finish(struct attempt *attempt, char *err, size_t err_size);

/* Interrupts a connect() that hangs: it fails, or goes on to the host's next address. */
void attempt_nudge(struct attempt *attempt);

/* Gives up on it without waiting: the thread closes the transport and frees
 * `config` when it comes back, whenever that is. */
void attempt_abandon(struct attempt *attempt, struct link_config *config);

/* True while an abandoned thread is still out there: then the process must end
 * without taking the libraries down under it (_exit). */
bool attempt_outstanding(void);

#endif
