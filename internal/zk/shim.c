#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

// Debian's libzookeeper is built without OpenSSL and its header hides the
// function; a weak declaration finds it in the libraries that do have it.
extern zhandle_t *zookeeper_init_ssl(const char *host, const char *cert, watcher_fn fn,
	int recv_timeout, const clientid_t *clientid, void *context, int flags) __attribute__((weak));

enum {
	CHUNK = 64 << 10,        // bytes of records malloc'd at once
	SPARE_CHUNKS = 4,        // kept by a queue for reuse
	MAX_HANDLES = 4096,      // SLOT_BITS
	SLOT_BITS = 12,
	ID_BITS = 40,
	// libzookeeper writes one byte into a pipe of 64 KiB for each request and,
	// when the pipe is full, silently cuts the connection.
	MAX_OUTSTANDING = 60000,
};

struct multi {
	struct multi *next;
	uint64_t id;
	int count;
	zoo_op_t *ops;
	zoo_op_result_t *results;
	struct Stat *stats;
	char **paths;            // where the results of creates are written
};

struct zk_queue {
	pthread_mutex_t mu;
	struct zk_chunk *head, *tail;
	struct zk_chunk *spare;
	int spares;
	int armed;               // the reader waits for the eventfd
	int fd;
};

struct zk_handle {
	_Atomic(zhandle_t *) zh;
	zk_queue *q;
	uint64_t number;
	uint32_t slot;
	atomic_uint gen;
	atomic_int outstanding;
	int want_log;
	pthread_mutex_t mu;      // guards multis
	struct multi *multis;
};

// Handles are never freed, only reused: a completion carries slot, generation
// and request id in the bits of its context pointer, so that one which never
// fires (ZOOKEEPER-3868) leaks nothing, and one that fires late finds either
// its handle or, by the generation, that it is gone.
static pthread_mutex_t table_mu = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(zk_handle *) table[MAX_HANDLES];
static char in_use[MAX_HANDLES];

// zookeeper_init_ssl uses strtok.
static pthread_mutex_t init_mu = PTHREAD_MUTEX_INITIALIZER;

static atomic_llong live_queues, live_handles, live_multis, live_chunks;

// must: Go dies when memory ends, and so does this.
static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

// ---- the queue

zk_queue *zk_queue_new(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	zk_queue *q = must(calloc(1, sizeof *q));
	pthread_mutex_init(&q->mu, NULL);
	q->fd = fd;
	atomic_fetch_add(&live_queues, 1);
	return q;
}

int zk_queue_fd(zk_queue *q) { return q->fd; }

static void chunks_free(struct zk_chunk *c)
{
	while (c != NULL) {
		struct zk_chunk *next = c->next;
		free(c);
		atomic_fetch_sub(&live_chunks, 1);
		c = next;
	}
}

// zk_queue_free does not close the eventfd: Go's os.File owns it.
void zk_queue_free(zk_queue *q)
{
	chunks_free(q->head);
	chunks_free(q->spare);
	pthread_mutex_destroy(&q->mu);
	free(q);
	atomic_fetch_sub(&live_queues, 1);
}

// reserve returns a zeroed record with room for len bytes of payload. The
// queue is locked until commit.
static struct zk_event *reserve(zk_queue *q, int kind, uint64_t id, int rc, size_t len)
{
	size_t size = (sizeof(struct zk_event) + len + 7) & ~(size_t)7;
	pthread_mutex_lock(&q->mu);
	struct zk_chunk *c = q->tail;
	if (c == NULL || c->cap - c->used < size) {
		if (size <= CHUNK && q->spare != NULL) {
			c = q->spare;
			q->spare = c->next;
			q->spares--;
		} else {
			size_t cap = size > CHUNK ? size : CHUNK;
			c = must(malloc(sizeof *c + cap));
			c->cap = (uint32_t)cap;
			atomic_fetch_add(&live_chunks, 1);
		}
		c->next = NULL;
		c->used = 0;
		if (q->tail != NULL)
			q->tail->next = c;
		else
			q->head = c;
		q->tail = c;
	}
	struct zk_event *e = (struct zk_event *)(c->data + c->used);
	c->used += (uint32_t)size;
	memset(e, 0, sizeof *e);
	e->id = id;
	e->kind = kind;
	e->rc = rc;
	e->size = (uint32_t)size;
	e->len = (int32_t)len;
	return e;
}

