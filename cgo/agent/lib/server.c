/* One thread that waits in accept, and answers one client after the other.
 *
 * The socket is abstract: it needs no writable directory, and is gone with the process.
 * Everybody in the same network namespace can connect to it, so the kernel is asked who
 * the client is (SO_PEERCRED): the user of the process, or root. A client that sends or
 * reads nothing for some seconds is left.
 *
 * The thread blocks all signals, so that no signal of the program is delivered to it.
 * pthread_sigmask leaves out those that the C library needs itself, for setuid. */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "text.h"

enum {
	BACKLOG = 16,
	MAX_REQUEST = 1 << 16,
	PATIENCE = 5, /* seconds that a client may take to send or to read something */
	STACK = 128 << 10,
};

static atomic_int listener = -1;
static struct sockaddr_un name; /* the socket's */
static socklen_t name_len;
static atomic_int server_pid; /* the process that has the thread: not this one after a fork */

/* ---- answers ---- */

static void send_all(struct agent_answer *a, const unsigned char *bytes, size_t n)
{
	while (n > 0 && !a->broken) {
		ssize_t sent = send(a->fd, bytes, n, MSG_NOSIGNAL);

		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		} else if (sent == 0 || errno != EINTR) {
			a->broken = true;
		}
	}
}

/* Sends the frame that has been filled. Without any bytes it would be the answer's end. */
void agent_answer_flush(struct agent_answer *a)
{
	size_t len = a->len;

	if (len == 0)
		return;
	for (int i = 0; i < 4; i++)
		a->frame[i] = (unsigned char)(len >> 8 * i);
	send_all(a, a->frame, 4 + len);
	a->len = 0;
}

void agent_answer_bytes(struct agent_answer *a, const void *bytes, size_t n)
{
	const unsigned char *from = bytes;

	while (n > 0 && !a->broken) {
		size_t fits = AGENT_FRAME - a->len < n ? AGENT_FRAME - a->len : n;

		memcpy(a->frame + 4 + a->len, from, fits);
		a->len += fits;
		from += fits;
		n -= fits;
		if (a->len == AGENT_FRAME)
			agent_answer_flush(a);
	}
}

void agent_answer_string(struct agent_answer *a, const char *s) { agent_answer_bytes(a, s, strlen(s)); }

void agent_answer_decimal(struct agent_answer *a, uint64_t n)
{
	char buffer[24];
	struct agent_text t;

	agent_text_start(&t, buffer, sizeof buffer);
	agent_put_decimal(&t, n);
	agent_answer_bytes(a, buffer, t.len);
}

void agent_answer_hex(struct agent_answer *a, uint64_t n)
{
	char buffer[24];
	struct agent_text t;

	agent_text_start(&t, buffer, sizeof buffer);
	agent_put_string(&t, "0x");
	agent_put_hex(&t, n);
	agent_answer_bytes(a, buffer, t.len);
}

/* ---- clients ---- */

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

/* Reads a line. Returns false if the client sends none. */
static bool read_request(int fd, char *request, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = recv(fd, request + len, size - len, 0);
		char *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		end = memchr(request + len, '\n', (size_t)n);
		len += (size_t)n;
		if (end != NULL) {
			*end = 0;
			return true;
		}
	}
	return false;
}

static void serve_client(int fd)
{
	static const unsigned char end_of_answer[4];
	static char request[MAX_REQUEST]; /* only the one thread uses it, and its pages only if requests are long */
	static struct agent_answer answer;
	const struct timeval patience = {.tv_sec = PATIENCE};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	answer.fd = fd;
	answer.broken = false;
	answer.len = 0;
	if (!may_ask(fd)) {
		agent_answer_string(&answer, "error only the user of the process and root may ask");
	} else if (read_request(fd, request, sizeof request)) {
		agent_answer(&answer, request);
	} else {
		return;
	}
	agent_answer_flush(&answer);
	send_all(&answer, end_of_answer, sizeof end_of_answer);
}

/* Whether a descriptor is still the socket that was opened. A daemon closes all
 * descriptors, and the number may then be that of another socket. */
static bool is_listener(int fd)
{
	struct sockaddr_un address;
	socklen_t len = sizeof address;

	return getsockname(fd, (struct sockaddr *)&address, &len) == 0 && len == name_len && memcmp(&address, &name, len) == 0;
}

static void *serve(void *arg)
{
	int listening = atomic_load(&listener);

	(void)arg;
	prctl(PR_SET_NAME, "magellan-agent");
	for (;;) {
		int fd;

		if (!is_listener(listening)) {
			atomic_store(&listener, -1);
			atomic_store(&server_pid, 0); /* so that the program's next thread opens another */
			return NULL;
		}
		fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			serve_client(fd);
			close(fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* The program has no free descriptor: the client waits until there is one. */
			struct timeval pause = {.tv_usec = 100000};
			select(0, NULL, NULL, NULL, &pause);
		} else if (errno == EPERM || errno == EACCES || errno == ENOSYS) {
			/* A filter of the program (seccomp) forbids the call, and will not permit it again. */
			atomic_store(&listener, -1);
			close(listening);
			return NULL;
		}
	}
}

/* ---- start ---- */

/* magellan-agent/PID/RANDOM. The random number is for processes that have the same number
 * in different namespaces. */
static void name_socket(void)
{
	uint64_t random = 0;
	struct agent_text t;

	name = (struct sockaddr_un){.sun_family = AF_UNIX};
	syscall(SYS_getrandom, &random, sizeof random, GRND_NONBLOCK);
	random ^= (uintptr_t)&random; /* enough, if the kernel has none yet */
	agent_text_start(&t, name.sun_path + 1, sizeof name.sun_path - 1);
	agent_put_string(&t, "magellan-agent/");
	agent_put_decimal(&t, (uint64_t)getpid());
	agent_put_string(&t, "/");
	agent_put_hex_padded(&t, random, 16);
	name_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + t.len);
}

static int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	name_socket();
	if (fd >= 0 && (bind(fd, (const struct sockaddr *)&name, name_len) != 0 || listen(fd, BACKLOG) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A stack size of 0 is the process's default. */
static bool start_thread_with(agent_create_thread *create, size_t stack)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t id;
	int err;

	if (pthread_attr_init(&attributes) != 0)
		return false;
	if (stack != 0)
		pthread_attr_setstacksize(&attributes, stack);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = create(&id, &attributes, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return err == 0;
}

/* glibc takes a thread's variables (__thread) out of its stack, and refuses a stack that is
 * too small for those of the program. */
static bool start_thread(agent_create_thread *create)
{
	return start_thread_with(create, STACK) || start_thread_with(create, 0);
}

void agent_server_start(agent_create_thread *create)
{
	int pid = getpid(), had = atomic_load(&server_pid), before = errno, fd;

	if (had == pid || !atomic_compare_exchange_strong(&server_pid, &had, pid))
		return;
	fd = atomic_exchange(&listener, -1);
	if (fd >= 0 && is_listener(fd))
		close(fd); /* the parent's. A daemon has closed it, and the number may be that of its own file. */
	fd = open_socket();
	if (fd >= 0) {
		atomic_store(&listener, fd);
		if (!start_thread(create)) {
			atomic_store(&listener, -1);
			close(fd);
		}
	}
	errno = before;
}
