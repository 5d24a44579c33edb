/* Lua's patterns, as in string.find(), for what has no Lua state: an owner writes those in
 * agent.lua, and knows them from scripts.
 */
#ifndef TIDEGATE_PATTERN_H
#define TIDEGATE_PATTERN_H

#include <stddef.h>

/* 1 if the pattern is found anywhere in the text, 0 if not; -1 if it is malformed, or no memory, with `err`. Some
 * mistakes are only seen with a text that gets as far. Takes some microseconds: for what is rare. */
int pattern_find(const char *pattern, const char *text, size_t size, char *err, size_t err_size);

#endif
