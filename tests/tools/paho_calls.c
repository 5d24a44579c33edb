/* The calls that KX's MQTT interface makes of Paho's C client, without the q around them: one
 * attempt to connect, a clean session, no persistence, a subscription or a publication at a time.
 *
 *	paho_calls PORT produce MESSAGES PAUSE_MS	to each of paho1 and paho2; then prints how many calls were taken
 *	paho_calls PORT consume	prints each payload on paho1 and paho2, until its input ends
 */
#include <MQTTClient.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const topics[] = {"paho1", "paho2"};

static int on_message(void *context, char *topic, int topic_size, MQTTClient_message *message)
{
	(void)context;
	(void)topic_size;
	printf("%.*s\n", message->payloadlen, (char *)message->payload);
	fflush(stdout);
	MQTTClient_freeMessage(&message);
	MQTTClient_free(topic);
	return 1;
}

static void on_lost(void *context, char *cause)
{
	(void)context;
	(void)cause;
	fprintf(stderr, "lost\n");
}

static bool publish(MQTTClient client, const char *topic, int number)
{
	MQTTClient_message message = MQTTClient_message_initializer;
	char text[64];

	message.payloadlen = snprintf(text, sizeof text, "%s_%d", topic, number);
	message.payload = text;
	message.qos = 1;
	return MQTTClient_publishMessage(client, topic, &message, NULL) == MQTTCLIENT_SUCCESS;
}

static int produce(MQTTClient client, int messages, int pause_ms)
{
	int taken = 0;

	for (int n = 1; n <= messages; n++) {
		for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
			taken += publish(client, topics[i], n);
		usleep((useconds_t)pause_ms * 1000);
	}
	printf("taken %d\n", taken);
	return 0;
}

static int consume(MQTTClient client)
{
	char byte;

	for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
		if (MQTTClient_subscribe(client, topics[i], 1) != MQTTCLIENT_SUCCESS)
			return 1;
	printf("subscribed\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	return 0;
}

int main(int argc, char **argv)
{
	MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
	bool produces = argc == 5 && strcmp(argv[2], "produce") == 0;
	MQTTClient client;
	char url[64];

	if (!produces && (argc != 3 || strcmp(argv[2], "consume") != 0)) {
		fprintf(stderr, "usage: paho_calls PORT produce MESSAGES PAUSE_MS | PORT consume\n");
		return 64;
	}
	snprintf(url, sizeof url, "tcp://127.0.0.1:%s", argv[1]);
	if (MQTTClient_create(&client, url, produces ? "paho-src" : "paho-rcv", MQTTCLIENT_PERSISTENCE_NONE, NULL) !=
	            MQTTCLIENT_SUCCESS ||
	    MQTTClient_setCallbacks(client, NULL, on_lost, on_message, NULL) != MQTTCLIENT_SUCCESS ||
	    MQTTClient_connect(client, &options) != MQTTCLIENT_SUCCESS)
		return 1;
	return produces ? produce(client, atoi(argv[3]), atoi(argv[4])) : consume(client);
}
