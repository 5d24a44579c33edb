/* libmicrohttpd, loaded when it is needed: with what it needs itself (GnuTLS, on Debian) it takes
 * almost 3 MB, which a router without `http` should not pay for.
 */
#ifndef TIDEGATE_HTTP_LIBRARY_H
#define TIDEGATE_HTTP_LIBRARY_H

#include <microhttpd.h>
#include <stddef.h>

/* Its functions, as microhttpd.h has them, without the "MHD_". */
struct http_library {
	__typeof__(MHD_start_daemon) *start_daemon;
	__typeof__(MHD_stop_daemon) *stop_daemon;
	__typeof__(MHD_run) *run;
	__typeof__(MHD_get_timeout) *get_timeout;
	__typeof__(MHD_get_daemon_info) *get_daemon_info;
	__typeof__(MHD_get_connection_info) *get_connection_info;
	__typeof__(MHD_create_response_from_buffer) *create_response_from_buffer;
	__typeof__(MHD_add_response_header) *add_response_header;
	__typeof__(MHD_queue_response) *queue_response;
	__typeof__(MHD_destroy_response) *destroy_response;
};

/* It stays loaded until the process ends. 0, or -1 with the reason in `err`. */
int http_library_load(struct http_library *library, char *err, size_t err_size);

#endif
