/* Why TLS failed, in words that say what to mend. libmosquitto logs OpenSSL's error, the same for
 * every certificate that it does not take; OpenSSL itself knows more, for as long as the connection
 * is there. */
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "mqtt_internal.h"

static const char *meaning_of_end(const SSL *ssl)
{
	if (ssl && SSL_in_init(ssl))
		return "closed during the TLS handshake: is it the port for TLS?";
	return "closed after the TLS handshake: does the broker want a certificate (tls.cert), or another one?";
}

/* That a name differs is the library's own finding, for which OpenSSL has no reason. */
static const char *verdict_of(const SSL *ssl)
{
	long verdict = SSL_get_verify_result(ssl);
	bool none = verdict == X509_V_OK || verdict == X509_V_ERR_UNSPECIFIED;

	return X509_verify_cert_error_string(none ? X509_V_ERR_HOSTNAME_MISMATCH : verdict);
}

void mqtt_tls_explain(struct mosquitto *handle, const char *text, char *out, size_t size)
{
	static const char alert[] = " alert ";
	const char *found = strstr(text, alert);
	const SSL *ssl = mosquitto_ssl_get(handle);

	if (ssl && strstr(text, "certificate verify failed"))
		snprintf(out, size, "the certificate is refused: %s", verdict_of(ssl));
	else if (ssl && (strstr(text, "unexpected eof") || strstr(text, "wrong version number")))
		snprintf(out, size, "%s", meaning_of_end(ssl));
	else if (found)
		snprintf(out, size, "the broker ends the TLS handshake: %s", found + sizeof alert - 1);
	else
		snprintf(out, size, "%s", text);
}

bool mqtt_tls_explain_end(struct mosquitto *handle, int rc, char *out, size_t size)
{
	if (!mqtt_was_closed(rc))
		return false;
	snprintf(out, size, "%s", meaning_of_end(mosquitto_ssl_get(handle)));
	return true;
}
