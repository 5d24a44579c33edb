#include "http_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define SONAME "libmicrohttpd.so.12" /* of all versions since 0.9.38 */

static const struct {
	const char *name;
	size_t at;
} functions[] = {
	{"MHD_start_daemon", offsetof(struct http_library, start_daemon)},
	{"MHD_stop_daemon", offsetof(struct http_library, stop_daemon)},
	{"MHD_run", offsetof(struct http_library, run)},
	{"MHD_get_timeout", offsetof(struct http_library, get_timeout)},
	{"MHD_get_daemon_info", offsetof(struct http_library, get_daemon_info)},
	{"MHD_get_connection_info", offsetof(struct http_library, get_connection_info)},
	{"MHD_create_response_from_buffer", offsetof(struct http_library, create_response_from_buffer)},
	{"MHD_add_response_header", offsetof(struct http_library, add_response_header)},
	{"MHD_queue_response", offsetof(struct http_library, queue_response)},
	{"MHD_destroy_response", offsetof(struct http_library, destroy_response)},
};

int http_library_load(struct http_library *library, char *err, size_t err_size)
{
	void *handle = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; handle && i < sizeof functions / sizeof functions[0]; i++) {
		void *function = dlsym(handle, functions[i].name);

		if (!function)
			break;
		memcpy((char *)library + functions[i].at, &function, sizeof function);
		if (i + 1 == sizeof functions / sizeof functions[0])
			return 0;
	}
	snprintf(err, err_size, "libmicrohttpd is needed: %s", dlerror());
	return -1;
}
