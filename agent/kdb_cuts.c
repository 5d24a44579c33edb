/* A short list in no order. Table names are identifiers: they have no blanks. */
#include "kdb_cuts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kdb_cuts_release(struct kdb_cuts *cuts)
{
	for (size_t i = 0; i < cuts->n; i++)
		free(cuts->cuts[i].table);
	free(cuts->cuts);
	*cuts = (struct kdb_cuts){0};
}

static int reserve(struct kdb_cuts *cuts)
{
	size_t size = cuts->size ? cuts->size * 2 : 8;
	struct kdb_cut *bigger;

	if (cuts->n < cuts->size)
		return 0;
	bigger = realloc(cuts->cuts, size * sizeof *bigger);
	if (!bigger)
		return -1;
	cuts->cuts = bigger;
	cuts->size = size;
	return 0;
}

bool kdb_cuts_has(const struct kdb_cuts *cuts, const char *table, uint64_t seq)
{
	return kdb_cuts_end(cuts, table, seq) == seq;
}

int kdb_cuts_add(struct kdb_cuts *cuts, const char *table, uint64_t seq)
{
	char *name;

	if (kdb_cuts_has(cuts, table, seq))
		return 0;
	if (reserve(cuts) < 0 || !(name = strdup(table)))
		return -1;
	cuts->cuts[cuts->n++] = (struct kdb_cut){.table = name, .seq = seq};
	return 1;
}

uint64_t kdb_cuts_end(const struct kdb_cuts *cuts, const char *table, uint64_t seq)
{
	uint64_t end = UINT64_MAX;

	for (size_t i = 0; i < cuts->n; i++)
		if (cuts->cuts[i].seq >= seq && cuts->cuts[i].seq < end && strcmp(cuts->cuts[i].table, table) == 0)
			end = cuts->cuts[i].seq;
	return end;
}

void kdb_cuts_settled(struct kdb_cuts *cuts, const char *table, uint64_t seq)
{
	size_t kept = 0;

	for (size_t i = 0; i < cuts->n; i++)
		if (cuts->cuts[i].seq <= seq && strcmp(cuts->cuts[i].table, table) == 0)
			free(cuts->cuts[i].table);
		else
			cuts->cuts[kept++] = cuts->cuts[i];
	cuts->n = kept;
}

char *kdb_cuts_text(const struct kdb_cuts *cuts)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < cuts->n; i++)
		fprintf(out, "%s%s %" PRIu64, i > 0 ? " " : "", cuts->cuts[i].table, cuts->cuts[i].seq);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

int kdb_cuts_restore(struct kdb_cuts *cuts, const char *text)
{
	int result = 0;

	while (*text && result >= 0) {
		size_t length = strcspn(text, " ");
		char *table = strndup(text, length), *end = NULL;
		uint64_t seq = text[length] ? strtoull(text + length, &end, 10) : 0;

		result = table && seq > 0 && length > 0 ? kdb_cuts_add(cuts, table, seq) : -1;
		free(table);
		text = end ? end + strspn(end, " ") : "";
	}
	return result < 0 ? -1 : 0;
}