static void commit(zk_queue *q)
{
	int wake = q->armed;
	q->armed = 0;
	pthread_mutex_unlock(&q->mu);
	if (wake) {
		uint64_t one = 1;
		ssize_t n = write(q->fd, &one, sizeof one);
		(void)n; // an eventfd fails only when its counter is full: then it is readable
	}
}

static char *payload(struct zk_event *e) { return (char *)(e + 1); }

void zk_post(zk_queue *q, int kind, uint64_t id, int rc)
{
	reserve(q, kind, id, rc, 0);
	commit(q);
}

// zk_take gives the records of the last call back and returns all that have
// come since. NULL: none, and the next one will make the eventfd readable.
struct zk_chunk *zk_take(zk_queue *q, struct zk_chunk *done)
{
	struct zk_chunk *drop = NULL;
	pthread_mutex_lock(&q->mu);
	while (done != NULL) {
		struct zk_chunk *next = done->next;
		if (done->cap == CHUNK && q->spares < SPARE_CHUNKS) {
			done->next = q->spare;
			q->spare = done;
			q->spares++;
		} else {
			done->next = drop;
			drop = done;
		}
		done = next;
	}
	struct zk_chunk *head = q->head;
	q->head = q->tail = NULL;
	q->armed = head == NULL;
	pthread_mutex_unlock(&q->mu);
	chunks_free(drop);
	return head;
}

// ---- contexts

static const void *context_of(zk_handle *h, uint64_t id)
{
	uint64_t gen = atomic_load(&h->gen) & ((1u << (64 - SLOT_BITS - ID_BITS)) - 1);
	return (const void *)(uintptr_t)(gen << (SLOT_BITS + ID_BITS) | (uint64_t)h->slot << ID_BITS |
		(id & ((1ull << ID_BITS) - 1)));
}

// handle_of finds the handle of a completion and counts the completion.
static zk_handle *handle_of(const void *data, uint64_t *id)
{
	uint64_t bits = (uint64_t)(uintptr_t)data;
	zk_handle *h = atomic_load(&table[bits >> ID_BITS & (MAX_HANDLES - 1)]);
	*id = bits & ((1ull << ID_BITS) - 1);
	if (h == NULL || context_of(h, *id) != data)
		return NULL;
	return h;
}

static void complete(zk_handle *h)
{
	commit(h->q);
	atomic_fetch_sub(&h->outstanding, 1);
}

// ---- callbacks of libzookeeper, on its completion thread

static void put_stat(struct zk_stat *d, const struct Stat *s)
{
	d->czxid = s->czxid;
	d->mzxid = s->mzxid;
	d->pzxid = s->pzxid;
	d->ctime = s->ctime;
	d->mtime = s->mtime;
	d->ephemeral_owner = s->ephemeralOwner;
	d->version = s->version;
	d->cversion = s->cversion;
	d->aversion = s->aversion;
	d->data_length = s->dataLength;
	d->num_children = s->numChildren;
}

static void set_stat(struct zk_event *e, const struct Stat *s)
{
	if (s != NULL) {
		e->has_stat = 1;
		put_stat(&e->stat, s);
	}
}

static void on_void(int rc, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	reserve(h->q, ZK_EV_VOID, id, rc, 0);
	complete(h);
}

static void on_sync(int rc, const char *value, const void *data)
{
	(void)value;
	on_void(rc, data);
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	set_stat(reserve(h->q, ZK_EV_STAT, id, rc, 0), stat);
	complete(h);
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	int null = value == NULL || len < 0;
	struct zk_event *e = reserve(h->q, ZK_EV_DATA, id, rc, null ? 0 : (size_t)len);
	if (null)
		e->len = -1;
	else if (len > 0)
		memcpy(payload(e), value, (size_t)len);
	set_stat(e, stat);
	complete(h);
}

static char *put_string(char *p, const char *s)
{
	uint32_t n = s == NULL ? 0 : (uint32_t)strlen(s);
	memcpy(p, &n, sizeof n);
	if (n > 0)
		memcpy(p + sizeof n, s, n);
	return p + sizeof n + n;
}

