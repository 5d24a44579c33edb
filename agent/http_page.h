/* "/": one page for people, with all it needs inside; made of agent/page when the agent is built. It reads
 * /status.json and /history.json. */
#ifndef TIDEGATE_HTTP_PAGE_H
#define TIDEGATE_HTTP_PAGE_H

#include <stddef.h>

#include "buffer.h"

extern const unsigned char http_page_data[];
extern const size_t http_page_size;

/* For struct http_page; `arg` is not looked at. */
int http_page(void *arg, struct buffer *body);

/* Its Content-Security-Policy: only the script and the style inside it, known by their hashes. 0, or -1. */
int http_page_policy(char *policy, size_t size);

#endif
