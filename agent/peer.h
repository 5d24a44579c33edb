/* Who is at the other end of a unix socket, as the kernel says, and whether that is
 * somebody who may ask the agent. */
#ifndef TIDEGATE_PEER_H
#define TIDEGATE_PEER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Root may, and so may the user that this process runs as and the members of `group`:
 * by the group that the peer's process has, or by one of its supplementary groups.
 * `who` is what SO_PEERCRED says of `fd`. */
bool peer_may_ask(int fd, const struct ucred *who, gid_t group);

#endif
