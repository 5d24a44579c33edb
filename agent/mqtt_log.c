/* What libmosquitto tells in the lines of its log, and nowhere else. */
#include <stdio.h>
#include <string.h>

#include "mqtt_internal.h"

bool mqtt_log_tells_publish(const char *text, const char *client_id, int *dup, int *qos, int *id)
{
	static const char client[] = "Client ", publish[] = " received PUBLISH (";
	size_t length = strlen(client_id);

	/* A topic may read as such a line does. */
	if (strncmp(text, client, sizeof client - 1) != 0 || strncmp(text + sizeof client - 1, client_id, length) != 0)
		return false;
	text += sizeof client - 1 + length;
	return strncmp(text, publish, sizeof publish - 1) == 0 &&
	       sscanf(text + sizeof publish - 1, "d%d, q%d, r%*d, m%d", dup, qos, id) == 3;
}
