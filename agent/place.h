/* Where in a Lua value a walk through it is, so that an error can name the spot:
 * "ctx.items[3].name". A chain on the C stack, read only when there is something
 * to say.
 */
#ifndef TIDEGATE_PLACE_H
#define TIDEGATE_PLACE_H

#include <stddef.h>

struct lua_State;

struct place {
	const struct place *parent; /* NULL: the whole value */
	int key;                    /* stack index of the key that led here */
	int depth;
};

/* Writes "WHAT.items[3].name", cut to `size`; without `what` ("") there is no dot
 * in front. Never raises. */
void place_name(struct lua_State *L, const struct place *place, const char *what, char *text, size_t size);

/* Adds the key at stack index `key` to such a text. */
void place_add_key(struct lua_State *L, int key, char *text, size_t size);

#endif
