package zktest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// opClose is the request that ends a session: -11 as 32 bits.
const opClose uint32 = 1<<32 - 11

func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("zktest: %w", err)
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, fmt.Errorf("zktest: %w", err)
	}
	return conn, nil
}

// hello is the request that opens a session, or takes one over.
func hello(session int64, password []byte) []byte {
	if len(password) == 0 {
		password = make([]byte, 16)
	}
	var b []byte
	b = binary.BigEndian.AppendUint32(b, 0)     // protocol version
	b = binary.BigEndian.AppendUint64(b, 0)     // last zxid seen
	b = binary.BigEndian.AppendUint32(b, 10000) // timeout in ms
	b = binary.BigEndian.AppendUint64(b, uint64(session))
	b = binary.BigEndian.AppendUint32(b, uint32(len(password)))
	b = append(b, password...)
	return append(b, 0) // not read-only
}

// openAndClose opens a session, or takes one over, and ends it at once. It
// returns the session's id: 0 if the server does not know the session. Both
// requests leave together: the owner of a session takes it back within
// milliseconds.
func openAndClose(ctx context.Context, addr string, session int64, password []byte) (int64, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	const xid = 1
	end := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, xid), opClose)
	if _, err := conn.Write(append(packet(hello(session, password)), packet(end)...)); err != nil {
		return 0, fmt.Errorf("zktest: %w", err)
	}
	answer, err := receive(conn)
	if err != nil {
		return 0, err
	}
	if len(answer) < 16 {
		return 0, fmt.Errorf("zktest: the server's hello has only %d bytes", len(answer))
	}
	id := int64(binary.BigEndian.Uint64(answer[8:]))
	if id == 0 {
		return 0, nil
	}
	for {
		// The session's watch events may come first.
		if answer, err = receive(conn); err != nil || len(answer) >= 4 && binary.BigEndian.Uint32(answer) == xid {
			return id, err
		}
	}
}

func packet(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func receive(conn net.Conn) ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(conn, n[:]); err != nil {
		return nil, fmt.Errorf("zktest: %w", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, fmt.Errorf("zktest: %w", err)
	}
	return b, nil
}

// Expire ends somebody's session: with its id and password it takes the session
// over, as its owner could on another connection, and closes it, until the
// server knows it no more. The owner learns of it when it connects again, which
// it does at once.
func (s *Server) Expire(session int64, password []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var last error
	for try := 0; ; try++ {
		id, err := openAndClose(ctx, s.addr, session, password)
		switch {
		case err == nil && id == 0 && try == 0:
			return fmt.Errorf("zktest: the server on %s does not know session %#x with that password", s.addr, session)
		case err == nil && id == 0:
			return nil
		case err != nil:
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("zktest: session %#x does not end on the server on %s: %w", session, s.addr, last)
		case <-time.After(time.Millisecond):
		}
	}
}
