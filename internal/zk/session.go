package zk

/*
#include <stdlib.h>
#include <zookeeper/zookeeper.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"time"
	"unsafe"
)

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
	// authBackoff: a refused credential will mostly be refused again.
	authBackoff = 10 * time.Second
	// drainTime is how long a handle to be closed may wait for the answers to
	// what it has sent, before they are made to fail.
	drainTime = time.Second
	// nowhere refuses connections at once: connect(2) to the broadcast
	// address fails.
	nowhere = "255.255.255.255:1"
)

// The states of zookeeper.h, where they are variables; a test compares them.
const (
	cExpired    = -112
	cAuthFailed = -113
	cConnecting = 1
	cConnected  = 3
	cReadOnly   = 5
)

// handle is one zhandle_t: one session.
//
// zk_handle_close frees it, and its place is then another client's. So c is given to
// C in three places only: by the goroutine that opens the handle, until opened is
// closed; by whoever holds client.mu and has found the handle in client.handle; and by
// closeHandle, to which the handle belongs once it has been taken out of
// client.handle. Methods that need mu for a call of C take no handle as an argument:
// they find the one that is current.
type handle struct {
	c      *C.zk_handle
	number uint64
	opened chan struct{} // closed when zk_handle_init has returned
	// authed counts the credentials libzookeeper has accepted; -1 before it
	// can. Guarded by Client.mu.
	authed int
}

// keepSession opens a handle, and another one each time the dispatcher asks
// for it because the session is gone.
func (c *client) keepSession() {
	defer c.background.Done()
	for {
		var wait time.Duration
		if err := c.openHandle(); err != nil {
			wait = c.growBackoff()
			c.log.Warn("zookeeper: cannot open a handle, trying again", slog.Any("error", err), slog.Duration("after", wait))
		} else {
			select {
			case wait = <-c.retry:
			case <-c.quit:
				return
			}
		}
		if wait > 0 {
			wait = wait/2 + rand.N(wait) // many clients lose their sessions together
		}
		select {
		case <-time.After(wait):
		case <-c.quit:
			return
		}
	}
}

// growBackoff returns the present wait before the next handle, and doubles it.
// Becoming ready takes it back to nothing: the first retry is immediate.
func (c *client) growBackoff() time.Duration {
	now := time.Duration(c.backoff.Load())
	c.backoff.Store(int64(min(max(minBackoff, 2*now), maxBackoff)))
	return now
}

// openHandle makes a handle current and connects it. Resolving the servers'
// names may take long: requests meanwhile fail with ErrConnectionLoss.
func (c *client) openHandle() error {
	number := c.lastHandle.Add(1)
	wantLog := C.int(0)
	if c.log.Enabled(context.Background(), slog.LevelDebug) {
		wantLog = 1
	}
	h := &handle{number: number, opened: make(chan struct{})}
	if h.c = C.zk_handle_new(c.queue, C.uint64_t(number), wantLog); h.c == nil {
		return &Error{Op: "open", Code: ErrSystem, Errno: syscall.EMFILE, Detail: "4096 handles are open in this process"}
	}
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		C.zk_handle_close(h.c)
		return nil
	}
	c.handle = h
	servers := hostList(c.servers)
	c.mu.Unlock()
	c.observer.Add(HandlesOpened, 1)

	hosts := C.CString(servers + c.chroot)
	defer C.free(unsafe.Pointer(hosts))
	var resume Session
	if c.resume != nil {
		resume = *c.resume
	}
	timeout := max(c.cfg.SessionTimeout, 0) // ZeroTimeout is 0 in C
	var cert *C.char
	if c.tls != "" {
		cert = C.CString(c.tls)
		defer C.free(unsafe.Pointer(cert))
	}
	rc := C.zk_handle_init(h.c, hosts, C.int(timeout.Milliseconds()), C.int64_t(resume.ID), unsafe.Pointer(&resume.Password),
		C.int(c.resolutionDelay.Load()), cert)
	close(h.opened)
	c.mu.Lock()
	if rc == 0 {
		c.resume = nil // the next handle is that of another session
		c.addAuthLocked()
		c.mu.Unlock()
		return nil
	}
	mine := c.detachLocked(h, ErrConnectionLoss)
	c.mu.Unlock()
	if mine { // otherwise Close has it
		c.closeHandle(h)
	}
	errno := syscall.Errno(-rc)
	return &Error{Op: "open", Code: ErrSystem, Errno: errno, Detail: fmt.Sprintf("%s: %v (is each host's name known to the resolver?)", servers, errno)}
}

// addAuthLocked gives libzookeeper those of the client's credentials that the
// current handle has not taken yet. It refuses them between two connections; then
// the next connection tries again. Until all are taken requests fail: they would be
// answered without the rights of the client. mu is held for writing.
func (c *client) addAuthLocked() {
	h := c.handle
	for h != nil && h.authed < len(c.auth) {
		a := c.auth[h.authed]
		scheme := C.CString(a.Scheme)
		data := C.CBytes([]byte(a.Data))
		rc := C.zk_handle_add_auth(h.c, scheme, data, C.int(len(a.Data)))
		C.free(data)
		C.free(unsafe.Pointer(scheme))
		if rc != 0 {
			return
		}
		h.authed++
	}
}

// detachLocked takes h out of the client, if it is current still, and leaves it to
// the caller, who must call closeHandle. Requests then fail with why. mu is held for
// writing.
func (c *client) detachLocked(h *handle, why Code) (mine bool) {
	if h == nil || c.handle != h {
		return false
	}
	c.handle = nil
	c.gone = why
	c.background.Add(1)
	return true
}

// dropHandle ends the session on this side: the handle can do no more.
func (c *client) dropHandle(h *handle, why Code, wait time.Duration) {
	c.endDoubt()
	if c.cfg.OneSession {
		why = ErrInvalidState
	}
	c.mu.Lock()
	mine := c.detachLocked(h, why)
	c.mu.Unlock()
	if mine {
		go c.closeHandle(h)
		select {
		case c.retry <- wait:
		default:
		}
	}
}

// closeHandle closes a handle that detachLocked has given. zookeeper_close loses
// completions that it is itself the cause of (ZOOKEEPER-3868), and their memory
// with them: so wait for the answers, and if they do not come, break the
// connection first, which makes them fail in an orderly way.
func (c *client) closeHandle(h *handle) {
	defer c.background.Done()
	<-h.opened
	limit := drainTime
	if C.zk_handle_state(h.c) != cConnected {
		limit = 0 // nobody is there to answer
	}
	if !h.drain(limit) {
		hosts := C.CString(nowhere)
		C.zk_handle_set_servers(h.c, hosts)
		C.free(unsafe.Pointer(hosts))
		h.nudge()
		h.drain(2 * drainTime)
	}
	C.zk_handle_close(h.c)
	c.wakeDispatcher(wakeHandleClosed, int32(h.number))
}

// drain waits until no request of the handle is in flight.
func (h *handle) drain(limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for pause := 100 * time.Microsecond; C.zk_handle_outstanding(h.c) > 0; pause = min(2*pause, 10*time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// onSession handles a session event of libzookeeper, on the dispatcher.
func (c *client) onSession(number uint64, state int, id int64, password []byte) {
	c.mu.RLock()
	h := c.handle
	closing := c.closing
	c.mu.RUnlock()
	if closing || h == nil || h.number != number {
		return // an old handle's last words
	}
	switch state {
	case cConnected, cReadOnly:
		if c.endDoubt() {
			c.giveUp(h, "a server takes it back, but what it has seen is lost")
			return
		}
		c.setState(Disconnected) // the distribution's libzookeeper reconnects without an event if the servers' names resolve to other addresses
		connection := c.progress.connected(number)
		c.stateMu.Lock()
		if c.sessionID != id {
			c.session++
			c.sessionID = id
		}
		copy(c.password[:], password)
		c.stateMu.Unlock()
		c.observer.Add(Connections, 1)
		c.mu.Lock()
		c.addAuthLocked()
		c.mu.Unlock()
		if c.cfg.Unproved {
			c.becomeReady()
		} else {
			c.proveContact(connection)
		}
	case cExpired:
		c.setState(Expired)
		c.observer.Add(SessionsExpired, 1)
		c.dropHandle(h, ErrSessionExpired, c.growBackoff())
	case cAuthFailed:
		c.setState(AuthFailed)
		c.dropHandle(h, ErrAuthFailed, authBackoff)
	default:
		c.progress.reconnected()
		c.setState(Disconnected)
	}
}

// proveContact syncs once; with the answer the client is ready. CONNECTED alone
// says only that a server has accepted the session.
func (c *client) proveContact(connection int32) {
	c.syncAsync("/", func(err error) {
		if errors.Is(err, ErrClosed) || c.progress.connection.Load() != connection {
			return
		}
		if err == nil {
			c.becomeReady()
			return
		}
		// A cut, mostly, and the next connection will tell. Anything else is
		// tried again.
		c.log.Debug("zookeeper: the first sync of a connection failed", slog.Any("error", err))
		time.AfterFunc(100*time.Millisecond, func() { c.wakeDispatcher(wakeProve, connection) })
	})
}

// becomeReady is the end of what a new connection needs, on the dispatcher.
func (c *client) becomeReady() {
	c.backoff.Store(0)
	c.setState(Ready)
	c.startBeat()
}

// setState tells everybody, on the dispatcher.
func (c *client) setState(s State) {
	c.stateMu.Lock()
	from := c.state
	// Disconnected says that something was lost: not so before the first
	// contact of a session.
	if from == s || s == Disconnected && from != Ready || from == Closed {
		c.stateMu.Unlock()
		return
	}
	c.state = s
	ev := SessionEvent{State: s, Session: c.session, SessionID: c.sessionID}
	close(c.changed)
	c.changed = make(chan struct{})
	c.stateMu.Unlock()
	c.observer.Entered(s)
	level := slog.LevelInfo
	if s == Expired || s == AuthFailed || s == Disconnected {
		level = slog.LevelWarn
	}
	c.log.Log(context.Background(), level, "zookeeper: "+s.String(),
		slog.String("session_id", hexID(ev.SessionID)), slog.Uint64("generation", ev.Session))
	if c.cfg.OnSession != nil {
		c.cfg.OnSession(ev)
	}
}

// hexID writes a session's id as ZooKeeper's own log does.
func hexID(id int64) string { return fmt.Sprintf("%#x", uint64(id)) }

// ---- heartbeat

func (c *client) startBeat() {
	if c.cfg.Heartbeat < 0 {
		return
	}
	c.beatMu.Lock()
	defer c.beatMu.Unlock()
	select {
	case <-c.quit:
		return
	default:
	}
	if c.beat == nil {
		c.beat = time.AfterFunc(c.cfg.Heartbeat, c.onBeat)
	} else {
		c.beat.Reset(c.cfg.Heartbeat)
	}
}

func (c *client) stopBeat() {
	c.beatMu.Lock()
	defer c.beatMu.Unlock()
	if c.beat != nil {
		c.beat.Stop()
	}
}

// onBeat sends one sync, unless the last one is still on its way. While not
// ready it rests: becoming ready starts it again.
func (c *client) onBeat() {
	if c.State() != Ready {
		return
	}
	if c.beatInFlight.CompareAndSwap(false, true) {
		c.syncAsync("/", func(error) { c.beatInFlight.Store(false) })
	}
	c.startBeat()
}

// nudge sends a sync nobody waits for: libzookeeper's I/O thread notices what
// zoo_set_servers has changed only when it has something to do.
func (h *handle) nudge() {
	root := "/"
	C.zk_submit(h.c, C.ZK_OP_SYNC, 0, (*C.char)(unsafe.Pointer(unsafe.StringData(root))), 1, nil, 0, 0, 0, nil, 0)
}
