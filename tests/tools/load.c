/* A field of sensors and a collector in one program, for specs, demo and bench.
 *
 *	load publish --port P --topic T --count N [--rate R] [--size BYTES] [--window W] [--sensors K] ...
 *	load collect --port P --topic T [--count N] [--timeout S] [--session --client-id ID] ...
 *
 * `publish` sends readings numbered from 1; the payload is one JSON object,
 *
 *	{"n":17,"sensor":3,"t":1700000000123456,"v":21.53}
 *
 * with the number, the sensor, the time of sending in microseconds since 1970
 * and a made-up value, padded with blanks to --size. A `%` in the topic becomes
 * the sensor's number. It reconnects for as long as it runs, sends again what was
 * not acknowledged, and then at once what fell due meanwhile. `collect` looks
 * for the "n" of each message and says which came twice or late. Between them
 * they know, without trusting anything in the middle, what was acknowledged and
 * what arrived: --record writes each number, a line each, when its
 * acknowledgement came (publish) or when it came itself (collect).
 *
 * On stdout, one JSON object a line: {"event":"connected"} and
 * {"event":"subscribed"} when it is so, every --progress milliseconds
 * {"event":"progress",...}, and at the end {"event":"result",...}. The times
 * `now`, `first` and `last` are seconds of the monotonic clock, so that those of
 * two processes can be subtracted. Both end when --count is reached (0: never), on
 * SIGTERM or SIGINT, or after --timeout seconds. Exit status: 0 all well, 1 the
 * count was not reached or something stayed unacknowledged, 64 bad usage.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* Numbers up to this are told apart. The bitmap for them is 8 MB, and of that
 * only the touched pages take memory. */
#define NUMBER_MAX ((uint64_t)1 << 26)
#define PAYLOAD_MAX ((size_t)1 << 20)
/* How long one turn may read, publish and hold back what it writes. */
#define TURN_NS 2000000
#define RECONNECT_NS 100000000
/* What a signal leaves `publish` to get its last acknowledgements. */
#define FAREWELL_NS 5000000000
#define SECOND_NS 1000000000

struct options {
	bool publish;
	const char *host, *topic, *client_id, *record;
	int port, qos, window, sensors;
	uint64_t count;
	size_t size;
	double rate, timeout; /* messages a second, seconds; 0: without limit */
	int progress_ms;
	bool session;
};

struct load {
	struct options options;
	struct mosquitto *mosq;
	FILE *record;
	int signals; /* signalfd */
	bool connected, failed;
	bool stopping; /* a signal came: nothing new */
	int64_t deadline_ns, progress_ns, reconnect_ns;
	int64_t first_ns, last_ns; /* first sending, last acknowledgement; first and last arrival */

	/* publish */
	int64_t start_ns; /* when the first reading was due */
	uint64_t sent, acknowledged;
	uint32_t in_flight[65536]; /* number of the reading by packet id, 0: none */
	char payload[PAYLOAD_MAX];

	/* collect */
	uint64_t received, distinct, reordered, foreign, highest;
	unsigned char seen[NUMBER_MAX / 8 + 1]; /* a bit for each number */
};

static int64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec * (int64_t)SECOND_NS + now.tv_nsec;
}

static int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void complain(struct load *load, const char *what, const char *why)
{
	fprintf(stderr, "load: %s: %s\n", what, why);
	load->failed = true;
}

/* ---- what it says ---- */

static void report(const struct load *load, const char *event)
{
	printf("{\"event\":\"%s\",\"connected\":%s,\"now\":%.6f,\"first\":%.6f,\"last\":%.6f,", event,
	       load->connected ? "true" : "false", (double)now_ns() / SECOND_NS, (double)load->first_ns / SECOND_NS,
	       (double)load->last_ns / SECOND_NS);
	if (load->options.publish)
		printf("\"sent\":%" PRIu64 ",\"acknowledged\":%" PRIu64 "}\n", load->sent, load->acknowledged);
	else
		printf("\"received\":%" PRIu64 ",\"distinct\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"reordered\":%"
		       PRIu64 ",\"foreign\":%" PRIu64 ",\"highest\":%" PRIu64 "}\n",
		       load->received, load->distinct, load->received - load->foreign - load->distinct,
		       load->reordered, load->foreign, load->highest);
	fflush(stdout);
}

