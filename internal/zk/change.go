package zk

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"math"
	"net"
	"slices"
	"strconv"
	"time"
	"unsafe"
)

// What can be changed of an open client, and what can be asked of its connection.

// SetServers replaces the servers, given as in Config.Servers. If the client is
// connected to one that is not among the new ones, it goes to one of them at once; if it
// is, it may go to a new one, so that the clients of an ensemble that has grown spread
// over it. The session goes on. The chroot stays as it is: the list may end in the same
// one or in none. The error is ErrBadArguments, ErrClosed, or ErrSystem if a name cannot
// be resolved; the new servers are kept for the next connection then.
//
// To the distribution's libzookeeper two servers of one address are the same, whatever
// their ports. And if it leaves a connection before all requests are answered, it takes the
// first answer on the next one for that of such a request, and drops that connection as
// well. build/native.sh fixes both.
func (c *client) SetServers(list ...string) error {
	servers, chroot, err := ParseServers(list...)
	if err != nil {
		return err
	}
	if chroot != "" && chroot != c.chroot {
		return badServers("the chroot %q: that of an open client stays as it is, %q", chroot, c.chroot)
	}
	c.mu.Lock()
	c.servers = servers
	c.mu.Unlock()
	left, err := c.giveServers(hostList(servers))
	if left != 0 {
		c.wakeDispatcher(wakeLeft, int32(left))
	}
	return err
}

// giveServers tells libzookeeper of the servers. left is the number of the handle if that
// has left its connection.
func (c *client) giveServers(list string) (left uint64, err error) {
	// Resolving the names may take long: requests go on meanwhile.
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closing {
		return 0, &Error{Op: "set servers", Code: ErrClosed}
	}
	h := c.handle
	if h == nil {
		return 0, nil // the next handle has them
	}
	hosts := C.CString(list)
	defer C.free(unsafe.Pointer(hosts))
	switch rc := Code(C.zk_handle_set_servers(h.c, hosts)); rc {
	case 0, ErrInvalidState: // the handle is being opened, or dead
	default:
		return 0, &Error{Op: "set servers", Code: rc, Detail: "is each host's name known to the resolver?"}
	}
	h.nudge() // it is the I/O thread that leaves the connection
	if h.connected() {
		return 0, nil
	}
	return h.number, nil
}

// connected reports whether a server has accepted the handle's session, and the
// connection is there.
func (h *handle) connected() bool {
	state := C.zk_handle_state(h.c)
	return state == cConnected || state == cReadOnly
}

// onLeft notes that libzookeeper has left a connection, which the distribution's does
// without an event, on the dispatcher. If it has another one, its event is on the way or
// was here.
func (c *client) onLeft(number uint64) {
	c.mu.RLock()
	h := c.handle
	left := !c.closing && h != nil && h.number == number && !h.connected()
	c.mu.RUnlock()
	if left {
		c.progress.reconnected()
		c.setState(Disconnected)
	}
}

// SetResolutionDelay replaces Config.ResolutionDelay.
func (c *client) SetResolutionDelay(d time.Duration) {
	ms := resolutionDelay(d)
	c.resolutionDelay.Store(int32(ms))
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.handle != nil {
		C.zk_handle_set_resolution_delay(c.handle.c, C.int(ms))
	}
}

// resolutionDelay returns a delay as libzookeeper has it: in milliseconds, -1 for never.
func resolutionDelay(d time.Duration) int {
	switch {
	case d == 0:
		d = DefaultResolutionDelay
	case d < 0:
		return -1
	}
	return int(min(max(d.Milliseconds(), 1), math.MaxInt32))
}

// AddAuth adds a credential to those that are sent on every session, and waits for the
// server's answer. nil: the session has the identity, for all requests that follow.
// ErrAuthFailed: the server does not have the scheme or refuses the credential, and with
// it the session. Another error, such as ErrConnectionLoss: the credential is sent with
// the next connection.
func (c *client) AddAuth(ctx context.Context, a Credential) error {
	if err := checkCredential(a); err != nil {
		return err
	}
	c.mu.Lock()
	if !c.closing && !slices.Contains(c.auth, a) {
		c.auth = append(c.auth, a)
	}
	if c.handle != nil {
		c.addAuthLocked()
	}
	c.mu.Unlock()
	// libzookeeper sends in order, and a server that refuses a credential answers nothing
	// that follows.
	return c.Sync(ctx, "/")
}

// ConnectedServer returns the address of the connected server, as host:port; empty if
// there is no connection. It is that of the connection's other end, so a proxy's if there
// is one.
func (c *client) ConnectedServer() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.handle == nil {
		return ""
	}
	host := make([]byte, 64) // INET6_ADDRSTRLEN is 46
	port := C.zk_handle_server(c.handle.c, (*C.char)(unsafe.Pointer(unsafe.SliceData(host))), C.int(len(host)))
	if port == 0 {
		return ""
	}
	return net.JoinHostPort(string(host[:slices.Index(host, 0)]), strconv.Itoa(int(port)))
}
