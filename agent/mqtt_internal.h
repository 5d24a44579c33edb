/* What the mqtt_*.c files share. They are the only ones that see a libmosquitto handle. */
#ifndef TIDEGATE_MQTT_INTERNAL_H
#define TIDEGATE_MQTT_INTERNAL_H

#include <mosquitto.h>

#include "buffer.h"
#include "link.h"
#include "mqtt_buffer.h"

/* To be called before the first connection with TLS, from the loop's thread. libmosquitto begins with TLS when a
 * connection needs it and has no lock for that (net__init_tls, 2.0.11 to 2.0.20): links that connect at once would
 * each do it, and what one has is replaced by the other's. So one connection begins it alone, to ourselves. Where
 * there is no loopback it is as it would be without. */
void mqtt_library_tls(void);

/* Sets everything that does not change between connections: credentials, will,
 * TLS, proxy, version. 0, or -1 with `err` naming the link and what was refused. */
int mqtt_options_set(struct mosquitto *handle, const struct link_config *config, char *err, size_t err_size);

/* Connects once with a clean session and leaves, so that the broker forgets what
 * it knows of this client. Blocks for up to 15 s. 0, or -1 with the reason in `err`. */
int mqtt_discard_session(const struct link_config *config, const struct url *url, char *err, size_t err_size);

/* Calls the library, which reads. MQTT_ASSERTED: what the broker sent made an assertion of the library fail, and
 * the handle is good for nothing but mosquitto_destroy(). */
#define MQTT_ASSERTED (-100)
int mqtt_guard(int (*call)(struct mosquitto *handle), struct mosquitto *handle);

/* Whether a line of the library's log says that a PUBLISH came to that client; then its DUP flag, QoS and packet id. */
bool mqtt_log_tells_publish(const char *text, const char *client_id, int *dup, int *qos, int *id);

/* What a return code of the library means; errno as the call left it. */
void mqtt_explain(int rc, char *err, size_t err_size);
bool mqtt_was_closed(int rc); /* by the broker, or whoever speaks for it; errno likewise */

/* What a line of the library's log says about TLS, called from where it is logged. */
void mqtt_tls_explain(struct mosquitto *handle, const char *text, char *out, size_t size);
/* Before the broker's greeting, over TLS: what it means that the connection has ended; false if it has not. */
bool mqtt_tls_explain_end(struct mosquitto *handle, int rc, char *out, size_t size);

/* What MQTT 5's reason codes mean: in a PUBACK or PUBREC; and in a DISCONNECT, whether it can be
 * for what the broker thinks of a packet, rather than for itself. */
enum refusal mqtt_kind_of_refusal(int reason_code);
bool mqtt_is_about_a_packet(int reason_code);

/* The peer has closed the connection, and nothing it sent before is left to be read. */
bool mqtt_socket_ended(int fd);
/* The other kernel has all that was written: over a slow line that is long after ours took the last byte. */
bool mqtt_socket_arrived(int fd);
/* mosquitto_loop_read() and mosquitto_loop_write() by way of `buffer`, which belongs to the connection. Who is
 * `leaving` is not written for later, as the library closes the socket itself then. */
int mqtt_socket_loop_read(struct mosquitto *handle, struct mqtt_buffer *buffer);
int mqtt_socket_loop_write(struct mosquitto *handle, struct mqtt_buffer *buffer, bool leaving);
/* Something waits where poll(2) does not see it: in `buffer` or inside OpenSSL. */
bool mqtt_socket_unread(struct mosquitto *handle, const struct mqtt_buffer *buffer);

/* The CONNECT properties of version 5. NULL on other versions or without memory. */
mosquitto_property *mqtt_connect_properties(const struct link_config *config);

/* libmosquitto's properties of a PUBLISH into our run of bytes and back, with how long
 * it may still wait, 0 for ever. */
int mqtt_properties_read(const mosquitto_property *list, struct buffer *run);
int mqtt_properties_build(struct bytes run, int64_t expires_ms, mosquitto_property **list);

#endif
