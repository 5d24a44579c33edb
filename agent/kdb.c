/* A transport over kdb+ IPC. q answers one call after the other, in order and without
 * numbers, so a reply belongs to the first call that has none. What is called, and what
 * becomes of it, is kdb_calls.c's; here are the bytes: the handshake, messages in and out. */
#include "kdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kdb_calls.h"
#include "kdb_compress.h"
#include "kdb_ipc.h"
#include "kdb_meta.h"
#include "kdb_socket.h"
#include "link.h"
#include "log.h"

#define REPLY_MAX (64 << 20)
#define LOOK_BYTES 4096      /* of a reply are kept: an error's text, or a success whatever it says */
#define READ_BYTES 16384     /* at a time */
#define READS 16             /* in a turn */
#define OUT_KEPT (1 << 20)   /* of the buffer's memory, between calls */
#define ANSWERS_MAX 65536    /* bytes that may wait for one who asks and does not read */
#define CAPABILITY 3         /* timestamps, timespans, guids, compression */
#define CAPABILITY_MAX 15    /* what anybody may answer; an 'H' is of HTTP, 0x15 of TLS */

struct kdb {
	const struct link_config *config;
	const struct transport_events *events;
	void *arg;
	struct kdb_socket socket;
	const struct url *url; /* of this connection or attempt */
	bool greeted, leaving;
	bool closed, arrived;  /* how it ended: by the peer, and it had all that was sent */
	bool refused;          /* the last handshake */
	struct kdb_calls calls;
	struct kdb_meta meta;
	struct buffer out; /* messages, written up to `written` */
	size_t written;
	size_t answers;    /* bytes of them that are answers */
	int64_t given;     /* to the socket, in all; */
	int64_t taken;     /* and of that by the peer, when it was looked at last */
	bool taking;       /* the peer had not all, then */
	struct buffer in, plain; /* the message that is being read, as far as it is kept; and uncompressed */
	struct kdb_head head;
	size_t left, kept; /* bytes of it that are to come, and of those, that are to be kept */
};

static void *kdb_open_transport(const struct transport_ops *ops, const struct link_config *config,
                                const struct transport_events *events, void *arg, char *err, size_t err_size)
{
	struct kdb *kdb = calloc(1, sizeof *kdb);

	(void)ops;
	if (!kdb) {
		snprintf(err, err_size, "link %s: out of memory", config->name);
		return NULL;
	}
	kdb->config = config;
	kdb->events = events;
	kdb->arg = arg;
	kdb->socket.fd = -1;
	kdb_calls_init(&kdb->calls, config, events, arg);
	kdb_meta_init(&kdb->meta, config);
	return kdb;
}

static void kdb_close(void *transport)
{
	struct kdb *kdb = transport;

	kdb_socket_close(&kdb->socket);
	kdb_calls_release(&kdb->calls);
	kdb_meta_release(&kdb->meta);
	buffer_release(&kdb->out);
	buffer_release(&kdb->in);
	buffer_release(&kdb->plain);
	free(kdb);
}

/* ---- connecting ---- */

/* user:password, what we can, and a zero. */
static int put_credentials(struct kdb *kdb)
{
	const struct link_config *config = kdb->config;
	const char *user = kdb->url->username ? kdb->url->username : config->username;
	const char *password = kdb->url->username ? kdb->url->password : config->password;
	const char end[2] = {CAPABILITY, 0};

	if ((user && buffer_append(&kdb->out, user, strlen(user)) < 0) ||
	    ((user || password) && buffer_append(&kdb->out, ":", 1) < 0) ||
	    (password && buffer_append(&kdb->out, password, strlen(password)) < 0))
		return -1;
	return buffer_append(&kdb->out, end, sizeof end);
}

static int kdb_connect(void *transport, const struct url *url, bool discard_session, char *err, size_t err_size)
{
	struct kdb *kdb = transport;

	(void)discard_session;
	kdb->url = url;
	kdb->greeted = kdb->leaving = kdb->closed = kdb->arrived = kdb->refused = false;
	kdb->out.size = kdb->written = kdb->answers = kdb->in.size = kdb->left = 0;
	kdb->given = kdb->taken = 0;
	kdb->taking = false;
	if (put_credentials(kdb) < 0) {
		snprintf(err, err_size, "out of memory");
		return -1;
	}
	return kdb_socket_open(&kdb->socket, kdb->config, url, err, err_size);
}

static int kdb_fd(void *transport)
{
	return ((struct kdb *)transport)->socket.fd;
}

