package zk

/*
#include <malloc.h>
#include <stdint.h>
#include <stddef.h>
#include "internal.h"

// There if jemalloc is linked, and with -asan.
extern int mallctl(const char *, void *, size_t *, void *, size_t) __attribute__((weak));
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

// zk_allocated returns the bytes that C has allocated in this process.
static int64_t zk_allocated(const char **source) {
	if (__sanitizer_get_current_allocated_bytes != NULL) {
		*source = "the address sanitizer";
		return (int64_t)__sanitizer_get_current_allocated_bytes();
	}
	if (mallctl != NULL) {
		*source = "jemalloc's stats.allocated";
		uint64_t epoch = 1;
		size_t n = 0, size = sizeof n;
		mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
		mallctl("stats.allocated", &n, &size, NULL, 0);
		return (int64_t)n;
	}
	*source = "mallinfo2";
	struct mallinfo2 m = mallinfo2();
	return (int64_t)(m.uordblks + m.hblkhd);
}

// zk_complete_multi does what libzookeeper does with the answer to a multi of one
// part that it took from h: part is the code of the part, rc that of the whole.
static void zk_complete_multi(zk_handle *h, uint64_t id, int part, int rc) {
	struct multi *m = zk_must(calloc(1, sizeof *m));
	m->id = id;
	m->count = 1;
	m->results = zk_must(calloc(1, sizeof *m->results));
	m->paths = zk_must(calloc(1, sizeof *m->paths));
	m->results[0].err = part;
	atomic_fetch_add(&zk_live_multis, 1);
	atomic_fetch_add(&h->outstanding, 1);
	pthread_mutex_lock(&h->mu);
	m->next = h->multis;
	h->multis = m;
	pthread_mutex_unlock(&h->mu);
	zk_on_multi(rc, zk_context_of(h, id));
}

// zk_complete_void does what libzookeeper does with the answer to a delete.
static void zk_complete_void(zk_handle *h, uint64_t id, int rc) {
	atomic_fetch_add(&h->outstanding, 1);
	zk_on_void(rc, zk_context_of(h, id));
}
*/
import "C"

// This file is for tests, in which import "C" is not possible.

// liveC counts what is alive on the C side, in the whole process.
type liveC struct{ queues, handles, multis, chunks int64 }

func live() liveC {
	l := C.zk_live_counts()
	return liveC{int64(l.queues), int64(l.handles), int64(l.multis), int64(l.chunks)}
}

// allocatedC returns the bytes that C has allocated, and the source of this number.
func allocatedC() (n int64, source string) {
	var who *C.char
	n = int64(C.zk_allocated(&who))
	return n, C.GoString(who) // a static string
}

// constantsC pairs our constants with libzookeeper's, which are variables there.
func constantsC() map[string][2]int {
	return map[string][2]int{
		"Persistent":              {int(Persistent), int(C.ZOO_PERSISTENT)},
		"Ephemeral":               {int(Ephemeral), int(C.ZOO_EPHEMERAL)},
		"PersistentSequential":    {int(PersistentSequential), int(C.ZOO_PERSISTENT_SEQUENTIAL)},
		"EphemeralSequential":     {int(EphemeralSequential), int(C.ZOO_EPHEMERAL_SEQUENTIAL)},
		"Container":               {int(Container), int(C.ZOO_CONTAINER)},
		"PersistentTTL":           {int(PersistentTTL), int(C.ZOO_PERSISTENT_WITH_TTL)},
		"PersistentSequentialTTL": {int(PersistentSequentialTTL), int(C.ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL)},
		"PermRead":                {int(PermRead), int(C.ZOO_PERM_READ)},
		"PermWrite":               {int(PermWrite), int(C.ZOO_PERM_WRITE)},
		"PermCreate":              {int(PermCreate), int(C.ZOO_PERM_CREATE)},
		"PermDelete":              {int(PermDelete), int(C.ZOO_PERM_DELETE)},
		"PermAdmin":               {int(PermAdmin), int(C.ZOO_PERM_ADMIN)},
		"PermAll":                 {int(PermAll), int(C.ZOO_PERM_ALL)},
		"Created":                 {int(Created), int(C.ZOO_CREATED_EVENT)},
		"Deleted":                 {int(Deleted), int(C.ZOO_DELETED_EVENT)},
		"DataChanged":             {int(DataChanged), int(C.ZOO_CHANGED_EVENT)},
		"ChildrenChanged":         {int(ChildrenChanged), int(C.ZOO_CHILD_EVENT)},
		"WatchRemoved":            {int(WatchRemoved), int(C.ZOO_NOTWATCHING_EVENT)},
		"cExpired":                {cExpired, int(C.ZOO_EXPIRED_SESSION_STATE)},
		"cAuthFailed":             {cAuthFailed, int(C.ZOO_AUTH_FAILED_STATE)},
		"cConnected":              {cConnected, int(C.ZOO_CONNECTED_STATE)},
		"cReadOnly":               {cReadOnly, int(C.ZOO_READONLY_STATE)},
	}
}

// completeVoid answers a request with rc, as a completion of libzookeeper does. The
// caller plays libzookeeper's completion thread.
func (c *client) completeVoid(rc Code) <-chan error {
	answer := make(chan error, 1)
	c.mu.RLock()
	defer c.mu.RUnlock()
	id, _ := c.addCall(call{op: opDelete, handle: c.handle.number, done: func(_ *C.struct_zk_event, err error) { answer <- err }})
	C.zk_complete_void(c.handle.c, C.uint64_t(id), C.int(rc))
	return answer
}

// completeMulti is completeVoid for a multi of one part.
func (c *client) completeMulti(part, rc Code) <-chan result {
	answer := make(chan result, 1)
	c.mu.RLock()
	defer c.mu.RUnlock()
	id, _ := c.addCall(call{op: opMulti, handle: c.handle.number, done: func(r *C.struct_zk_event, err error) {
		answer <- c.multiResult(r, err, []Op{CheckOp("/", AnyVersion)})
	}})
	C.zk_complete_multi(c.handle.c, C.uint64_t(id), C.int(part), C.int(rc))
	return answer
}
