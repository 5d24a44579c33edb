/* A small set with one entry a filter, in the order they were wanted. */
#include "subscriptions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

static struct subscription_entry *find(const struct subscriptions *set, const char *filter)
{
	for (size_t i = 0; i < set->n; i++)
		if (strcmp(set->entries[i].subscription.filter, filter) == 0)
			return &set->entries[i];
	return NULL;
}

static bool same_options(const struct subscription *a, const struct subscription *b)
{
	return a->qos == b->qos && a->no_local == b->no_local && a->retain_as_published == b->retain_as_published &&
	       a->retain_handling == b->retain_handling;
}

static bool is_leaving(const struct subscription_entry *entry)
{
	return entry->state == SUBSCRIPTION_LEAVING || entry->state == SUBSCRIPTION_LEFT;
}

static struct subscription_entry *append(struct subscriptions *set, const struct subscription *subscription)
{
	struct subscription_entry *entries = realloc(set->entries, (set->n + 1) * sizeof *entries);
	char *filter = strdup(subscription->filter);

	if (entries)
		set->entries = entries;
	if (!entries || !filter) {
		free(filter);
		return NULL;
	}
	entries[set->n] = (struct subscription_entry){.subscription = *subscription};
	entries[set->n].subscription.filter = filter;
	return &entries[set->n++];
}

/* Changes in place what is wanted; it must be asked for unless the session has it as it is. */
static void want(struct subscription_entry *entry, const struct subscription *subscription)
{
	char *filter = entry->subscription.filter;

	if (same_options(&entry->subscription, subscription)) {
		if (entry->state == SUBSCRIPTION_LEAVING)
			entry->state = entry->before;
		if (!is_leaving(entry))
			return;
	}
	entry->subscription = *subscription;
	entry->subscription.filter = filter;
	entry->state = SUBSCRIPTION_NEW;
	entry->noted = false;
}

int subscriptions_add(struct subscriptions *set, const struct subscription *subscription, enum subscription_owner owner)
{
	struct subscription_entry *entry = find(set, subscription->filter);

	if (entry)
		want(entry, subscription);
	else
		entry = append(set, subscription);
	if (!entry)
		return -1;
	entry->owners |= owner;
	return 0;
}

bool subscriptions_full(const struct subscriptions *set, const char *filter)
{
	return set->n >= SUBSCRIPTIONS_MAX && !find(set, filter);
}

static void leave(struct subscription_entry *entry)
{
	entry->owners &= SUBSCRIPTION_OF_AGENT;
	if (entry->owners)
		return;
	if (is_leaving(entry))
		return;
	entry->before = entry->state;
	entry->state = SUBSCRIPTION_LEAVING;
}

void subscriptions_drop(struct subscriptions *set, const char *filter, enum subscription_owner owner)
{
	struct subscription_entry *entry = find(set, filter);

	if (!entry)
		return;
	entry->owners &= ~(unsigned)owner;
	if (entry->owners == 0)
		leave(entry);
}

void subscriptions_remove(struct subscriptions *set, const char *filter)
{
	struct subscription_entry *entry = find(set, filter);

	if (entry)
		leave(entry);
}

static void forget(struct subscriptions *set, size_t i)
{
	free(set->entries[i].subscription.filter);
	set->n--;
	memmove(&set->entries[i], &set->entries[i + 1], (set->n - i) * sizeof set->entries[0]);
}

const struct subscription *subscriptions_answered(struct subscriptions *set, int handle, bool granted)
{
	for (size_t i = 0; i < set->n; i++) {
		struct subscription_entry *entry = &set->entries[i];

		if (entry->state == SUBSCRIPTION_ASKED && entry->handle == handle) {
			entry->state = granted ? SUBSCRIPTION_GRANTED : SUBSCRIPTION_REFUSED;
			return &entry->subscription;
		}
	}
	return NULL;
}

bool subscriptions_ended(struct subscriptions *set, int handle)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->entries[i].state == SUBSCRIPTION_LEFT && set->entries[i].handle == handle) {
			forget(set, i);
			return true;
		}
	return false;
}

bool subscriptions_unnoted(const struct subscriptions *set)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->entries[i].state == SUBSCRIPTION_NEW && !set->entries[i].noted)
			return true;
	return false;
}

/* '+' for what the session has for sure, '?' for what it may have. */
static int append_line(struct buffer *text, const struct subscription_entry *entry)
{
	const struct subscription *s = &entry->subscription;
	char options[32];

	snprintf(options, sizeof options, "\n%c%d %d %d %d ", entry->state == SUBSCRIPTION_GRANTED ? '+' : '?', s->qos,
	         s->no_local, s->retain_as_published, s->retain_handling);
	return buffer_append(text, options, strlen(options)) < 0 || buffer_append(text, s->filter, strlen(s->filter)) < 0
	               ? -1
	               : 0;
}

