/* Every link has an eventfd for a socket: it is readable when something waits for the
 * link to read it, so that connection.c is driven as by a real one. */
#include "network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

/* What a link has sent and not been answered. */
struct sent {
	int handle;
	int64_t due_ms;
	struct delivery delivery;
};

struct arrival {
	struct arrival *next;
	struct inbound message;
	char data[];
};

enum answer { ANSWER_SUBSCRIBED, ANSWER_UNSUBSCRIBED };

/* The broker's side of a link; outlives transports that are configured anew. */
struct peer {
	struct network *network;
	char *name;
	bool down;
	char *reason;
	bool knows_us; /* it has a session */
	struct arrival *first, **end;
	size_t waiting;
	struct simulated *transport; /* NULL: none */
	struct peer *next;
};

/* The link's side. */
struct simulated {
	struct peer *peer;
	const struct link_config *config;
	const struct transport_events *events;
	void *arg;
	int fd;
	bool connected, greeting, leaving;
	unsigned last_handle;
	struct sent *sent; /* a ring, in the order in which they are due */
	size_t n_sent, first_sent, size_sent;
	struct {
		enum answer kind;
		int handle, qos;
	} *answers;
	size_t n_answers, size_answers;
};

struct network {
	struct transport_ops ops; /* first: it is how open() finds us */
	int64_t rtt_ms;
	network_delivered *delivered;
	void *arg;
	struct peer *peers;
};

/* ---- the broker's side ---- */

static struct peer *add_peer(struct network *network, const char *name)
{
	struct peer *peer = calloc(1, sizeof *peer);

	if (!peer || !(peer->name = strdup(name))) {
		free(peer);
		return NULL;
	}
	peer->network = network;
	peer->end = &peer->first;
	peer->next = network->peers;
	network->peers = peer;
	return peer;
}

/* Made if there is none. NULL: no memory. */
static struct peer *peer_of(struct network *network, const char *name)
{
	struct peer *peer = network->peers;

	while (peer && strcmp(peer->name, name) != 0)
		peer = peer->next;
	return peer ? peer : add_peer(network, name);
}

/* There is something to read. */
static void wake(const struct simulated *transport)
{
	const uint64_t one = 1;

	if (transport && write(transport->fd, &one, sizeof one) != (ssize_t)sizeof one)
		perror("tidegate: eventfd");
}

int network_set(struct network *network, const char *link, bool up, const char *reason)
{
	struct peer *peer = peer_of(network, link);

	if (!peer)
		return -1;
	free(peer->reason);
	peer->reason = strdup(reason);
	peer->down = !up;
	if (peer->down && peer->transport && peer->transport->connected)
		wake(peer->transport);
	return peer->reason ? 0 : -1;
}

bool network_is_up(struct network *network, const char *link)
{
	const struct peer *peer = peer_of(network, link);

	return peer && !peer->down;
}

static char *copy(char **end, const void *data, size_t size)
{
	char *to = *end;

	if (size > 0)
		memcpy(to, data, size);
	to[size] = '\0';
	*end += size + 1;
	return to;
}

int network_bring(struct network *network, const char *link, const struct inbound *message)
{
	struct peer *peer = peer_of(network, link);
	size_t size = strlen(message->topic), all = size + message->payload.size + message->properties.size + 3;
	struct arrival *arrival = peer ? malloc(sizeof *arrival + all) : NULL;
	char *end;

	if (!arrival)
		return -1;
	end = arrival->data;
	arrival->next = NULL;
	arrival->message = *message;
	arrival->message.topic = copy(&end, message->topic, size);
	arrival->message.payload.data = copy(&end, message->payload.data, message->payload.size);
	arrival->message.properties.data = copy(&end, message->properties.data, message->properties.size);
	*peer->end = arrival;
	peer->end = &arrival->next;
	peer->waiting++;
	if (peer->transport && peer->transport->connected)
		wake(peer->transport);
	return 0;
}

int64_t network_due_ms(const struct network *network)
{
	int64_t due_ms = INT64_MAX;

	for (const struct peer *peer = network->peers; peer; peer = peer->next) {
		const struct simulated *transport = peer->transport;

		if (transport && transport->connected && transport->n_sent > 0 &&
		    transport->sent[transport->first_sent].due_ms < due_ms)
			due_ms = transport->sent[transport->first_sent].due_ms;
	}
	return due_ms;
}

void network_arrive(struct network *network)
{
	int64_t now_ms = clock_monotonic_ms();

	for (const struct peer *peer = network->peers; peer; peer = peer->next) {
		const struct simulated *transport = peer->transport;

		if (transport && transport->connected && transport->n_sent > 0 &&
		    transport->sent[transport->first_sent].due_ms <= now_ms)
			wake(transport);
	}
}

