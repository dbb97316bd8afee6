package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// countedConn counts the calls of Write.
type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

type countedListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.writes}, err
}

// TestOnePiece: whatever the length of an answer, its bytes come as they are, in their order, and
// before those of the next answer of the connection. Up to a length they come in one piece.
func TestOnePiece(t *testing.T) {
	t.Parallel()
	s := questionServer(t)
	text := bytes.Repeat([]byte("0123456789ab\r\n\r\n"), 66<<10) // a body may have in it what ends a head
	var writes atomic.Int64
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ConnContext: s.http.ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.Path[1:])
			x := s.exchangeFor(r)
			x.begin(w, r)
			w.Header()["X-Pad"] = r.Header["X-Pad"]
			if err := x.writeBody(http.StatusOK, text[n%16:][:n]); err != nil {
				t.Error(err)
			}
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener{countedListener{listening, &writes}, s}) }()
	defer func() {
		server.Close()
		<-done
	}()
	conn, err := net.Dial("tcp", listening.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	// take reads the answer to a request for n bytes, and returns the length of its head.
	take := func(method string, n int) (head int) {
		t.Helper()
		res, err := http.ReadResponse(answers, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		want := text[n%16:][:n]
		if method == http.MethodHead {
			want = nil
		}
		if err != nil || !bytes.Equal(body, want) || res.ContentLength != int64(n) {
			t.Fatalf("%s of %d bytes: %d bytes, Content-Length %d, %v", method, n, len(body), res.ContentLength, err)
		}
		var header bytes.Buffer
		if err := res.Header.Write(&header); err != nil {
			t.Fatal(err)
		}
		return len("HTTP/1.1 200 OK\r\n") + header.Len() + len("\r\n")
	}
	ask := func(method string, n, pad int) string {
		return fmt.Sprintf("%s /%d HTTP/1.1\r\nHost: a\r\nX-Pad: %s\r\n\r\n", method, n, bytes.Repeat([]byte("x"), pad))
	}
	send := func(text string) {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	lengths := []int{0, 1, shortBody, shortBody + 1, onePieceFrom, onePieceFrom + 1, 5000, 7000, onePieceTo - 1, onePieceTo, onePieceTo + 1, 100_000, 1<<20 + 5000}
	for n := 3700; n < 4200; n++ { // about where the answer fills net/http's buffer once
		lengths = append(lengths, n)
	}
	for n := 7700; n < 8300; n += 3 { // and twice
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		before := writes.Load()
		send(ask(http.MethodGet, n, 0))
		take(http.MethodGet, n)
		if got := writes.Load() - before; n <= onePieceTo && got != 1 {
			t.Errorf("an answer of %d bytes is sent in %d pieces", n, got)
		}
	}
	for pad := 1; pad < 300; pad += 7 { // heads of other lengths
		before := writes.Load()
		send(ask(http.MethodGet, 3700, pad))
		if head := take(http.MethodGet, 3700); writes.Load()-before != 1 {
			t.Errorf("an answer of %d and %d bytes is sent in %d pieces", head, 3700, writes.Load()-before)
		}
	}
	send(ask(http.MethodHead, 7000, 0) + ask(http.MethodGet, 3800, 0) + ask(http.MethodGet, 10, 0) + ask(http.MethodGet, 30000, 5000) + ask(http.MethodGet, 7, 0))
	take(http.MethodHead, 7000)
	for _, n := range []int{3800, 10, 30000, 7} {
		take(http.MethodGet, n)
	}
}
