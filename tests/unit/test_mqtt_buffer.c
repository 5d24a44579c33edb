/* What goes through the buffer is the same stream, whatever the pieces. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mqtt_buffer.h"
#include "test.h"

#define STREAM (1 << 20)

static struct mqtt_buffer buffer;
static int ours, theirs;

static void open_pair(void)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	ours = pair[0];
	theirs = pair[1];
	mqtt_buffer_clear(&buffer);
}

static void close_pair(void)
{
	close(ours);
	close(theirs);
}

static ssize_t read_through(int fd, void *to, size_t size)
{
	ssize_t n;

	mqtt_buffer_begin(&buffer, ours);
	n = read(fd, to, size);
	mqtt_buffer_end();
	return n;
}

/* Bytes of a stream that tell their place. */
static unsigned char byte_at(size_t at)
{
	return (unsigned char)(at * 2654435761U >> 13);
}

static size_t send_some(size_t sent)
{
	static unsigned char piece[20000];
	size_t size = (size_t)(rand() % 20000) + 1;
	ssize_t n;

	if (size > STREAM - sent)
		size = STREAM - sent;
	for (size_t i = 0; i < size; i++)
		piece[i] = byte_at(sent + i);
	n = size > 0 ? write(theirs, piece, size) : 0;
	return n > 0 ? (size_t)n : 0;
}

static void hands_out_the_stream_in_any_pieces(void)
{
	static unsigned char piece[20000];
	size_t sent = 0, got = 0;
	bool same = true;

	srand(1);
	open_pair();
	while (got < STREAM && same) {
		size_t size = rand() % 4 ? (size_t)(rand() % 5) + 1 : (size_t)(rand() % 20000) + 1;
		ssize_t n = read_through(ours, piece, size);

		CHECK(n != 0 && n <= (ssize_t)size);
		if (n < 0) {
			CHECK(errno == EAGAIN && got == sent);
			sent += send_some(sent);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			same = same && piece[i] == byte_at(got + (size_t)i);
		got += (size_t)n;
	}
	CHECK(same && got == STREAM);
	close_pair();
}

static void tells_the_end_after_the_last_byte(void)
{
	char piece[4];

	open_pair();
	CHECK(write(theirs, "abc", 3) == 3);
	shutdown(theirs, SHUT_WR);
	CHECK(read_through(ours, piece, 2) == 2 && memcmp(piece, "ab", 2) == 0);
	CHECK(read_through(ours, piece, 2) == 1 && piece[0] == 'c');
	CHECK(read_through(ours, piece, 2) == 0);
	close_pair();
}

static void asks_the_kernel_once_for_many_packets(void)
{
	char piece[4];

	open_pair();
	CHECK(write(theirs, "0123456789", 10) == 10);
	CHECK(read_through(ours, piece, 1) == 1 && piece[0] == '0');
	CHECK(recv(ours, piece, 1, MSG_PEEK) < 0 && errno == EAGAIN);
	CHECK(buffer.in.end - buffer.in.at == 9);
	close_pair();
}

static void leaves_other_descriptors_alone(void)
{
	char piece[4];

	open_pair();
	CHECK(write(ours, "to them", 7) == 7 && write(theirs, "to us", 5) == 5);
	CHECK(read_through(theirs, piece, 2) == 2 && memcmp(piece, "to", 2) == 0);
	CHECK(buffer.in.end == 0);
	CHECK(read(ours, piece, 4) == 4 && memcmp(piece, "to u", 4) == 0); /* outside of begin and end */
	CHECK(buffer.in.end == 0);
	close_pair();
}

/* ---- writing ---- */

static ssize_t write_through(const void *from, size_t size)
{
	ssize_t n;

	mqtt_buffer_begin(&buffer, ours);
	n = write(ours, from, size);
	mqtt_buffer_end();
	return n;
}

/* The reader's turn: takes what came and holds it against the stream. */
static size_t take_some(size_t got, bool *same)
{
	static unsigned char piece[50000];
	ssize_t n = read(theirs, piece, (size_t)(rand() % 50000) + 1);

	for (ssize_t i = 0; i < n; i++)
		*same = *same && piece[i] == byte_at(got + (size_t)i);
	return n > 0 ? (size_t)n : 0;
}

static void takes_the_stream_in_any_pieces(void)
{
	static unsigned char piece[20000];
	size_t sent = 0, got = 0;
	bool same = true;

	srand(2);
	open_pair();
	while (got < STREAM && same) {
		size_t size = rand() % 4 ? (size_t)(rand() % 5) + 1 : (size_t)(rand() % 20000) + 1;
		ssize_t n;

		size = size > STREAM - sent ? STREAM - sent : size;
		for (size_t i = 0; i < size; i++)
			piece[i] = byte_at(sent + i);
		n = size > 0 ? write_through(piece, size) : 0;
		CHECK(n <= (ssize_t)size && (n >= 0 || errno == EAGAIN));
		sent += n > 0 ? (size_t)n : 0;
		if (size == 0 || rand() % 8 == 0)
			CHECK(mqtt_buffer_flush(&buffer) == 0);
		if (n < 0 || size == 0 || rand() % 16 == 0)
			got += take_some(got, &same);
	}
	CHECK(same && got == STREAM && !mqtt_buffer_unsent(&buffer));
	close_pair();
}

static void gathers_until_it_is_flushed(void)
{
	char piece[8];

	open_pair();
	CHECK(write_through("one", 3) == 3 && write_through("two", 3) == 3);
	CHECK(read(theirs, piece, 8) < 0 && errno == EAGAIN && mqtt_buffer_unsent(&buffer));
	CHECK(mqtt_buffer_flush(&buffer) == 0 && !mqtt_buffer_unsent(&buffer));
	CHECK(read(theirs, piece, 8) == 6 && memcmp(piece, "onetwo", 6) == 0);
	close_pair();
}

static void says_later_where_the_kernel_takes_no_more(void)
{
	static char piece[1000];
	ssize_t n;

	open_pair();
	while ((n = write_through(piece, sizeof piece)) > 0)
		;
	CHECK(n < 0 && errno == EAGAIN && mqtt_buffer_unsent(&buffer));
	CHECK(mqtt_buffer_flush(&buffer) == 0 && mqtt_buffer_unsent(&buffer));
	close_pair();
}

static void tells_of_a_connection_that_is_gone(void)
{
	open_pair();
	CHECK(write_through("one", 3) == 3);
	close(theirs);
	signal(SIGPIPE, SIG_IGN);
	CHECK(mqtt_buffer_flush(&buffer) < 0 && errno == EPIPE);
	mqtt_buffer_clear(&buffer);
	CHECK(!mqtt_buffer_unsent(&buffer) && mqtt_buffer_flush(&buffer) == 0);
	close(ours);
}

int main(void)
{
	RUN(hands_out_the_stream_in_any_pieces);
	RUN(tells_the_end_after_the_last_byte);
	RUN(asks_the_kernel_once_for_many_packets);
	RUN(leaves_other_descriptors_alone);
	RUN(takes_the_stream_in_any_pieces);
	RUN(gathers_until_it_is_flushed);
	RUN(says_later_where_the_kernel_takes_no_more);
	RUN(tells_of_a_connection_that_is_gone);
	return test_end();
}
