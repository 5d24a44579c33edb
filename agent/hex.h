#ifndef TIDEGATE_HEX_H
#define TIDEGATE_HEX_H

/* The value of a hexadecimal digit, of either case; -1: it is none. */
int hex_digit(char c);

#endif
