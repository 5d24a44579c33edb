/* A fresh self-signed certificate and its private key, as PEM files. */
#ifndef TIDEGATE_CERTIFICATE_H
#define TIDEGATE_CERTIFICATE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

/* `password` locks the key; NULL: none. */
static inline void write_key(const char *path, EVP_PKEY *key, const char *password)
{
	FILE *file = fopen(path, "w");
	const EVP_CIPHER *cipher = password ? EVP_aes_128_cbc() : NULL;

	if (!file || PEM_write_PrivateKey(file, key, cipher, NULL, 0, NULL, (void *)(uintptr_t)password) != 1 ||
	    fclose(file) != 0)
		abort();
}

/* Valid from and until so many seconds from now. */
static inline void write_certificate_for(const char *cert_path, const char *key_path, const char *password, long from,
                                         long until)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	FILE *file = fopen(cert_path, "w");

	if (!key || !cert || !file)
		abort();
	X509_gmtime_adj(X509_getm_notBefore(cert), from);
	X509_gmtime_adj(X509_getm_notAfter(cert), until);
	if (X509_set_pubkey(cert, key) != 1 || X509_sign(cert, key, EVP_sha256()) == 0 ||
	    PEM_write_X509(file, cert) != 1 || fclose(file) != 0)
		abort();
	write_key(key_path, key, password);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static inline void write_certificate(const char *cert_path, const char *key_path, const char *password)
{
	write_certificate_for(cert_path, key_path, password, 0, 365L * 24 * 3600);
}

#endif