size_t network_waiting(const struct network *network, const char *link)
{
	size_t n = 0;

	for (const struct peer *peer = network->peers; peer; peer = peer->next)
		n += !link || strcmp(peer->name, link) == 0 ? peer->waiting : 0;
	return n;
}

/* ---- the link's side: a transport ---- */

static void *simulated_open(const struct transport_ops *ops, const struct link_config *config,
                            const struct transport_events *events, void *arg, char *err, size_t err_size)
{
	struct network *network = (struct network *)(uintptr_t)ops;
	struct simulated *transport = calloc(1, sizeof *transport);

	if (transport) {
		transport->peer = peer_of(network, config->name);
		transport->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	if (!transport || !transport->peer || transport->fd < 0) {
		snprintf(err, err_size, "link %s: out of memory or file descriptors", config->name);
		free(transport);
		return NULL;
	}
	transport->config = config;
	transport->events = events;
	transport->arg = arg;
	transport->peer->transport = transport;
	return transport;
}

static void simulated_close(void *arg)
{
	struct simulated *transport = arg;

	if (transport->peer->transport == transport)
		transport->peer->transport = NULL;
	close(transport->fd);
	free(transport->sent);
	free(transport->answers);
	free(transport);
}

static int simulated_connect(void *arg, const struct url *url, bool discard_session, char *err, size_t err_size)
{
	struct simulated *transport = arg;

	(void)url;
	if (transport->peer->down) {
		snprintf(err, err_size, "%s", transport->peer->reason);
		return -1;
	}
	if (discard_session || transport->config->clean_session)
		transport->peer->knows_us = false;
	transport->connected = transport->greeting = true;
	transport->leaving = false;
	wake(transport);
	return 0;
}

static int simulated_fd(void *arg)
{
	const struct simulated *transport = arg;

	return transport->connected ? transport->fd : -1;
}

static bool nothing_to_write(void *arg)
{
	(void)arg;
	return false;
}

static void greet(struct simulated *transport)
{
	struct greeting greeting = {
	        .session_present = transport->peer->knows_us,
	        .receive_maximum = 65535,
	        .keepalive_ms = transport->config->keepalive_ms,
	};

	transport->greeting = false;
	transport->peer->knows_us = true;
	transport->events->greeted(transport->arg, &greeting);
}

static void answer_subscriptions(struct simulated *transport)
{
	size_t n = transport->n_answers;

	transport->n_answers = 0;
	for (size_t i = 0; i < n; i++)
		if (transport->answers[i].kind == ANSWER_SUBSCRIBED)
			transport->events->subscribed(transport->arg, transport->answers[i].handle, transport->answers[i].qos);
		else
			transport->events->unsubscribed(transport->arg, transport->answers[i].handle);
}

static void acknowledge(struct simulated *transport)
{
	struct network *network = transport->peer->network;
	int64_t now_ms = clock_monotonic_ms();

	while (transport->n_sent > 0 && transport->sent[transport->first_sent].due_ms <= now_ms) {
		struct sent sent = transport->sent[transport->first_sent];

		transport->first_sent = (transport->first_sent + 1) % transport->size_sent;
		transport->n_sent--;
		sent.delivery.link = transport->peer->name;
		sent.delivery.now_ms = clock_wall_ms();
		network->delivered(network->arg, &sent.delivery);
		transport->events->acknowledged(transport->arg, sent.handle);
	}
}

static void bring_one(struct simulated *transport)
{
	struct peer *peer = transport->peer;
	struct arrival *arrival = peer->first;

	peer->first = arrival->next;
	if (!peer->first)
		peer->end = &peer->first;
	peer->waiting--;
	arrival->message.time_ms = clock_wall_ms();
	transport->events->message(transport->arg, &arrival->message);
	free(arrival);
}

static int simulated_read(void *arg, size_t max_messages, int64_t max_ms, char *err, size_t err_size)
{
	struct simulated *transport = arg;
	uint64_t count;

	(void)max_ms;
	if (read(transport->fd, &count, sizeof count) < 0 && errno != EAGAIN) {
		snprintf(err, err_size, "eventfd: %s", strerror(errno));
		return -1;
	}
	if (transport->peer->down || transport->leaving) {
		snprintf(err, err_size, "%s", transport->leaving ? "closed" : transport->peer->reason);
		return -1;
	}
	if (transport->greeting) {
		greet(transport);
		wake(transport); /* what has waited comes when the link is up */
		return 0;
	}
	answer_subscriptions(transport);
	acknowledge(transport);
	for (; max_messages > 0 && transport->peer->first; max_messages--)
		bring_one(transport);
	if (!transport->peer->first)
		return 0;
	wake(transport);
	return 1;
}

static int nothing_to_do(void *arg, char *err, size_t err_size)
{
	(void)arg;
	(void)err;
	(void)err_size;
	return 0;
}

/* Room for one more in the ring. */
static bool reserve(struct simulated *transport)
{
	size_t size = transport->size_sent ? transport->size_sent * 2 : 64;
	struct sent *ring;

	if (transport->n_sent < transport->size_sent)
		return true;
	ring = malloc(size * sizeof *ring);
	if (!ring)
		return false;
	for (size_t i = 0; i < transport->n_sent; i++)
		ring[i] = transport->sent[(transport->first_sent + i) % transport->size_sent];
	free(transport->sent);
	transport->sent = ring;
	transport->size_sent = size;
	transport->first_sent = 0;
	return true;
}

/* QoS 0 is finished when it is written, but not before what was sent before it. */
static int64_t due_of(const struct simulated *transport, const struct message *message)
{
	size_t last = (transport->first_sent + transport->n_sent - 1) % transport->size_sent;
	int64_t due_ms = clock_monotonic_ms() + (message->qos > 0 ? transport->peer->network->rtt_ms : 0);

	return transport->n_sent > 0 && transport->sent[last].due_ms > due_ms ? transport->sent[last].due_ms : due_ms;
}

static enum send_result simulated_send(void *arg, const struct message *message, int *handle, char *reason,
                                       size_t reason_size)
{
	struct simulated *transport = arg;
	struct sent *sent;

	(void)reason;
	(void)reason_size;
	if (!transport->connected || transport->peer->down || !reserve(transport))
		return SEND_LATER;
	sent = &transport->sent[(transport->first_sent + transport->n_sent) % transport->size_sent];
	*sent = (struct sent){
	        .handle = *handle = (int)(++transport->last_handle & 0x7fffffff),
	        .due_ms = due_of(transport, message),
	        .delivery = {.seq = message->seq,
	                     .time_ms = message->time_ms,
	                     .bytes = message->topic.size + message->payload.size,
	                     .report = message->priority == QUEUE_PRIORITY_REPORT},
	};
	transport->n_sent++;
	return SEND_OK;
}

static int answer_later(struct simulated *transport, enum answer kind, int qos, int *handle)
{
	if (transport->n_answers == transport->size_answers) {
		size_t size = transport->size_answers * 2 + 8;
		void *answers = realloc(transport->answers, size * sizeof *transport->answers);

		if (!answers)
			return -1;
		transport->answers = answers;
		transport->size_answers = size;
	}
	*handle = (int)(++transport->last_handle & 0x7fffffff);
	transport->answers[transport->n_answers].kind = kind;
	transport->answers[transport->n_answers].handle = *handle;
	transport->answers[transport->n_answers++].qos = qos;
	wake(transport);
	return 0;
}

static int simulated_subscribe(void *arg, const struct subscription *subscription, int *handle)
{
	return answer_later(arg, ANSWER_SUBSCRIBED, subscription->qos, handle);
}

static int simulated_unsubscribe(void *arg, const char *filter, int *handle)
{
	(void)filter;
	return answer_later(arg, ANSWER_UNSUBSCRIBED, 0, handle);
}

static void simulated_goodbye(void *arg)
{
	struct simulated *transport = arg;

	transport->leaving = true;
	wake(transport);
}

static bool simulated_abort(void *arg, enum in_flight in_flight)
{
	struct simulated *transport = arg;

	(void)in_flight;
	transport->connected = transport->greeting = false;
	transport->n_sent = transport->n_answers = 0;
	return false;
}

/* The line was cut; nobody minds what was sent. */
static enum hang_up simulated_hung_up(void *arg)
{
	(void)arg;
	return NO_HANG_UP;
}

/* ---- the network ---- */

static const struct transport_ops simulated_ops = {
        .instant = true,
        .open = simulated_open,
        .close = simulated_close,
        .connect = simulated_connect,
        .fd = simulated_fd,
        .wants_write = nothing_to_write,
        .read = simulated_read,
        .write = nothing_to_do,
        .tick = nothing_to_do,
        .send = simulated_send,
        .subscribe = simulated_subscribe,
        .unsubscribe = simulated_unsubscribe,
        .goodbye = simulated_goodbye,
        .abort = simulated_abort,
        .hung_up = simulated_hung_up,
};

struct network *network_open(int64_t rtt_ms, network_delivered *delivered, void *arg)
{
	struct network *network = calloc(1, sizeof *network);

	if (!network)
		return NULL;
	network->ops = simulated_ops;
	network->rtt_ms = rtt_ms;
	network->delivered = delivered;
	network->arg = arg;
	return network;
}

const struct transport_ops *network_transport(const struct network *network)
{
	return &network->ops;
}

void network_close(struct network *network)
{
	while (network && network->peers) {
		struct peer *peer = network->peers;

		network->peers = peer->next;
		while (peer->first) {
			struct arrival *arrival = peer->first;

			peer->first = arrival->next;
			free(arrival);
		}
		free(peer->reason);
		free(peer->name);
		free(peer);
	}
	free(network);
}
