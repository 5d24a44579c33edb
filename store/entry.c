/* One malloc holds an entry, its message and all the bytes that points to. */
#include "entry.h"

#include <stdlib.h>
#include <string.h>

static void put(char **to, struct bytes *field, bool terminate)
{
	if (field->size > 0)
		memcpy(*to, field->data, field->size);
	field->data = *to;
	*to += field->size;
	if (terminate)
		*(*to)++ = '\0';
}

struct entry *entry_copy(const struct message *message)
{
	struct entry *entry = malloc(sizeof *entry + message->topic.size + 1 + message->payload.size +
	                             message->properties.size + message->context.size);
	char *to;

	if (!entry)
		return NULL;
	*entry = (struct entry){.message = *message};
	to = entry->bytes;
	put(&to, &entry->message.topic, true);
	put(&to, &entry->message.payload, false);
	put(&to, &entry->message.properties, false);
	put(&to, &entry->message.context, false);
	return entry;
}

size_t entry_size(const struct entry *entry)
{
	return entry->message.topic.size + entry->message.payload.size;
}

void entry_list_append(struct entry_list *list, struct entry *entry)
{
	entry->next = NULL;
	if (list->head)
		list->last->next = entry;
	else
		list->head = entry;
	list->last = entry;
	list->messages++;
	list->bytes += entry_size(entry);
}

struct entry *entry_list_remove_first(struct entry_list *list)
{
	struct entry *entry = list->head;

	list->head = entry->next;
	entry->next = NULL;
	list->messages--;
	list->bytes -= entry_size(entry);
	return entry;
}

struct entry *entry_list_remove(struct entry_list *list, uint64_t seq)
{
	struct entry *before = NULL, *entry = list->head;

	while (entry && entry->message.seq != seq) {
		before = entry;
		entry = entry->next;
	}
	if (!entry || !before)
		return entry ? entry_list_remove_first(list) : NULL;
	before->next = entry->next;
	if (list->last == entry)
		list->last = before;
	entry->next = NULL;
	list->messages--;
	list->bytes -= entry_size(entry);
	return entry;
}

void entry_list_release(struct entry_list *list)
{
	while (list->head)
		free(entry_list_remove_first(list));
}
