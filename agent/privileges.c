/* Groups, then the group, then the user: afterwards there is no right left to change the
 * others with. That it is for good is tried, not believed: a process may have been started with
 * bits set (capabilities(7), secure bits) under which the kernel lets root's rights stay. */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "log.h"

bool privileges_user_exists(const char *name)
{
	return getpwnam(name) != NULL;
}

void privileges_name(unsigned uid, char name[PRIVILEGES_NAME])
{
	const struct passwd *entry = getpwuid((uid_t)uid);

	if (entry)
		snprintf(name, PRIVILEGES_NAME, "%s", entry->pw_name);
	else
		snprintf(name, PRIVILEGES_NAME, "%u", uid);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};

	return (int)syscall(SYS_capset, &header, none);
}

/* NULL, or what failed. Dumpable again, as a process is that this user has started: it could not
 * read its own figures in /proc otherwise. */
static const char *become(const struct passwd *user)
{
	if (initgroups(user->pw_name, user->pw_gid) != 0)
		return "cannot take its groups";
	if (setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0)
		return "cannot take its group";
	if (setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
		return "cannot become it";
	if (drop_capabilities() != 0)
		return "cannot drop capabilities";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return "cannot give up gaining rights";
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
		return "cannot be dumpable";
	errno = 0;
	if (setuid(0) == 0 || seteuid(0) == 0 || (user->pw_gid != 0 && setgid(0) == 0))
		return "could become root again";
	return NULL;
}

int privileges_drop(const char *user, char *err, size_t err_size)
{
	const char *name = user ? user : PRIVILEGES_USER, *problem;
	const struct passwd *entry = geteuid() == 0 ? getpwnam(name) : NULL;

	if (geteuid() != 0 || (!entry && !user) || (entry && entry->pw_uid == 0))
		return 0;
	if (!entry) {
		snprintf(err, err_size, "there is no user \"%.60s\" on this machine", name);
		return -1;
	}
	problem = become(entry);
	if (!problem)
		return 1;
	snprintf(err, err_size, "user %s: %s%s%s", name, problem, errno ? ": " : "", errno ? strerror(errno) : "");
	return -1;
}

void privileges_settle(const char *user)
{
	const struct passwd *entry = user ? getpwnam(user) : NULL;
	bool another = user && (!entry || entry->pw_uid != geteuid());
	char name[PRIVILEGES_NAME] = "";

	if (another)
		privileges_name(geteuid(), name);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		log_warn("agent", "programs it might start could gain rights: %s", strerror(errno));
	if (geteuid() == 0 && !user)
		log_warn("agent", "runs as root: make a user \"%s\", or name one with `user` in agent.lua",
		         PRIVILEGES_USER);
	else if (another)
		log_warn("agent", "runs as %s, and not as `user` says: only root could become \"%.60s\"", name, user);
}
