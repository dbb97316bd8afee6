package zk

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// The Async methods queue the request and return: a call needs no goroutine and no
// thread. done is called exactly once, on the dispatcher, in the order of all events. It
// must not block. After Close done gets ErrClosed. If the dispatcher has ended, done runs
// on a goroutine of its own.

// GetAsync reads a znode's data. data is nil for a znode whose data is NULL,
// and empty but not nil for one whose data has no bytes. The caller may keep data. If
// watch is set, OnWatch is called when the znode is changed or deleted. If the znode does
// not exist, no watch is set (see ExistsAsync).
func (c *client) GetAsync(path string, watch bool, done func(data []byte, st Stat, err error)) {
	if err := checkPath(opGet, path, false); err != nil {
		c.refuse(opGet, err, func(err error) { done(nil, Stat{}, err) })
		return
	}
	r := request{op: opGet, path: path, a: flag(watch)}
	c.submit(&r, func(r *C.struct_zk_event, err error) {
		if err != nil {
			done(nil, Stat{}, err)
			return
		}
		done(dataOf(r), statOf(&r.stat), nil)
	})
}

// ExistsAsync reads a znode's Stat; err is ErrNoNode if the znode does not exist. If
// watch is set, OnWatch is called when the znode is created, changed or deleted.
func (c *client) ExistsAsync(path string, watch bool, done func(st Stat, err error)) {
	if err := checkPath(opExists, path, false); err != nil {
		c.refuse(opExists, err, func(err error) { done(Stat{}, err) })
		return
	}
	r := request{op: opExists, path: path, a: flag(watch)}
	c.submit(&r, func(r *C.struct_zk_event, err error) {
		if err != nil {
			done(Stat{}, err)
			return
		}
		done(statOf(&r.stat), nil)
	})
}

// ChildrenAsync reads the names of a znode's children, in no order, and its
// Stat. The names share one piece of memory. If watch is set, OnWatch is called when a
// child is created or deleted, and when the znode is deleted.
func (c *client) ChildrenAsync(path string, watch bool, done func(names []string, st Stat, err error)) {
	if err := checkPath(opChildren, path, false); err != nil {
		c.refuse(opChildren, err, func(err error) { done(nil, Stat{}, err) })
		return
	}
	r := request{op: opChildren, path: path, a: flag(watch)}
	c.submit(&r, func(r *C.struct_zk_event, err error) {
		if err != nil {
			done(nil, Stat{}, err)
			return
		}
		done(namesOf(r), statOf(&r.stat), nil)
	})
}

// SyncAsync waits until the server has caught up with the leader: when done is
// called without an error, every watch event for a change that happened before
// the call has been delivered, and VerifiedAt is the time of the call or later.
func (c *client) SyncAsync(path string, done func(err error)) {
	if err := checkPath(opSync, path, false); err != nil {
		c.refuse(opSync, err, done)
		return
	}
	c.syncAsync(path, done)
}

func (c *client) syncAsync(path string, done func(err error)) {
	r := request{op: opSync, path: path}
	c.submit(&r, func(_ *C.struct_zk_event, err error) { done(err) })
}

// RemoveWatchAsync removes the client's watches of that kind on path, on the server and
// in libzookeeper. err is ErrNoWatch if there is none, for example because it has fired
// already. Without a connection the server has no watches of this client; then it is
// enough that libzookeeper does not set them again.
func (c *client) RemoveWatchAsync(path string, kind WatchKind, done func(err error)) {
	if err := checkPath(opRemoveWatch, path, false); err != nil {
		c.refuse(opRemoveWatch, err, done)
		return
	}
	r := request{op: opRemoveWatch, path: path, a: int32(kind)}
	c.submit(&r, func(_ *C.struct_zk_event, err error) {
		if errors.Is(err, ErrConnectionLoss) {
			switch c.forgetWatch(path, kind) {
			case 0, ErrNoWatch:
				err = nil
			}
		}
		done(err)
	})
}

// ForgetWatch removes the client's watches of that kind on path from libzookeeper, and
// sends nothing. It returns whether there was one. The server may have it still, until
// the connection ends or the watch fires; OnWatch is not called for it, and the next
// connection does not set it again. It does not block.
func (c *client) ForgetWatch(path string, kind WatchKind) bool { return c.forgetWatch(path, kind) == 0 }

func (c *client) forgetWatch(path string, kind WatchKind) Code {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.handle == nil {
		return c.gone
	}
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	return Code(C.zk_handle_forget_watch(c.handle.c, p, C.int(kind)))
}

// refuse answers a request that was never queued. It answers on the dispatcher, as for
// all requests.
func (c *client) refuse(o Operation, err error, done func(error)) {
	id, ok := c.addCall(call{op: o, done: func(_ *C.struct_zk_event, late error) {
		if errors.Is(late, ErrClosed) {
			err = late
		}
		done(err)
	}})
	if !ok {
		go done(err)
		return
	}
	code := ErrBadArguments
	if e := (*Error)(nil); errors.As(err, &e) {
		code = e.Code
	}
	c.postResult(id, code)
}

// postResult answers a call through the queue.
func (c *client) postResult(id uint64, code Code) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.freed {
		C.zk_post(c.queue, C.ZK_EV_POST, C.uint64_t(id), C.int(code))
	}
}

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// dataOf copies data out of C, once, at its exact size.
func dataOf(r *C.struct_zk_event) []byte {
	if r.len < 0 {
		return nil
	}
	return append(make([]byte, 0, r.len), payload(r)...)
}

// namesOf copies strings out of C: one allocation for the bytes, one for the
// slice.
func namesOf(r *C.struct_zk_event) []string {
	all := string(payload(r))
	names := make([]string, r.count)
	for i := range names {
		names[i], all = cutString(all)
	}
	return names
}

// cutString reads a length and as many bytes.
func cutString(s string) (first, rest string) {
	n := binary.NativeEndian.Uint32([]byte(s[:4]))
	return s[4 : 4+n], s[4+n:]
}
