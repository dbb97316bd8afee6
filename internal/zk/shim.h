// The C side of package zk. It holds casts, copies and queues, and no policy:
// every callback of libzookeeper copies its arguments into one record of the
// client's queue and returns.
#ifndef MAGELLAN_ZK_SHIM_H
#define MAGELLAN_ZK_SHIM_H

#include <stdint.h>

// The kinds of record in a queue.
enum zk_kind {
	ZK_EV_VOID = 1,   // delete, sync, set ACL, remove watch
	ZK_EV_STAT,       // exists, set
	ZK_EV_DATA,       // get: payload is the data
	ZK_EV_CHILDREN,   // get children: payload is count names, each u32 length + bytes
	ZK_EV_PATH,       // create: payload is the path
	ZK_EV_ACL,        // get ACL: payload is count entries: i32 perms, u32 + scheme, u32 + id
	ZK_EV_MULTI,      // payload is count results, struct zk_op_result + path
	ZK_EV_WATCH,      // rc is the event type, payload the path
	ZK_EV_SESSION,    // rc is the state, id the handle's number, session and payload its id and password
	ZK_EV_REFUSED,    // a server closed a connection before it answered: id is the handle's number
	ZK_EV_LOG,        // a line of libzookeeper's log: rc is the level
	ZK_EV_POST,       // from Go itself: rc is the result of request id
	ZK_EV_WAKE,       // from Go itself: look at what has changed
};

// The requests that zk_submit accepts.
enum zk_op {
	ZK_OP_GET = 0,
	ZK_OP_EXISTS,
	ZK_OP_CHILDREN,
	ZK_OP_CREATE,
	ZK_OP_SET,
	ZK_OP_DELETE,
	ZK_OP_SYNC,
	ZK_OP_GET_ACL,
	ZK_OP_SET_ACL,
	ZK_OP_REMOVE_WATCH,
	ZK_OP_MULTI,
};

// Results of zk_submit beyond libzookeeper's own.
enum { ZK_TOO_MANY = 2 };

struct zk_stat {
	int64_t czxid, mzxid, pzxid, ctime, mtime, ephemeral_owner;
	int32_t version, cversion, aversion, data_length, num_children, pad;
};

// One record; the payload follows it. Records are multiples of 8 bytes.
struct zk_event {
	uint64_t id;
	int64_t session;
	int64_t zxid;     // the newest transaction that the thread's replies have shown, 0 if none
	uint32_t size;    // of this record, payload and padding included
	int32_t kind;
	int32_t rc;
	int32_t len;      // of the payload in bytes; -1 is NULL, which is not empty
	int32_t count;    // entries in the payload
	int32_t has_stat;
	struct zk_stat stat;
};

struct zk_op_result {
	int32_t err;
	int32_t path_len; // -1: no path; the path follows, padded to 8 bytes
	int32_t has_stat;
	int32_t pad;
	struct zk_stat stat;
};

// A run of records, malloc'd at once.
struct zk_chunk {
	struct zk_chunk *next;
	uint32_t used, cap;
	char data[];
};

typedef struct zk_queue zk_queue;
typedef struct zk_handle zk_handle;

// One queue for each Client.
zk_queue *zk_queue_new(void);
int zk_queue_fd(zk_queue *q);
void zk_queue_free(zk_queue *q);
void zk_post(zk_queue *q, int kind, uint64_t id, int rc);
struct zk_chunk *zk_take(zk_queue *q, struct zk_chunk *done);

// One handle for each ZooKeeper session.
zk_handle *zk_handle_new(zk_queue *q, uint64_t number, int want_log);
int zk_handle_init(zk_handle *h, char *hosts, int timeout_ms, int64_t session, const void *password,
	int resolution_delay_ms, char *cert);
void zk_handle_close(zk_handle *h);
int zk_handle_state(zk_handle *h);
int zk_handle_outstanding(zk_handle *h);
int zk_handle_set_servers(zk_handle *h, char *hosts);
int zk_handle_set_resolution_delay(zk_handle *h, int delay_ms);
int zk_handle_server(zk_handle *h, char *host, int host_len);
int zk_handle_add_auth(zk_handle *h, char *scheme, void *data, int len);
int zk_handle_forget_watch(zk_handle *h, char *path, int type);

int zk_submit(zk_handle *h, int op, uint64_t id, const char *path, int path_len,
	const void *data, int data_len, int a, int64_t b, const void *acl, int acl_len);

// What is alive on this side, for the tests that prove that nothing leaks.
struct zk_live { int64_t queues, handles, multis, chunks; };
struct zk_live zk_live_counts(void);

int zk_has_tls(void);
const char *zk_header_version(void);

#endif
