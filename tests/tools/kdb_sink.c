/* A kdb+ collector that only reads and answers, for benches: takes one connection, lets
 * anybody in, answers `::` to every synchronous call, and counts. Of a call it looks at the
 * beginning, for the count of the first column; the rest is read over.
 *
 * usage: kdb_sink PORT [ROWS]    ends at the end of the connection, or after so many rows.
 * Prints {"listening":PORT} and, at the end, one JSON line of figures.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD      8
#define LOOK_SIZE 512 /* of a message, where the count is */

struct sink {
	int fd;
	uint64_t rows, rows_wanted, calls, bytes, largest;
	double first, last; /* seconds: when messages began and ended */
	unsigned char look[LOOK_SIZE];
	size_t size, have; /* of the message that is being read; size 0: its head is not there */
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t number(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* Where the object after the one at `at` begins: of those that a call has before its columns. `end`: unknown. */
static size_t skip(const unsigned char *look, size_t at, size_t end)
{
	static const size_t sizes[20] = {0, 1, 16, 0, 1, 2, 4, 8, 4, 8, 1, 0, 8, 4, 4, 8, 8, 4, 4, 4};
	int type = at < end ? (signed char)look[at] : 0;

	if (type == 10 && at + 6 <= end)
		return at + 6 + number(look + at + 2);
	if (type == -11) {
		const unsigned char *nul = memchr(look + at, 0, end - at);
		return nul ? (size_t)(nul - look) + 1 : end;
	}
	return type < 0 && type > -20 ? at + 1 + sizes[-type] : end;
}

/* Rows of a call: the list's last item is the list of columns, whose first item has the count. */
static uint64_t count(const unsigned char *look, size_t end)
{
	size_t at = HEAD + 6;

	if (end < at || look[HEAD] != 0)
		return 0;
	for (uint32_t before = number(look + HEAD + 2); before > 1 && at < end; before--)
		at = skip(look, at, end);
	at += 6; /* the list of columns */
	return at + 6 <= end && (signed char)look[at] >= 0 ? number(look + at + 2) : 0;
}

static void answer(const struct sink *sink)
{
	static const unsigned char null[] = {1, 2, 0, 0, 10, 0, 0, 0, 101, 0};

	if (sink->look[1] == 1 && send(sink->fd, null, sizeof null, MSG_NOSIGNAL) != (ssize_t)sizeof null)
		fail("send");
}

/* Takes what there is of the message that is being read; returns how many bytes that was. */
static size_t take(struct sink *sink, const unsigned char *bytes, size_t n)
{
	size_t want = sink->size > 0 ? sink->size - sink->have : HEAD - sink->have, size = n < want ? n : want;

	if (sink->have < LOOK_SIZE)
		memcpy(sink->look + sink->have, bytes, size < LOOK_SIZE - sink->have ? size : LOOK_SIZE - sink->have);
	sink->have += size;
	if (sink->size == 0 && sink->have == HEAD) {
		sink->size = number(sink->look + 4);
		if (sink->look[0] != 1 || sink->size <= HEAD) {
			fprintf(stderr, "kdb_sink: this is no kdb+ message\n");
			exit(1);
		}
	} else if (sink->size > 0 && sink->have == sink->size) {
		answer(sink);
		sink->rows += count(sink->look, sink->size < LOOK_SIZE ? sink->size : LOOK_SIZE);
		sink->calls++;
		if (sink->size > sink->largest)
			sink->largest = sink->size;
		sink->size = sink->have = 0;
	}
	return size;
}

static void drain(struct sink *sink)
{
	static unsigned char bytes[1 << 20];
	ssize_t n;

	while ((sink->rows_wanted == 0 || sink->rows < sink->rows_wanted) && (n = read(sink->fd, bytes, sizeof bytes)) > 0) {
		if (sink->bytes == 0)
			sink->first = now();
		sink->bytes += (uint64_t)n;
		for (ssize_t at = 0; at < n;)
			at += (ssize_t)take(sink, bytes + at, (size_t)(n - at));
		sink->last = now();
	}
}

static void greet(const struct sink *sink)
{
	unsigned char byte, capability = 0;

	while (read(sink->fd, &byte, 1) == 1 && byte != 0)
		capability = byte < 3 ? byte : 3;
	if (write(sink->fd, &capability, 1) != 1)
		fail("write");
}

static int take_connection(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, fd;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0)
		fail("listen");
	printf("{\"listening\":%u}\n", port);
	fflush(stdout);
	fd = accept(listener, NULL, NULL);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
		fail("accept");
	close(listener);
	return fd;
}

static double cpu_seconds(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		fail("getrusage");
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	static struct sink sink;

	if (argc < 2 || argc > 3 || atoi(argv[1]) <= 0 || atoi(argv[1]) > 65535) {
		fprintf(stderr, "usage: kdb_sink PORT [ROWS]\n");
		return 64;
	}
	sink.rows_wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	sink.fd = take_connection((uint16_t)atoi(argv[1]));
	greet(&sink);
	drain(&sink);
	printf("{\"rows\":%llu,\"calls\":%llu,\"bytes\":%llu,\"largest\":%llu,\"seconds\":%.6f,\"cpu_seconds\":%.3f}\n",
	       (unsigned long long)sink.rows, (unsigned long long)sink.calls, (unsigned long long)sink.bytes,
	       (unsigned long long)sink.largest, sink.last - sink.first, cpu_seconds());
	return 0;
}
