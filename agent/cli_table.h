/* Text for people: tables, durations, sizes. What came from outside is shown with
 * its control characters escaped: a topic must not steer a terminal.
 */
#ifndef TIDEGATE_CLI_TABLE_H
#define TIDEGATE_CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table;

/* `heads` are the columns, up to NULL; ">" before one aligns it to the right, as
 * numbers want. Lines are cut at `width`, unless they end with a number; 0: never.
 * NULL: memory is exhausted. */
struct table *table_open(const char *const *heads, size_t width);

/* The next cell, row by row. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints it and an empty line, or nothing if it has no rows; frees it. */
void table_print(struct table *table, FILE *out);

/* How wide the terminal on stdout is; 0: stdout is none. */
size_t text_width(void);

/* Prints bytes: control characters, and what is no UTF-8, as \xNN. `kept` are control
 * characters to leave alone. */
void text_print(FILE *out, const char *data, size_t size, const char *kept);

/* To stdout, all but line feeds escaped so. */
void text_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Numbers for people: text_bytes(n).string, in the expression where it is needed. */
struct text {
	char string[40];
};
struct text text_duration(double seconds); /* "12 s", "5 min", "3 h 20 min", "12 d 3 h" */
struct text text_bytes(double bytes);      /* "512 B", "12 KB", "1.4 MB"; powers of 1024 */
struct text text_time(double seconds);     /* since 1970: "2026-11-21 10:11:12", local time */

#endif
