/* Effects are a list whose nodes and copies are cut from blocks, front to back.
 * Nothing is freed one by one: emptying the list rewinds the first block and
 * gives the others back, so a handler that publishes costs no malloc.
 */
#include "effects.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE 8192

enum effect_kind { EFFECT_PUBLISH, EFFECT_LOSE, EFFECT_SUBSCRIBE, EFFECT_UNSUBSCRIBE, EFFECT_CONNECT, EFFECT_DISCONNECT };

struct effect {
	struct effect *next;
	enum effect_kind kind;
	struct link *link;
	union {
		struct message message;
		struct subscription subscription; /* unsubscribe: only the filter */
		struct {
			struct link_config *config; /* ours until it is applied */
			struct effect *earlier;
		} connect;
	};
};

struct effects_block {
	struct effects_block *next;
	size_t size, used;
	alignas(max_align_t) char data[];
};

void effects_init(struct effects *effects, size_t limit)
{
	*effects = (struct effects){ .limit = limit };
}

size_t effects_room(const struct effects *effects)
{
	return effects->limit ? effects->limit - effects->size : SIZE_MAX;
}

static size_t aligned(size_t size)
{
	return (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
}

static int add_block(struct effects *effects, size_t needed)
{
	size_t size = needed > BLOCK_SIZE ? needed : BLOCK_SIZE;
	struct effects_block *block = malloc(sizeof *block + size);

	if (!block)
		return -1;
	block->next = effects->blocks;
	block->size = size;
	block->used = 0;
	effects->blocks = block;
	return 0;
}

/* A new effect at the end of the list, with `extra` bytes behind it. The sizes
 * are those of strings in memory: their sum cannot overflow. */
static struct effect *append(struct effects *effects, enum effect_kind kind, struct link *link, size_t extra)
{
	size_t size = aligned(sizeof(struct effect) + extra);
	struct effects_block *block = effects->blocks;
	struct effect *effect;

	if (size > effects_room(effects))
		return NULL;
	if (!block || size > block->size - block->used) {
		if (add_block(effects, size))
			return NULL;
		block = effects->blocks;
	}
	effect = (struct effect *)(void *)(block->data + block->used);
	block->used += size;
	effects->size += size;
	*effect = (struct effect){ .kind = kind, .link = link };
	if (effects->last)
		effects->last->next = effect;
	else
		effects->first = effect;
	effects->last = effect;
	return effect;
}

/* Copies to `*end`, moves it on, and adds a NUL nobody counts. */
static struct bytes copy(char **end, struct bytes from)
{
	struct bytes to = { *end, from.size };

	if (from.size)
		memcpy(*end, from.data, from.size);
	(*end)[from.size] = 0;
	*end += from.size + 1;
	return to;
}

static int append_message(struct effects *effects, enum effect_kind kind, struct link *link,
                          const struct message *message)
{
	size_t extra = message->topic.size + message->payload.size + message->properties.size + message->context.size + 4;
	struct effect *effect = append(effects, kind, link, extra);
	char *end;

	if (!effect)
		return -1;
	end = (char *)(effect + 1);
	effect->message = *message;
	effect->message.topic = copy(&end, message->topic);
	effect->message.payload = copy(&end, message->payload);
	effect->message.properties = copy(&end, message->properties);
	effect->message.context = copy(&end, message->context);
	return 0;
}

int effects_publish(struct effects *effects, struct link *link, const struct message *message)
{
	return append_message(effects, EFFECT_PUBLISH, link, message);
}

int effects_lose(struct effects *effects, struct link *link, const struct message *message)
{
	return append_message(effects, EFFECT_LOSE, link, message);
}

static int append_filter(struct effects *effects, enum effect_kind kind, struct link *link,
                         const struct subscription *subscription)
{
	size_t size = strlen(subscription->filter);
	struct effect *effect = append(effects, kind, link, size + 1);
	char *end;

	if (!effect)
		return -1;
	end = (char *)(effect + 1);
	effect->subscription = *subscription;
	effect->subscription.filter = end;
	(void)copy(&end, (struct bytes){ subscription->filter, size });
	return 0;
}

int effects_subscribe(struct effects *effects, struct link *link, const struct subscription *subscription)
{
	return append_filter(effects, EFFECT_SUBSCRIBE, link, subscription);
}

int effects_unsubscribe(struct effects *effects, struct link *link, const char *filter)
{
	struct subscription subscription = { .filter = (char *)(uintptr_t)filter };

	return append_filter(effects, EFFECT_UNSUBSCRIBE, link, &subscription);
}

int effects_connect(struct effects *effects, struct link *link, struct link_config *config)
{
	struct effect *effect = NULL;

	if (config->bytes <= effects_room(effects))
		effect = append(effects, EFFECT_CONNECT, link, 0);
	if (!effect) {
		config_link_free(config);
		return -1;
	}
	effect->connect.config = config;
	effect->connect.earlier = effects->newest_connect;
	effects->newest_connect = effect;
	effects->size = config->bytes < effects_room(effects) ? effects->size + config->bytes : effects->limit;
	return 0;
}

const struct link_config *effects_config(const struct effects *effects, const struct link *link)
{
	const struct effect *effect = effects->newest_connect;

	while (effect && effect->link != link)
		effect = effect->connect.earlier;
	return effect ? effect->connect.config : NULL;
}

int effects_disconnect(struct effects *effects, struct link *link)
{
	return append(effects, EFFECT_DISCONNECT, link, 0) ? 0 : -1;
}

static void apply(struct effect *effect, const struct script_host *host)
{
	switch (effect->kind) {
	case EFFECT_PUBLISH:
		host->publish(host->arg, effect->link, &effect->message);
		break;
	case EFFECT_LOSE:
		host->lose(host->arg, effect->link, &effect->message);
		break;
	case EFFECT_SUBSCRIBE:
		host->subscribe(host->arg, effect->link, &effect->subscription);
		break;
	case EFFECT_UNSUBSCRIBE:
		host->unsubscribe(host->arg, effect->link, effect->subscription.filter);
		break;
	case EFFECT_CONNECT:
		host->connect(host->arg, effect->link, effect->connect.config);
		effect->connect.config = NULL;
		break;
	case EFFECT_DISCONNECT:
		host->disconnect(host->arg, effect->link);
		break;
	}
}

static void free_blocks(struct effects_block *block)
{
	while (block) {
		struct effects_block *next = block->next;

		free(block);
		block = next;
	}
}

/* Empties the list; keeps one block of the ordinary size for the next call. */
static void rewind_blocks(struct effects *effects)
{
	struct effects_block *block = effects->blocks;

	effects->first = effects->last = effects->newest_connect = NULL;
	effects->size = 0;
	if (!block)
		return;
	free_blocks(block->next);
	block->next = NULL;
	block->used = 0;
	if (block->size > BLOCK_SIZE) {
		free(block);
		effects->blocks = NULL;
	}
}

void effects_apply(struct effects *effects, const struct script_host *host)
{
	for (struct effect *effect = effects->first; effect; effect = effect->next)
		apply(effect, host);
	rewind_blocks(effects);
}

void effects_discard(struct effects *effects, const struct script_host *host)
{
	for (struct effect *effect = effects->first; effect; effect = effect->next)
		if (effect->kind == EFFECT_CONNECT) {
			config_link_free(effect->connect.config);
			host->link_forget(host->arg, effect->link);
		}
	rewind_blocks(effects);
}

void effects_release(struct effects *effects, const struct script_host *host)
{
	effects_discard(effects, host);
	free_blocks(effects->blocks);
	effects->blocks = NULL;
}
