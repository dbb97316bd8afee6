#define _GNU_SOURCE
#include "host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Functions write to after_call after a call, so that it is not a tail call and they keep
 * their frame. */
static volatile int after_call;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* glibc takes it out of the stack of each thread, which so cannot be small. */
static __thread volatile char large[256 << 10];
static void *all; /* the blocks that are kept, each points to the next */

static __attribute__((noinline)) void *keep_one(size_t size)
{
	void **block = malloc(size < sizeof(void *) ? sizeof(void *) : size);

	if (block == NULL)
		abort();
	large[0] = 1;
	pthread_mutex_lock(&lock);
	*block = all;
	all = block;
	pthread_mutex_unlock(&lock);
	return block;
}

void host_keep(int n, size_t size)
{
	while (n-- > 0)
		memset((char *)keep_one(size) + sizeof(void *), 1, size > sizeof(void *) ? size - sizeof(void *) : 0);
}

void host_free(void)
{
	pthread_mutex_lock(&lock);
	while (all != NULL) {
		void *next = *(void **)all;
		free(all);
		all = next;
	}
	pthread_mutex_unlock(&lock);
}

static bool passing; /* the blocks of stacks are freed at once */

static __attribute__((noinline)) void at_end(size_t size)
{
	void *volatile block;

	if (!passing) {
		keep_one(size);
		return;
	}
	block = malloc(size);
	free(block);
}

static __attribute__((noinline)) void right(int bits, int path);

static __attribute__((noinline)) void left(int bits, int path)
{
	if (bits == 0)
		at_end(48);
	else if (path & 1)
		right(bits - 1, path >> 1);
	else
		left(bits - 1, path >> 1);
	after_call = 1;
}

static __attribute__((noinline)) void right(int bits, int path)
{
	if (bits == 0)
		at_end(64);
	else if (path & 1)
		right(bits - 1, path >> 1);
	else
		left(bits - 1, path >> 1);
	after_call = 2;
}

void host_stacks(int bits)
{
	for (int path = 0; path < 1 << bits; path++)
		left(bits, path);
}

void host_pass(int bits)
{
	passing = true;
	host_stacks(bits);
	passing = false;
}

void host_crash(void) { *(volatile int *)8 = after_call; }

static void *thread_main(void *size)
{
	keep_one((size_t)size);
	for (int i = 0; i < 100; i++) {
		void *volatile block = malloc(100 + i);
		free(block);
	}
	return NULL;
}

int host_threads(int n, size_t size)
{
	while (n > 0) {
		pthread_t threads[16];
		int started = 0, err = 0;

		while (started < 16 && started < n && err == 0)
			if ((err = pthread_create(&threads[started], NULL, thread_main, (void *)size)) == 0)
				started++;
		for (int i = 0; i < started; i++)
			pthread_join(threads[i], NULL);
		if (err != 0)
			return err;
		n -= started;
	}
	return 0;
}

static volatile int forking;

static void *allocate(void *arg)
{
	void *volatile blocks[64] = {0};

	for (unsigned i = 0; forking; i++) {
		free(blocks[i % 64]);
		blocks[i % 64] = malloc(16 + i % 3000);
	}
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
	return arg;
}

static void in_child(void)
{
	pthread_t thread;

	for (int i = 0; i < 1000; i++) {
		void *volatile block = calloc(1, 16 + i);
		block = realloc(block, 32 + 2 * i);
		if (block == NULL)
			_exit(1);
		free(block);
	}
	if (pthread_create(&thread, NULL, thread_main, (void *)64) != 0 || pthread_join(thread, NULL) != 0)
		_exit(2);
	_exit(0);
}

int host_fork(int n)
{
	pthread_t threads[4];
	int bad = 0;

	forking = 1;
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, allocate, NULL) != 0)
			abort();
	while (n-- > 0) {
		int status = -1;
		pid_t child = fork();

		if (child == 0) {
			alarm(60); /* ends a child that waits for ever */
			in_child();
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			bad++;
	}
	forking = 0;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return bad;
}

int host_forbid(int call)
{
	struct sock_filter instructions[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof instructions / sizeof *instructions, instructions};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0 ? 0 : errno;
}

static bool is_null_device(int fd)
{
	struct stat null, file;

	return stat("/dev/null", &null) == 0 && fstat(fd, &file) == 0 && null.st_rdev == file.st_rdev;
}

static void daemon_child(void)
{
	enum { FILES = 64 };
	pthread_t thread;
	int files[FILES];

	alarm(60);
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	for (int i = 0; i < FILES; i++)
		files[i] = open("/dev/null", O_RDONLY);
	if (pthread_create(&thread, NULL, thread_main, (void *)64) != 0 || pthread_join(thread, NULL) != 0)
		_exit(255);
	for (int i = 0; i < FILES; i++)
		if (!is_null_device(files[i]))
			_exit(files[i]);
	_exit(0);
}

int host_daemon(void)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0)
		daemon_child();
	return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

/* The address space of the process. It needs no memory. */
static size_t address_space(void)
{
	char text[64] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
		abort();
	close(fd);
	return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

int host_exhaust(size_t room, size_t size)
{
	struct rlimit before, limit;
	void **first = NULL, **block;
	int n = 0;

	if (getrlimit(RLIMIT_AS, &before) != 0)
		return -1;
	limit = before;
	do { /* again if another thread has mapped its arena in between, which is larger than the room */
		limit.rlim_cur = address_space() + room;
		if (setrlimit(RLIMIT_AS, &limit) != 0)
			return -1;
	} while (address_space() + room / 2 > limit.rlim_cur);
	errno = 0;
	while ((block = n % 2 ? malloc(size) : calloc(1, size)) != NULL) {
		*block = first;
		first = block;
		n++;
	}
	if (errno != ENOMEM)
		n = -1;
	/* A block that cannot grow stays as it is. */
	if (first != NULL && realloc(first, 4 * room) != NULL)
		n = -1;
	while (first != NULL) {
		block = *first;
		free(first);
		first = block;
	}
	return setrlimit(RLIMIT_AS, &before) == 0 ? n : -1;
}

static void *library;

const char *host_open(const char *path)
{
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return library == NULL ? dlerror() : NULL;
}

const char *host_call(int n, size_t size)
{
	void (*f)(int, size_t) = (void (*)(int, size_t))dlsym(library, "library_keep");

	if (f == NULL)
		return dlerror();
	f(n, size);
	after_call = 3;
	return NULL;
}

const char *host_close(void)
{
	return dlclose(library) != 0 ? dlerror() : NULL;
}

static void *nothing(void *arg) { return arg; }

/* Makes a thread before Go does, which blocks all signals for its own. */
__attribute__((constructor)) static void make_early_thread(void)
{
	pthread_t thread;

	if (getenv("HOST_EARLY_THREAD") != NULL && pthread_create(&thread, NULL, nothing, NULL) == 0)
		pthread_join(thread, NULL);
}
