package zk

/*
#include <malloc.h>
#include <stdint.h>
#include <stddef.h>
#include <zookeeper/zookeeper.h>
#include "shim.h"

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
*/
import "C"

// This file is for tests, in which import "C" is not possible.

// liveC counts what is alive on the C side, in the whole process.
type liveC struct{ queues, handles, multis, chunks int64 }

func live() liveC {
	l := C.zk_live_counts()
	return liveC{int64(l.queues), int64(l.handles), int64(l.multis), int64(l.chunks)}
}

// allocatedC returns the bytes that C has allocated, and who says so.
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
