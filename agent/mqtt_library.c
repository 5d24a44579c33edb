/* libmosquitto as a whole: its beginning, its end, its version. */
#include <mosquitto.h>
#include <stdio.h>

#include "mqtt.h"

void mqtt_setup(void)
{
	mosquitto_lib_init();
}

void mqtt_teardown(void)
{
	mosquitto_lib_cleanup();
}

const char *mqtt_library_version(void)
{
	static char text[24];
	int major, minor, revision;

	mosquitto_lib_version(&major, &minor, &revision);
	snprintf(text, sizeof text, "%d.%d.%d", major, minor, revision);
	return text;
}
