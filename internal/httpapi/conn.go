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

// readAhead is how many bytes net/http may have read of a connection beyond the
// request that it parses: the size of its buffer. It adds as many to its bound on
// a request's head, which counts what is read.
const readAhead = 4096

// conn is a connection to a client, as net/http gets it from [Server.Serve].
//
// net/http answers by itself what it cannot parse, and what it will not hand to a
// handler. It writes such answers to the connection, in text and in one piece. A
// conn sends a problem document in their place. Such an answer is told by when it is
// written: no handler has begun since the connection's last answer was complete.
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
}

// ours returns c as one of our connections, nil if it is none.
func ours(c net.Conn) *conn {
	own, _ := c.(*conn)
	return own
}

// tcp returns the connection below, nil if that is no TCP connection. A nil c has
// none.
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

// CloseWrite is what net/http looks for: it tells the client that there is no more
// and leaves it the time to read what there is.
func (c *conn) CloseWrite() error {
	if tcp := c.tcp(); tcp != nil {
		return tcp.CloseWrite()
	}
	return nil
}

// inPlaceOf returns the answer to send in the place of one of net/http's own; nil
// if text is none.
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

// refused counts and logs what was answered before there was a request.
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

// refusalOf says why net/http refused a request with a status; reason is what it
// said besides, if it did.
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

// checkHead refuses a request whose head is too large and that net/http let pass: of
// a request that comes right behind another it has read up to readAhead bytes before
// it begins to count. Requests that are far from the bound, by all that has come
// since the last one, need no look.
func (c *conn) checkHead(r *http.Request) error {
	most := c.server.cfg.MaxHeaderBytes
	if c.read.Swap(0)+readAhead <= int64(most) || headBytes(r) <= most {
		return nil
	}
	return c.server.headTooLarge()
}

// headBytes is the length of a request's line and header, in bytes, as most clients
// write them: without a blank more than there must be.
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
