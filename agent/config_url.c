/* URLs of links, and host:port addresses. A text with an `@` in it may hold a
 * password, even where it is malformed, so nothing of it is ever repeated in a
 * message.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config_read.h"
#include "hex.h"

static const struct scheme {
	const char *prefix;
	enum link_kind kind;
	bool tls, unix_socket, unsupported;
	int port; /* 0: must be given */
} schemes[] = {
	{"mqtt://", .port = 1883},
	{"tcp://", .port = 1883},
	{"mqtts://", .port = 8883, .tls = true},
	{"ssl://", .port = 8883, .tls = true},
	{"kdb://", .kind = LINK_KDB},
	{"kdbs://", .kind = LINK_KDB, .tls = true},
	{"kdb+unix:", .kind = LINK_KDB, .unix_socket = true},
	{"ws://", .unsupported = true},
	{"wss://", .unsupported = true},
};

#define N_SCHEMES (sizeof schemes / sizeof *schemes)

/* The entry whose prefix begins the text, N_SCHEMES if none does. */
static size_t find_scheme(const char *text)
{
	size_t i = 0;
	while (i < N_SCHEMES && strncasecmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) != 0)
		i++;
	return i;
}

__attribute__((format(printf, 3, 4)))
static int fail(char *err, size_t err_size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err, err_size, format, args);
	va_end(args);
	return -1;
}

void url_release(struct url *url)
{
	free(url->host);
	free(url->username);
	free(url->password);
	*url = (struct url){0};
}

/* A malloc'd copy with %XX decoded; NULL if a % is not followed by two digits,
 * or stands for NUL. */
static char *decode(const char *text, size_t size)
{
	char *out = malloc(size + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (size_t i = 0; i < size; i++) {
		if (text[i] != '%') {
			out[n++] = text[i];
			continue;
		}
		int high = size - i > 2 ? hex_digit(text[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
		if (low < 0 || high + low == 0) {
			free(out);
			return NULL;
		}
		out[n++] = (char)(high << 4 | low);
		i += 2;
	}
	out[n] = 0;
	return out;
}

/* `user:password`, either of which may be missing. */
static int parse_userinfo(const char *text, size_t size, struct url *url, char *err, size_t err_size)
{
	const char *colon = memchr(text, ':', size);
	size_t user_size = colon ? (size_t)(colon - text) : size;

	if (user_size > 0 && !(url->username = decode(text, user_size)))
		return fail(err, err_size, "expected %%XX with two hexadecimal digits in the user name");
	if (colon && !(url->password = decode(colon + 1, size - user_size - 1)))
		return fail(err, err_size, "expected %%XX with two hexadecimal digits in the password");
	return 0;
}

static int parse_port(const char *text, int default_port, int *port)
{
	char *end;

	if (!*text && default_port != 0) {
		*port = default_port;
		return 0;
	}
	if (*text != ':' || text[1] < '0' || text[1] > '9' || strlen(text) > 6)
		return -1;
	long number = strtol(text + 1, &end, 10);
	if (*end || number < 1 || number > 65535)
		return -1;
	*port = (int)number;
	return 0;
}

static bool valid_ipv6(const char *text)
{
	char address[INET6_ADDRSTRLEN];
	unsigned char binary[sizeof(struct in6_addr)];
	size_t size = strcspn(text, "%"); /* a zone may follow: fe80::1%eth0 */

	if (size >= sizeof address)
		return false;
	memcpy(address, text, size);
	address[size] = 0;
	return inet_pton(AF_INET6, address, binary) == 1;
}

/* `host:port`, without anything before or behind it. */
static int parse_host(const char *text, int default_port, struct url *url, char *err, size_t err_size)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	bool bracketed = *text == '[';
	size_t size = bracketed ? strcspn(++text, "]") : strspn(text, letters);

	if (bracketed && text[size] != ']')
		return fail(err, err_size, "expected a `]` after the IPv6 address");
	if (!bracketed && strchr(text, ':') != strrchr(text, ':'))
		return fail(err, err_size, "expected an IPv6 address to stand in brackets: [::1]:1883");
	if (size == 0 || size > 253)
		return fail(err, err_size, "expected a host name or address");
	url->host = decode(text, size);
	if (!url->host || (bracketed && !valid_ipv6(url->host)))
		return fail(err, err_size, "expected an IPv6 address in the brackets");
	text += size + bracketed;
	if (*text && *text != ':')
		return fail(err, err_size, "expected host:port and nothing else (%%XX for special characters)");
	if (parse_port(text, default_port, &url->port) != 0)
		return fail(err, err_size, "expected a port from 1 to 65535");
	return 0;
}

int address_parse(const char *text, int default_port, struct url *url, char *err, size_t err_size)
{
	const char *at = strrchr(text, '@');

	*url = (struct url){0};
	if ((at && parse_userinfo(text, (size_t)(at - text), url, err, err_size) != 0) ||
	    parse_host(at ? at + 1 : text, default_port, url, err, err_size) != 0) {
		url_release(url);
		return -1;
	}
	return 0;
}

enum link_kind url_kind(const char *text)
{
	size_t i = find_scheme(text);

	return i < N_SCHEMES ? schemes[i].kind : LINK_MQTT;
}

const char *url_unsupported(const char *text)
{
	size_t i = find_scheme(text);

	return i < N_SCHEMES && schemes[i].unsupported ? "WebSocket links are not supported, use mqtt:// or mqtts://" : NULL;
}

/* `5010`, `user:password@5010`, `:5010` as some write it. */
static int parse_unix(const char *text, struct url *url, char *err, size_t err_size)
{
	const char *at = strrchr(text, '@'), *port = at ? at + 1 : text;
	char with_colon[8];

	if (at && parse_userinfo(text, (size_t)(at - text), url, err, err_size) != 0)
		return -1;
	port += *port == ':';
	snprintf(with_colon, sizeof with_colon, ":%s", port);
	if (strlen(port) > 5 || parse_port(with_colon, 0, &url->port) != 0)
		return fail(err, err_size, "expected a port from 1 to 65535, as in kdb+unix:5010");
	url->host = strdup("localhost");
	return url->host ? 0 : fail(err, err_size, "out of memory");
}

int url_parse(const char *text, struct url *url, char *err, size_t err_size)
{
	size_t i = find_scheme(text);
	char authority[1024];

	*url = (struct url){0};
	if (i == N_SCHEMES)
		return fail(err, err_size, "expected a URL such as mqtt://host:1883, mqtts://host or kdb://host:5010%s%.60s%s",
		            strchr(text, '@') ? "" : ", got \"", strchr(text, '@') ? "" : text,
		            strchr(text, '@') ? "" : "\"");
	if (url_unsupported(text))
		return fail(err, err_size, "%s", url_unsupported(text));

	const struct scheme *scheme = &schemes[i];
	text += strlen(scheme->prefix);
	size_t size = strlen(text);
	if (size > 0 && text[size - 1] == '/')
		size--; /* mqtt://host:1883/ is often written */
	if (size >= sizeof authority)
		return fail(err, err_size, "expected a URL of at most %zu bytes", sizeof authority);
	memcpy(authority, text, size);
	authority[size] = 0;

	if (scheme->unix_socket && parse_unix(authority, url, err, err_size) != 0) {
		url_release(url);
		return -1;
	}
	if (!scheme->unix_socket && address_parse(authority, scheme->port, url, err, err_size) != 0)
		return -1;
	url->kind = scheme->kind;
	url->tls = scheme->tls;
	url->unix_socket = scheme->unix_socket;
	return 0;
}
