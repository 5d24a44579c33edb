/* A collector of the fleet's readings: takes them from a quorum queue over AMQP,
 * one of several that share it.
 *
 *	collector QUEUE FILE PORT...
 *
 * Declares the queue, binds it to what MQTT clients publish below fleet/, and for
 * each message appends a line to FILE: the reading's number, and when it was
 * sent and when it came, in microseconds since 1970; 0 0 and the time for what is
 * no reading. Only then is the message acknowledged, so the file may have more
 * than the queue thinks, never less. Connects to the first of the PORTs on
 * 127.0.0.1 that answers, and to the next when that is lost. Ends on TERM.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define PAYLOAD_MAX 1024
#define PREFETCH 200
#define HEARTBEAT_SECONDS 10

static volatile sig_atomic_t ending;

static void on_signal(int signal)
{
	(void)signal;
	ending = 1;
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool well(amqp_rpc_reply_t reply)
{
	return reply.reply_type == AMQP_RESPONSE_NORMAL;
}

/* Quorum: on a majority of nodes before it is confirmed to who published. */
static bool declare(amqp_connection_state_t connection, const char *queue)
{
	amqp_table_entry_t type = { .key = amqp_cstring_bytes("x-queue-type"),
				    .value = { .kind = AMQP_FIELD_KIND_UTF8,
					       .value.bytes = amqp_cstring_bytes("quorum") } };
	amqp_table_t arguments = { .num_entries = 1, .entries = &type };
	amqp_bytes_t name = amqp_cstring_bytes(queue);

	amqp_queue_declare(connection, 1, name, 0, 1, 0, 0, arguments);
	if (!well(amqp_get_rpc_reply(connection)))
		return false;
	amqp_queue_bind(connection, 1, name, amqp_cstring_bytes("amq.topic"), amqp_cstring_bytes("fleet.#"),
			amqp_empty_table);
	return well(amqp_get_rpc_reply(connection));
}

static bool consume(amqp_connection_state_t connection, const char *queue)
{
	amqp_basic_qos(connection, 1, 0, PREFETCH, 0);
	if (!well(amqp_get_rpc_reply(connection)))
		return false;
	amqp_basic_consume(connection, 1, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
	return well(amqp_get_rpc_reply(connection));
}

static bool open_session(amqp_connection_state_t connection, const char *queue, int port)
{
	struct timeval timeout = { .tv_sec = 2 };
	amqp_socket_t *socket = amqp_tcp_socket_new(connection);

	if (!socket || amqp_socket_open_noblock(socket, "127.0.0.1", port, &timeout) != AMQP_STATUS_OK)
		return false;
	if (!well(amqp_login(connection, "/", 0, AMQP_DEFAULT_FRAME_SIZE, HEARTBEAT_SECONDS, AMQP_SASL_METHOD_PLAIN,
			     "guest", "guest")))
		return false;
	amqp_channel_open(connection, 1);
	return well(amqp_get_rpc_reply(connection)) && declare(connection, queue) && consume(connection, queue);
}

static uint64_t number_after(const char *payload, const char *key)
{
	const char *place = strstr(payload, key);

	return place ? strtoull(place + strlen(key), NULL, 10) : 0;
}

static int take(FILE *file, const amqp_envelope_t *envelope)
{
	char payload[PAYLOAD_MAX + 1];
	size_t size = envelope->message.body.len;

	if (size > PAYLOAD_MAX)
		size = PAYLOAD_MAX;
	memcpy(payload, envelope->message.body.bytes, size);
	payload[size] = '\0';
	fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRId64 "\n", number_after(payload, "\"n\":"),
		number_after(payload, "\"t\":"), now_us());
	return fflush(file);
}

/* Takes messages until the connection is lost (0) or the file cannot be written (-1). */
static int collect(amqp_connection_state_t connection, FILE *file)
{
	while (!ending) {
		struct timeval timeout = { .tv_sec = 1 };
		amqp_envelope_t envelope;
		amqp_rpc_reply_t reply;
		int status;

		amqp_maybe_release_buffers(connection);
		reply = amqp_consume_message(connection, &envelope, &timeout, 0);
		if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT)
			continue;
		if (!well(reply))
			return 0;
		if (take(file, &envelope) != 0)
			return -1;
		status = amqp_basic_ack(connection, 1, envelope.delivery_tag, 0);
		amqp_destroy_envelope(&envelope);
		if (status != AMQP_STATUS_OK)
			return 0;
	}
	return 0;
}

/* One connection, from its beginning to its end. */
static int serve(const char *queue, FILE *file, int port)
{
	amqp_connection_state_t connection = amqp_new_connection();
	int status = 0;

	if (!connection)
		return -1;
	if (open_session(connection, queue, port)) {
		printf("connected to %d\n", port);
		fflush(stdout);
		status = collect(connection, file);
	}
	amqp_destroy_connection(connection);
	return status;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct timespec pause = { .tv_nsec = 100000000 };
	FILE *file;

	if (argc < 4 || !(file = fopen(argv[2], "a"))) {
		fputs("usage: collector QUEUE FILE PORT...\n", stderr);
		return 64;
	}
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 3; !ending; i = i + 1 < argc ? i + 1 : 3) {
		if (serve(argv[1], file, atoi(argv[i])) < 0) {
			perror(argv[2]);
			return 1;
		}
		nanosleep(&pause, NULL);
	}
	return fclose(file) == 0 ? 0 : 1;
}
