#include "utf8.h"

/* The first byte tells how many there are; some first bytes allow only part of what a second one
 * can be (RFC 3629, section 4), and 0xc2 begins Latin-1's control characters. */
size_t utf8_printable(const void *text, size_t size)
{
	const unsigned char *p = text;
	size_t length;

	if (size == 0 || *p < ' ' || *p == 0x7f)
		return 0;
	length = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
	if (length > size)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xc2 && p[1] < 0xa0) || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return length;
}