static size_t string_size(const char *s) { return sizeof(uint32_t) + (s == NULL ? 0 : strlen(s)); }

static void on_children(int rc, const struct String_vector *v, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	size_t size = 0;
	int32_t count = v == NULL ? 0 : v->count;
	for (int32_t i = 0; i < count; i++)
		size += string_size(v->data[i]);
	struct zk_event *e = reserve(h->q, ZK_EV_CHILDREN, id, rc, size);
	char *p = payload(e);
	for (int32_t i = 0; i < count; i++)
		p = put_string(p, v->data[i]);
	e->count = count;
	set_stat(e, stat);
	complete(h);
}

static void on_path(int rc, const char *path, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	size_t n = path == NULL ? 0 : strlen(path);
	struct zk_event *e = reserve(h->q, ZK_EV_PATH, id, rc, n);
	if (n > 0)
		memcpy(payload(e), path, n);
	set_stat(e, stat);
	complete(h);
}

static void on_acl(int rc, struct ACL_vector *v, struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	size_t size = 0;
	int32_t count = v == NULL ? 0 : v->count;
	for (int32_t i = 0; i < count; i++)
		size += sizeof(int32_t) + string_size(v->data[i].id.scheme) + string_size(v->data[i].id.id);
	struct zk_event *e = reserve(h->q, ZK_EV_ACL, id, rc, size);
	char *p = payload(e);
	for (int32_t i = 0; i < count; i++) {
		memcpy(p, &v->data[i].perms, sizeof(int32_t));
		p = put_string(p + sizeof(int32_t), v->data[i].id.scheme);
		p = put_string(p, v->data[i].id.id);
	}
	e->count = count;
	set_stat(e, stat);
	complete(h);
}

static void multi_free(struct multi *m)
{
	for (int i = 0; i < m->count; i++)
		free(m->paths[i]);
	free(m->paths);
	free(m->ops);
	free(m->results);
	free(m->stats);
	free(m);
	atomic_fetch_sub(&live_multis, 1);
}

static struct multi *multi_unlink(zk_handle *h, uint64_t id)
{
	pthread_mutex_lock(&h->mu);
	struct multi **p = &h->multis;
	while (*p != NULL && (*p)->id != id)
		p = &(*p)->next;
	struct multi *m = *p;
	if (m != NULL)
		*p = m->next;
	pthread_mutex_unlock(&h->mu);
	return m;
}

static void on_multi(int rc, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	struct multi *m = multi_unlink(h, id);
	int count = m == NULL ? 0 : m->count;
	size_t size = 0;
	for (int i = 0; i < count; i++) {
		const char *path = m->results[i].value;
		size += sizeof(struct zk_op_result) + ((path == NULL ? 0 : strlen(path)) + 7) / 8 * 8;
	}
	struct zk_event *e = reserve(h->q, ZK_EV_MULTI, id, rc, size);
	char *p = payload(e);
	for (int i = 0; i < count; i++) {
		struct zk_op_result r = {.err = m->results[i].err, .path_len = -1};
		const char *path = m->results[i].value;
		if (path != NULL)
			r.path_len = (int32_t)strlen(path);
		if (m->results[i].stat != NULL && r.err == 0) {
			r.has_stat = 1;
			put_stat(&r.stat, m->results[i].stat);
		}
		memcpy(p, &r, sizeof r);
		p += sizeof r;
		if (r.path_len > 0) {
			memcpy(p, path, (size_t)r.path_len);
			p += (r.path_len + 7) / 8 * 8;
		}
	}
	e->count = count;
	complete(h);
	if (m != NULL)
		multi_free(m);
}

// on_watch is the one watcher of all paths: libzookeeper keeps one entry per
// path for it, and Go needs no table. It calls every watcher it has for every
// session event; those stop here.
static void on_watch(zhandle_t *zh, int type, int state, const char *path, void *ctx)
{
	(void)zh;
	(void)state;
	zk_handle *h = ctx;
	if (type == ZOO_SESSION_EVENT)
		return;
	size_t n = path == NULL ? 0 : strlen(path);
	struct zk_event *e = reserve(h->q, ZK_EV_WATCH, 0, type, n);
	if (n > 0)
		memcpy(payload(e), path, n);
	commit(h->q);
}

