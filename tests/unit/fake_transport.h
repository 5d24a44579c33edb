/* A transport that does as it is told, made of a socket pair: a byte 'h' is the greeting, any
 * other a message. For one source of each program.
 */
#ifndef TIDEGATE_FAKE_TRANSPORT_H
#define TIDEGATE_FAKE_TRANSPORT_H

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"

#define MAX 32

static struct {
	const struct transport_events *events;
	void *arg;
	int ours, peers; /* the two ends of the connection */
	int connects, reads, goodbyes, closes;
	int fail_connects; /* so many attempts fail */
	atomic_bool hangs; /* attempts do not come to an end, or only after ten seconds */
	bool session_present, silent;
	char tried[MAX][32], asked[MAX][32];
	int n_asked;
	bool wants_write;
} fake;

static inline void *fake_open(const struct transport_ops *ops, const struct link_config *config,
                              const struct transport_events *events, void *arg, char *err, size_t err_size)
{
	(void)ops;
	(void)config;
	(void)err;
	(void)err_size;
	fake.events = events;
	fake.arg = arg;
	fake.ours = fake.peers = -1;
	return &fake;
}

static inline bool fake_abort(void *transport, enum in_flight in_flight)
{
	(void)transport;
	(void)in_flight;
	if (fake.ours >= 0)
		close(fake.ours);
	if (fake.peers >= 0)
		close(fake.peers);
	fake.ours = fake.peers = -1;
	return false;
}

static inline void fake_close(void *transport)
{
	fake_abort(transport, NOTHING_IN_FLIGHT);
	fake.closes++;
}

static inline int fake_connect(void *transport, const struct url *url, bool discard_session, char *err, size_t err_size)
{
	int ends[2];

	(void)transport;
	(void)discard_session;
	if (fake.connects < MAX)
		snprintf(fake.tried[fake.connects], sizeof fake.tried[0], "%s", url->host);
	fake.connects++;
	for (int i = 0; i < 1000 && fake.hangs; i++)
		usleep(10000);
	if (fake.fail_connects > 0) {
		fake.fail_connects--;
		snprintf(err, err_size, "refused");
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -1;
	fake.ours = ends[0];
	fake.peers = ends[1];
	return fake.silent || write(fake.peers, "h", 1) == 1 ? 0 : -1; /* hello */
}

static inline int fake_fd(void *transport)
{
	(void)transport;
	return fake.ours;
}

static inline bool fake_wants_write(void *transport)
{
	(void)transport;
	return fake.wants_write;
}

static inline int fake_read(void *transport, size_t max_messages, int64_t max_ms, char *err, size_t err_size)
{
	struct greeting greeting = {.session_present = fake.session_present, .receive_maximum = 10};
	struct inbound inbound = {.topic = "t"};
	char byte;

	(void)transport;
	(void)max_messages;
	(void)max_ms;
	fake.reads++;
	if (read(fake.ours, &byte, 1) != 1) {
		snprintf(err, err_size, "closed");
		return -1;
	}
	if (byte == 'h')
		fake.events->greeted(fake.arg, &greeting);
	else
		fake.events->message(fake.arg, &inbound);
	return 0;
}

static inline int fake_write(void *transport, char *err, size_t err_size)
{
	(void)transport;
	fake.wants_write = false;
	if (fake.goodbyes == 0)
		return 0;
	snprintf(err, err_size, "left");
	return -1;
}

static inline int fake_tick(void *transport, char *err, size_t err_size)
{
	(void)transport;
	(void)err;
	(void)err_size;
	return 0;
}

static inline enum send_result fake_send(void *transport, const struct message *message, int *handle, char *reason,
                                         size_t reason_size)
{
	(void)transport;
	(void)message;
	(void)reason;
	(void)reason_size;
	*handle = 1;
	return SEND_OK;
}

static inline void note(const char *verb, const char *filter)
{
	if (fake.n_asked < MAX)
		snprintf(fake.asked[fake.n_asked++], sizeof fake.asked[0], "%s %s", verb, filter);
}

static inline int fake_subscribe(void *transport, const struct subscription *subscription, int *handle)
{
	(void)transport;
	note("sub", subscription->filter);
	*handle = fake.n_asked;
	return 0;
}

static inline int fake_unsubscribe(void *transport, const char *filter, int *handle)
{
	(void)transport;
	note("unsub", filter);
	*handle = fake.n_asked;
	return 0;
}

static inline void fake_goodbye(void *transport)
{
	(void)transport;
	fake.goodbyes++;
	fake.wants_write = true;
}

static inline enum hang_up fake_hung_up(void *transport)
{
	(void)transport;
	return NO_HANG_UP;
}

static const struct transport_ops ops = {
        .open = fake_open,
        .close = fake_close,
        .connect = fake_connect,
        .fd = fake_fd,
        .wants_write = fake_wants_write,
        .read = fake_read,
        .write = fake_write,
        .tick = fake_tick,
        .send = fake_send,
        .subscribe = fake_subscribe,
        .unsubscribe = fake_unsubscribe,
        .goodbye = fake_goodbye,
        .abort = fake_abort,
        .hung_up = fake_hung_up,
};

#endif
