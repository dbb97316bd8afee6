// Two functions that wrap libzookeeper's own. By a flag in link.go the linker uses them
// instead. If libzookeeper is a shared library, the flag has no effect.
//
// Each reply's header has the newest transaction that its server had applied.
// libzookeeper reads the header twice: on the I/O thread when the reply arrives, and on
// the completion thread right before it calls the completion. It has no function that
// returns this transaction.
//
// On each new connection libzookeeper sets its watches again, for changes after the
// newest transaction that a reply has shown. This can miss a change: a server that
// closes a connection removes the watches first and closes the socket last
// (NIOServerCnxn.close; servers do it when they lose their leader, for example). If the
// last reply comes in between, it shows a transaction whose event is never sent.
// Therefore the watches are set for changes after an earlier transaction, that of a
// while ago. The server sends events for the changes after it once more, which costs a
// read each.
#include "internal.h"

#include <time.h>
#include <zookeeper/zookeeper.jute.h>

// How long a connection may take to close after its watches have been removed.
#define SETTLES_AFTER_NS 1000000000LL

_Thread_local int64_t zk_reply_zxid;

// Of the I/O thread: settled was shown SETTLES_AFTER_NS ago or earlier, pending
// at the time since. 0 is none yet.
static _Thread_local struct { int64_t settled, pending, since; } shown;

int __real_deserialize_ReplyHeader(struct iarchive *in, const char *tag, struct ReplyHeader *v) __attribute__((weak));
int __wrap_deserialize_ReplyHeader(struct iarchive *in, const char *tag, struct ReplyHeader *v);
int __real_serialize_SetWatches(struct oarchive *out, const char *tag, struct SetWatches *v) __attribute__((weak));
int __wrap_serialize_SetWatches(struct oarchive *out, const char *tag, struct SetWatches *v);

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void note(int64_t zxid)
{
	int64_t now = now_ns();

	if (shown.settled != 0 && now - shown.since < SETTLES_AFTER_NS)
		return;
	shown.settled = shown.settled != 0 ? shown.pending : zxid;
	shown.pending = zxid;
	shown.since = now;
}

int __wrap_deserialize_ReplyHeader(struct iarchive *in, const char *tag, struct ReplyHeader *v)
{
	int rc = __real_deserialize_ReplyHeader(in, tag, v);

	if (rc == 0 && v->zxid > 0) {
		if (v->zxid > zk_reply_zxid)
			zk_reply_zxid = v->zxid;
		note(v->zxid);
	}
	return rc;
}

int __wrap_serialize_SetWatches(struct oarchive *out, const char *tag, struct SetWatches *v)
{
	if (shown.settled != 0 && v->relativeZxid > shown.settled)
		v->relativeZxid = shown.settled;
	return __real_serialize_SetWatches(out, tag, v);
}
