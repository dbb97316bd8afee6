package httpapi

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errHungUp is what a request ends in whose client has left, where its context
// does not tell.
var errHungUp = errors.New("the client has left")

// hungUp reports whether the other side has closed the connection, or its half
// of it. net/http cancels a request's context then, but not once the client has
// sent a byte more than the request: that byte is all it reads, and what comes
// behind it, the end included, is for the next request.
//
// It reports false for what is no TCP connection: of that nothing is known.
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
