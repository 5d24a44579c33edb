/* An event becomes one run of bytes and one write(2), so that lines of several
 * processes on the same stderr do not mix and none sits in a buffer when the
 * agent is killed. No memory is allocated: logging works when nothing else
 * does. What does not fit into the line is cut off.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "utf8.h"

#define TEXT_MAX 8192 /* one event before escaping */
#define LINE_MAX_SIZE (2 * TEXT_MAX)
#define CUT "..."

static struct {
	enum log_level level;
	enum log_target target;
	bool journal; /* stderr is read by journald, which takes "<3>" as the priority */
	log_sink *sink; /* NULL: none */
	void *sink_arg;
} settings = {LOG_LEVEL_INFO, LOG_TARGET_STDERR, false, NULL, NULL};

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", LOG_ERR},
	[LOG_LEVEL_WARN] = {"warn", LOG_WARNING},
	[LOG_LEVEL_INFO] = {"info", LOG_INFO},
	[LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

/* What is being put together; never grows beyond its end. */
struct line {
	size_t size;
	bool cut;
	char data[LINE_MAX_SIZE + sizeof CUT + 1];
};

static void put(struct line *line, const char *data, size_t size)
{
	if (line->cut)
		return;
	if (size > LINE_MAX_SIZE - line->size) {
		line->cut = true;
		data = CUT;
		size = strlen(CUT);
	}
	memcpy(line->data + line->size, data, size);
	line->size += size;
}

/* One character of the text as it may be shown; returns how many bytes it took. */
static size_t put_escaped(struct line *line, const char *text)
{
	size_t size = utf8_printable(text, strnlen(text, 4));

	if (size > 0) {
		put(line, text, size);
		return size;
	}
	char escape[5];
	if (*text == '\t')
		snprintf(escape, sizeof escape, "\\t");
	else if (*text == '\r')
		snprintf(escape, sizeof escape, "\\r");
	else
		snprintf(escape, sizeof escape, "\\x%02x", (unsigned char)*text);
	put(line, escape, strlen(escape));
	return 1;
}

/* Up to the end of the line of text; returns where it stopped. */
static const char *put_text(struct line *line, const char *text)
{
	while (*text && *text != '\n')
		text += put_escaped(line, text);
	return text;
}

static void write_all(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDERR_FILENO, data, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody left to tell */
		data += n;
		size -= (size_t)n;
	}
}

static void begin_line(struct line *line, enum log_level level)
{
	char prefix[8];

	if (settings.target != LOG_TARGET_STDERR || !settings.journal)
		return;
	snprintf(prefix, sizeof prefix, "<%d>", levels[level].priority);
	put(line, prefix, strlen(prefix));
}

/* syslog keeps lines apart: each is an entry of its own. */
static void end_line(struct line *line, enum log_level level)
{
	if (settings.target == LOG_TARGET_SYSLOG) {
		syslog(levels[level].priority, "%.*s", (int)line->size, line->data);
		line->size = 0;
	} else {
		line->data[line->size++] = '\n'; /* there is always room for this one */
	}
}

void log_text(enum log_level level, const char *component, const char *text)
{
	struct line line;

	if (!log_enabled(level))
		return;
	if (settings.sink) {
		settings.sink(settings.sink_arg, level, component, text);
		return;
	}
	line.size = 0;
	line.cut = false;
	begin_line(&line, level);
	put(&line, levels[level].name, strlen(levels[level].name));
	put(&line, " ", 1);
	put_text(&line, component);
	put(&line, ": ", 2);
	text = put_text(&line, text);
	while (!line.cut && text[strspn(text, "\n")]) {
		end_line(&line, level);
		begin_line(&line, level);
		put(&line, "    ", 4);
		text = put_text(&line, text + strspn(text, "\n\t")); /* Lua indents its tracebacks by a tab */
	}
	end_line(&line, level);
	write_all(line.data, line.size);
}

__attribute__((format(printf, 3, 0)))
static void log_va(enum log_level level, const char *component, const char *format, va_list args)
{
	char text[TEXT_MAX];

	if (!log_enabled(level))
		return;
	int n = vsnprintf(text, sizeof text, format, args);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof text)
		memcpy(text + sizeof text - sizeof CUT, CUT, sizeof CUT);
	log_text(level, component, text);
}

static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       device == (unsigned long long)st.st_dev && inode == (unsigned long long)st.st_ino;
}

void log_setup(enum log_level level, enum log_target target)
{
	settings.level = level;
	settings.target = target;
	settings.journal = stderr_is_journal();
	if (target == LOG_TARGET_SYSLOG)
		openlog("tidegate", LOG_PID, LOG_DAEMON);
}

void log_divert(log_sink *sink, void *arg)
{
	settings.sink = sink;
	settings.sink_arg = arg;
}

bool log_enabled(enum log_level level)
{
	return level <= settings.level;
}

void log_error(const char *component, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_va(LOG_LEVEL_ERROR, component, format, args);
	va_end(args);
}

void log_warn(const char *component, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_va(LOG_LEVEL_WARN, component, format, args);
	va_end(args);
}

void log_info(const char *component, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_va(LOG_LEVEL_INFO, component, format, args);
	va_end(args);
}

void log_debug(const char *component, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_va(LOG_LEVEL_DEBUG, component, format, args);
	va_end(args);
}
