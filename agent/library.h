/* Where the rules library is: the Lua modules that come with Tidegate.
 *
 * It is found from the running program's own place, so that an installation can be
 * moved: PREFIX/bin/tidegate has it in PREFIX/share/tidegate/scripts/lib; a program
 * below a directory `build` has it in scripts/lib beside that directory.
 */
#ifndef TIDEGATE_LIBRARY_H
#define TIDEGATE_LIBRARY_H

#include <stddef.h>

/* Writes into `path` the directory that `require` searches last: that of the
 * sources, if the program was built there, or else the installed one, whether it is
 * there or not. -1 if the program's place cannot be told, or `size` is too small. */
int library_directory(char *path, size_t size);

/* What the place of `program` says, without looking: -1 if it says nothing, or
 * `size` is too small. */
int library_of_sources(const char *program, char *path, size_t size);
int library_installed(const char *program, char *path, size_t size);

#endif