char *subscriptions_text(struct subscriptions *set)
{
	struct buffer text = {0};
	int failed = buffer_append(&text, set->peer, strlen(set->peer));

	for (size_t i = 0; i < set->n && failed == 0; i++)
		if (set->entries[i].state != SUBSCRIPTION_REFUSED)
			failed = append_line(&text, &set->entries[i]);
	if (failed != 0 || buffer_append(&text, "", 1) < 0) {
		buffer_release(&text);
		return NULL;
	}
	for (size_t i = 0; i < set->n; i++)
		set->entries[i].noted = true;
	return text.data;
}

/* One line; the filter, which may contain blanks, is the rest of it. */
static int restore_line(struct subscriptions *set, char *line)
{
	struct subscription kept = {0};
	struct subscription_entry *entry;
	int no_local, as_published, filter_at = 0;
	char sure;

	if (sscanf(line, "%c%d %d %d %d %n", &sure, &kept.qos, &no_local, &as_published, &kept.retain_handling, &filter_at) <
	            5 ||
	    filter_at == 0)
		return 0;
	kept.no_local = no_local != 0;
	kept.retain_as_published = as_published != 0;
	kept.filter = line + filter_at;
	entry = find(set, kept.filter);
	if (entry) {
		if (sure == '+' && same_options(&entry->subscription, &kept))
			entry->state = SUBSCRIPTION_GRANTED;
		return 0;
	}
	entry = append(set, &kept);
	if (!entry)
		return -1;
	entry->state = SUBSCRIPTION_LEAVING;
	return 0;
}

static int restore(struct subscriptions *set, const char *lines)
{
	char *copy = strdup(lines), *rest = copy, *line;
	int result = copy ? 0 : -1;

	while (result == 0 && (line = strsep(&rest, "\n")) != NULL)
		result = restore_line(set, line);
	free(copy);
	return result;
}

/* On a new connection: the session has what it had, unless the end of it was asked for. */
static void left_unsure(struct subscription_entry *entry)
{
	if (entry->state == SUBSCRIPTION_LEFT || entry->before != SUBSCRIPTION_GRANTED)
		entry->before = SUBSCRIPTION_NEW;
	entry->state = SUBSCRIPTION_LEAVING;
}

static void reset(struct subscriptions *set, bool session_present)
{
	for (size_t i = set->n; i-- > 0;) {
		struct subscription_entry *entry = &set->entries[i];

		if (is_leaving(entry) && !session_present)
			forget(set, i);
		else if (is_leaving(entry))
			left_unsure(entry);
		else if (entry->state != SUBSCRIPTION_GRANTED || !session_present)
			entry->state = SUBSCRIPTION_NEW;
	}
}

int subscriptions_keep(struct subscriptions *set, const char *text)
{
	free(set->kept);
	set->kept = strdup(text);
	return set->kept ? 0 : -1;
}

/* Whether a line of the text is about that filter. */
static bool is_about(const char *line, const char *filter)
{
	size_t size = strlen(filter);

	for (int options = 0; options < 4 && line; options++) {
		line = strchr(line, ' ');
		line = line ? line + 1 : NULL;
	}
	return line && strncmp(line, filter, size) == 0 && (line[size] == '\n' || line[size] == 0);
}

static bool kept_brings(const char *kept, const char *own)
{
	for (const char *line = strchr(kept, '\n'); line; line = strchr(line + 1, '\n'))
		if (!own || !is_about(line + 1, own))
			return true;
	return false;
}

bool subscriptions_bring(const struct subscriptions *set, const char *own)
{
	for (size_t i = 0; i < set->n; i++)
		if (!own || strcmp(set->entries[i].subscription.filter, own) != 0)
			return true;
	return set->kept && kept_brings(set->kept, own);
}

bool subscriptions_asked(const struct subscriptions *set, const char *filter)
{
	const struct subscription_entry *entry = find(set, filter);

	return entry && !is_leaving(entry) && entry->state != SUBSCRIPTION_NEW;
}

/* Only the broker that had them can be asked about an earlier process's subscriptions. */
static void restore_kept(struct subscriptions *set, const char *peer)
{
	size_t length = strlen(peer);

	if (strncmp(set->kept, peer, length) == 0 && set->kept[length] == '\n' &&
	    restore(set, set->kept + length + 1) == 0)
		snprintf(set->peer, sizeof set->peer, "%s", peer);
}

void subscriptions_greeted(struct subscriptions *set, const char *peer, bool session_present)
{
	if (set->kept && session_present)
		restore_kept(set, peer);
	free(set->kept);
	set->kept = NULL;
	reset(set, session_present && strcmp(peer, set->peer) == 0);
	snprintf(set->peer, sizeof set->peer, "%s", peer);
}

void subscriptions_release(struct subscriptions *set)
{
	while (set->n > 0)
		forget(set, set->n - 1);
	free(set->entries);
	free(set->kept);
	set->entries = NULL;
	set->kept = NULL;
}
