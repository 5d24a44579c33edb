/* A table of texts. */
#include "kdb_errors.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum where { WHOLE, BEGINNING, ANYWHERE };

static const struct known {
	const char *text;
	enum where where;
	enum kdb_fault fault;
} known[] = {
        {"type", WHOLE, KDB_FAULT_ROWS},
        {"length", WHOLE, KDB_FAULT_ROWS},
        {"mismatch", WHOLE, KDB_FAULT_ROWS},
        {"rank", WHOLE, KDB_FAULT_ROWS},
        {"cast", WHOLE, KDB_FAULT_ROWS},
        {"nyi", WHOLE, KDB_FAULT_ROWS},
        {"domain", WHOLE, KDB_FAULT_ROWS},
        {"tidegate.overlap", BEGINNING, KDB_FAULT_ROWS}, /* some of them it has: one at a time it can tell which */
        {"stop", WHOLE, KDB_FAULT_MOMENT},
        {"more than one day?", WHOLE, KDB_FAULT_MOMENT},
        {"wsfull", WHOLE, KDB_FAULT_SIZE},
        {"limit", WHOLE, KDB_FAULT_SIZE},
        {"access", WHOLE, KDB_FAULT_DENIED},
        {"noupdate", BEGINNING, KDB_FAULT_DENIED},
        {"restricted", ANYWHERE, KDB_FAULT_DENIED},
        {"not allowed", ANYWHERE, KDB_FAULT_DENIED},
        {"not permitted", ANYWHERE, KDB_FAULT_DENIED},
        {"permission", ANYWHERE, KDB_FAULT_DENIED},
        {"denied", ANYWHERE, KDB_FAULT_DENIED},
        {"unauthor", ANYWHERE, KDB_FAULT_DENIED},
        {"no space left", ANYWHERE, KDB_FAULT_DISK},
};

static bool begins(struct bytes text, const char *with)
{
	return text.size >= strlen(with) && strncasecmp(text.data, with, strlen(with)) == 0;
}

static bool is(struct bytes text, const char *whole)
{
	return text.size == strlen(whole) && (text.size == 0 || memcmp(text.data, whole, text.size) == 0);
}

static bool has(struct bytes text, const char *part)
{
	for (; text.size > 0; text.data = (const char *)text.data + 1, text.size--)
		if (begins(text, part))
			return true;
	return false;
}

static bool matches(struct bytes text, const struct known *one)
{
	switch (one->where) {
	case WHOLE:
		return is(text, one->text);
	case BEGINNING:
		return begins(text, one->text);
	default:
		return has(text, one->text);
	}
}

/* The operating system's words, behind "os". */
static bool is_of_system(struct bytes text)
{
	return is(text, "os") || (text.size > 2 && begins(text, "os") && !isalnum(((const unsigned char *)text.data)[2]));
}

enum kdb_fault kdb_fault_of(struct bytes text, const char *function, const char *table)
{
	if (is(text, table) || is(text, function) || (function[0] == '.' && is(text, function + 1)))
		return KDB_FAULT_MISSING;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (matches(text, &known[i]))
			return known[i].fault;
	return is_of_system(text) ? KDB_FAULT_DISK : KDB_FAULT_UNKNOWN;
}
