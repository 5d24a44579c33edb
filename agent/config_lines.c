/* On which line a key was given. Lua does not keep that, so the source is read
 * once more, as tokens only: the table that the chunk returns is followed where
 * it is written out literally (`return { ... }`, or `local c = { ... } return c`),
 * everything else is stepped over. The source is known to be valid Lua.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_read.h"

#define DEPTH_MAX 16 /* tables in tables; deeper ones are not followed */

struct entry {
	char *path;
	int line;
};

struct lines {
	struct entry *entries;
	size_t n, capacity;
};

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_OTHER };

struct token {
	enum token_kind kind;
	const char *text; /* a string's without its quotes */
	size_t size;
	int line;
};

struct scanner {
	const char *at;
	int line;
	struct token token; /* the current one */
	struct lines *lines;
	bool failed;    /* memory is exhausted */
	char path[256]; /* of the table being followed */
};

static bool is_name(int c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The `=` signs of a long bracket that opens here, -1 if none does. */
static int long_bracket(const char *at)
{
	size_t level = strspn(at + 1, "=");
	return *at == '[' && at[1 + level] == '[' ? (int)level : -1;
}

/* Steps over [[...]] or [==[...]==]; the token is its contents. */
static void scan_long(struct scanner *scanner, int level)
{
	const char *start = scanner->at + level + 2;
	const char *end = start;

	while (*end && !(*end == ']' && strspn(end + 1, "=") == (size_t)level && end[1 + level] == ']'))
		scanner->line += *end++ == '\n';
	scanner->token.text = start;
	scanner->token.size = (size_t)(end - start);
	scanner->at = *end ? end + level + 2 : end;
}

static void scan_string(struct scanner *scanner)
{
	char quote = *scanner->at;
	const char *end = scanner->at + 1;

	scanner->token.text = end;
	while (*end && *end != quote) {
		if (*end == '\\' && end[1])
			end++; /* an escaped quote, or a line feed */
		scanner->line += *end++ == '\n';
	}
	scanner->token.size = (size_t)(end - scanner->token.text);
	scanner->at = *end ? end + 1 : end;
}

static void skip_blanks(struct scanner *scanner)
{
	for (;;) {
		while (isspace((unsigned char)*scanner->at))
			scanner->line += *scanner->at++ == '\n';
		if (strncmp(scanner->at, "--", 2) != 0)
			return;
		scanner->at += 2;
		int level = long_bracket(scanner->at);
		if (level >= 0)
			scan_long(scanner, level);
		else
			scanner->at += strcspn(scanner->at, "\n");
	}
}

static void next(struct scanner *scanner)
{
	struct token *token = &scanner->token;

	skip_blanks(scanner);
	token->line = scanner->line;
	token->text = scanner->at;
	token->size = 1;
	if (!*scanner->at) {
		token->kind = TOKEN_END;
	} else if (*scanner->at == '"' || *scanner->at == '\'') {
		token->kind = TOKEN_STRING;
		scan_string(scanner);
	} else if (long_bracket(scanner->at) >= 0) {
		token->kind = TOKEN_STRING;
		scan_long(scanner, long_bracket(scanner->at));
	} else if (is_name(*scanner->at)) { /* numbers too: they are nobody's key */
		token->kind = TOKEN_NAME;
		while (is_name(scanner->at[token->size]))
			token->size++;
		scanner->at += token->size;
	} else {
		token->kind = TOKEN_OTHER;
		token->size = strncmp(scanner->at, "==", 2) == 0 ? 2 : 1;
		scanner->at += token->size;
	}
}

static bool is(const struct scanner *scanner, const char *text)
{
	const struct token *token = &scanner->token;
	return token->kind != TOKEN_STRING && token->kind != TOKEN_END && strlen(text) == token->size &&
	       memcmp(text, token->text, token->size) == 0;
}

static bool is_any(const struct scanner *scanner, const char *const *texts)
{
	for (; *texts; texts++)
		if (is(scanner, *texts))
			return true;
	return false;
}

/* +1 where something opens that must be closed, -1 where it closes. */
static int nesting(const struct scanner *scanner)
{
	static const char *const openers[] = {"{", "(", "[", "function", "do", "if", "repeat", NULL};
	static const char *const closers[] = {"}", ")", "]", "end", "until", NULL};

	return is_any(scanner, openers) - is_any(scanner, closers);
}

static void remember(struct scanner *scanner, int line)
{
	struct lines *lines = scanner->lines;

	if (lines->n == lines->capacity) {
		size_t capacity = lines->capacity ? 2 * lines->capacity : 64;
		struct entry *entries = realloc(lines->entries, capacity * sizeof *entries);
		if (!entries) {
			scanner->failed = true;
			return;
		}
		lines->entries = entries;
		lines->capacity = capacity;
	}
	lines->entries[lines->n].line = line;
	lines->entries[lines->n].path = strdup(scanner->path);
	if (lines->entries[lines->n].path)
		lines->n++;
	else
		scanner->failed = true;
}

/* Up to the comma or brace that ends the value; the scanner stands on it then. */
static void skip_value(struct scanner *scanner)
{
	for (int depth = 0; scanner->token.kind != TOKEN_END; next(scanner)) {
		if (depth == 0 && (is(scanner, ",") || is(scanner, ";") || is(scanner, "}")))
			return;
		depth += nesting(scanner);
	}
}

/* Appends `.key` to the path; false if it does not fit. */
static bool enter_key(struct scanner *scanner, const struct token *key)
{
	size_t used = strlen(scanner->path), dot = used > 0;

	if (used + dot + key->size >= sizeof scanner->path)
		return false;
	if (dot)
		scanner->path[used] = '.';
	memcpy(scanner->path + used + dot, key->text, key->size);
	scanner->path[used + dot + key->size] = 0;
	return true;
}

static bool enter_index(struct scanner *scanner, size_t index)
{
	size_t used = strlen(scanner->path), room = sizeof scanner->path - used;
	int n = snprintf(scanner->path + used, room, "[%zu]", index);
	return n > 0 && (size_t)n < room;
}

/* `["key"] =`: with the scanner on the `[`. True if the key is a plain string. */
static bool scan_bracketed_key(struct scanner *scanner, struct token *key)
{
	next(scanner);
	int depth = 1 + nesting(scanner);
	*key = scanner->token;
	bool plain = key->kind == TOKEN_STRING && !memchr(key->text, '\\', key->size);
	next(scanner);
	plain = plain && is(scanner, "]");
	while (scanner->token.kind != TOKEN_END && (depth += nesting(scanner)) > 0)
		next(scanner);
	next(scanner); /* the `]` */
	next(scanner); /* the `=` */
	return plain;
}

/* Follows a table constructor, with the scanner behind its `{`. */
static void follow_table(struct scanner *scanner, int depth)
{
	size_t index = 0, mark = strlen(scanner->path);

	while (scanner->token.kind != TOKEN_END && !is(scanner, "}")) {
		struct token first = scanner->token;
		struct scanner before = *scanner;
		bool located;
		if (is(scanner, "[")) {
			located = scan_bracketed_key(scanner, &first) && enter_key(scanner, &first);
		} else if (next(scanner), first.kind == TOKEN_NAME && is(scanner, "=")) {
			next(scanner);
			located = enter_key(scanner, &first);
		} else {
			*scanner = before;
			located = enter_index(scanner, ++index);
		}
		if (located)
			remember(scanner, first.line);
		if (located && is(scanner, "{") && depth < DEPTH_MAX) {
			next(scanner);
			follow_table(scanner, depth + 1);
			next(scanner);
		}
		skip_value(scanner);
		if (!is(scanner, "}"))
			next(scanner);
		scanner->path[mark] = 0;
	}
}

/* Moves to the first token of what the chunk returns at its end; false if it
 * does not. */
static bool find_return(struct scanner *scanner)
{
	struct scanner found = {0};

	for (int depth = 0; scanner->token.kind != TOKEN_END; next(scanner)) {
		if (depth == 0 && is(scanner, "return"))
			found = *scanner;
		depth += nesting(scanner);
	}
	if (!found.at)
		return false;
	*scanner = found;
	next(scanner);
	return true;
}

/* Moves to the `{` of the chunk's `name = {`. */
static bool find_assignment(struct scanner *scanner, const struct token *name)
{
	for (int depth = 0; scanner->token.kind != TOKEN_END; next(scanner)) {
		bool same = depth == 0 && scanner->token.kind == TOKEN_NAME && scanner->token.size == name->size &&
			    memcmp(scanner->token.text, name->text, name->size) == 0;
		depth += nesting(scanner);
		if (!same)
			continue;
		struct scanner before = *scanner;
		next(scanner);
		if (is(scanner, "=")) {
			next(scanner);
			if (is(scanner, "{"))
				return true;
		}
		*scanner = before;
	}
	return false;
}

struct lines *lines_open(const char *source)
{
	struct lines *lines = calloc(1, sizeof *lines);
	if (!lines)
		return NULL;

	struct scanner start = {.at = source, .line = 1, .lines = lines};
	next(&start);
	struct scanner scanner = start;
	bool found = find_return(&scanner);
	if (found && scanner.token.kind == TOKEN_NAME) {
		struct token name = scanner.token;
		scanner = start;
		found = find_assignment(&scanner, &name);
	}
	if (found && is(&scanner, "{")) {
		next(&scanner);
		follow_table(&scanner, 0);
	}
	if (scanner.failed) {
		lines_close(lines);
		return NULL;
	}
	return lines;
}

void lines_close(struct lines *lines)
{
	if (!lines)
		return;
	for (size_t i = 0; i < lines->n; i++)
		free(lines->entries[i].path);
	free(lines->entries);
	free(lines);
}

int lines_find(const struct lines *lines, const char *path)
{
	size_t size = strlen(path);

	/* Without the last key, and again, until something is known; of a key given
	 * twice the last one counts. */
	while (size > 0) {
		for (size_t i = lines->n; i-- > 0;) {
			const char *entry = lines->entries[i].path;
			if (strlen(entry) == size && memcmp(entry, path, size) == 0)
				return lines->entries[i].line;
		}
		do
			size--;
		while (size > 0 && path[size] != '.' && path[size] != '[');
	}
	return 0;
}
