/* One connection and its policy: when to connect and where, how long to back
 * off, what to subscribe, when silence means it is dead. How the bytes look is
 * the transport's business (agent/mqtt.c), reached through a small table.
 *
 *     off ── start ──> waiting ──> connecting ──> greeting ──> up
 *                         ^        (a helper      (CONNACK      │
 *                         └──────── thread) ──────  awaited) ───┘
 *
 * Nothing is written to a link's socket except in link_flush(): that is the
 * turn's last step. What scripts ask of a link (subscribe, stop, reconfigure) is
 * noted at once and done there too, so that it may be asked from inside a
 * transport's callback.
 */
#ifndef TIDEGATE_LINK_H
#define TIDEGATE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "queue.h"

struct link;
struct loop;

/* A message that arrived. Everything points into the transport's memory and is
 * valid during the call only. */
struct inbound {
	const char *topic; /* NUL-terminated */
	struct bytes payload;
	struct bytes properties; /* agent/properties.h */
	int qos;
	int id; /* QoS 1: the packet's; else 0 */
	bool retain, dup;
	int64_t time_ms; /* wall clock, when it was read */
};

enum send_result {
	SEND_OK,     /* the transport has it; its fate comes as acknowledged or refused */
	SEND_LATER,  /* not now: not connected, or no memory; try again next turn */
	SEND_NEVER,  /* the peer cannot take it: reason given */
};

/* How a refusal is meant. */
enum refusal {
	REFUSED_FOR_GOOD, /* not authorised, invalid topic, too large: drop it */
	REFUSED_FOR_NOW,  /* quota exceeded, busy: send it again later */
};

/* What a connection that ends leaves unfinished. QoS 0 is finished with it. */
enum in_flight {
	NOTHING_IN_FLIGHT,
	QOS1_IN_FLIGHT,
	QOS2_IN_FLIGHT, /* perhaps beside QoS 1 */
};

/* Whether the peer closed the connection, over a message perhaps: it gave no reason, or one that
 * can be meant for a message. */
enum hang_up {
	NO_HANG_UP,
	HANG_UP_HALFWAY, /* while some of what was sent was still on the way */
	HANG_UP,
};

/* What the other side said when the connection came up. */
struct greeting {
	bool session_present;
	int receive_maximum; /* how many it takes in flight; 65535 if it did not say */
	int64_t keepalive_ms; /* the interval it wants, or ours; 0: none */
};

/* Upward calls of a transport; link.c implements them. */
struct transport_events {
	void (*greeted)(void *arg, const struct greeting *greeting);
	void (*message)(void *arg, const struct inbound *message);
	void (*acknowledged)(void *arg, int handle);
	void (*refused)(void *arg, int handle, enum refusal refusal, const char *reason);
	/* Whether so many messages could be refused for good without driving out what is kept for the owner. */
	bool (*room_for_refused)(void *arg, size_t messages, size_t bytes);
	void (*subscribed)(void *arg, int handle, int qos); /* qos -1: refused */
	void (*unsubscribed)(void *arg, int handle);
};

/* A transport. One caller at a time: the helper thread during connect(), the
 * loop otherwise. */
