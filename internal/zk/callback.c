// The functions named zk_on_ are called by libzookeeper, on its own threads. Each copies
// its arguments into one record of the client's queue and returns, unless Go does not
// need the event. This file also has what they share with the files that submit
// requests: contexts, multis and the names of threads.
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

atomic_llong zk_live_multis;

const void *zk_context_of(zk_handle *h, uint64_t id)
{
	uint64_t gen = atomic_load(&h->gen) & ((1u << (64 - SLOT_BITS - ID_BITS)) - 1);
	return (const void *)(uintptr_t)(gen << (SLOT_BITS + ID_BITS) | (uint64_t)h->slot << ID_BITS |
		(id & ((1ull << ID_BITS) - 1)));
}

// handle_of finds the handle and the request of a completion. It returns NULL if the
// handle has been closed meanwhile: then no call waits for the completion.
static zk_handle *handle_of(const void *data, uint64_t *id)
{
	uint64_t bits = (uint64_t)(uintptr_t)data;
	zk_handle *h = atomic_load(&zk_table[bits >> ID_BITS & (MAX_HANDLES - 1)]);
	*id = bits & ((1ull << ID_BITS) - 1);
	if (h == NULL || zk_context_of(h, *id) != data)
		return NULL;
	return h;
}

// complete hands over the record of a completion, and counts the completion.
static void complete(zk_handle *h)
{
	zk_commit(h->q);
	atomic_fetch_sub(&h->outstanding, 1);
}

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

void zk_on_void(int rc, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	zk_reserve(h->q, ZK_EV_VOID, id, rc, 0);
	complete(h);
}

void zk_on_sync(int rc, const char *value, const void *data)
{
	(void)value;
	zk_on_void(rc, data);
}

void zk_on_stat(int rc, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	set_stat(zk_reserve(h->q, ZK_EV_STAT, id, rc, 0), stat);
	complete(h);
}

