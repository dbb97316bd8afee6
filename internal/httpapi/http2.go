package httpapi

import (
	"encoding/binary"
	"io"
	"net/http"
	"time"
)

// isHTTP2 reports whether a request is the beginning of HTTP/2 without TLS, from a client
// that takes it for granted that the server speaks HTTP/2. net/http hands the first line of
// that to the handler as a request.
func isHTTP2(r *http.Request) bool { return r.Method == "PRI" && r.ProtoMajor == 2 }

// goodbyeBytes is how much, and goodbyeTime how long, a refused client may go on writing
// until its connection is closed. If the connection was closed at once, with unread bytes,
// the kernel would reset it, and the client might never see the refusal.
const (
	goodbyeBytes = 64 << 10
	goodbyeTime  = 500 * time.Millisecond
)

// refuseHTTP2 tells a client of HTTP/2, in its own protocol, to use HTTP/1.1.
//
// This package bounds the number of connections and the memory of each, and finds out per
// connection whether a stream's client reads. All of this is made for one request at a time
// on a connection. HTTP/2 would need other bounds.
func (s *Server) refuseHTTP2(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // another server, with a protocol of its own
		w.WriteHeader(http.StatusHTTPVersionNotSupported)
		return
	}
	defer func() {
		conn.Close()
		if ours(conn) != nil {
			s.conns.Add(-1)
		}
	}()
	s.refused(conn.RemoteAddr(), http.StatusHTTPVersionNotSupported, 0, "")
	_ = conn.SetDeadline(time.Now().Add(s.goodbyeTime))
	if _, err := conn.Write(http2Refusal("this is a server of HTTP/1.1 and HTTP/1.0")); err != nil {
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, conn, goodbyeBytes)
}

// http2Refusal returns the two frames with which a server refuses HTTP/2 (RFC 9113, sections
// 3.4, 6.5 and 6.8): empty settings, and GOAWAY with the reason that HTTP/1.1 is required.
func http2Refusal(detail string) []byte {
	const (
		settings        = 4
		goAway          = 7
		http11Required  = 0xd
		frameHeaderSize = 9
	)
	frame := func(kind byte, payload []byte) []byte {
		b := make([]byte, frameHeaderSize, frameHeaderSize+len(payload)) // no flags, stream 0
		binary.BigEndian.PutUint32(b, uint32(len(payload))<<8|uint32(kind))
		return append(b, payload...)
	}
	payload := binary.BigEndian.AppendUint32(nil, 0) // no stream was looked at
	payload = binary.BigEndian.AppendUint32(payload, http11Required)
	return append(frame(settings, nil), frame(goAway, append(payload, detail...))...)
}