/* One byte, and no more: a message may be right behind it. */
static int read_greeting(struct kdb *kdb, char *err, size_t err_size)
{
	const struct greeting greeting = {.receive_maximum = 65535};
	unsigned char answer;
	ssize_t n = kdb_socket_read(&kdb->socket, &answer, 1, &kdb->closed, err, err_size);

	if (n == 0)
		return 0;
	if (n < 0) {
		kdb->refused = kdb->closed;
		if (kdb->closed)
			snprintf(err, err_size, "user or password is refused, or it is no kdb+ process, or one with TLS: closed "
			                        "without an answer");
		return -1;
	}
	kdb->refused = answer > CAPABILITY_MAX || answer == 0;
	if (answer > CAPABILITY_MAX)
		snprintf(err, err_size, "not a kdb+ process, but %s: it answers the handshake with byte 0x%02x",
		         answer == 'H' ? "a web server" : answer == 0x15 ? "a TLS port (kdbs://)" : "something else", answer);
	else if (answer == 0)
		snprintf(err, err_size, "a kdb+ process of before version 2.6: it has no timestamps");
	if (kdb->refused)
		return -1;
	kdb->greeted = true;
	kdb_meta_forget(&kdb->meta);
	kdb->events->greeted(kdb->arg, &greeting);
	return kdb_socket_pending(&kdb->socket);
}

/* ---- messages in ---- */

static int out_of_memory(char *err, size_t err_size)
{
	snprintf(err, err_size, "out of memory");
	return -1;
}

/* Whoever asks us something waits for the answer; nothing is looked at, let alone evaluated. */
static int answer_request(struct kdb *kdb, char *err, size_t err_size)
{
	static const char text[] = "tidegate: takes no requests";
	size_t before = kdb->out.size, begin;

	if (kdb->answers > ANSWERS_MAX) {
		snprintf(err, err_size, "the collector asks and asks, and does not read the answers");
		return -1;
	}
	log_debug(kdb->calls.component, "the collector asks something, and is answered with an error");
	begin = kdb_message_begin(&kdb->out, KDB_RESPONSE);
	if (kdb_put_error(&kdb->out, (struct bytes){text, sizeof text - 1}) < 0 || kdb_message_end(&kdb->out, begin) < 0) {
		kdb->out.size = before;
		return out_of_memory(err, err_size);
	}
	kdb->answers += kdb->out.size - before;
	return 0;
}

static int take_reply(struct kdb *kdb, int64_t now_ms, char *err, size_t err_size)
{
	struct bytes message = {kdb->in.data, kdb->in.size}, text;
	bool is_error;

	if (kdb->head.compressed && kdb_plain(message, REPLY_MAX, &kdb->plain, &message, err, err_size) < 0)
		return -1;
	if (kdb->meta.asked > 0) {
		kdb_meta_answered(&kdb->meta, message, now_ms);
		return 0;
	}
	is_error = kdb_is_error(message, &text);
	if (kdb_calls_answered(&kdb->calls, is_error ? &text : NULL, now_ms))
		return 0;
	snprintf(err, err_size, "a reply came to nothing that was asked");
	return -1;
}

static int take_message(struct kdb *kdb, int64_t now_ms, char *err, size_t err_size)
{
	int result = 0;

	switch (kdb->head.kind) {
	case KDB_RESPONSE:
		result = take_reply(kdb, now_ms, err, err_size);
		break;
	case KDB_SYNC:
		result = answer_request(kdb, err, err_size);
		break;
	case KDB_ASYNC:
		log_debug(kdb->calls.component, "the collector sends something, %zu bytes: ignored", kdb->head.size);
		break;
	}
	buffer_reset(&kdb->in);
	buffer_reset(&kdb->plain);
	return result;
}

/* What nobody will look at is not kept. */
static size_t bytes_to_keep(const struct kdb *kdb)
{
	bool whole = kdb->head.kind == KDB_RESPONSE && (kdb->head.compressed || kdb->meta.asked > 0);

	return whole || kdb->left < LOOK_BYTES ? kdb->left : LOOK_BYTES;
}

/* A piece of what came: of a head, or of what is behind it. Returns how much of it, or -1. */
static ssize_t take_piece(struct kdb *kdb, const char *data, size_t size, char *err, size_t err_size)
{
	bool in_head = kdb->left == 0;
	size_t most = in_head ? KDB_HEAD_SIZE - kdb->in.size : kdb->left;
	size_t keep;

	size = size < most ? size : most;
	keep = in_head || size < kdb->kept ? size : kdb->kept;
	if (buffer_append(&kdb->in, data, keep) < 0)
		return out_of_memory(err, err_size);
	if (!in_head) {
		kdb->left -= size;
		kdb->kept -= keep;
		return (ssize_t)size;
	}
	if (kdb->in.size < KDB_HEAD_SIZE)
		return (ssize_t)size;
	if (kdb_read_head(kdb->in.data, REPLY_MAX, &kdb->head, err, err_size) < 0)
		return -1;
	kdb->left = kdb->head.size - KDB_HEAD_SIZE;
	kdb->kept = bytes_to_keep(kdb);
	return (ssize_t)size;
}

