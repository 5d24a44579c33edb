#include "hex.h"

#include <ctype.h>

int hex_digit(char c)
{
	unsigned char byte = (unsigned char)c;

	if (!isxdigit(byte))
		return -1;
	return isdigit(byte) ? byte - '0' : tolower(byte) - 'a' + 10;
}
