/* The page is constant; its policy is worked out once, from what is between the tags. */
#include "http_page.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define HASH_TEXT 45 /* of SHA-256 in base64, NUL included */

int http_page(void *arg, struct buffer *body)
{
	(void)arg;
	return buffer_append(body, http_page_data, http_page_size) < 0 ? -1 : 200;
}

static const char *find(const char *from, const char *what)
{
	const char *end = (const char *)http_page_data + http_page_size;

	return from ? memmem(from, (size_t)(end - from), what, strlen(what)) : NULL;
}

/* Of what is between `open` and `close`, both once in the page. */
static int hash(const char *open, const char *close, char text[HASH_TEXT])
{
	const char *from = find((const char *)http_page_data, open), *to;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size;

	if (from)
		from += strlen(open);
	to = find(from, close);
	if (!to || !EVP_Digest(from, (size_t)(to - from), digest, &size, EVP_sha256(), NULL) || size != 32)
		return -1;
	return EVP_EncodeBlock((unsigned char *)text, digest, (int)size) == HASH_TEXT - 1 ? 0 : -1;
}

int http_page_policy(char *policy, size_t size)
{
	char script[HASH_TEXT], style[HASH_TEXT];

	if (hash("<script>", "</script>", script) < 0 || hash("<style>", "</style>", style) < 0)
		return -1;
	snprintf(policy, size,
	         "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; connect-src 'self'; img-src data:; "
	         "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	         script, style);
	return 0;
}
