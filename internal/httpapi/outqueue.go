package httpapi

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sendBuffer is how many bytes of a stream the kernel may hold if the client does not read.
// Without this bound the kernel holds several MiB. The kernel doubles the number for its own
// needs.
const sendBuffer = 128 << 10

// outQueue measures how full the kernel's send buffer of one connection is.
type outQueue struct{ raw syscall.RawConn }

// newOutQueue bounds the send buffer. It returns nil for other connections than TCP: of those
// nothing is known until a write blocks.
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

// full reports whether so much is unsent or unacknowledged that the next write might block.
// Even then a few small events still have room.
func (q *outQueue) full() bool {
	if q == nil {
		return false
	}
	n := 0
	_ = q.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n > sendBuffer/2
}
