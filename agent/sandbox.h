/* Lua's standard libraries as far as scripts get them: nothing that reaches
 * files, processes, bytecode or the inside of the interpreter, and nothing that
 * lets a script run code out of reach of its CPU limit.
 */
#ifndef TIDEGATE_SANDBOX_H
#define TIDEGATE_SANDBOX_H

struct lua_State;
struct sources;

/* Opens them in the globals of L. `require` finds modules below `directory`,
 * `directory`/lib and the library's directory, and reads them by way of `sources`. May
 * raise a memory error. */
void sandbox_open(struct lua_State *L, const char *directory, struct sources *sources);

/* Pushes the compiled chunk of a file, which must be text, or raises. */
void sandbox_load(struct lua_State *L, struct sources *sources, const char *path);

/* In string and table, which are open: bounds what could run for ever in one go
 * without needing memory. */
void sandbox_bound(struct lua_State *L);

#endif