struct transport_ops {
	bool instant; /* connect() does not block: it needs no thread */
	void *(*open)(const struct transport_ops *ops, const struct link_config *config,
	              const struct transport_events *events, void *arg, char *err, size_t err_size);
	void (*close)(void *transport);
	/* Blocking; runs on a helper thread. With `discard_session` the peer first
	 * forgets the session it may have. 0, or -1 with err. */
	int (*connect)(void *transport, const struct url *url, bool discard_session, char *err, size_t err_size);
	int (*fd)(void *transport); /* -1: not connected */
	bool (*wants_write)(void *transport);
	/* Reads until nothing waits or the budget is spent; calls events. 1: more
	 * waits already, 0: no more, -1: the connection is gone, err says why. */
	int (*read)(void *transport, size_t max_messages, int64_t max_ms, char *err, size_t err_size);
	int (*write)(void *transport, char *err, size_t err_size); /* 0, or -1: gone */
	int (*tick)(void *transport, char *err, size_t err_size);  /* keepalive; 0, or -1: gone */
	/* When, on clock_monotonic_ms(), tick() and write() have something to do though nothing happens, or
	 * INT64_MAX. NULL: never; tick() is called now and then anyway. */
	int64_t (*due_ms)(void *transport);
	/* The message's expires_ms is how long it may still wait, 0 for ever. */
	enum send_result (*send)(void *transport, const struct message *message, int *handle, char *reason,
	                         size_t reason_size);
	/* Asked before each write() while up: a text that must be durable before more is written than what
	 * noted() has been called for, to free(); or NULL, nothing new. restore() gives the last one to a
	 * new transport, of this process or another; 0 or -1. All three NULL: there is never any. */
	char *(*note)(void *transport);
	void (*noted)(void *transport);
	int (*restore)(void *transport, const char *note);
	int (*subscribe)(void *transport, const struct subscription *subscription, int *handle);
	int (*unsubscribe)(void *transport, const char *filter, int *handle);
	void (*goodbye)(void *transport); /* queues a polite end; write() sends it */
	/* Drops the connection and whatever waits to be written. True if the transport
	 * will send what is in flight again on the next connection, except QoS 0; false:
	 * handles given out before mean nothing now. */
	bool (*abort)(void *transport, enum in_flight in_flight);
	enum hang_up (*hung_up)(void *transport); /* how the last connection ended */
	/* The next attempt at this URL is not due before that, as we were refused there; 0: as always. NULL: 0. */
	int64_t (*patience_ms)(void *transport);
};

/* Upward calls of a link; the composition root implements them. `link` is the
 * caller. */
struct link_events {
	void (*up)(void *arg, struct link *link);
	void (*down)(void *arg, struct link *link, const char *reason);
	void (*message)(void *arg, struct link *link, const struct inbound *message);
	/* On the link's `ack_topic`, where the collector acknowledges: nothing that scripts would get. */
	void (*receipt)(void *arg, struct link *link, const struct inbound *message);
	/* False: nothing is in flight under that handle. */
	bool (*acknowledged)(void *arg, struct link *link, int handle);
	bool (*refused)(void *arg, struct link *link, int handle, enum refusal refusal, const char *reason);
	bool (*room_for_refused)(void *arg, struct link *link, size_t messages, size_t bytes);
	enum in_flight (*in_flight)(void *arg, struct link *link);
	/* The transport remembers what was in flight, except QoS 0: returns how many those are. */
	size_t (*remembered)(void *arg, struct link *link);
	/* The transport has forgotten what was in flight: send it again as new. */
	void (*forgotten)(void *arg, struct link *link);
	/* link_session() has changed; it must be durable when the next flush begins. */
	void (*session)(void *arg, struct link *link);
	/* A transport's note, see there. 0, or -1: no memory, again later. */
	int (*note)(void *arg, struct link *link, const char *text);
	bool (*noted)(void *arg, struct link *link); /* the last one is durable */
};

struct link_stats {
	uint64_t received, sent, acknowledged, reconnects, stalls;
	uint64_t redelivered; /* of those received: recognised, and not run again */
};

/* What the status tells of a link. */
struct link_report {
	const char *state;     /* "up", "waiting" for the next attempt, "connecting", "greeting", "leaving", "off" */
	bool held;             /* not written, and perhaps not read, now */
	int64_t since_ms;      /* loop's clock: up, or not up, for so long */
	const char *problem;   /* why it is not up, as far as that is known; else "" */
	const struct url *url; /* in use, or tried next; NULL: it has none */
};

/* Takes `config`, also on failure. A config without URLs makes a link that is off
 * until link_configure(). */
struct link *link_open(struct loop *loop, struct link_config *config, const struct transport_ops *ops,
                       const struct link_events *events, void *arg, char *err, size_t err_size);
/* Takes `config`: the next flush makes it the link's, and connects unless link_stop() was
 * called since. The connection stays if it would be made of the same; subscriptions
 * change by what is different. The name stays. */
void link_configure(struct link *link, struct link_config *config);
/* Drops the connection without a word. A connection attempt that still hangs
 * keeps its own memory and cleans up after itself. */
