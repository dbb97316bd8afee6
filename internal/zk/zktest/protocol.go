package zktest

import (
	"context"
	"encoding/binary"
	"errors"
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

// handshake opens a session, or takes one over, and returns its id: 0 if the
// server does not know the session.
func handshake(conn net.Conn, session int64, password []byte) (int64, error) {
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
	b = append(b, 0) // not read-only
	if err := send(conn, b); err != nil {
		return 0, err
	}
	answer, err := receive(conn)
	if err != nil {
		return 0, err
	}
	if len(answer) < 16 {
		return 0, fmt.Errorf("zktest: the server's hello has only %d bytes", len(answer))
	}
	return int64(binary.BigEndian.Uint64(answer[8:])), nil
}

func endSession(conn net.Conn) error {
	var b []byte
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, opClose)
	if err := send(conn, b); err != nil {
		return err
	}
	for {
		// The session's watch events may come first.
		switch answer, err := receive(conn); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(answer) >= 4 && binary.BigEndian.Uint32(answer) == 1:
			return nil
		}
	}
}

func send(conn net.Conn, b []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	if err != nil {
		return fmt.Errorf("zktest: %w", err)
	}
	return nil
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

// tryConnect opens a session and ends it.
func tryConnect(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := handshake(conn, 0, nil); err != nil {
		return err
	}
	return endSession(conn)
}

// Expire ends somebody's session: with its id and password it takes the session
// over, as its owner could on another connection, and closes it. The owner
// learns that it has expired when it connects again, at once.
func (s *Server) Expire(session int64, password []byte) error {
	conn, err := dial(context.Background(), s.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	id, err := handshake(conn, session, password)
	if err != nil {
		return err
	}
	if id != session {
		return fmt.Errorf("zktest: the server on %s does not know session %#x with that password", s.addr, session)
	}
	return endSession(conn)
}
