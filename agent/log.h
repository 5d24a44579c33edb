/* One line an event: `level component: message key=value ...`.
 *
 * Goes to stderr (with syslog priority prefixes when stderr is the journal's)
 * or to syslog. The one global of the agent: everything that decides something
 * may say so.
 */
#ifndef TIDEGATE_LOG_H
#define TIDEGATE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

void log_setup(enum log_level level, enum log_target target);
bool log_enabled(enum log_level level);

/* From now on lines go there instead. */
typedef void log_sink(void *arg, enum log_level level, const char *component, const char *text);
void log_divert(log_sink *sink, void *arg);

/* `component` names the part that speaks: "agent", "store", "link core",
 * "script rules.lua". Control characters in the text are escaped; a line feed
 * starts a continuation line, indented. */
void log_error(const char *component, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_warn(const char *component, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_info(const char *component, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_debug(const char *component, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_text(enum log_level level, const char *component, const char *text);

#endif