static int take_bytes(struct kdb *kdb, const char *data, size_t size, int64_t now_ms, char *err, size_t err_size)
{
	while (size > 0) {
		ssize_t taken = take_piece(kdb, data, size, err, err_size);

		if (taken < 0)
			return -1;
		data += taken;
		size -= (size_t)taken;
		if (kdb->in.size >= KDB_HEAD_SIZE && kdb->left == 0 && take_message(kdb, now_ms, err, err_size) < 0)
			return -1;
	}
	return 0;
}

static int kdb_read(void *transport, size_t max_messages, int64_t max_ms, char *err, size_t err_size)
{
	struct kdb *kdb = transport;
	int64_t now_ms = clock_monotonic_ms();
	char data[READ_BYTES];
	ssize_t n = READ_BYTES;

	(void)max_messages;
	(void)max_ms;
	kdb->arrived = kdb_socket_arrived(&kdb->socket);
	if (!kdb->greeted)
		return read_greeting(kdb, err, err_size);
	for (int i = 0; i < READS && n > 0; i++) {
		n = kdb_socket_read(&kdb->socket, data, sizeof data, &kdb->closed, err, err_size);
		if (n < 0 || take_bytes(kdb, data, (size_t)n, now_ms, err, err_size) < 0)
			return -1;
		if (n < READ_BYTES && !kdb_socket_pending(&kdb->socket))
			return 0;
	}
	return n > 0;
}

/* ---- messages out ---- */

/* Writes what waits. 1: all of it, 0: the rest later, -1: the connection has ended. */
static int flush(struct kdb *kdb, char *err, size_t err_size)
{
	while (kdb->written < kdb->out.size) {
		ssize_t n = kdb_socket_write(&kdb->socket, kdb->out.data + kdb->written, kdb->out.size - kdb->written,
		                             &kdb->closed, err, err_size);

		if (n <= 0)
			return (int)n;
		kdb->written += (size_t)n;
		kdb->given += n;
	}
	kdb->written = kdb->out.size = kdb->answers = 0;
	if (kdb->out.capacity > OUT_KEPT)
		buffer_reset(&kdb->out);
	return 1;
}

/* As q does it: not for what is small, and not on the same machine. */
static void compress(struct kdb *kdb, size_t begin)
{
	struct bytes plain = {kdb->out.data + begin, kdb->out.size - begin};
	struct buffer smaller = {0};

	if (kdb->config->kdb.compress && !kdb->socket.local && kdb_compress(plain, &smaller) == 1) {
		memcpy(kdb->out.data + begin, smaller.data, smaller.size);
		kdb->out.size = begin + smaller.size;
	}
	buffer_release(&smaller);
}

/* The next question or call; a question only while no call waits for its reply, so that replies are told
 * apart. False: nothing now. */
static bool put_next(struct kdb *kdb, int64_t now_ms)
{
	size_t begin = kdb->out.size;

	if (!kdb->greeted || kdb->meta.asked > 0)
		return false;
	if (kdb_meta_due(&kdb->meta, now_ms))
		return kdb->calls.n_called == 0 && kdb_meta_ask(&kdb->meta, now_ms, &kdb->out) == 0;
	if (!kdb_calls_ready(&kdb->calls, now_ms) || kdb_calls_next(&kdb->calls, now_ms, &kdb->out) < 0)
		return false;
	compress(kdb, begin);
	return true;
}

static bool kdb_wants_write(void *transport)
{
	const struct kdb *kdb = transport;
	int64_t now_ms = clock_monotonic_ms();

	if (kdb->leaving || kdb->written < kdb->out.size)
		return !kdb->socket.stuck;
	if (!kdb->greeted || kdb->meta.asked > 0)
		return false;
	if (kdb_meta_due(&kdb->meta, now_ms))
		return kdb->calls.n_called == 0;
	return kdb_calls_ready(&kdb->calls, now_ms);
}

static int kdb_write(void *transport, char *err, size_t err_size)
{
	struct kdb *kdb = transport;
	int64_t now_ms = clock_monotonic_ms();
	int all;

	do
		all = flush(kdb, err, err_size);
	while (all == 1 && !kdb->leaving && put_next(kdb, now_ms));
	if (all == 1 && kdb->leaving) {
		snprintf(err, err_size, "closed");
		return -1;
	}
	return all < 0 ? -1 : 0;
}

static int64_t waited_ms(const struct kdb *kdb, int64_t now_ms)
{
	return kdb->meta.asked > 0 ? now_ms - kdb->meta.since_ms : kdb_calls_waited_ms(&kdb->calls, now_ms);
}

