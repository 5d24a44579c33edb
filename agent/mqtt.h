/* MQTT 3.1, 3.1.1 and 5 over libmosquitto: a transport for agent/link.c. */
#ifndef TIDEGATE_MQTT_H
#define TIDEGATE_MQTT_H

#include "link.h"

extern const struct transport_ops mqtt_transport;

/* Once a process, before and after all transports. */
void mqtt_setup(void);
void mqtt_teardown(void);
const char *mqtt_library_version(void);

#endif
