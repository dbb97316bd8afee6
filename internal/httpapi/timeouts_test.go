package httpapi_test

import (
	"bytes"
	"errors"
	"io"
	"magellan/internal/httpapi"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTimeouts: a client that sends nothing, or not enough, is not waited for.
func TestTimeouts(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.ReadHeaderTimeout = time.Millisecond
		cfg.ReadTimeout = time.Millisecond
		cfg.IdleTimeout = time.Millisecond
	})
	for name, sent := range map[string]string{
		"nothing":           "",
		"a part":            "GET /v1/shops/4",
		"another's part":    "GET /v1/regions HTTP/1.1\r\nHost: a\r\n",
		"a request":         "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\n",
		"another":           "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
		"part of a body":    "POST /v1/shops/lookup HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{",
		"one and a part":    "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\nGET /v1",
		"one and another's": "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\nGET /v2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadline := time.Now().Add(patience)
			try := func() []byte {
				conn, err := net.Dial("tcp", w.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(deadline); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(conn, sent); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the connection is still open: %v", err)
				}
				return got
			}
			got := try()
			// On a busy machine the head may take longer than it may.
			for name == "part of a body" && len(got) == 0 && time.Now().Before(deadline) {
				got = try()
			}
			if name == "part of a body" && !bytes.Contains(got, []byte("urn:magellan:problem:slow-body")) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestRequestTimeout(t *testing.T) {
	w, reader := withWaitingReader(t, time.Millisecond)
	go func() { <-reader.asked; <-reader.asked }()
	for _, target := range []string{"/v1/shops/42", "/v1/shops/%34%32"} {
		if a := w.get(target); a.StatusCode != http.StatusGatewayTimeout || !strings.Contains(a.body, "urn:magellan:problem:timeout") ||
			!strings.Contains(a.body, "did not answer within 1ms") {
			t.Errorf("%s: %s %s", target, a.Status, a.body)
		}
	}
}
