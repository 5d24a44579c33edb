/* A Lua value as JSON text. The same value always gives the same text: object keys
 * are sorted, numbers take the shortest form that reads back exactly.
 *
 * All memory it takes is Lua's, so it counts as the script's and nothing is lost
 * when an error jumps.
 */
#ifndef TIDEGATE_JSON_ENCODE_H
#define TIDEGATE_JSON_ENCODE_H

struct lua_State;

enum { JSON_DEPTH_MAX = 100 };

/* Pushes the text of the value at `index`. Raises "json.encode: items[3].name: a
 * function cannot be encoded". */
void json_encode(struct lua_State *L, int index);

#endif
