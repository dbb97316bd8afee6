// zk_submit and what it needs to read the arguments that Go packs.
#include "internal.h"

#include <string.h>

// A reader of what Go packs (packInt and packString in ops.go): 32 bit integers in
// the byte order of the machine; strings as such an integer, their length without
// the NUL, then the bytes and a NUL. A length of -1 is NULL, and nothing follows.
struct reader { const char *p, *end; };

static int32_t read_i32(struct reader *r)
{
	int32_t v = 0;
	if (r->end - r->p >= 4)
		memcpy(&v, r->p, 4);
	r->p += 4;
	return v;
}

// read_string returns a pointer into what Go packed, NULL for a length of -1.
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
	v.data = zk_must(calloc(v.count > 0 ? (size_t)v.count : 1, sizeof *v.data));
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
	struct multi *m = zk_must(calloc(1, sizeof *m));
	m->id = id;
	const int count = m->count = read_i32(&r);
	m->ops = zk_must(calloc((size_t)m->count, sizeof *m->ops));
	m->results = zk_must(calloc((size_t)m->count, sizeof *m->results));
	m->stats = zk_must(calloc((size_t)m->count, sizeof *m->stats));
	m->paths = zk_must(calloc((size_t)m->count, sizeof *m->paths));
	struct ACL_vector *acls = zk_must(calloc((size_t)m->count, sizeof *acls));
	atomic_fetch_add(&zk_live_multis, 1);
	for (int i = 0; i < count; i++) {
		int op = read_i32(&r), a = read_i32(&r);
		int32_t path_len, data_len;
		const char *path = read_string(&r, &path_len);
		const char *value = read_string(&r, &data_len);
		switch (op) {
		case ZK_OP_CREATE: {
			// The server appends a sequence number, of 11 characters at most.
			int size = path_len + 16;
			acls[i] = read_acl(&r);
			m->paths[i] = zk_must(calloc(1, (size_t)size));
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
	// If the handle's session has ended, zoo_amulti frees paths that it has never set. A
	// check here would not help, because the session may end later. build/native.sh
	// fixes that.
	int rc = is_unrecoverable(zh) ? ZINVALIDSTATE
		: zoo_amulti(zh, m->count, m->ops, m->results, zk_on_multi, zk_context_of(h, id));
	// From here on m belongs to the completion, which may have run already.
	if (rc != ZOK && (m = zk_multi_unlink(h, id)) != NULL)
		zk_multi_free(m);
	for (int i = 0; i < count; i++)
		free(acls[i].data);
	free(acls);
	return rc;
}

static int submit(zk_handle *h, zhandle_t *zh, int op, uint64_t id, const char *path,
	const void *data, int data_len, int a, int64_t b, const void *acl, int acl_len)
{
	const void *ctx = zk_context_of(h, id);
	watcher_fn watch = a ? zk_on_watch : NULL;
	switch (op) {
	case ZK_OP_GET:
		return zoo_awget(zh, path, watch, h, zk_on_data, ctx);
	case ZK_OP_EXISTS:
		return zoo_awexists(zh, path, watch, h, zk_on_stat, ctx);
	case ZK_OP_CHILDREN:
		return zoo_awget_children2(zh, path, watch, h, zk_on_children, ctx);
	case ZK_OP_CREATE: {
		struct reader r = {acl, (const char *)acl + acl_len};
		struct ACL_vector v = read_acl(&r);
		int rc = b > 0 ? zoo_acreate2_ttl(zh, path, data, data_len, &v, a, b, zk_on_path, ctx)
			: zoo_acreate2(zh, path, data, data_len, &v, a, zk_on_path, ctx);
		free(v.data);
		return rc;
	}
	case ZK_OP_SET:
		return zoo_aset(zh, path, data, data_len, a, zk_on_stat, ctx);
	case ZK_OP_DELETE:
		return zoo_adelete(zh, path, a, zk_on_void, ctx);
	case ZK_OP_SYNC:
		return zoo_async(zh, path, zk_on_sync, ctx);
	case ZK_OP_GET_ACL:
		return zoo_aget_acl(zh, path, zk_on_acl, ctx);
	case ZK_OP_SET_ACL: {
		struct reader r = {acl, (const char *)acl + acl_len};
		struct ACL_vector v = read_acl(&r);
		int rc = zoo_aset_acl(zh, path, a, &v, zk_on_void, ctx);
		free(v.data);
		return rc;
	}
	case ZK_OP_REMOVE_WATCH:
		// zoo_aremove_watches would only ask the server whether the watch exists
		// (checkWatches), and leave it there. With one watcher
		// for all paths, all watches of a path are ours. The parameter is
		// declared as a pointer to a function pointer and used as a function.
		return zoo_aremove_all_watches(zh, path, (ZooWatcherType)a, 0, (void_completion_t *)(uintptr_t)zk_on_void, ctx);
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
		copy = zk_must(malloc((size_t)path_len + 1));
	if (path_len > 0)
		memcpy(copy, path, (size_t)path_len);
	copy[path_len] = '\0';
	int rc = submit(h, zh, op, id, copy, data, data_len, a, b, acl, acl_len);
	if (copy != small)
		free(copy);
	// The result of zoo_amulti if the session ends while it writes the request. The
	// request is written into memory, so this cannot fail for another reason.
	if (rc == ZMARSHALLINGERROR && is_unrecoverable(zh))
		rc = ZINVALIDSTATE;
	if (rc != ZOK)
		atomic_fetch_sub(&h->outstanding, 1);
	return rc;
}
