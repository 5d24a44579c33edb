/* Which bytes can be shown as they are. */
#ifndef TIDEGATE_UTF8_H
#define TIDEGATE_UTF8_H

#include <stddef.h>

/* The size of the character that begins a text of `size` bytes; 0: it is no UTF-8 (RFC 3629), a
 * control character, or the text is empty. */
size_t utf8_printable(const void *text, size_t size);

#endif