/* A large call on a slow line is not answered before the peer has it: its time begins when the peer
 * has taken what there is. */
static void watch_line(struct kdb *kdb, int64_t now_ms)
{
	int64_t unsent = (int64_t)kdb_socket_unsent(&kdb->socket), taken = kdb->given - unsent;
	bool was_taking = kdb->taking;

	kdb->taking = unsent > 0 || kdb->written < kdb->out.size;
	if (taken > kdb->taken && (was_taking || kdb->taking))
		kdb_calls_move(&kdb->calls, now_ms);
	kdb->taken = taken;
}

static int kdb_tick(void *transport, char *err, size_t err_size)
{
	struct kdb *kdb = transport;
	int64_t now_ms = clock_monotonic_ms();

	if (!kdb->greeted)
		return 0;
	watch_line(kdb, now_ms);
	if (waited_ms(kdb, now_ms) < kdb->config->kdb.timeout_ms)
		return 0;
	snprintf(err, err_size, "no reply within %g s", (double)kdb->config->kdb.timeout_ms / 1000);
	return -1;
}

static int64_t kdb_due_ms(void *transport)
{
	const struct kdb *kdb = transport;
	int64_t calls_ms = kdb_calls_due_ms(&kdb->calls, clock_monotonic_ms()), meta_ms = kdb_meta_due_ms(&kdb->meta);

	if (!kdb->greeted)
		return INT64_MAX;
	if (kdb->meta.asked == 0 && kdb->calls.n_called > 0) /* a question waits for their replies, however late it is */
		return calls_ms;
	return calls_ms < meta_ms ? calls_ms : meta_ms;
}

static enum send_result kdb_send(void *transport, const struct message *message, int *handle, char *reason,
                                 size_t reason_size)
{
	struct kdb *kdb = transport;

	if (!kdb->greeted || !kdb_meta_admits(&kdb->meta, message->topic.data))
		return SEND_LATER;
	return kdb_calls_add(&kdb->calls, message, kdb->config->kdb.late_call ? clock_wall_ms() : 0, handle, reason,
	                     reason_size);
}

static char *kdb_note(void *transport)
{
	struct kdb *kdb = transport;

	return kdb_calls_settle(&kdb->calls, clock_monotonic_ms());
}

static void kdb_noted(void *transport)
{
	kdb_calls_noted(&((struct kdb *)transport)->calls);
}

static int kdb_restore(void *transport, const char *note)
{
	return kdb_calls_restore(&((struct kdb *)transport)->calls, note);
}

/* ---- what kdb+ does not have ---- */

static int kdb_subscribe(void *transport, const struct subscription *subscription, int *handle)
{
	(void)transport;
	(void)subscription;
	(void)handle;
	return -1;
}

static int kdb_unsubscribe(void *transport, const char *filter, int *handle)
{
	(void)transport;
	(void)filter;
	(void)handle;
	return -1;
}

/* ---- ending ---- */

/* Closing is all there is to say. */
static void kdb_goodbye(void *transport)
{
	((struct kdb *)transport)->leaving = true;
}

static enum hang_up kdb_hung_up(void *transport)
{
	const struct kdb *kdb = transport;

	if (!kdb->closed || kdb->leaving || !kdb->greeted)
		return NO_HANG_UP;
	return kdb->arrived && kdb->written == kdb->out.size ? HANG_UP : HANG_UP_HALFWAY;
}

static int64_t kdb_patience_ms(void *transport)
{
	const struct kdb *kdb = transport;

	return kdb->refused ? kdb_slow_ms(kdb->config) / 2 : 0;
}

static bool kdb_abort(void *transport, enum in_flight in_flight)
{
	struct kdb *kdb = transport;

	(void)in_flight;
	kdb_calls_lost(&kdb->calls, kdb_hung_up(kdb) == HANG_UP);
	kdb_socket_close(&kdb->socket);
	kdb->greeted = false;
	return false;
}

const struct transport_ops kdb_transport = {
        .open = kdb_open_transport,
        .close = kdb_close,
        .connect = kdb_connect,
        .fd = kdb_fd,
        .wants_write = kdb_wants_write,
        .read = kdb_read,
        .write = kdb_write,
        .tick = kdb_tick,
        .due_ms = kdb_due_ms,
        .send = kdb_send,
        .note = kdb_note,
        .noted = kdb_noted,
        .restore = kdb_restore,
        .subscribe = kdb_subscribe,
        .unsubscribe = kdb_unsubscribe,
        .goodbye = kdb_goodbye,
        .abort = kdb_abort,
        .hung_up = kdb_hung_up,
        .patience_ms = kdb_patience_ms,
};
