/* Cells in one growing run of bytes, printed when all widths are known. */
#include "cli_table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"
#include "utf8.h"

#define COLUMNS_MAX 64
#define GAP 2 /* blanks between columns */
#define MORE "..."

struct table {
	size_t n_columns, n_cells, width;
	size_t widths[COLUMNS_MAX]; /* in characters */
	bool right[COLUMNS_MAX];
	struct buffer cells; /* each ends with a NUL; the first row are the heads */
	bool failed; /* no memory: cells are missing */
};

/* ---- escaping ---- */

static void escape(struct buffer *to, const char *data, size_t size, const char *kept)
{
	char code[8];

	for (size_t i = 0; i < size;) {
		size_t length = utf8_printable(data + i, size - i);

		if (length == 0 && data[i] != '\0' && strchr(kept, data[i]))
			length = 1;
		snprintf(code, sizeof code, "\\x%02x", (unsigned char)data[i]);
		if ((length > 0 ? buffer_append(to, data + i, length) : buffer_append(to, code, strlen(code))) < 0)
			return; /* no memory: the rest is not shown */
		i += length > 0 ? length : 1;
	}
}

void text_print(FILE *out, const char *data, size_t size, const char *kept)
{
	struct buffer text = {0};

	escape(&text, data, size, kept);
	fwrite(text.data, 1, text.size, out);
	buffer_release(&text);
}

void text_printf(const char *format, ...)
{
	va_list arguments;
	char *text = NULL;
	int size;

	va_start(arguments, format);
	size = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (size < 0)
		return;
	text_print(stdout, text, (size_t)size, "\n");
	free(text);
}

/* ---- tables ---- */

/* One byte of each UTF-8 sequence counts. */
static bool is_character(char byte)
{
	return ((unsigned char)byte & 0xc0) != 0x80;
}

static size_t characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += is_character(*text);
	return n;
}

static void add(struct table *table, const char *text)
{
	size_t column = table->n_cells % table->n_columns, at = table->cells.size, width;

	escape(&table->cells, text, strlen(text), "");
	if (buffer_append(&table->cells, "", 1) < 0) {
		table->failed = true;
		return;
	}
	table->n_cells++;
	width = characters(table->cells.data + at);
	if (width > table->widths[column])
		table->widths[column] = width;
}

struct table *table_open(const char *const *heads, size_t width)
{
	struct table *table = calloc(1, sizeof *table);

	if (!table)
		return NULL;
	table->width = width;
	while (table->n_columns < COLUMNS_MAX && heads[table->n_columns])
		table->n_columns++;
	for (size_t i = 0; i < table->n_columns; i++) {
		table->right[i] = *heads[i] == '>';
		add(table, heads[i] + table->right[i]);
	}
	return table;
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	if (!table)
		return;
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	add(table, text ? text : "");
	free(text);
}

static void append_blanks(struct buffer *line, size_t n)
{
	while (n-- > 0 && buffer_append(line, " ", 1) == 0)
		;
}

/* Cuts it after as many characters as fit, and says so. */
static void cut(struct buffer *line, size_t width)
{
	size_t n = 0, at = 0;

	if (width <= strlen(MORE) || characters(line->data) <= width)
		return;
	for (; n <= width - strlen(MORE); at++)
		n += is_character(line->data[at]);
	line->size = at - 1;
	buffer_append(line, MORE, sizeof MORE);
}

/* Returns the cell after the row. */
static const char *print_row(const struct table *table, const char *cell, FILE *out)
{
	struct buffer line = {0};

	for (size_t i = 0; i < table->n_columns; i++, cell += strlen(cell) + 1) {
		size_t blanks = table->widths[i] - characters(cell);

		append_blanks(&line, (i > 0 ? GAP : 0) + (table->right[i] ? blanks : 0));
		buffer_append(&line, cell, strlen(cell));
		if (!table->right[i] && i + 1 < table->n_columns)
			append_blanks(&line, blanks);
	}
	if (buffer_append(&line, "", 1) == 0) {
		if (table->width > 0 && !table->right[table->n_columns - 1]) /* no number is cut */
			cut(&line, table->width);
		fprintf(out, "%s\n", line.data);
	}
	buffer_release(&line);
	return cell;
}

void table_print(struct table *table, FILE *out)
{
	size_t rows = table && !table->failed ? table->n_cells / table->n_columns : 0;
	const char *cell = table ? table->cells.data : NULL;

	for (size_t i = 0; rows > 1 && i < rows; i++)
		cell = print_row(table, cell, out);
	if (rows > 1)
		fputc('\n', out);
	if (table)
		buffer_release(&table->cells);
	free(table);
}

/* ---- numbers ---- */

size_t text_width(void)
{
	struct winsize size;

	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

struct text text_duration(double seconds)
{
	struct text text = {""};
	long long s = seconds > 0 ? (long long)seconds : 0;

	if (s < 60)
		snprintf(text.string, sizeof text.string, "%lld s", s);
	else if (s < 3600)
		snprintf(text.string, sizeof text.string, "%lld min", s / 60);
	else if (s < 86400)
		snprintf(text.string, sizeof text.string, "%lld h %lld min", s / 3600, s / 60 % 60);
	else
		snprintf(text.string, sizeof text.string, "%lld d %lld h", s / 86400, s / 3600 % 24);
	return text;
}

struct text text_bytes(double bytes)
{
	struct text text = {""};
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text.string, sizeof text.string, "%.*f %s", unit > 0 && bytes < 9.95 ? 1 : 0, bytes, units[unit]);
	return text;
}

struct text text_time(double seconds)
{
	struct text text = {""};
	time_t time = seconds > 0 && seconds < 1e11 ? (time_t)seconds : 0;
	struct tm local;

	if (time == 0 || !localtime_r(&time, &local) ||
	    strftime(text.string, sizeof text.string, "%Y-%m-%d %H:%M:%S", &local) == 0)
		snprintf(text.string, sizeof text.string, "?");
	return text;
}