static void on_session(zhandle_t *zh, int type, int state, const char *path, void *ctx)
{
	(void)path;
	zk_handle *h = ctx;
	if (type != ZOO_SESSION_EVENT)
		return;
	// The first event can come before zookeeper_init has returned.
	atomic_store(&h->zh, zh);
	const clientid_t *id = zoo_client_id(zh);
	struct zk_event *e = reserve(h->q, ZK_EV_SESSION, h->number, state, sizeof id->passwd);
	e->session = id->client_id;
	memcpy(payload(e), id->passwd, sizeof id->passwd);
	commit(h->q);
}

// thread_name is what libzookeeper's two threads of a handle are called. They
// inherit it from the thread that makes them; it tells the log's callback,
// which is given nothing but a line, whose line it is.
static void thread_name(char name[16], uint32_t slot) { snprintf(name, 16, "zookeeper-%u", slot); }

static void on_log(const char *line)
{
	char name[16] = {0};
	unsigned slot;
	prctl(PR_GET_NAME, name);
	if (sscanf(name, "zookeeper-%u", &slot) != 1 || slot >= MAX_HANDLES)
		return;
	zk_handle *h = atomic_load(&table[slot]);
	if (h == NULL || !h->want_log)
		return;
	// "2026-11-23 01:24:38,123:4711(0x7f..):ZOO_ERROR@function@123: text"
	const char *at = strstr(line, "):ZOO_");
	int level = at != NULL && strncmp(at + 6, "ERROR", 5) == 0 ? ZOO_LOG_LEVEL_ERROR : ZOO_LOG_LEVEL_WARN;
	if (at != NULL && (at = strstr(at, ": ")) != NULL)
		line = at + 2;
	size_t n = strlen(line);
	memcpy(payload(reserve(h->q, ZK_EV_LOG, h->number, level, n)), line, n);
	commit(h->q);
}

// ---- handles