void link_close(struct link *link);

const char *link_name(const struct link *link);
const struct link_config *link_config(const struct link *link);
const struct link_config *link_configured(const struct link *link); /* what it will be, from the next flush on */
bool link_connected(const struct link *link);
bool link_off(const struct link *link); /* not started, or told to stop and nothing more will leave */
bool link_unwanted(const struct link *link); /* told to stop, and not to start since */
bool link_brings(const struct link *link); /* messages arrive on it, or may: it has subscriptions, beside `ack_topic` */
bool link_hears_receipts(const struct link *link); /* no acknowledgement on `ack_topic` is missed from now on */
enum hang_up link_hung_up(const struct link *link); /* from inside events->down */
bool link_unread(const struct link *link); /* more has come than one turn reads */
int link_window(const struct link *link); /* the smaller of ours and the peer's */
int link_window_qos2(const struct link *link); /* while that many are in flight no message at QoS 2 goes out */
struct link_stats link_stats(const struct link *link);
struct link_report link_report(const struct link *link); /* valid until the next turn */

void link_start(struct link *link);

/* The next attempt to connect is due at once, if one is waited for. */
void link_hurry(struct link *link);

/* The session is thrown away at each URL before it is connected to next: at QoS 2
 * the peer could take a packet id that is used again, with an equal payload, for
 * a duplicate and swallow it. */
void link_discard_session(struct link *link);

/* Says goodbye in the next flush and stays off until link_start(). */
void link_stop(struct link *link);

/* What a link brought is not safe yet: then nothing is written on it, nor is it
 * reconnected. While it gathers it is read all the same, so that more becomes safe by
 * one commit; while it is held it is not. */
enum link_hold { LINK_FLOWS, LINK_GATHERS, LINK_HELD };
void link_hold(struct link *link, enum link_hold hold);

/* From inside events->message: the message cannot be taken. The connection ends
 * before anything is acknowledged, so that the peer sends it again. */
void link_refuse(struct link *link, const char *why);

/* For a store that commits before anything is acknowledged: messages that come again
 * although they are on disk are recognised from now on. `note`: the last
 * link_received() of an earlier process, or NULL. -1: memory is exhausted. */
int link_recognise(struct link *link, const char *note);

/* From inside events->message: true if it was taken before. It is acknowledged with
 * the rest and must not be run. */
bool link_repeats(struct link *link, const struct inbound *message);

/* From inside events->message: it was run; the next commit makes its effects durable. */
void link_taken(struct link *link, const struct inbound *message);

/* What must be in the same transaction as the effects of what was taken: a text to
 * free(), or NULL if there is nothing new. With link_received_due() it must be
 * committed even if nothing else is. */
char *link_received(struct link *link);
bool link_received_due(const struct link *link);

/* Whether redelivered messages are recognised: "on", or why not. */
const char *link_redelivery(const struct link *link);

/* Gives a message to the transport (step "send"). */
enum send_result link_send(struct link *link, const struct message *message, int *handle, char *reason,
                           size_t reason_size);

/* Adds or changes a subscription, removes one; now if up, else when it is. What is removed
 * and added again within a turn stays as it was. */
int link_subscribe(struct link *link, const struct subscription *subscription);
void link_unsubscribe(struct link *link, const char *filter);
/* It has as many subscriptions as scripts may make, and not this one. */
bool link_subscriptions_full(const struct link *link, const char *filter);
/* Removes one unless the configuration wants it, too. */
void link_unsubscribe_script(struct link *link, const char *filter);

/* The peer, and the subscriptions its session is known to have, as text; kept
 * across restarts so that a session that outlived the process is brought in
 * line: what is no longer wanted is unsubscribed. malloc'd; NULL, or -1, if memory
 * is exhausted. */
char *link_session(struct link *link);
int link_set_session(struct link *link, const char *session);

/* The transport's note that an earlier process left. -1: no memory, or it is none. */
int link_restore(struct link *link, const char *note);

/* Step "acknowledge": writes whatever waits. */
void link_flush(struct link *link);

#endif
