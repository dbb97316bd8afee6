// What the C files of package zk share with each other and not with Go.
#ifndef MAGELLAN_ZK_INTERNAL_H
#define MAGELLAN_ZK_INTERNAL_H

#include "shim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <zookeeper/zookeeper.h>

#pragma GCC visibility push(hidden)

enum {
	MAX_HANDLES = 4096,      // SLOT_BITS
	SLOT_BITS = 12,
	ID_BITS = 40,
	// libzookeeper writes one byte into a pipe of 64 KiB for each request and,
	// when the pipe is full, silently cuts the connection.
	MAX_OUTSTANDING = 60000,
};

// The operations of a multi and their results. They must live until the completion of
// the multi, or the end of the handle.
struct multi {
	struct multi *next;
	uint64_t id;
	int count;
	zoo_op_t *ops;
	zoo_op_result_t *results;
	struct Stat *stats;
	char **paths;            // where the results of creates are written
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

// Handles are never freed, only reused. A completion's context pointer contains slot,
// generation and request id as bits. So a completion that never fires (ZOOKEEPER-3868)
// leaks nothing. A completion that fires late finds its handle or, if the generation
// differs, that the handle has been closed.
extern _Atomic(zk_handle *) zk_table[MAX_HANDLES];

// The newest transaction that a reply on this thread has shown; see zxid.c.
extern _Thread_local int64_t zk_reply_zxid;

// How many of each are alive: for the tests that prove that nothing leaks.
extern atomic_llong zk_live_queues, zk_live_handles, zk_live_multis, zk_live_chunks;

// If there is no memory, the process ends, as a Go program does.
static inline void *zk_must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

// queue.c
struct zk_event *zk_reserve(zk_queue *q, int kind, uint64_t id, int rc, size_t len);
void zk_commit(zk_queue *q);
static inline char *zk_payload(struct zk_event *e) { return (char *)(e + 1); }

// callback.c
const void *zk_context_of(zk_handle *h, uint64_t id);
void zk_thread_name(char name[16], uint32_t slot);
void zk_multi_free(struct multi *m);
struct multi *zk_multi_unlink(zk_handle *h, uint64_t id);
void zk_on_void(int rc, const void *data);
void zk_on_sync(int rc, const char *value, const void *data);
void zk_on_stat(int rc, const struct Stat *stat, const void *data);
void zk_on_data(int rc, const char *value, int len, const struct Stat *stat, const void *data);
void zk_on_children(int rc, const struct String_vector *v, const struct Stat *stat, const void *data);
void zk_on_path(int rc, const char *path, const struct Stat *stat, const void *data);
void zk_on_acl(int rc, struct ACL_vector *v, struct Stat *stat, const void *data);
void zk_on_multi(int rc, const void *data);
void zk_on_watch(zhandle_t *zh, int type, int state, const char *path, void *ctx);
void zk_on_session(zhandle_t *zh, int type, int state, const char *path, void *ctx);
void zk_on_log(const char *line);

#pragma GCC visibility pop

#endif
