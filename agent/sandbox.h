/* Lua's standard libraries as far as scripts get them: nothing that reaches
 * files, processes, bytecode or the inside of the interpreter, and nothing that
 * lets a script run code out of reach of its CPU limit.
 */
#ifndef TIDEGATE_SANDBOX_H
#define TIDEGATE_SANDBOX_H

struct lua_State;

/* Opens them in the globals of L. `require` finds modules below `directory`,
 * `directory`/lib and the library's directory. May raise a memory error. */
void sandbox_open(struct lua_State *L, const char *directory);

/* In string and table, which are open: bounds what could run for ever in one go
 * without needing memory. */
void sandbox_bound(struct lua_State *L);

#endif
