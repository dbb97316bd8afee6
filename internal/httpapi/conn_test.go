package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/httpapi"
)

// TestNotHTTP: what net/http refuses by itself is a problem document as well, and is
// counted.
func TestNotHTTP(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Registerer = registry })
	const good = "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\n"
	counts := make(map[int]uint64)
	for _, tt := range []struct {
		sent    string
		status  int
		problem string
	}{
		{"GET /v1/shops/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid-request"},
		{"GET /v1/shops/42 HTTP/1.1\r\n\r\n", 400, "missing required Host header"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid-request"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed Host header"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400, "invalid-request"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "invalid-request"},
		{"hello\r\n\r\n", 400, "invalid-request"},
		{"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "invalid-request"}, // TLS
		{"GET /v1/shops/42 HTTP/3.0\r\nHost: a\r\n\r\n", 505, "unsupported-version"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "unknown-transfer-coding"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417, "expectation-failed"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", 431, "header-too-large"},
		{"GET /v1/shops/" + strings.Repeat("x", 32<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431, "more than 16384 bytes"},
		{"GET /v1/shops/a\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid-name"}, // of a route's
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no-such-route"},
	} {
		// As the first request of a connection, behind one that was answered, and
		// behind one that is sent with it.
		first := w.raw(tt.sent, "GET")[0]
		behind := w.raw(good+tt.sent, "GET", "GET")
		if behind[0].StatusCode != http.StatusOK || behind[0].body != w.get("/v1/shops/42").body {
			t.Errorf("before %.60q: %s %q", tt.sent, behind[0].Status, behind[0].body)
		}
		for _, a := range []answer{first, behind[1]} {
			if a.StatusCode != tt.status || a.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, tt.problem) ||
				!strings.Contains(a.body, `"status":`+strconv.Itoa(tt.status)) || a.Header.Get("X-Request-Id") == "" || a.Header.Get("Date") == "" ||
				a.Header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
				t.Errorf("%.60q: %s %v %q", tt.sent, a.Status, a.Header, a.body)
			}
		}
		if !strings.Contains(tt.problem, "invalid-name") {
			counts[tt.status] += 2
		}
	}
	for status, n := range counts {
		eventually(t, func() bool { return requests(t, registry, "other", strconv.Itoa(status)) == n })
	}
}

// TestDoubtfulFraming: a connection ends with the answer to a request of which a proxy
// may see another end, so that what stands behind it is no request of anybody's; and it
// goes on behind all others.
func TestDoubtfulFraming(t *testing.T) {
	w := newWorld(t, nil)
	const (
		body    = `{"shops":["42"]}`
		next    = "GET /v1/shops/43 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
		post    = "POST /v1/shops/lookup HTTP/1.1\r\nHost: a\r\n"
		chunked = "Transfer-Encoding: chunked\r\n"
		length  = "Content-Length: 16\r\n"
		chunks  = "10\r\n" + body + "\r\n0\r\n\r\n"
		old     = "GET /v1/shops/42 HTTP/1.0\r\nConnection: keep-alive\r\n"
	)
	for _, tt := range []struct {
		name, sent string
		answers    int
	}{
		{"a length", post + length + "\r\n" + body + next, 2},
		{"chunks", post + chunked + "\r\n" + chunks + next, 2},
		{"both", post + length + chunked + "\r\n" + chunks + next, 1},
		{"both the other way round", post + chunked + length + "\r\n" + chunks + next, 1},
		{"both in other letters", post + "transfer-encoding: Chunked\r\nCONTENT-LENGTH: 26\r\n\r\n" + chunks + next, 1},
		{"both of a GET", "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n" + chunked + length + "\r\n0\r\n\r\n" + next, 1},
		{"both of what no route takes", "PUT /v2 HTTP/1.1\r\nHost: a\r\n" + chunked + length + "\r\n0\r\n\r\n" + next, 1},
		{"HTTP/1.0 keep-alive with Accept-Encoding keeps its connection", old + "Accept-Encoding: gzip\r\nContent-Encoding: identity\r\n\r\n" + next, 2},
		{"chunks and another length", post + chunked + "X-Body-Length: 1\r\n\r\n" + chunks + next, 2},
		{"a dash before", post + chunked + "X: --Length-Length\r\n" + length + "\r\n" + chunks + next, 1},
		{"HTTP/1.0", old + "\r\n" + next, 2},
		{"HTTP/1.0 with a length", "POST /v1/shops/lookup HTTP/1.0\r\nConnection: keep-alive\r\n" + length + "\r\n" + body + next, 2},
		{"HTTP/1.0 with chunks", old + chunked + "\r\n" + next, 1},
		{"HTTP/1.0 with both", old + length + chunked + "\r\n" + body + next, 1},
	} {
		for _, cut := range []int{len(tt.sent), 1} { // bytes that are sent at once
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			go func() {
				for rest := tt.sent; rest != ""; rest = rest[cut:] {
					if _, err := io.WriteString(conn, rest[:cut]); err != nil {
						return // it has been closed, mostly because it had to be
					}
				}
			}()
			// What was sent in vain may reset the connection once the answer has come.
			got, _ := io.ReadAll(conn)
			conn.Close()
			if answers := strings.Count(string(got), "HTTP/1."); answers != tt.answers {
				t.Errorf("%s: %d answers, want %d:\n%s", tt.name, answers, tt.answers, got)
			}
		}
	}
}