static void announce(const char *event)
{
	printf("{\"event\":\"%s\"}\n", event);
	fflush(stdout);
}

static void record(struct load *load, uint64_t number)
{
	if (load->record && fprintf(load->record, "%" PRIu64 "\n", number) < 0)
		complain(load, load->options.record, strerror(errno));
}

/* ---- publish ---- */

static void on_acknowledged(struct mosquitto *mosq, void *arg, int id)
{
	struct load *load = arg;
	uint32_t number = load->in_flight[id & 0xffff];

	(void)mosq;
	if (!number)
		return;
	load->in_flight[id & 0xffff] = 0;
	load->acknowledged++;
	load->last_ns = now_ns();
	record(load, number);
}

static int make_payload(struct load *load, uint64_t number, int sensor)
{
	size_t size = load->options.size;
	double value = 20.0 + sensor % 7 + abs((int)(number / 20 % 100) - 50) / 10.0; /* up and down */
	int length = snprintf(load->payload, PAYLOAD_MAX,
	                      "{\"n\":%" PRIu64 ",\"sensor\":%d,\"t\":%" PRId64 ",\"v\":%.2f}", number, sensor,
	                      clock_ns(CLOCK_REALTIME) / 1000, value);

	if ((size_t)length >= size)
		return length;
	memset(load->payload + length, ' ', size - (size_t)length);
	return (int)size;
}

static void make_topic(const char *pattern, int sensor, char *topic, size_t size)
{
	const char *place = strchr(pattern, '%');

	if (place)
		snprintf(topic, size, "%.*s%d%s", (int)(place - pattern), pattern, sensor, place + 1);
	else
		snprintf(topic, size, "%s", pattern);
}

static void publish_next(struct load *load)
{
	const struct options *options = &load->options;
	uint64_t number = load->sent + 1;
	int sensor = (int)((number - 1) % (uint64_t)options->sensors) + 1;
	int size = make_payload(load, number, sensor), id = 0, rc;
	char topic[1024];

	make_topic(options->topic, sensor, topic, sizeof(topic));
	rc = mosquitto_publish(load->mosq, &id, topic, size, load->payload, options->qos, false);
	/* Without a connection the library keeps the message and sends it later. */
	if (rc != MOSQ_ERR_SUCCESS && rc != MOSQ_ERR_NO_CONN && rc != MOSQ_ERR_CONN_LOST && rc != MOSQ_ERR_ERRNO) {
		complain(load, "publish", mosquitto_strerror(rc));
		return;
	}
	if (!load->first_ns)
		load->first_ns = now_ns();
	load->in_flight[id & 0xffff] = (uint32_t)number;
	load->sent = number;
}

static bool all_sent(const struct load *load)
{
	return load->stopping || (load->options.count && load->sent == load->options.count);
}

/* When the next reading may be sent, or INT64_MAX if that is not up to time. */
static int64_t publish_due_ns(const struct load *load)
{
	if (!load->connected || all_sent(load) || load->sent - load->acknowledged >= (uint64_t)load->options.window)
		return INT64_MAX;
	if (load->options.rate <= 0)
		return 0;
	return load->start_ns + (int64_t)((double)load->sent / load->options.rate * SECOND_NS);
}

static void publish_what_is_due(struct load *load)
{
	int64_t now = now_ns();

	while (!load->failed && publish_due_ns(load) <= now)
		publish_next(load);
}

/* ---- collect ---- */

