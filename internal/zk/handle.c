// The life of a handle: one zhandle_t, one ZooKeeper session.
#define _GNU_SOURCE
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

// Debian's libzookeeper is built without OpenSSL and its header hides the
// function; a weak declaration finds it in the libraries that do have it.
extern zhandle_t *zookeeper_init_ssl(const char *host, const char *cert, watcher_fn fn,
	int recv_timeout, const clientid_t *clientid, void *context, int flags) __attribute__((weak));

_Atomic(zk_handle *) zk_table[MAX_HANDLES];
static char in_use[MAX_HANDLES];
static pthread_mutex_t table_mu = PTHREAD_MUTEX_INITIALIZER; // guards both

// zookeeper_init_ssl uses strtok.
static pthread_mutex_t init_mu = PTHREAD_MUTEX_INITIALIZER;

atomic_llong zk_live_handles;

zk_handle *zk_handle_new(zk_queue *q, uint64_t number, int want_log)
{
	zk_handle *h = NULL;
	pthread_mutex_lock(&table_mu);
	for (uint32_t i = 0; i < MAX_HANDLES; i++) {
		if (in_use[i])
			continue;
		h = atomic_load(&zk_table[i]);
		if (h == NULL) {
			h = zk_must(calloc(1, sizeof *h));
			pthread_mutex_init(&h->mu, NULL);
			h->slot = i;
			atomic_store(&zk_table[i], h);
		}
		in_use[i] = 1;
		break;
	}
	pthread_mutex_unlock(&table_mu);
	if (h == NULL)
		return NULL;
	h->q = q;
	h->number = number;
	h->want_log = want_log;
	atomic_store(&h->zh, NULL);
	atomic_store(&h->outstanding, 0);
	atomic_fetch_add(&zk_live_handles, 1);
	return h;
}

// zk_handle_init wraps zookeeper_init2 and zookeeper_init_ssl. It resolves host
// names and may take long. A session other than 0 is taken over; its password has 16
// bytes. On failure it returns -errno.
int zk_handle_init(zk_handle *h, char *hosts, int timeout_ms, int64_t session, const void *password,
	int resolution_delay_ms, char *cert)
{
	clientid_t id = {.client_id = session}; // libzookeeper copies it
	if (session != 0)
		memcpy(id.passwd, password, sizeof id.passwd);
	char old[16] = {0}, name[16];
	zhandle_t *zh;
	pthread_mutex_lock(&init_mu);
	// INFO and DEBUG stay off: DEBUG reads freed memory (ZOOKEEPER-4809).
	static int quiet;
	if (!quiet) {
		quiet = 1;
		zoo_set_debug_level(ZOO_LOG_LEVEL_WARN);
		// Until zookeeper_init_ssl has returned there is no log callback.
		FILE *null = fopen("/dev/null", "w");
		if (null != NULL)
			zoo_set_log_stream(null);
	}
	prctl(PR_GET_NAME, old);
	zk_thread_name(name, h->slot);
	prctl(PR_SET_NAME, name);
	errno = 0;
	if (cert == NULL) {
		pthread_mutex_unlock(&init_mu);
		zh = zookeeper_init2(hosts, zk_on_session, timeout_ms, &id, h, ZOO_NO_LOG_CLIENTENV, zk_on_log);
	} else {
		zh = zookeeper_init_ssl != NULL
			? zookeeper_init_ssl(hosts, cert, zk_on_session, timeout_ms, &id, h, ZOO_NO_LOG_CLIENTENV) : NULL;
		pthread_mutex_unlock(&init_mu);
	}
	int err = errno;
	prctl(PR_SET_NAME, old);
	if (zh == NULL)
		return err == 0 ? -EINVAL : -err;
	if (cert != NULL)
		zoo_set_log_callback(zh, zk_on_log);
	// By default it resolves all names again on every pass of its I/O loop.
	zoo_set_servers_resolution_delay(zh, resolution_delay_ms);
	atomic_store(&h->zh, zh);
	return 0;
}

// zk_handle_close wraps zookeeper_close, which may take 4.5 s, and frees the slot. No
// other call may use the handle any more.
void zk_handle_close(zk_handle *h)
{
	zhandle_t *zh = atomic_load(&h->zh);
	if (zh != NULL)
		zookeeper_close(zh);
	atomic_store(&h->zh, NULL);
	struct multi *m;
	while ((m = h->multis) != NULL) {
		h->multis = m->next;
		zk_multi_free(m);
	}
	atomic_fetch_add(&h->gen, 1);
	atomic_fetch_sub(&zk_live_handles, 1);
	pthread_mutex_lock(&table_mu);
	in_use[h->slot] = 0;
	pthread_mutex_unlock(&table_mu);
}

int zk_handle_state(zk_handle *h)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? 0 : zoo_state(zh);
}

int zk_handle_outstanding(zk_handle *h) { return atomic_load(&h->outstanding); }

// zk_handle_set_servers wraps zoo_set_servers.
int zk_handle_set_servers(zk_handle *h, char *hosts)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? ZINVALIDSTATE : zoo_set_servers(zh, hosts);
}

int zk_handle_set_resolution_delay(zk_handle *h, int delay_ms)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? ZINVALIDSTATE : zoo_set_servers_resolution_delay(zh, delay_ms);
}

// zk_handle_server writes the address of the connected server and returns its port, or
// 0 if there is no connection. zoo_get_current_server is no use: it returns a buffer
// that all threads of the process share, and a server that is only being tried.
int zk_handle_server(zk_handle *h, char *host, int host_len)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	zhandle_t *zh = atomic_load(&h->zh);
	if (zh == NULL || zookeeper_get_connected_host(zh, (struct sockaddr *)&at, &len) == NULL)
		return 0;
	if (at.ss_family == AF_INET) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
		return inet_ntop(AF_INET, &v4->sin_addr, host, (socklen_t)host_len) == NULL ? 0 : ntohs(v4->sin_port);
	}
	if (at.ss_family == AF_INET6) {
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;
		return inet_ntop(AF_INET6, &v6->sin6_addr, host, (socklen_t)host_len) == NULL ? 0 : ntohs(v6->sin6_port);
	}
	return 0;
}

// zk_handle_add_auth wraps zoo_add_auth, without a completion, which would come on the
// I/O thread or never. The answer to a later sync proves the same.
int zk_handle_add_auth(zk_handle *h, char *scheme, void *data, int len)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? ZINVALIDSTATE : zoo_add_auth(zh, scheme, data, len, NULL, NULL);
}

// zk_handle_forget_watch wraps zoo_remove_watches with local set: it removes the watch
// from libzookeeper's table and sends nothing. zoo_remove_all_watches would do the same,
// and never say ZNOWATCHER.
int zk_handle_forget_watch(zk_handle *h, char *path, int type)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? ZINVALIDSTATE : zoo_remove_watches(zh, path, (ZooWatcherType)type, zk_on_watch, h, 1);
}

struct zk_live zk_live_counts(void)
{
	return (struct zk_live){
		.queues = atomic_load(&zk_live_queues),
		.handles = atomic_load(&zk_live_handles),
		.multis = atomic_load(&zk_live_multis),
		.chunks = atomic_load(&zk_live_chunks),
	};
}

int zk_has_tls(void) { return zookeeper_init_ssl != NULL; }

const char *zk_header_version(void) { return ZOO_VERSION; }
