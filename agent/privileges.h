/* Whose rights the agent has.
 *
 * Started as root it becomes another user for good, before it reads a secret that it will
 * use, opens the database or a socket: so what it finds at the start it finds at each
 * reload, too, and whatever it makes is that user's. */
#ifndef TIDEGATE_PRIVILEGES_H
#define TIDEGATE_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

#define PRIVILEGES_USER "tidegate" /* who it becomes if nothing else is configured, and there is such a user */

bool privileges_user_exists(const char *name);

/* The name of a user; "1234" of one without. */
enum { PRIVILEGES_NAME = 64 };
void privileges_name(unsigned uid, char name[PRIVILEGES_NAME]);

/* As root: becomes `user` (NULL: PRIVILEGES_USER, if there is one), with the groups that
 * it is in, without capabilities and without a way back. 1: done. 0: nothing to do, as it is not
 * root, or is to stay root. -1: it failed, with the reason in `err`; the process must not go on. */
int privileges_drop(const char *user, char *err, size_t err_size);

/* From now on no program that is started can gain rights. Logs what `user`, as configured, asks for
 * and is not. */
void privileges_settle(const char *user);

#endif
