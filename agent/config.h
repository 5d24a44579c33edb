/* agent.lua into a plain struct.
 *
 * The file is a Lua chunk, evaluated in a bare throwaway state, that returns
 * one table. All problems are collected, each naming file, line where known,
 * key and what was expected; the caller prints them and exits with 78.
 */
#ifndef TIDEGATE_CONFIG_H
#define TIDEGATE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "queue.h"
#include "store.h"

struct lua_State;

enum link_kind { LINK_MQTT, LINK_KDB };

struct url {
	enum link_kind kind;
	bool tls;
	bool unix_socket; /* kdb+unix:5010, the socket of the port on this machine; host is "localhost" */
	char *host;
	int port;
	char *username, *password; /* NULL if the URL has none */
};

struct subscription {
	char *filter;
	int qos;
	bool no_local, retain_as_published; /* MQTT 5 only */
	int retain_handling;                /* MQTT 5: 0 send retained, 1 only if new, 2 never */
};

/* A will or a birth message; topic NULL: none. */
struct announcement {
	char *topic;
	char *payload;
	size_t payload_size;
	int qos;
	bool retain;
};

struct tls_config {
	char *ca, *capath, *cert, *key, *key_password, *ciphers;
	char *version; /* "tlsv1.2" */
	char *alpn;
	char *psk, *identity; /* psk in hexadecimal digits */
	bool insecure;
	bool verify_host; /* kdb+ links: false: any name, the chain is verified all the same */
	uint64_t content; /* a hash of what stood in ca, cert and key: a renewed file is another one */
};

struct socks5_config {
	char *host, *username, *password; /* host NULL: none */
	int port;
};

/* `queue` of a link. */
struct queue_config {
	int64_t max_bytes, max_messages; /* 0: no limit */
	int64_t ttl_ms;                  /* 0: for ever */
	enum queue_overflow overflow;
	bool live_first;
	double rate; /* messages per second while draining, 0: unlimited */
};

/* "sym:symbol" of a kdb+ table; or "text:string", where each value is a char vector. */
struct kdb_column {
	char *name;
	int type;    /* enum kdb_type; KDB_CHAR for strings, too */
	bool string;
};

/* "symbol", "string": as it is written in agent.lua. */
const char *kdb_column_type(const struct kdb_column *column);

struct kdb_table {
	char *name;
	struct kdb_column *columns; /* at least one */
	size_t n_columns;
};

enum kdb_time_column { KDB_TIME_COLUMN_NONE, KDB_TIME_COLUMN_TIMESPAN, KDB_TIME_COLUMN_TIMESTAMP };

/* What only kdb+ links have; all zero for others. */
struct kdb_config {
	struct kdb_table *tables; /* by name */
	size_t n_tables;
	char *call; /* ".u.upd"; with exactly_once ".tidegate.upd", unless it was given */
	bool call_as_string;
	enum kdb_time_column time_column;
	bool exactly_once; /* window is 1, queue.live_first false, no late_call */
	int64_t batch_rows, batch_bytes, batch_delay_ms;
	int64_t timeout_ms; /* of one reply */
	char **retry_errors; /* Lua patterns, for agent/pattern.h */
	size_t n_retry_errors;
	int64_t late_after_ms; /* 0: rows are never late */
	char *late_call;       /* where rows older than that go; NULL: none are */
	bool check_meta, compress;
	char *agent; /* what the collector knows us by, and the store's instance as a guid: */
	unsigned char instance[16]; /* whoever opens the link fills them */
};

/* The table of that name, or NULL. */
const struct kdb_table *kdb_table_named(const struct kdb_config *kdb, const char *name);

struct link_config {
	char *name;
	enum link_kind kind; /* that of every url */
	struct url *urls; /* at least one; all of one kind, all with TLS or none; tried in order */
	size_t n_urls;
	bool is_default; /* of its kind */
	int window;      /* messages in flight; batches, on a kdb+ link */
	int64_t reconnect_min_ms, reconnect_max_ms;
	int64_t ack_timeout_ms;
	struct queue_config queue;

