/* What OpenSSL thinks of a link's certificates, key and ciphers. It is asked
 * before the agent runs: in the field the answer would be a line in the log and a
 * link that never comes up.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "config_read.h"

#define EXPIRY_DAYS 30 /* before a certificate ends, it is time for the next */

/* A problem of a key of `tls`, in OpenSSL's words. */
static void tls_problem(struct reader *reader, const char *key, const char *problem)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	size_t mark = reader_enter(reader, key);

	reader_problem(reader, "%s%s%s", problem, reason ? ": " : "", reason ? reason : "");
	reader_leave(reader, mark);
	ERR_clear_error();
}

/* Without it OpenSSL would ask on the terminal. */
static int give_password(char *buffer, int size, int for_writing, void *tls)
{
	const char *password = ((const struct tls_config *)tls)->key_password;
	size_t length = password ? strlen(password) : 0;

	(void)for_writing;
	if (length >= (size_t)size)
		return 0;
	memcpy(buffer, password ? password : "", length);
	return (int)length;
}

/* "Dec 31 23:59:59 2026 GMT". */
static const char *time_text(const ASN1_TIME *time, char *text, int size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int length = bio && ASN1_TIME_print(bio, time) == 1 ? BIO_read(bio, text, size - 1) : 0;

	text[length > 0 ? length : 0] = 0;
	BIO_free(bio);
	return text;
}

/* Warnings only: the clock may be the one that is wrong. */
static void check_dates(struct reader *reader, const X509 *certificate)
{
	const ASN1_TIME *first = X509_get0_notBefore(certificate), *last = X509_get0_notAfter(certificate);
	size_t mark = reader_enter(reader, "cert");
	int days, seconds;
	char text[48];

	if (ASN1_TIME_diff(&days, &seconds, NULL, first) == 1 && (days > 0 || seconds > 0))
		reader_warning(reader, "is not valid before %s", time_text(first, text, sizeof text));
	if (ASN1_TIME_diff(&days, &seconds, NULL, last) != 1)
		ERR_clear_error();
	else if (days < 0 || seconds < 0)
		reader_warning(reader, "expired on %s", time_text(last, text, sizeof text));
	else if (days < 1)
		reader_warning(reader, "expires within a day, on %s", time_text(last, text, sizeof text));
	else if (days < EXPIRY_DAYS)
		reader_warning(reader, "expires in %d day%s, on %s", days, days == 1 ? "" : "s",
		               time_text(last, text, sizeof text));
	reader_leave(reader, mark);
}

static void check_certificate(struct reader *reader, struct tls_config *tls, SSL_CTX *ctx)
{
	SSL_CTX_set_default_passwd_cb(ctx, give_password);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, tls);
	if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert) != 1)
		tls_problem(reader, "cert", "is no certificate in PEM");
	else if (SSL_CTX_use_PrivateKey_file(ctx, tls->key, SSL_FILETYPE_PEM) != 1)
		tls_problem(reader, "key", "is no private key in PEM for `cert`, or locked by another `key_password`");
	else
		check_dates(reader, SSL_CTX_get0_certificate(ctx));
}

void check_tls_files(struct reader *reader, const struct tls_config *tls)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_config copy = *tls;

	if (!ctx) {
		reader_out_of_memory(reader);
		return;
	}
	ERR_clear_error();
	if (tls->ca && SSL_CTX_load_verify_locations(ctx, tls->ca, NULL) != 1)
		tls_problem(reader, "ca", "holds no certificates in PEM");
	if (tls->cert && tls->key)
		check_certificate(reader, &copy, ctx);
	if (tls->ciphers && SSL_CTX_set_cipher_list(ctx, tls->ciphers) != 1)
		tls_problem(reader, "ciphers", "names no cipher that OpenSSL has");
	SSL_CTX_free(ctx);
}

/* FNV-1a. What cannot be read is a problem that has been named already, or the next connection's. */
static uint64_t hash_file(uint64_t hash, const char *path)
{
	FILE *file = path ? fopen(path, "re") : NULL;
	int c;

	if (!file)
		return hash;
	while ((c = getc(file)) != EOF)
		hash = (hash ^ (uint64_t)c) * 1099511628211u;
	fclose(file);
	return hash;
}

void note_tls_files(struct tls_config *tls)
{
	tls->content = hash_file(hash_file(hash_file(14695981039346656037u, tls->ca), tls->cert), tls->key);
}
