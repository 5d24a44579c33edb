/* The kernel knows which groups a peer has had since it connected; kernels before
 * Linux 4.13 do not tell, and then the system's list of users and groups is asked. */
#include "peer.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#define GROUPS_FEW 64
#define GROUPS_MAX 65536 /* the kernel's own limit */

static bool has(const gid_t *groups, size_t n, gid_t group)
{
	for (size_t i = 0; i < n; i++)
		if (groups[i] == group)
			return true;
	return false;
}

#ifdef SO_PEERGROUPS
/* Into room for `*n`, which becomes how many there are. 0, or an errno. */
static int ask_kernel(int fd, gid_t *groups, size_t *n)
{
	socklen_t size = (socklen_t)(*n * sizeof *groups);
	int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);

	*n = size / sizeof *groups;
	return result == 0 ? 0 : errno;
}

/* False: this kernel does not tell. */
static bool kernel_knows(int fd, gid_t group, bool *member)
{
	gid_t few[GROUPS_FEW], *many;
	size_t n = GROUPS_FEW;
	int problem = ask_kernel(fd, few, &n);

	*member = problem == 0 && has(few, n, group);
	if (problem != ERANGE)
		return problem == 0;
	many = n <= GROUPS_MAX ? calloc(n, sizeof *many) : NULL;
	*member = many && ask_kernel(fd, many, &n) == 0 && has(many, n, group);
	free(many);
	return true;
}
#else
static bool kernel_knows(int fd, gid_t group, bool *member)
{
	(void)fd;
	(void)group;
	(void)member;
	return false;
}
#endif

static bool is_listed(uid_t user, gid_t group)
{
	const struct passwd *entry = getpwuid(user);
	gid_t few[GROUPS_FEW];
	int n = GROUPS_FEW;

	/* What has no room here is not a member: rather ask with the group set, as newgrp(1) does. */
	return entry && getgrouplist(entry->pw_name, entry->pw_gid, few, &n) >= 0 && has(few, (size_t)n, group);
}

bool peer_may_ask(int fd, const struct ucred *who, gid_t group)
{
	bool member;

	if (who->uid == 0 || who->uid == geteuid() || who->gid == group)
		return true;
	return kernel_knows(fd, group, &member) ? member : is_listed(who->uid, group);
}