static uint64_t number_in(const char *text)
{
	const char *place = text ? strstr(text, "\"n\":") : NULL;

	return place ? strtoull(place + 4, NULL, 10) : 0;
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *message)
{
	struct load *load = arg;
	uint64_t number = number_in(message->payload); /* the library ends it with a NUL */
	unsigned char bit = (unsigned char)(1 << (number & 7));

	(void)mosq;
	load->received++;
	load->last_ns = now_ns();
	if (!load->first_ns)
		load->first_ns = load->last_ns;
	if (number == 0 || number > NUMBER_MAX) {
		load->foreign++;
		return;
	}
	record(load, number);
	if (load->seen[number >> 3] & bit)
		return;
	load->seen[number >> 3] |= bit;
	load->distinct++;
	if (number < load->highest)
		load->reordered++;
	else
		load->highest = number;
}

static void on_subscribed(struct mosquitto *mosq, void *arg, int id, int count, const int *granted)
{
	struct load *load = arg;

	(void)mosq;
	(void)id;
	if (count < 1 || granted[0] > 2) {
		complain(load, "subscribe", "the broker refused");
		return;
	}
	announce("subscribed");
}

/* ---- the connection ---- */

static void on_connect(struct mosquitto *mosq, void *arg, int rc, int flags)
{
	struct load *load = arg;

	if (rc) {
		complain(load, "connect", mosquitto_connack_string(rc));
		return;
	}
	load->connected = true;
	announce("connected");
	if (load->options.publish)
		return;
	if (flags & 1)
		announce("subscribed"); /* the session has it */
	else if (mosquitto_subscribe(mosq, NULL, load->options.topic, load->options.qos) == MOSQ_ERR_INVAL)
		complain(load, "subscribe", "bad topic filter");
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int rc)
{
	struct load *load = arg;

	(void)mosq;
	(void)rc;
	load->connected = false;
	load->reconnect_ns = now_ns() + RECONNECT_NS;
}

/* A broker that is away is tried again until time is up. */
static void reconnect(struct load *load)
{
	int64_t now = now_ns();

	if (now < load->reconnect_ns)
		return;
	load->reconnect_ns = now + RECONNECT_NS;
	mosquitto_reconnect(load->mosq);
}

/* The library makes a packet of its own of each message; a corked socket joins
 * those of one turn into few. Without it this program would be slower than what
 * it measures. */
