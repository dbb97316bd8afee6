package httpapi

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errHungUp: the client has left, and the request's context has not ended.
var errHungUp = errors.New("the client has left")

// hungUp reports whether the client has closed the connection, or its half of it. net/http
// cancels the request's context then, but not if the client has sent more than the request:
// net/http reads one byte ahead and no further, so it does not see the end behind that byte.
//
// It reports false for other connections than TCP, because nothing is known of those.
func hungUp(c *conn) bool {
	tcp := c.tcp()
	if tcp == nil {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds[:], 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}
