/* quota.c where no hook can help: one library function that does not come back. */
#define QUOTA_STUCK_MS 1500
#include "quota.c"

#include <lualib.h>
#include <string.h>
#include <sys/wait.h>

#include "test.h"

static int hang(lua_State *L)
{
	luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
	return luaL_dostring(L, "local s = ('a'):rep(40) return s:find(('a?'):rep(40) .. s .. 'b')") ? lua_error(L) : 0;
}

/* What becomes of a process whose script hangs, as waitpid() tells it. */
static int end_of_process(int signal_number, char *log, size_t size)
{
	int pipe_fd[2], status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(pipe_fd) || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		struct quota quota;
		sigset_t set;
		lua_State *L;

		dup2(pipe_fd[1], STDERR_FILENO);
		sigemptyset(&set);
		sigaddset(&set, SIGTERM);
		sigprocmask(SIG_BLOCK, &set, NULL);
		quota_init(&quota, "script hangs.lua", 1 << 20, 20);
		L = quota_new_state(&quota);
		if (signal_number)
			raise(signal_number);
		quota_begin(&quota, L);
		lua_pushcfunction(L, hang);
		(void)lua_pcall(L, 0, 0, 0);
		_exit(99);
	}
	close(pipe_fd[1]);
	n = read(pipe_fd[0], log, size - 1);
	log[n > 0 ? n : 0] = 0;
	close(pipe_fd[0]);
	waitpid(pid, &status, 0);
	return status;
}

static void ends_a_process_that_hangs(void)
{
	char log[500];
	int status = end_of_process(0, log, sizeof log);

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	CHECK(strstr(log, "error script hangs.lua: a library function did not come back"));
}

static void stops_a_process_that_hangs(void)
{
	char log[500];
	int status = end_of_process(SIGTERM, log, sizeof log);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	CHECK(strstr(log, "error script hangs.lua: a library function did not come back"));
}

static int count(lua_State *L)
{
	luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
	return luaL_dostring(L, "for i = 1, 1e9 do end") ? lua_error(L) : 0;
}

static void stops_a_loop(void)
{
	struct quota quota;
	lua_State *L;

	quota_init(&quota, "script", 1 << 20, 30);
	L = quota_new_state(&quota);
	quota_begin(&quota, L);
	lua_pushcfunction(L, count);
	CHECK(lua_pcall(L, 0, 0, 0) == LUA_ERRRUN);
	quota_end(&quota);
	CHECK(quota.over && strstr(lua_tostring(L, -1), "used more than 30 ms of CPU time"));
	lua_close(L);
	CHECK(quota.used_bytes == 0);
}

int main(void)
{
	RUN(ends_a_process_that_hangs);
	RUN(stops_a_process_that_hangs);
	RUN(stops_a_loop);
	return test_end();
}