// TestLooksLikeNotHTTP: an answer of a route's is sent as it is, however much it
// looks like one of net/http's own.
func TestLooksLikeNotHTTP(t *testing.T) {
	w := newWorld(t, nil)
	const name = "HTTP/1.1 400 Bad Request"
	var list strings.Builder
	for i := range 5000 { // each piece that is written begins with one sooner or later
		fmt.Fprintf(&list, "10.0.%d.%d reason=\"%s\"\n", i>>8, i&255, name)
	}
	w.reader.SetBadCitizens("fake", list.String())
	a := w.get("/v1/bad-citizens?format=text")
	if a.StatusCode != http.StatusOK || strings.Count(a.body, name) != 5000 {
		t.Errorf("%s, %d of 5000", a.Status, strings.Count(a.body, name))
	}
}

// TestHeadBound: a request's line and header may have exactly as many bytes as
// README says, and no more; also behind other requests.
func TestHeadBound(t *testing.T) {
	w := newWorld(t, nil)
	const most = httpapi.DefaultMaxHeaderBytes
	const small = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	fill := func(before, after string, n int) string {
		return before + strings.Repeat("x", n-len(before)-len(after)) + after
	}
	for _, form := range []struct{ before, after string }{
		{"GET /v1/bad-citizens?since=", " HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nX-Long: ", "\r\n\r\n"},
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Short: y\r\n", 1000) + "X: ", "\r\n\r\n"},
		{"GET /v1/shops/42 HTTP/1.1\r\nX-Long: ", "\r\nHost: a\r\n\r\n"},
	} {
		for _, before := range []int{0, 1, 100} {
			for _, over := range []int{0, 1, 4000} {
				want := http.StatusOK
				if over > 0 {
					want = http.StatusRequestHeaderFieldsTooLarge
				}
				methods := strings.Split(strings.Repeat("GET ", before)+"GET", " ")
				answers := w.raw(strings.Repeat(small, before)+fill(form.before, form.after, most+over), methods...)
				a := answers[before]
				if a.StatusCode != want || want != http.StatusOK && !strings.Contains(a.body, "header-too-large") {
					t.Errorf("%d bytes more than the bound, behind %d requests: %s %s", over, before, a.Status, a.body)
				}
			}
		}
	}
	// What is in a body is no part of it.
	body := `{"shops":["` + strings.Repeat("x", 60<<10) + `"]}`
	post := fmt.Sprintf("POST /v1/shops/lookup HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for i, a := range w.raw(post+post+small, "POST", "POST", "GET") {
		if a.StatusCode != http.StatusOK {
			t.Errorf("request %d: %s", i, a.Status)
		}
	}
}

// TestHTTP2: a client that takes HTTP/2 for granted is told, in that, what to do.
func TestHTTP2(t *testing.T) {
	w := newWorld(t, nil)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	// A client of Go that reads the refusal before it has begun its request keeps the
	// reason to itself, so one of some will do.
	told := func(err error) bool {
		return strings.Contains(err.Error(), "GOAWAY") && strings.Contains(err.Error(), "HTTP_1_1_REQUIRED")
	}
	for try := 1; ; try++ {
		res, err := client.Get("http://" + w.addr + "/v1/shops/42")
		if err == nil {
			res.Body.Close()
			t.Fatal(res.Status)
		}
		if told(err) {
			break
		}
		if try == 100 {
			t.Fatalf("the client never says why: %v", err)
		}
	}
	// Its end is clean, whatever it has sent meanwhile.
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+strings.Repeat("\x00", 10_000)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil || len(got) < 9+9+8 || got[3] != 4 || got[9+3] != 7 {
		t.Errorf("%q, %v", got, err)
	}
	// A client that only offers it is served as any other.
	a := w.get("/v1/shops/42", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Http2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
	if a.StatusCode != http.StatusOK || a.ProtoMajor != 1 {
		t.Errorf("%s %s", a.Proto, a.Status)
	}
}
