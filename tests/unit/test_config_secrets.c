/* Who may read the files that secrets come from. File systems that make modes up are
 * made up themselves: statfs() is the one below.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "certificate.h"
#include "clock.h"
#include "config_file.h"

#define EVERYONE "which every user of this machine may read: chmod o-r "
#define PASSWORD_WARNING                                                                             \
	"agent.lua:1: warning: links.core.password: every user of this machine may read agent.lua: " \
	"if this stands in it, chmod o-r agent.lua"
#define LINKS    "return {" STORE "links={core={"

static unsigned long magic, flags; /* of every file system */

int statfs(const char *path, struct statfs *fs)
{
	(void)path;
	memset(fs, 0, sizeof *fs);
	fs->f_type = (__typeof__(fs->f_type))magic;
	fs->f_flags = (__typeof__(fs->f_flags))flags;
	return 0;
}

static void mode(const char *name, mode_t bits)
{
	if (chmod(in_directory(name), bits) != 0)
		abort();
}

/* agent.lua with these keys of a link, of mode 0644. */
static const char *keys(const char *text)
{
	static char source[1024];

	snprintf(source, sizeof source, LINKS "%s}}}", text);
	return source;
}

/* Well, with this warning, or without one. */
static bool warns(const char *source, const char *expected)
{
	struct config *config = load(source);
	const struct problems *warnings = config ? &config->warnings : &problems;
	bool same = config && warnings->n == (expected ? 1 : 0) &&
	            (!expected || strcmp(shorten(warnings->lines[0]), expected) == 0);

	for (size_t i = 0; !same && i < warnings->n; i++)
		fprintf(stderr, "got: %s\n", warnings->lines[i]);
	config_free(config);
	return same;
}
#define quiet(source) warns(source, NULL)

static void written_down(void)
{
	mode("agent.lua", 0644);
	CHECK(gives(keys("url='mqtt://b',username='u',password='hush'"),
	            "agent.lua:1: links.core.password: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("url='mqtt://u:hush@b'"),
	            "agent.lua:1: links.core.url: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("urls={'mqtt://u:hush@b','mqtt://u:hush@c'}"),
	            "agent.lua:1: links.core.urls[1]: stands in agent.lua, " EVERYONE "agent.lua",
	            "agent.lua:1: links.core.urls[2]: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("url='kdb+unix:u:hush@5010',tables={t={'a:long'}}"),
	            "agent.lua:1: links.core.url: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("url='mqtt://b',socks5='socks5://u:hush@p'"),
	            "agent.lua:1: links.core.socks5: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("url='mqtts://b',tls={psk='c0ffee',identity='u'}"),
	            "agent.lua:1: links.core.tls.psk: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("url=('mqtt://u:%s@b'):format('hush')"),
	            "agent.lua:1: links.core.url: stands in agent.lua, " EVERYONE "agent.lua"));
	CHECK(gives(keys("url='mqtt://b',username='u',password=env('TIDEGATE_NO_SUCH','hush')"),
	            "agent.lua:1: links.core.password: stands in agent.lua, " EVERYONE "agent.lua"));
}

static void no_secret(void)
{
	mode("agent.lua", 0644);
	CHECK(quiet(keys("url='mqtt://b'")));
	CHECK(quiet(keys("url='mqtt://u@b'")));
	CHECK(quiet(keys("url='mqtt://u:@b'")));
	CHECK(quiet(keys("url='mqtt://b',username='u',password=''")));
}

static void out_of_reach(void)
{
	const char *source = keys("url='mqtt://u:hush@b'");

	mode("agent.lua", 0640);
	CHECK(quiet(source));
	mode("agent.lua", 0644);
	mode("", 0750);
	CHECK(quiet(source));
	mode("", 0755);
}

static void from_the_environment(void)
{
	mode("agent.lua", 0644);
	setenv("TIDEGATE_TEST_SECRET", "hush", 1);
	CHECK(quiet(keys("url='mqtt://b',username='u',password=env('TIDEGATE_TEST_SECRET','other')")));
	CHECK(quiet(keys("url='mqtt://u:'..env('TIDEGATE_TEST_SECRET')..'@b'")));
	setenv("TIDEGATE_TEST_SECRET", "mqtt://u:hush@b", 1);
	CHECK(quiet(keys("url=env('TIDEGATE_TEST_SECRET')")));
}

static void from_a_file(void)
{
	static const char *const password = "url='mqtt://b',username='u',password=file('secret')";

	write_file("secret", " hush\n");
	mode("agent.lua", 0644);
	mode("secret", 0640);
	CHECK(quiet(keys(password)));
	CHECK(quiet(keys("url='mqtt://u:'..file('secret')..'@b'")));
	mode("secret", 0644);
	CHECK(gives(keys(password), "agent.lua:1: links.core.password: comes from secret, " EVERYONE "secret"));
	CHECK(gives(keys("url='mqtt://u:'..file('secret')..'@b'"),
	            "agent.lua:1: links.core.url: comes from secret, " EVERYONE "secret"));
	CHECK(warns(keys("url='mqtt://b',client_id=file('secret')"),
	            "agent.lua:1: warning: file: every user of this machine may read secret: if it holds a secret, "
	            "chmod o-r secret"));
	write_file("secret", "mqtt://u:hush@b");
	CHECK(gives(keys("url=file('secret')"), "agent.lua:1: links.core.url: comes from secret, " EVERYONE "secret"));
}

/* What was computed may have come from anywhere. */
static void who_can_tell(void)
{
	static const char *const computed = "url='mqtt://b',username='u',password='hu'..'sh'";

	mode("agent.lua", 0644);
	CHECK(warns(keys(computed), PASSWORD_WARNING));
	mode("agent.lua", 0640);
	CHECK(quiet(keys(computed)));
}

static void private_key(void)
{
	static const char *const key = "url='mqtts://b',tls={cert='c.pem',key='k.pem'}";

	char cert[512];

	snprintf(cert, sizeof cert, "%s", in_directory("c.pem"));
	write_certificate(cert, in_directory("k.pem"), NULL);
	mode("k.pem", 0640);
	CHECK(quiet(keys(key)));
	mode("k.pem", 0644);
	CHECK(gives(keys(key),
	            "agent.lua:1: links.core.tls.key: every user of this machine may read k.pem: chmod o-r k.pem"));
}

/* FAT; and what is mounted so that no mode can be changed. */
static void file_systems(void)
{
	static const char *const password = "url='mqtt://b',username='u',password='hush'";

	mode("agent.lua", 0644);
	magic = 0x4d44;
	CHECK(warns(keys(password), PASSWORD_WARNING));
	CHECK(warns(keys("url='mqtts://b',tls={cert='c.pem',key='k.pem'}"),
	            "agent.lua:1: warning: links.core.tls.key: every user of this machine may read k.pem, "
	            "so it seems"));
	magic = 0;
	flags = ST_RDONLY;
	CHECK(warns(keys(password), PASSWORD_WARNING));
	flags = 0;
}

/* A recording is replayed on another machine than the one that the files are for. */
static void rehearsed(void)
{
	mode("agent.lua", 0644);
	clock_simulate(0);
	CHECK(quiet(keys("url='mqtt://u:hush@b'")));
}

int main(void)
{
	config_test_begin();
	mode("", 0755);
	write_file("agent.lua", "");
	RUN(written_down);
	RUN(no_secret);
	RUN(out_of_reach);
	RUN(from_the_environment);
	RUN(from_a_file);
	RUN(who_can_tell);
	RUN(private_key);
	RUN(file_systems);
	RUN(rehearsed);
	config_test_end();
	return test_end();
}
