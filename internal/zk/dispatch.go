package zk

/*
#include <zookeeper/zookeeper.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"log/slog"
	"time"
	"unsafe"
)

// The attribute of a line of libzookeeper's in the log: what it is for libzookeeper. To
// the client none of them is an error, because it goes on.
const (
	SeverityKey   = "severity"
	SeverityError = "error" // other lines are warnings
)

// The ids of ZK_EV_WAKE records.
const (
	wakeClosing      = iota // Close was called
	wakeStop                // no record can follow
	wakeHandleClosed        // rc is the number of a handle
	wakeProve               // rc is the number of a connection that needs another sync
	wakeLost                // rc is the number of a handle whose session is lost
	wakeLeft                // rc is the number of a handle that has left its connection
)

// Operation is a kind of request. Its String names it in errors, and in metrics with an
// underscore for a blank.
type Operation int

const (
	opGet          Operation = C.ZK_OP_GET
	opExists       Operation = C.ZK_OP_EXISTS
	opChildren     Operation = C.ZK_OP_CHILDREN
	opCreate       Operation = C.ZK_OP_CREATE
	opSet          Operation = C.ZK_OP_SET
	opDelete       Operation = C.ZK_OP_DELETE
	opSync         Operation = C.ZK_OP_SYNC
	opGetACL       Operation = C.ZK_OP_GET_ACL
	opSetACL       Operation = C.ZK_OP_SET_ACL
	opRemoveWatch  Operation = C.ZK_OP_REMOVE_WATCH
	opMulti        Operation = C.ZK_OP_MULTI
	numOps                   = C.ZK_OP_MULTI + 1
	opCheck        Operation = numOps // only inside a Multi
	numOpsAndCheck           = numOps + 1
)

var opNames = [numOpsAndCheck]string{"get", "exists", "children", "create", "set", "delete", "sync",
	"get acl", "set acl", "remove watch", "multi", "check"}

// String returns the name, in lower case.
func (o Operation) String() string { return opNames[o] }

// Operations returns all that an Observer can be told of. They count from 0.
func Operations() []Operation {
	all := make([]Operation, numOps)
	for i := range all {
		all[i] = Operation(i)
	}
	return all
}

// call is a request whose answer has not come.
type call struct {
	op     Operation
	path   string
	handle uint64
	issued time.Time // of a sync
	// When it was issued: the connection, and what answers had shown; see zxid.go.
	connection int32
	shown      int64
	// done gets the answer, on the dispatcher, exactly once. r is C memory
	// and ends with the call; it may be nil if err is not.
	done func(r *C.struct_zk_event, err error)
}

// request is what zk_submit takes.
type request struct {
	op   Operation
	path string
	data []byte
	null bool // data is NULL, not empty
	a    int32
	b    int64
	acl  []byte
}

// submit queues a request. done is called exactly once: on the dispatcher or, if the
// dispatcher has ended, on a goroutine of its own. The id is for cancel.
func (c *client) submit(r *request, done func(r *C.struct_zk_event, err error)) (id uint64) {
	c.mu.RLock()
	h := c.handle
	cl := call{op: r.op, path: r.path, done: done}
	cl.connection, cl.shown = c.progress.issued()
	if r.op == opSync {
		cl.issued = time.Now()
	}
	rc := c.gone
	if h != nil {
		rc = ErrConnectionLoss
		cl.handle = h.number
	}
	id, ok := c.addCall(cl)
	if ok && h != nil && h.authed >= len(c.auth) {
		dataLen := C.int(len(r.data))
		if r.null {
			dataLen = -1
		}
		rc = Code(C.zk_submit(h.c, C.int(r.op), C.uint64_t(id),
			(*C.char)(unsafe.Pointer(unsafe.StringData(r.path))), C.int(len(r.path)),
			unsafe.Pointer(unsafe.SliceData(r.data)), dataLen, C.int(r.a), C.int64_t(r.b),
			unsafe.Pointer(unsafe.SliceData(r.acl)), C.int(len(r.acl))))
		if rc == ErrInvalidState {
			rc = c.deadCode(h)
		}
	}
	if ok && rc != 0 {
		// The queue still exists: the dispatcher accepts no more calls before it frees
		// the queue, under mu.
		C.zk_post(c.queue, C.ZK_EV_POST, C.uint64_t(id), C.int(rc))
	}
	c.mu.RUnlock()
	if !ok {
		c.observer.Answered(r.op, ErrClosed)
		go done(nil, &Error{Op: r.op.String(), Path: r.path, Code: ErrClosed})
	}
	return id
}

// deadCode returns why a handle accepts no requests, in the moment before its session
// event arrives.
func (c *client) deadCode(h *handle) Code {
	if c.cfg.OneSession {
		return ErrInvalidState
	}
	if C.zk_handle_state(h.c) == cAuthFailed {
		return ErrAuthFailed
	}
	return ErrSessionExpired
}

func (c *client) addCall(cl call) (id uint64, ok bool) {
	c.callsMu.Lock()
	defer c.callsMu.Unlock()
	if c.stopped {
		return 0, false
	}
	// The context pointer contains 40 bits of it. 0 is no call's.
	c.lastID = (c.lastID + 1) & (1<<40 - 1)
	if c.lastID == 0 {
		c.lastID = 1
	}
	c.calls[c.lastID] = cl
	c.observer.Add(RequestsInFlight, 1)
	return c.lastID, true
}

// takeCall removes a call and returns it. Who gets the call answers it.
func (c *client) takeCall(id uint64) (call, bool) {
	c.callsMu.Lock()
	cl, ok := c.calls[id]
	if ok {
		delete(c.calls, id)
	}
	c.callsMu.Unlock()
	if ok {
		c.observer.Add(RequestsInFlight, -1)
	}
	return cl, ok
}

// fail answers all calls that match, on the dispatcher.
func (c *client) fail(code Code, match func(call) bool) {
	c.callsMu.Lock()
	var failed []call
	for id, cl := range c.calls {
		if match(cl) {
			failed = append(failed, cl)
			delete(c.calls, id)
		}
	}
	c.callsMu.Unlock()
	for _, cl := range failed {
		c.observer.Add(RequestsInFlight, -1)
		c.answer(cl, nil, code)
	}
}

func (c *client) answer(cl call, r *C.struct_zk_event, code Code) {
	c.observer.Answered(cl.op, code)
	if code != 0 {
		cl.done(r, &Error{Op: cl.op.String(), Path: cl.path, Code: code})
		return
	}
	c.progress.answered(cl.connection, cl.shown)
	if cl.op == opSync {
		if at := int64(cl.issued.Sub(c.started)); at > c.verified.Load() {
			c.verified.Store(max(at, 1))
		}
	}
	cl.done(r, nil)
}

// dispatch is the client's one goroutine: it delivers everything.
func (c *client) dispatch() {
	var batch *C.struct_zk_chunk
	var buf [8]byte
	for stop := false; !stop; {
		batch = C.zk_take(c.queue, batch)
		if batch == nil {
			// An eventfd's read fails only when it is closed, which is below.
			_, _ = c.wakeup.Read(buf[:])
			continue
		}
		n := 0
		for chunk := batch; chunk != nil; chunk = chunk.next {
			at := unsafe.Add(unsafe.Pointer(chunk), C.sizeof_struct_zk_chunk)
			for end := unsafe.Add(at, chunk.used); uintptr(at) < uintptr(end); n++ {
				r := (*C.struct_zk_event)(at)
				stop = c.deliver(r) || stop
				at = unsafe.Add(at, r.size)
			}
		}
		c.observer.Took(n)
	}
	// No call is added any more. Goroutines that added one may still be in submit.
	c.mu.Lock()
	c.freed = true
	c.mu.Unlock()
	for batch != nil {
		batch = C.zk_take(c.queue, batch)
	}
	c.wakeup.Close()
	C.zk_queue_free(c.queue)
	c.observer.Add(Clients, -1)
	close(c.done)
}

// payload returns the bytes behind a record. They are C memory.
func payload(r *C.struct_zk_event) []byte {
	if r.len <= 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), C.sizeof_struct_zk_event)), r.len)
}

// deliver handles one record; it returns true after the last one.
func (c *client) deliver(r *C.struct_zk_event) (stop bool) {
	switch r.kind {
	case C.ZK_EV_WATCH:
		ev := WatchEvent{Path: string(payload(r)), Type: WatchType(r.rc)}
		c.observer.Fired(ev.Type)
		if c.cfg.OnWatch != nil && !c.silent {
			c.cfg.OnWatch(ev)
		}
	case C.ZK_EV_SESSION:
		c.observer.Add(SessionRecords, 1)
		c.onSession(uint64(r.id), int(r.rc), int64(r.session), payload(r))
	case C.ZK_EV_REFUSED:
		c.onRefused(uint64(r.id), int64(r.zxid))
	case C.ZK_EV_LOG:
		severity := "warning"
		if r.rc == C.ZOO_LOG_LEVEL_ERROR {
			severity = SeverityError
		}
		c.log.Log(context.Background(), slog.LevelDebug, "libzookeeper: "+string(payload(r)), slog.String(SeverityKey, severity))
	case C.ZK_EV_WAKE:
		return c.wake(int(r.id), int(r.rc))
	default:
		if cl, ok := c.takeCall(uint64(r.id)); ok {
			if cl.handle == c.progress.handle {
				c.progress.saw(int64(r.zxid)) // before the answer is delivered, after all events that precede it
			}
			c.answer(cl, r, c.wholeCode(int32(r.rc)))
		}
	}
	return false
}

// wholeCode is codeOf for all that was answered and not for a part of a multi. The
// distribution's libzookeeper leaves a connection without a word if the servers' names
// resolve to other addresses or SetServers has named others. The first answer on the next
// one is not to the first request that waits. It calls that an inconsistency, of all that
// wait.
func (c *client) wholeCode(rc int32) Code {
	if code := c.codeOf(rc); code != ErrRolledBack {
		return code
	}
	return ErrConnectionLoss
}

// codeOf translates a completion's code for callers, for whom there are sessions and
// connections, but no handles.
func (c *client) codeOf(rc int32) Code {
	switch code := Code(rc); code {
	case unknownSession:
		return ErrSessionExpired
	case sessionMoved:
		return ErrConnectionLoss
	case ErrClosed:
		// The handle was closed. If its session has expired, another handle follows,
		// unless this was the last.
		c.mu.RLock()
		defer c.mu.RUnlock()
		if !c.closing {
			return ErrConnectionLoss
		}
		return code
	default:
		return code
	}
}

// wakeDispatcher makes the dispatcher call wake, after all earlier records.
func (c *client) wakeDispatcher(what uint64, arg int32) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.freed {
		C.zk_post(c.queue, C.ZK_EV_WAKE, C.uint64_t(what), C.int(arg))
	}
}

func (c *client) wake(what, arg int) (stop bool) {
	all := func(call) bool { return true }
	switch what {
	case wakeClosing:
		c.fail(ErrClosed, all)
		c.setState(Closed)
		c.silent = true
	case wakeHandleClosed:
		c.fail(ErrConnectionLoss, func(cl call) bool { return cl.handle == uint64(arg) })
	case wakeProve:
		if connection := c.progress.connection.Load(); int32(arg) == connection {
			c.proveContact(connection)
		}
	case wakeLost:
		c.onLost(uint64(arg))
	case wakeLeft:
		c.onLeft(uint64(arg))
	case wakeStop:
		c.callsMu.Lock()
		c.stopped = true
		c.callsMu.Unlock()
		c.fail(ErrClosed, all)
		return true
	}
	return false
}