zk_handle *zk_handle_new(zk_queue *q, uint64_t number, int want_log)
{
	zk_handle *h = NULL;
	pthread_mutex_lock(&table_mu);
	for (uint32_t i = 0; i < MAX_HANDLES; i++) {
		if (in_use[i])
			continue;
		h = atomic_load(&table[i]);
		if (h == NULL) {
			h = must(calloc(1, sizeof *h));
			pthread_mutex_init(&h->mu, NULL);
			h->slot = i;
			atomic_store(&table[i], h);
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
	atomic_fetch_add(&live_handles, 1);
	return h;
}

// zk_handle_init wraps zookeeper_init2 and zookeeper_init_ssl. It resolves host
// names and may take long. On failure it returns -errno.
int zk_handle_init(zk_handle *h, char *hosts, int timeout_ms, char *cert)
{
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
	thread_name(name, h->slot);
	prctl(PR_SET_NAME, name);
	errno = 0;
	if (cert == NULL) {
		pthread_mutex_unlock(&init_mu);
		zh = zookeeper_init2(hosts, on_session, timeout_ms, NULL, h, ZOO_NO_LOG_CLIENTENV, on_log);
	} else {
		zh = zookeeper_init_ssl != NULL
			? zookeeper_init_ssl(hosts, cert, on_session, timeout_ms, NULL, h, ZOO_NO_LOG_CLIENTENV) : NULL;
		pthread_mutex_unlock(&init_mu);
	}
	int err = errno;
	prctl(PR_SET_NAME, old);
	if (zh == NULL)
		return err == 0 ? -EINVAL : -err;
	if (cert != NULL)
		zoo_set_log_callback(zh, on_log);
	// Left alone it resolves all names again on every pass of its I/O loop.
	zoo_set_servers_resolution_delay(zh, 10000);
	atomic_store(&h->zh, zh);
	return 0;
}

// zk_handle_close wraps zookeeper_close, which may take 4.5 s, and gives the
// slot back. No other call may use the handle any more.
void zk_handle_close(zk_handle *h)
{
	zhandle_t *zh = atomic_load(&h->zh);
	if (zh != NULL)
		zookeeper_close(zh);
	atomic_store(&h->zh, NULL);
	struct multi *m;
	while ((m = h->multis) != NULL) {
		h->multis = m->next;
		multi_free(m);
	}
	atomic_fetch_add(&h->gen, 1);
	atomic_fetch_sub(&live_handles, 1);
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

// zk_handle_add_auth wraps zoo_add_auth, without a completion: those come on
// the I/O thread, or never. A sync sent after it tells as much.
int zk_handle_add_auth(zk_handle *h, char *scheme, void *data, int len)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? ZINVALIDSTATE : zoo_add_auth(zh, scheme, data, len, NULL, NULL);
}

// zk_handle_forget_watch wraps zoo_remove_all_watches with local set: the
// watch leaves libzookeeper's table, nothing is sent.
int zk_handle_forget_watch(zk_handle *h, char *path, int type)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh == NULL ? ZINVALIDSTATE : zoo_remove_all_watches(zh, path, (ZooWatcherType)type, 1);
}

// ---- requests

// A reader of what Go packs: little endian integers, strings as u32 length
// (without the NUL), bytes and a NUL.
struct reader { const char *p, *end; };

static int32_t read_i32(struct reader *r)
{
	int32_t v = 0;
	if (r->end - r->p >= 4)
		memcpy(&v, r->p, 4);
	r->p += 4;
	return v;
}

// read_string returns NULL for a length of -1.
static const char *read_string(struct reader *r, int32_t *len)
{
	int32_t n = read_i32(r);
	if (len != NULL)
		*len = n;
	if (n < 0)
		return NULL;
	const char *s = r->p;
	r->p += n + 1;
	return s;
}

// read_acl fills a vector whose strings point into what Go packed.
static struct ACL_vector read_acl(struct reader *r)
{
	struct ACL_vector v = {.count = read_i32(r), .data = NULL};
	v.data = must(calloc(v.count > 0 ? (size_t)v.count : 1, sizeof *v.data));
	for (int32_t i = 0; i < v.count; i++) {
		v.data[i].perms = read_i32(r);
		v.data[i].id.scheme = (char *)read_string(r, NULL);
		v.data[i].id.id = (char *)read_string(r, NULL);
	}
	return v;
}

static int submit_multi(zk_handle *h, zhandle_t *zh, uint64_t id, const void *data, int len)
{
	// zoo_amulti leaks its entries when the handle is dead.
	if (is_unrecoverable(zh))
		return ZINVALIDSTATE;
	struct reader r = {data, (const char *)data + len};
	struct multi *m = must(calloc(1, sizeof *m));
	m->id = id;
	const int count = m->count = read_i32(&r);
	m->ops = must(calloc((size_t)m->count, sizeof *m->ops));
	m->results = must(calloc((size_t)m->count, sizeof *m->results));
	m->stats = must(calloc((size_t)m->count, sizeof *m->stats));
	m->paths = must(calloc((size_t)m->count, sizeof *m->paths));
	struct ACL_vector *acls = must(calloc((size_t)m->count, sizeof *acls));
	atomic_fetch_add(&live_multis, 1);
	for (int i = 0; i < count; i++) {
		int op = read_i32(&r), a = read_i32(&r);
		int32_t path_len, data_len;
		const char *path = read_string(&r, &path_len);
		const char *value = read_string(&r, &data_len);
		switch (op) {
		case ZK_OP_CREATE: {
			// A sequence number is ten digits, eleven if it is negative.
			int size = path_len + 16;
			acls[i] = read_acl(&r);
			m->paths[i] = must(calloc(1, (size_t)size));
			zoo_create_op_init(&m->ops[i], path, value, data_len, &acls[i], a, m->paths[i], size);
			break;
		}
		case ZK_OP_SET:
			zoo_set_op_init(&m->ops[i], path, value, data_len, a, &m->stats[i]);
			break;
		case ZK_OP_DELETE:
			zoo_delete_op_init(&m->ops[i], path, a);
			break;
		default:
			zoo_check_op_init(&m->ops[i], path, a);
		}
	}
	pthread_mutex_lock(&h->mu);
	m->next = h->multis;
	h->multis = m;
	pthread_mutex_unlock(&h->mu);
	int rc = zoo_amulti(zh, m->count, m->ops, m->results, on_multi, context_of(h, id));
	// From here on m belongs to the completion, which may have run already.
	if (rc != ZOK && (m = multi_unlink(h, id)) != NULL)
		multi_free(m);
	for (int i = 0; i < count; i++)
		free(acls[i].data);
	free(acls);
	return rc;
}

static int submit(zk_handle *h, zhandle_t *zh, int op, uint64_t id, const char *path,
	const void *data, int data_len, int a, int64_t b, const void *acl, int acl_len)
{
	const void *ctx = context_of(h, id);
	watcher_fn watch = a ? on_watch : NULL;
	switch (op) {
	case ZK_OP_GET:
		return zoo_awget(zh, path, watch, h, on_data, ctx);
	case ZK_OP_EXISTS:
		return zoo_awexists(zh, path, watch, h, on_stat, ctx);
	case ZK_OP_CHILDREN:
		return zoo_awget_children2(zh, path, watch, h, on_children, ctx);
	case ZK_OP_CREATE: {
		struct reader r = {acl, (const char *)acl + acl_len};
		struct ACL_vector v = read_acl(&r);
		int rc = b > 0 ? zoo_acreate2_ttl(zh, path, data, data_len, &v, a, b, on_path, ctx)
			: zoo_acreate2(zh, path, data, data_len, &v, a, on_path, ctx);
		free(v.data);
		return rc;
	}
	case ZK_OP_SET:
		return zoo_aset(zh, path, data, data_len, a, on_stat, ctx);
	case ZK_OP_DELETE:
		return zoo_adelete(zh, path, a, on_void, ctx);
	case ZK_OP_SYNC:
		return zoo_async(zh, path, on_sync, ctx);
	case ZK_OP_GET_ACL:
		return zoo_aget_acl(zh, path, on_acl, ctx);
	case ZK_OP_SET_ACL: {
		struct reader r = {acl, (const char *)acl + acl_len};
		struct ACL_vector v = read_acl(&r);
		int rc = zoo_aset_acl(zh, path, a, &v, on_void, ctx);
		free(v.data);
		return rc;
	}
	case ZK_OP_REMOVE_WATCH:
		// Not zoo_aremove_watches: that one only asks the server whether the
		// watch exists (checkWatches) and leaves it there. With one watcher
		// for all paths, all watches of a path are ours. The parameter is
		// declared as a pointer to a function pointer and used as a function.
		return zoo_aremove_all_watches(zh, path, (ZooWatcherType)a, 0, (void_completion_t *)(uintptr_t)on_void, ctx);
	case ZK_OP_MULTI:
		return submit_multi(h, zh, id, data, data_len);
	}
	return ZUNIMPLEMENTED;
}

// zk_submit queues one request; its completion becomes one record. Any other
// result than ZOK: there will be no completion.
int zk_submit(zk_handle *h, int op, uint64_t id, const char *path, int path_len,
	const void *data, int data_len, int a, int64_t b, const void *acl, int acl_len)
{
	char small[512], *copy = small;
	zhandle_t *zh = atomic_load(&h->zh);
	if (zh == NULL)
		return ZCONNECTIONLOSS;
	if (atomic_fetch_add(&h->outstanding, 1) >= MAX_OUTSTANDING) {
		atomic_fetch_sub(&h->outstanding, 1);
		return ZK_TOO_MANY;
	}
	if ((size_t)path_len >= sizeof small)
		copy = must(malloc((size_t)path_len + 1));
	if (path_len > 0)
		memcpy(copy, path, (size_t)path_len);
	copy[path_len] = '\0';
	int rc = submit(h, zh, op, id, copy, data, data_len, a, b, acl, acl_len);
	if (copy != small)
		free(copy);
	if (rc != ZOK)
		atomic_fetch_sub(&h->outstanding, 1);
	return rc;
}

// ---- for tests and Open

struct zk_live zk_live_counts(void)
{
	return (struct zk_live){
		.queues = atomic_load(&live_queues),
		.handles = atomic_load(&live_handles),
		.multis = atomic_load(&live_multis),
		.chunks = atomic_load(&live_chunks),
	};
}

int zk_has_tls(void) { return zookeeper_init_ssl != NULL; }

const char *zk_header_version(void) { return ZOO_VERSION; }