void zk_on_data(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	int null = value == NULL || len < 0;
	struct zk_event *e = zk_reserve(h->q, ZK_EV_DATA, id, rc, null ? 0 : (size_t)len);
	if (null)
		e->len = -1;
	else if (len > 0)
		memcpy(zk_payload(e), value, (size_t)len);
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

void zk_on_children(int rc, const struct String_vector *v, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	size_t size = 0;
	int32_t count = v == NULL ? 0 : v->count;
	for (int32_t i = 0; i < count; i++)
		size += string_size(v->data[i]);
	struct zk_event *e = zk_reserve(h->q, ZK_EV_CHILDREN, id, rc, size);
	char *p = zk_payload(e);
	for (int32_t i = 0; i < count; i++)
		p = put_string(p, v->data[i]);
	e->count = count;
	set_stat(e, stat);
	complete(h);
}

void zk_on_path(int rc, const char *path, const struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	size_t n = path == NULL ? 0 : strlen(path);
	struct zk_event *e = zk_reserve(h->q, ZK_EV_PATH, id, rc, n);
	if (n > 0)
		memcpy(zk_payload(e), path, n);
	set_stat(e, stat);
	complete(h);
}

void zk_on_acl(int rc, struct ACL_vector *v, struct Stat *stat, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	size_t size = 0;
	int32_t count = v == NULL ? 0 : v->count;
	for (int32_t i = 0; i < count; i++)
		size += sizeof(int32_t) + string_size(v->data[i].id.scheme) + string_size(v->data[i].id.id);
	struct zk_event *e = zk_reserve(h->q, ZK_EV_ACL, id, rc, size);
	char *p = zk_payload(e);
	for (int32_t i = 0; i < count; i++) {
		memcpy(p, &v->data[i].perms, sizeof(int32_t));
		p = put_string(p + sizeof(int32_t), v->data[i].id.scheme);
		p = put_string(p, v->data[i].id.id);
	}
	e->count = count;
	set_stat(e, stat);
	complete(h);
}

void zk_multi_free(struct multi *m)
{
	for (int i = 0; i < m->count; i++)
		free(m->paths[i]);
	free(m->paths);
	free(m->ops);
	free(m->results);
	free(m->stats);
	free(m);
	atomic_fetch_sub(&zk_live_multis, 1);
}

struct multi *zk_multi_unlink(zk_handle *h, uint64_t id)
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

void zk_on_multi(int rc, const void *data)
{
	uint64_t id;
	zk_handle *h = handle_of(data, &id);
	if (h == NULL)
		return;
	struct multi *m = zk_multi_unlink(h, id);
	int count = m == NULL ? 0 : m->count;
	size_t size = 0;
	for (int i = 0; i < count; i++) {
		const char *path = m->results[i].value;
		size += sizeof(struct zk_op_result) + ((path == NULL ? 0 : strlen(path)) + 7) / 8 * 8;
	}
	struct zk_event *e = zk_reserve(h->q, ZK_EV_MULTI, id, rc, size);
	char *p = zk_payload(e);
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
		zk_multi_free(m);
}

// zk_on_watch is the one watcher of all paths: libzookeeper keeps one entry per path for
// it, and Go needs no table. libzookeeper also calls each of its watchers for every
// session event; this function drops those events.
void zk_on_watch(zhandle_t *zh, int type, int state, const char *path, void *ctx)
{
	(void)zh;
	(void)state;
	zk_handle *h = ctx;
	if (type == ZOO_SESSION_EVENT)
		return;
	size_t n = path == NULL ? 0 : strlen(path);
	struct zk_event *e = zk_reserve(h->q, ZK_EV_WATCH, 0, type, n);
	if (n > 0)
		memcpy(zk_payload(e), path, n);
	zk_commit(h->q);
}

void zk_on_session(zhandle_t *zh, int type, int state, const char *path, void *ctx)
{
	(void)path;
	zk_handle *h = ctx;
	if (type != ZOO_SESSION_EVENT)
		return;
	// The first event can come before zookeeper_init has returned.
	atomic_store(&h->zh, zh);
	const clientid_t *id = zoo_client_id(zh);
	struct zk_event *e = zk_reserve(h->q, ZK_EV_SESSION, h->number, state, sizeof id->passwd);
	e->session = id->client_id;
	memcpy(zk_payload(e), id->passwd, sizeof id->passwd);
	zk_commit(h->q);
}

// zk_thread_name is the name of a handle's two libzookeeper threads. They inherit it from
// the thread that creates them. The log's callback gets only a line; by the thread's name
// it finds the handle.
void zk_thread_name(char name[16], uint32_t slot) { snprintf(name, 16, "zookeeper-%u", slot); }

// refused reports whether the error that this thread is about to log means: a server has
// closed the connection instead of answering whether the session goes on. libzookeeper
// reports this in no other way. It writes the line before it changes the state of the
// handle, and errno still has its value. A silent server has not refused.
static int refused(zk_handle *h, int error)
{
	zhandle_t *zh = atomic_load(&h->zh);
	return zh != NULL && zoo_state(zh) == ZOO_ASSOCIATING_STATE && error != ETIMEDOUT;
}

void zk_on_log(const char *line)
{
	int error = errno;
	char name[16] = {0};
	unsigned slot;
	prctl(PR_GET_NAME, name);
	if (sscanf(name, "zookeeper-%u", &slot) != 1 || slot >= MAX_HANDLES)
		return;
	zk_handle *h = atomic_load(&zk_table[slot]);
	if (h == NULL)
		return;
	// "2026-11-23 01:24:38,123:4711(0x7f..):ZOO_ERROR@function@123: text"
	const char *at = strstr(line, "):ZOO_");
	int level = at != NULL && strncmp(at + 6, "ERROR", 5) == 0 ? ZOO_LOG_LEVEL_ERROR : ZOO_LOG_LEVEL_WARN;
	if (level == ZOO_LOG_LEVEL_ERROR && refused(h, error))
		zk_post(h->q, ZK_EV_REFUSED, h->number, 0);
	if (!h->want_log)
		return;
	if (at != NULL && (at = strstr(at, ": ")) != NULL)
		line = at + 2;
	size_t n = strlen(line);
	memcpy(zk_payload(zk_reserve(h->q, ZK_EV_LOG, h->number, level, n)), line, n);
	zk_commit(h->q);
}