	char *client_id;              /* never NULL */
	char *username, *password;    /* of the link, or of the first URL that has them; or NULL */
	int version;                  /* 3 (MQTT 3.1), 4 (3.1.1) or 5 */
	bool clean_session;
	int64_t session_expiry_ms;    /* MQTT 5; -1: never expires */
	int64_t keepalive_ms;
	int receive_maximum;          /* MQTT 5; 0: the library's */
	int max_qos;                  /* 1 or 2; what is published above it is sent at it */
	struct subscription *subscriptions;
	size_t n_subscriptions;
	struct announcement will, birth;
	struct tls_config tls;
	struct socks5_config socks5;
	char *bind;
	char *ack_topic; /* where the collector acknowledges; NULL: a broker's acknowledgement will do */
	int ack_window;  /* messages sent ahead of that */
	char *loss_topic; /* where losses are reported; NULL: tidegate/NAME/loss */
	struct kdb_config kdb;
	size_t bytes; /* what all of this takes, about */
};

/* A growing list of problems, one line of text each. After a thousand it only says
 * that there are more: nobody reads them, and a script's could be without end. */
struct problems {
	char **lines;
	size_t n;
};
enum { PROBLEMS_MAX = 1000 };
void problems_add(struct problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
void problems_release(struct problems *problems);

struct config {
	char *path;      /* the file this came from */
	char *directory; /* its directory; relative paths start there */
	char *name;      /* of this gateway */
	char *user;      /* whom the agent becomes when root starts it; NULL: see agent/privileges.h */
	struct link_config *links;
	size_t n_links;
	char **scripts;  /* paths that exist, patterns expanded, in order */
	size_t n_scripts;
	char *store_path;
	enum store_durability durability;
	int64_t linger_ms; /* 0 if a link is exactly_once */
	size_t memory_bytes; /* limits.memory of each script */
	int64_t call_ms;     /* limits.call: CPU time of one handler call */
	size_t state_bytes;  /* limits.state: of what each script keeps, encoded */
	char *http;          /* "127.0.0.1:9464" or NULL */
	char *control;       /* socket path; NULL: none */
	enum log_level log_level;
	enum log_target log_target;
	struct problems warnings; /* what may be wrong with it */
};

/* Adds what is wrong inside one script; `config` may be incomplete. */
typedef void config_script_check(const struct config *config, const char *script, struct problems *problems);

/* Reads `path`, and asks `check` (may be NULL) about each script it names. Returns
 * the configuration, or NULL with one or more problems added, those of the file
 * in the order of its lines. Free with config_free(). In simulated time (agent/clock.h)
 * the machine it is meant for may be another one: its secrets, certificates and the
 * directory of its database are not looked for. */
struct config *config_load(const char *path, config_script_check *check, struct problems *problems);

/* The same without a check of scripts, for an agent that runs as `name`: defaults are made from
 * that, whatever name the file gives. */
struct config *config_load_as(const char *path, const char *name, struct problems *problems);

/* The same as far as the file can be understood, for who only asks the agent that
 * runs on it: the rest may be wrong, or a secret that is not his to read. NULL with
 * problems added if it does not even return a table. */
struct config *config_glance(const char *path, struct problems *problems);

/* One without links and scripts, all else by default. NULL: no memory. */
struct config *config_plain(void);

void config_free(struct config *config);

/* "250ms", "2h" as milliseconds, rounded up; false if it is no duration. */
bool duration_parse(const char *text, int64_t *ms);

/* "Lua 5.4.6": what reads the configuration and runs the scripts. */
const char *config_lua_version(void);

/* Reads one MQTT link from the Lua table at `index` of L, with the keys of
 * agent.lua's `links`, plus `url` given apart when not NULL (mqtt.conn).
 * `gateway` is the gateway's name, for the default client id; `room` is how many
 * bytes it may take. Returns a malloc'd link, or NULL with problems added. Never
 * raises. */
struct link_config *config_link_read(struct lua_State *L, int index, const char *gateway, const char *name,
                                     const char *url, size_t room, struct problems *problems);
/* A link to nowhere, MQTT 5, all else by default; for rehearsals. NULL: its name is none, or no memory. */
struct link_config *config_link_plain(const char *gateway, const char *name);

void config_link_free(struct link_config *link);

/* Whether two links are the same in all they say; or in all that a connection is made of,
 * which leaves out subscriptions, queue, retries and timeouts. */
bool config_link_same(const struct link_config *a, const struct link_config *b);
bool config_link_same_connection(const struct link_config *a, const struct link_config *b);

/* Gives `link`, of the same connection, all else that `from` says; frees `from`. The tables of a kdb+
 * link are among that: a transport keeps no pointers to them. */
void config_link_merge(struct link_config *link, struct link_config *from);

#endif