static void cork(struct load *load, int on)
{
	int fd = mosquitto_socket(load->mosq);

	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static void read_what_waits(struct load *load)
{
	int64_t end_ns = now_ns() + TURN_NS;
	int waiting;

	do {
		int fd;

		if (mosquitto_loop_read(load->mosq, 1) != MOSQ_ERR_SUCCESS)
			return; /* on_disconnect was called */
		waiting = 0;
		fd = mosquitto_socket(load->mosq);
		if (fd < 0 || ioctl(fd, FIONREAD, &waiting) < 0)
			return;
	} while (waiting > 0 && now_ns() < end_ns);
}

/* ---- the loop ---- */

static bool finished(const struct load *load)
{
	const struct options *options = &load->options;

	if (load->failed)
		return true;
	if (options->publish)
		return all_sent(load) && load->acknowledged == load->sent;
	return load->stopping || (options->count && load->distinct >= options->count);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t next_event_ns(const struct load *load)
{
	int64_t next = earlier(now_ns() + SECOND_NS, load->deadline_ns); /* a second: keepalive */

	if (load->options.progress_ms)
		next = earlier(next, load->progress_ns);
	if (mosquitto_socket(load->mosq) < 0)
		next = earlier(next, load->reconnect_ns);
	return load->options.publish ? earlier(next, publish_due_ns(load)) : next;
}

/* Returns what poll() says about the socket. */
static int wait_for_events(struct load *load)
{
	struct pollfd fds[2] = {
		{ .fd = load->signals, .events = POLLIN },
		{ .fd = mosquitto_socket(load->mosq), .events = POLLIN },
	};
	int64_t wait_ns = next_event_ns(load) - now_ns();
	struct timespec timeout = { 0, 0 };
	struct signalfd_siginfo info;

	if (wait_ns > 0) {
		timeout.tv_sec = (time_t)(wait_ns / SECOND_NS);
		timeout.tv_nsec = (long)(wait_ns % SECOND_NS);
	}
	if (mosquitto_want_write(load->mosq))
		fds[1].events |= POLLOUT;
	if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR)
		complain(load, "poll", strerror(errno));
	if (fds[0].revents && read(load->signals, &info, sizeof(info)) > 0) {
		load->stopping = true;
		load->deadline_ns = earlier(load->deadline_ns, now_ns() + FAREWELL_NS);
	}
	return fds[1].revents;
}

static void keep_time(struct load *load)
{
	int64_t now = now_ns();

	if (load->options.progress_ms && now >= load->progress_ns) {
		report(load, "progress");
		load->progress_ns = now + load->options.progress_ms * (int64_t)1000000;
	}
	if (load->record)
		fflush(load->record);
	if (mosquitto_socket(load->mosq) < 0)
		reconnect(load);
	else
		mosquitto_loop_misc(load->mosq);
}

static void run(struct load *load)
{
	load->start_ns = now_ns();
	if (load->options.timeout > 0)
		load->deadline_ns = load->start_ns + (int64_t)(load->options.timeout * SECOND_NS);
	while (!finished(load) && now_ns() < load->deadline_ns) {
		int events = wait_for_events(load);

		cork(load, 1);
		if (events & (POLLIN | POLLHUP | POLLERR))
			read_what_waits(load);
		if (load->options.publish)
			publish_what_is_due(load);
		/* Without a socket that would be another disconnect, and put off the next attempt for good. */
		if (mosquitto_socket(load->mosq) >= 0 && mosquitto_want_write(load->mosq))
			mosquitto_loop_write(load->mosq, 1);
		cork(load, 0);
		keep_time(load);
	}
}

/* ---- beginning and end ---- */

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int open_client(struct load *load)
{
	const struct options *options = &load->options;

	mosquitto_lib_init();
	load->mosq = mosquitto_new(options->client_id, !options->session, load);
	if (!load->mosq) {
		complain(load, "client", strerror(errno));
		return -1;
	}
	mosquitto_connect_with_flags_callback_set(load->mosq, on_connect);
	mosquitto_disconnect_callback_set(load->mosq, on_disconnect);
	mosquitto_subscribe_callback_set(load->mosq, on_subscribed);
	mosquitto_message_callback_set(load->mosq, on_message);
	mosquitto_publish_callback_set(load->mosq, on_acknowledged);
	mosquitto_int_option(load->mosq, MOSQ_OPT_SEND_MAXIMUM, options->window);
	mosquitto_int_option(load->mosq, MOSQ_OPT_TCP_NODELAY, 1); /* or uncorking would wait, too */
	/* Fails if the broker is away, and then reconnect() goes on trying. */
	if (mosquitto_connect(load->mosq, options->host, options->port, 60) == MOSQ_ERR_INVAL) {
		complain(load, "connect", "bad host or port");
		return -1;
	}
	return 0;
}

static int open_load(struct load *load)
{
	load->deadline_ns = INT64_MAX;
	load->signals = open_signals();
	if (load->signals < 0) {
		complain(load, "signalfd", strerror(errno));
		return -1;
	}
	if (load->options.record && !(load->record = fopen(load->options.record, "w"))) {
		complain(load, load->options.record, strerror(errno));
		return -1;
	}
	return open_client(load);
}

static int close_load(struct load *load)
{
	bool complete = load->options.count == 0 || load->distinct >= load->options.count;

	if (load->options.publish)
		complete = load->acknowledged == load->sent && (load->stopping || load->sent == load->options.count);
	if (load->mosq) {
		report(load, "result");
		mosquitto_disconnect(load->mosq);
		mosquitto_destroy(load->mosq);
	}
	mosquitto_lib_cleanup();
	if (load->record && fclose(load->record) != 0)
		complain(load, load->options.record, strerror(errno));
	return complete && !load->failed ? 0 : 1;
}

/* ---- the command line ---- */

static const struct option long_options[] = {
	{ "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },
	{ "topic", required_argument, NULL, 't' },
	{ "count", required_argument, NULL, 'c' },
	{ "rate", required_argument, NULL, 'r' },
	{ "size", required_argument, NULL, 's' },
	{ "window", required_argument, NULL, 'w' },
	{ "qos", required_argument, NULL, 'q' },
	{ "sensors", required_argument, NULL, 'k' },
	{ "record", required_argument, NULL, 'o' },
	{ "timeout", required_argument, NULL, 'T' },
	{ "progress", required_argument, NULL, 'P' },
	{ "client-id", required_argument, NULL, 'i' },
	{ "session", no_argument, NULL, 'S' },
	{ NULL, 0, NULL, 0 },
};

static void usage(FILE *out)
{
	fputs("usage: load publish|collect --port P --topic T [option...]\n"
	      "  --host H         127.0.0.1\n"
	      "  --count N        end after N readings; 0: go on (0)\n"
	      "  --qos Q          1 or 2 (1)\n"
	      "  --timeout S      give up after S seconds\n"
	      "  --record FILE    each number acknowledged or received, one a line\n"
	      "  --progress MS    a line of JSON each MS milliseconds\n"
	      "  --client-id ID   needed for --session\n"
	      "  --session        keep the session at the broker\n"
	      "publish only:\n"
	      "  --rate R         readings a second; 0: as fast as the window allows (0)\n"
	      "  --size BYTES     pad the payload (64)\n"
	      "  --window W       in flight (100)\n"
	      "  --sensors K      the % in the topic becomes 1 to K in turn (1)\n",
	      out);
}

static int option(struct options *options, int name, const char *value)
{
	switch (name) {
	case 'h': options->host = value; break;
	case 'p': options->port = atoi(value); break;
	case 't': options->topic = value; break;
	case 'c': options->count = strtoull(value, NULL, 10); break;
	case 'r': options->rate = atof(value); break;
	case 's': options->size = strtoull(value, NULL, 10); break;
	case 'w': options->window = atoi(value); break;
	case 'q': options->qos = atoi(value); break;
	case 'k': options->sensors = atoi(value); break;
	case 'o': options->record = value; break;
	case 'T': options->timeout = atof(value); break;
	case 'P': options->progress_ms = atoi(value); break;
	case 'i': options->client_id = value; break;
	case 'S': options->session = true; break;
	default: return -1;
	}
	return 0;
}

static bool sound(const struct options *options)
{
	return options->topic && options->port > 0 && options->port < 65536 && options->count <= NUMBER_MAX &&
	       options->qos >= 1 && options->qos <= 2 && options->sensors > 0 && options->window > 0 &&
	       options->window < 32768 && options->size < PAYLOAD_MAX && options->progress_ms >= 0 &&
	       (options->client_id || !options->session);
}

static int parse(struct options *options, int argc, char **argv)
{
	int name;

	*options = (struct options){ .host = "127.0.0.1", .qos = 1, .window = 100, .sensors = 1, .size = 64 };
	if (argc < 2 || (strcmp(argv[1], "publish") != 0 && strcmp(argv[1], "collect") != 0))
		return -1;
	options->publish = strcmp(argv[1], "publish") == 0;
	while ((name = getopt_long(argc - 1, argv + 1, "", long_options, NULL)) != -1) {
		if (option(options, name, optarg) < 0)
			return -1;
	}
	return optind == argc - 1 && sound(options) ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct load *load = calloc(1, sizeof(*load));
	int status;

	if (!load)
		return 1;
	if (parse(&load->options, argc, argv) < 0) {
		usage(stderr);
		free(load);
		return 64;
	}
	if (open_load(load) == 0)
		run(load);
	status = close_load(load);
	free(load);
	return status;
}
