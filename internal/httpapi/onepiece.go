package httpapi

import (
	"bytes"
	"sync"
)

// net/http has a buffer of 4,096 bytes for what it writes to a connection. An answer that is longer,
// such as that of a service with some instances, would reach the system, and often the client, in two
// pieces. Each call to the system takes about as long as all that magellan does for the answer. So a
// conn holds the pieces back until the answer is whole, or as much of it as net/http passes on before
// the end of the answer.

const (
	// onePieceFrom is a length below which a body and its head fit into net/http's buffer.
	onePieceFrom = 3 << 10
	// onePieceTo bounds the memory that an answer is held in. A longer body takes its time anyway.
	onePieceTo = 32 << 10
)

// pieces have the memory that answers are held in, so that a connection which waits needs none.
var pieces = sync.Pool{New: func() any { return new(piece) }}

// piece is the beginning of an answer that has not been sent yet.
type piece struct{ bytes []byte }

// inOnePiece calls write, which writes an answer: its head, and all of its body, which has the given
// length and is not sent in chunks. Its error may be told by the write of the connection's last piece only, as
// that of any answer that fits into net/http's buffer.
func (c *conn) inOnePiece(length int, write func() error) error {
	c.held, c.holding = pieces.Get().(*piece), true
	err := write()
	c.holding = false
	switch {
	case len(c.held.bytes) == 0: // all of it is in net/http's buffer
		c.release()
	case c.held.hasAll(length):
		_, sent := c.send(nil)
		if err == nil {
			err = sent
		}
	default:
		// The rest is in net/http's buffer, and comes with the end of the answer.
	}
	return err
}

// hasAll reports whether the answer is whole. If that cannot be told, it takes the answer for whole:
// what is sent early does no harm.
func (p *piece) hasAll(length int) bool {
	head := bytes.Index(p.bytes, []byte("\r\n\r\n"))
	return head < 0 || len(p.bytes) >= head+len("\r\n\r\n")+length
}

// hold keeps what net/http writes for later.
func (c *conn) hold(b []byte) (int, error) {
	c.held.bytes = append(c.held.bytes, b...)
	return len(b), nil
}

// send sends what is held, and b behind it.
func (c *conn) send(b []byte) (int, error) {
	c.held.bytes = append(c.held.bytes, b...)
	_, err := c.Conn.Write(c.held.bytes)
	c.release()
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// release gives the memory back.
func (c *conn) release() {
	c.held.bytes = c.held.bytes[:0]
	pieces.Put(c.held)
	c.held = nil
}
