/* How the agent gets into the programs that this process starts.
 *
 * magellan heap run names the library in LD_PRELOAD as /proc/self/fd/N, an open file of the
 * process, because there may be no directory to write a file to. Programs inherit it. But
 * some close all files that they do not know before they start another: Python's
 * subprocess, supervisors. Then the dynamic linker of the new program would print that
 * it cannot load the library, and the program would have no agent.
 *
 * So in processes that only hand the agent on (shells, Python), the functions that execute
 * a program first look whether N still is the library. If N is free, they make the file anew
 * from its bytes, which stay mapped. If N is another file by now, they leave the library
 * out of the new program's environment.
 *
 * All of this may run between fork and exec, also after vfork, where the memory is the
 * parent's: it changes no variable, takes no lock and allocates nothing. */
#define _GNU_SOURCE
#include "carry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"
#include "real.h"

extern char **environ __attribute__((weak));

static int number; /* N */
static const char *path;
static const void *bytes;
static size_t size;
static dev_t device;

/* The kernel's struct stat is that of the C library on all processors with 64 bits. glibc
 * before 2.33 has no function fstat. */
static bool stat_of(int fd, struct stat *st) { return syscall(SYS_fstat, fd, st) == 0; }

void agent_carry_start(const char *p)
{
	int n = agent_preload_descriptor(p);
	struct stat st;

	if (n < 0)
		return;
	if (!stat_of(n, &st) || st.st_size <= 0)
		return;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, n, 0);
	if (bytes == MAP_FAILED) {
		bytes = NULL;
		return;
	}
	path = p;
	number = n;
	size = (size_t)st.st_size;
	device = st.st_dev;
}

/* Makes the file anew as N. */
static bool restore(void)
{
	/* Some systems allow only files that cannot be executed. Kernels before 6.3 do not know
	 * the flag, MFD_NOEXEC_SEAL. */
	int fd = (int)syscall(SYS_memfd_create, "libmagellan-agent.so", 8);
	bool ok;

	if (fd < 0)
		fd = (int)syscall(SYS_memfd_create, "libmagellan-agent.so", 0);
	ok = fd >= 0;

	for (size_t at = 0; ok && at < size;) {
		ssize_t n = write(fd, (const char *)bytes + at, size - at);

		ok = n > 0 || (n < 0 && errno == EINTR);
		at += n > 0 ? (size_t)n : 0;
	}
	if (ok && fd != number)
		ok = dup2(fd, number) == number;
	if (fd >= 0 && (fd != number || !ok))
		close(fd);
	return ok;
}

/* Whether N is the library, or could be made it. The file may be another one than at the
 * start, if a process between this one and the new program has made it anew. */
static bool have_library(void)
{
	struct stat st;

	if (!stat_of(number, &st))
		return errno == EBADF && restore();
	return st.st_dev == device && (size_t)st.st_size == size;
}

enum { MAX_LIST = 4096 };

/* An environment in which the library can be found, or is not named. room has room for all
 * entries and the NULL at their end, and list for the value of LD_PRELOAD. */
static char **prepare(char *const *env, char **room, char *list)
{
	static const char name[] = "LD_PRELOAD=";
	size_t n = 0;

	for (size_t i = 0; env[i] != NULL; i++) {
		const char *rest, *at = NULL;

		if (strncmp(env[i], name, sizeof name - 1) == 0)
			at = agent_preload_find(env[i] + sizeof name - 1, path, &rest);

		room[n] = env[i];
		if (at == NULL) {
			n++;
			continue;
		}
		if (strlen(env[i]) >= MAX_LIST || have_library())
			return (char **)env;
		memcpy(list, env[i], (size_t)(at - env[i]));
		memcpy(list + (at - env[i]), rest, strlen(rest) + 1);
		if (list[sizeof name - 1] != 0)
			room[n++] = list;
	}
	room[n] = NULL;
	return room;
}

static size_t count(char *const *env)
{
	size_t n = 0;

	while (env != NULL && env[n] != NULL)
		n++;
	return n;
}

/* An environment of more entries is passed on as it is. */
enum { MAX_ENTRIES = 8192 };

/* Calls something with the prepared environment as env_. */
#define WITH(env, call)                                                     \
	do {                                                                \
		size_t n_ = count(env);                                     \
		char **env_ = (char **)(env);                               \
                                                                            \
		if (bytes != NULL && env_ != NULL && n_ <= MAX_ENTRIES) {   \
			char *room_[n_ + 1], list_[MAX_LIST];               \
			int before_ = errno;                                \
                                                                            \
			env_ = prepare(env_, room_, list_);                 \
			errno = before_;                                    \
			return call;                                        \
		}                                                           \
		return call;                                                \
	} while (0)

#define EXPORTED __attribute__((visibility("default")))

/* Those of the process, or of another library that stands in for them. */
typedef int execute_function(const char *, char *const *, char *const *);
typedef int execute_fd_function(int, char *const *, char *const *);

static int no_function(void)
{
	errno = ENOSYS;
	return -1;
}

static execute_function *real_execve = (execute_function *)no_function, *real_execvpe = (execute_function *)no_function;
static execute_fd_function *real_fexecve = (execute_fd_function *)no_function;

void agent_carry_find(void)
{
	void *function;

	if ((function = agent_real_function("execve")) != NULL)
		real_execve = (execute_function *)function;
	if ((function = agent_real_function("execvpe")) != NULL)
		real_execvpe = (execute_function *)function;
	if ((function = agent_real_function("fexecve")) != NULL)
		real_fexecve = (execute_fd_function *)function;
}

EXPORTED int execve(const char *file, char *const args[], char *const env[]) { WITH(env, real_execve(file, args, env_)); }
EXPORTED int execv(const char *file, char *const args[]) { WITH(environ, real_execve(file, args, env_)); }
EXPORTED int execvpe(const char *file, char *const args[], char *const env[]) { WITH(env, real_execvpe(file, args, env_)); }
EXPORTED int execvp(const char *file, char *const args[]) { WITH(environ, real_execvpe(file, args, env_)); }
EXPORTED int fexecve(int fd, char *const args[], char *const env[]) { WITH(env, real_fexecve(fd, args, env_)); }
