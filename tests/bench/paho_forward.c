/* What people write by hand, 1: a forwarder on Eclipse Paho's C client, kept
 * alive through outages by its own means: automatic reconnect, messages buffered
 * while the broker is away, and Paho's file persistence (a file a message).
 *
 *	paho_forward SOURCE-PORT SINK-PORT TOPIC DIRECTORY
 *
 * Settings are those that served it best in trials: up to 65,535 buffered (its
 * limit), and when they are used up the source's messages are left waiting.
 */
#include <MQTTAsync.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFERED_MAX 65535
#define IN_FLIGHT_MAX 1000

struct forwarder {
	MQTTAsync source, sink;
	const char *topic;
};

static int on_message(void *context, char *topic, int topic_size, MQTTAsync_message *message)
{
	struct forwarder *forwarder = context;
	MQTTAsync_message copy = MQTTAsync_message_initializer;

	(void)topic_size;
	copy.payload = message->payload;
	copy.payloadlen = message->payloadlen;
	copy.qos = 1;
	if (MQTTAsync_sendMessage(forwarder->sink, topic, &copy, NULL) != MQTTASYNC_SUCCESS)
		return 0; /* buffer full: Paho keeps the message and offers it again */
	MQTTAsync_freeMessage(&message);
	MQTTAsync_free(topic);
	return 1;
}

static void on_connected(void *context, char *cause)
{
	struct forwarder *forwarder = context;

	(void)cause;
	if (MQTTAsync_subscribe(forwarder->source, forwarder->topic, 1, NULL) != MQTTASYNC_SUCCESS)
		fprintf(stderr, "paho_forward: cannot subscribe\n");
}

static void on_lost(void *context, char *cause)
{
	(void)context;
	(void)cause; /* automaticReconnect does the rest */
}

static int on_sink_message(void *context, char *topic, int topic_size, MQTTAsync_message *message)
{
	(void)context;
	(void)topic_size;
	MQTTAsync_freeMessage(&message);
	MQTTAsync_free(topic);
	return 1;
}

static bool connect_client(MQTTAsync client)
{
	MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;

	options.cleansession = 0;
	options.maxInflight = IN_FLIGHT_MAX;
	options.automaticReconnect = 1;
	options.minRetryInterval = 1;
	options.maxRetryInterval = 1;
	return MQTTAsync_connect(client, &options) == MQTTASYNC_SUCCESS;
}

static MQTTAsync create_client(const char *port, const char *id, int persistence, char *directory)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
	MQTTAsync client;
	char url[64];

	snprintf(url, sizeof(url), "tcp://127.0.0.1:%s", port);
	options.sendWhileDisconnected = 1;
	options.allowDisconnectedSendAtAnyTime = 1;
	options.maxBufferedMessages = BUFFERED_MAX;
	if (MQTTAsync_createWithOptions(&client, url, id, persistence, directory, &options) != MQTTASYNC_SUCCESS)
		return NULL;
	return client;
}

int main(int argc, char **argv)
{
	struct forwarder forwarder;
	sigset_t set;
	int signal_number;

	if (argc != 5) {
		fprintf(stderr, "usage: paho_forward SOURCE-PORT SINK-PORT TOPIC DIRECTORY\n");
		return 64;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	forwarder.topic = argv[3];
	forwarder.source = create_client(argv[1], "paho-source", MQTTCLIENT_PERSISTENCE_NONE, NULL);
	forwarder.sink = create_client(argv[2], "paho-sink", MQTTCLIENT_PERSISTENCE_DEFAULT, argv[4]);
	if (!forwarder.source || !forwarder.sink)
		return 1;
	MQTTAsync_setCallbacks(forwarder.source, &forwarder, on_lost, on_message, NULL);
	MQTTAsync_setCallbacks(forwarder.sink, &forwarder, on_lost, on_sink_message, NULL);
	MQTTAsync_setConnected(forwarder.source, &forwarder, on_connected);
	if (!connect_client(forwarder.sink) || !connect_client(forwarder.source))
		return 1;
	sigwait(&set, &signal_number);
	return 0;
}
