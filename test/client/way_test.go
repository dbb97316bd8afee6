package client

import (
	"io"
	"net"
	"sync"
	"testing"
)

// way is the network between a client and one magellan.
type way struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	closed bool // connections are ended at once
	conns  map[net.Conn]bool
}

// newWay returns the way to an address.
func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{listener: l, to: to, conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.set(true)
		running.Wait()
	})
	return w
}

func (w *way) url() string { return "http://" + w.listener.Addr().String() }

// set closes the way, or opens it. Closing it ends all connections.
func (w *way) set(closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = closed
	if closed {
		for conn := range w.conns {
			conn.Close()
		}
	}
}

// enter notes a connection. It returns false if the way is closed.
func (w *way) enter(conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.conns[conn] = true
	}
	return !w.closed
}

func (w *way) leave(conn net.Conn) {
	conn.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, conn)
}

func (w *way) carry(from net.Conn) {
	defer w.leave(from)
	if !w.enter(from) {
		return
	}
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer w.leave(to)
	if !w.enter(to) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(to, from)
		to.Close()
	})
	io.Copy(from, to)
	from.Close()
	both.Wait()
}
