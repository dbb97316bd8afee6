package httpapi

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sendBuffer is what the kernel may hold of a stream that its client does not
// read, in bytes; left to itself it holds several MiB. The kernel doubles it for
// its own needs.
const sendBuffer = 128 << 10

// outQueue looks into the kernel's send buffer of one connection.
type outQueue struct{ raw syscall.RawConn }

// newOutQueue bounds the buffer. It returns nil for what is no TCP connection:
// of that, nothing is known but that a write blocks.
func newOutQueue(c *conn) *outQueue {
	tcp := c.tcp()
	if tcp == nil {
		return nil
	}
	_ = tcp.SetWriteBuffer(sendBuffer)
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return &outQueue{raw}
}

// full reports whether so much is unsent or unacknowledged that what is written
// next might block. There is room for a few small events even then.
func (q *outQueue) full() bool {
	if q == nil {
		return false
	}
	n := 0
	_ = q.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n > sendBuffer/2
}
