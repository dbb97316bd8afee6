package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// readAhead is how many bytes net/http may have read of a connection beyond the request
// that it parses: the size of its buffer. Because net/http counts what it has read, it adds
// as many bytes to its bound on a request's head.
const readAhead = 4096

// conn is a connection to a client, as net/http gets it from [Server.Serve].
//
// If net/http cannot parse a request, or refuses to hand it to a handler, it answers by
// itself. It writes such an answer to the connection, in text and in one piece. A conn sends
// a problem document in its place. It tells such an answer from a handler's by the time at
// which it is written: no handler has begun since the connection's last answer was complete.
type conn struct {
	net.Conn
	server *Server
	// answering: a handler has begun, and its answer is not complete yet. Only the
	// goroutine that serves the connection uses it.
	answering bool
	// read is how many bytes have come since the last request was handed to a
	// handler. net/http reads on another goroutine as well.
	read    atomic.Int64
	framing framing
	// held is the beginning of an answer that is being written, nil if nothing is held. holding:
	// more of it is to be held. Only the goroutine that serves the connection uses them.
	held    *piece
	holding bool
}

// ours returns c if it is a connection that Server.Serve has accepted, and nil otherwise.
func ours(c net.Conn) *conn {
	own, _ := c.(*conn)
	return own
}

// tcp returns the TCP connection of c, nil if c is another kind of connection or nil.
func (c *conn) tcp() *net.TCPConn {
	if c == nil {
		return nil
	}
	tcp, _ := c.Conn.(*net.TCPConn)
	return tcp
}

// listener gives net/http our connections.
type listener struct {
	net.Listener
	server *Server
}

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, server: l.server}, nil
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	c.framing.look(b[:n])
	return n, err
}

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (int, error) {
	switch {
	case c.holding:
		return c.hold(b)
	case c.held != nil:
		return c.send(b)
	}
	if !c.answering {
		if problem := c.server.inPlaceOf(b, c.RemoteAddr()); problem != nil {
			if _, err := c.Conn.Write(problem); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

// CloseWrite tells the client that nothing more will come. net/http calls it, if a
// connection has it, before it closes a connection whose request it has not read to the end.
// So the client has time to read the answer.
func (c *conn) CloseWrite() error {
	if tcp := c.tcp(); tcp != nil {
		return tcp.CloseWrite()
	}
	return nil
}

// inPlaceOf returns the answer to send in the place of text, if text is one of net/http's
// own answers, and nil otherwise.
func (s *Server) inPlaceOf(text []byte, remote net.Addr) []byte {
	rest, ok := bytes.CutPrefix(text, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 3 {
		return nil
	}
	status, err := strconv.Atoi(string(rest[:3]))
	if err != nil || status < 400 || status > 599 {
		return nil
	}
	_, said, _ := bytes.Cut(rest, []byte("\r\n\r\n"))
	_, reason, _ := strings.Cut(string(said), ": ")
	refusal := s.refusalOf(status, reason)
	id := sequence{next: randomID()}
	requestID := string(id.appendNext(nil))
	body := refusal.kind.document(refusal.detail, nil)
	s.refused(remote, refusal.kind.status, len(body), requestID)
	res := http.Response{
		StatusCode: refusal.kind.status, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{
			"Content-Type": contentProblem,
			"Date":         {time.Now().UTC().Format(http.TimeFormat)},
			"X-Request-Id": {requestID},
		},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	var answer bytes.Buffer
	if err := res.Write(&answer); err != nil {
		panic(err) // a buffer takes everything
	}
	return answer.Bytes()
}

// refused counts and logs an answer that was sent before there was a parsed request.
func (s *Server) refused(remote net.Addr, status, bytes int, requestID string) {
	s.elsewhere.metrics.observe(status, 0)
	if s.access == nil {
		return
	}
	a := access{
		time: time.Now(), remote: remote.String(), client: s.proxies.client(isUnix(remote), remote.String(), nil),
		status: status, bytes: int64(bytes), requestID: requestID, to: otherRoute,
	}
	s.access.add(a.append(nil, s.access.format))
}

// refusalOf explains why net/http refused a request with this status. reason is what
// net/http has written besides the status; it may be empty.
func (s *Server) refusalOf(status int, reason string) *requestError {
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		return s.headTooLarge()
	case http.StatusNotImplemented:
		return &requestError{kindTransferCoding, "of transfer codings only chunked is understood"}
	case http.StatusHTTPVersionNotSupported:
		return &requestError{kindVersion, "this is a server of HTTP/1.1 and HTTP/1.0"}
	case http.StatusExpectationFailed:
		return &requestError{kindExpectation, "of expectations only 100-continue is understood"}
	}
	detail := "this is no request as HTTP/1.1 has it"
	if reason != "" {
		detail += ": " + reason
	}
	return &requestError{kindBadRequest, detail}
}

func (s *Server) headTooLarge() *requestError {
	return &requestError{kindHeadTooLarge, fmt.Sprintf("the request's line and header have more than %d bytes", s.cfg.MaxHeaderBytes)}
}

// checkHead refuses a request whose head is too large and that net/http has let pass. This
// happens if a request comes right behind another: net/http has read up to readAhead bytes
// of it before it begins to count. If all the bytes that have come since the last request
// are far from the bound, the head is not measured.
func (c *conn) checkHead(r *http.Request) error {
	most := c.server.cfg.MaxHeaderBytes
	if c.read.Swap(0)+readAhead <= int64(most) || headBytes(r) <= most {
		return nil
	}
	return c.server.headTooLarge()
}

// headBytes is the length of a request's line and header, in bytes. It assumes that the
// client has written no more blanks than there must be, as most clients do.
func headBytes(r *http.Request) int {
	n := len(r.Method) + len(" ") + len(r.RequestURI) + len(" ") + len(r.Proto) + len("\r\n\r\n")
	if r.Host != "" {
		n += len("Host: \r\n") + len(r.Host)
	}
	for _, coding := range r.TransferEncoding { // net/http takes it out of the header
		n += len("Transfer-Encoding: \r\n") + len(coding)
	}
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(": \r\n") + len(value)
		}
	}
	return n
}
