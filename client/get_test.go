package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"magellan/client"
)

// TestGet: an answer comes with how well it is known, and options say how well it must be.
func TestGet(t *testing.T) {
	s := newFake(t, shop("ash1", known{cache: "HIT", etag: "e-gzip", zxid: 31, age: 7}))
	c := newClient(t, client.Config{}, s)
	a, err := c.Shop("4/2").Get(t.Context(), client.NoCache(), client.MinZxid(255))
	if err != nil || a.Value != (client.Shop{Shop: "42", Datacenter: "ash1", Region: "r"}) {
		t.Fatalf("%+v %v", a, err)
	}
	if age := a.Age(); a.Cache != client.Hit || a.Zxid != 0x1f || a.ETag != `"e"` || age < 7*time.Second || age > 7*time.Second+patience || a.Server != s.URL || len(a.Body) == 0 {
		t.Errorf("%+v", a.Meta)
	}
	r := s.asked[0]
	if r.URL.EscapedPath() != "/v1/shops/4%2F2" || r.Header.Get("Cache-Control") != "no-cache" || r.Header.Get("X-Min-Zxid") != "0xff" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	_, err = c.Shop("42").Get(t.Context(), client.MaxAge(1500*time.Millisecond))
	if got := s.asked[1].Header.Get("Cache-Control"); err != nil || got != "max-age=1" {
		t.Errorf("%q %v", got, err)
	}
}

// TestNotFound: only magellan's own word that something does not exist counts as that.
func TestNotFound(t *testing.T) {
	s := newFake(t, nil)
	c := newClient(t, client.Config{LongPolls: true}, s)
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		said   string
		absent bool
		// final: a follower has that for its answer, and does not wait for a better one.
		final bool
	}{
		{"not found", problem(404, "not-found", known{cache: "HIT"}), "it is not-found", true, true},
		{"no such route", problem(404, "no-such-route", known{}), "it is no-such-route", false, true},
		{"another server's 404", http.NotFound, "not as magellan does", false, false},
		{"a page in between", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>log in") }, "not as magellan does", false, false},
		{"a page as JSON", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, "not as magellan does", false, false},
		{"not JSON", func(w http.ResponseWriter, r *http.Request) {
			known{cache: "HIT"}.write(w)
			io.WriteString(w, "[1")
		}, "not one of magellan", false, false},
		{"half of it", func(w http.ResponseWriter, r *http.Request) {
			known{cache: "HIT"}.write(w)
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}, "incomplete", false, false},
		{"unavailable", problem(503, "unavailable", known{}), "it is unavailable", false, false},
		{"unreadable", problem(502, "unreadable-record", known{cache: "HIT"}), "it is unreadable-record", false, false},
	} {
		s.answers(test.answer)
		_, err := c.Shop("42").Get(t.Context())
		if errors.Is(err, client.ErrNotFound) != test.absent || err == nil || !strings.Contains(err.Error(), test.said) {
			t.Errorf("%s: %v", test.name, err)
		}
		f := c.Shop("42").Follow()
		eventually(t, func() error {
			a, err := f.Last()
			if unknown := errors.Is(err, client.ErrUnknown); err != nil && strings.Contains(err.Error(), test.said) && unknown != test.final {
				return nil
			}
			return fmt.Errorf("%s: %+v %v", test.name, a, err)
		})
		if _, err := f.Last(); errors.Is(err, client.ErrNotFound) != test.absent {
			t.Errorf("%s: a follower says %v", test.name, err)
		}
		f.Close()
	}
}

// TestServersInTurn: what one server cannot answer another one is asked for.
func TestServersInTurn(t *testing.T) {
	good := shop("ash1", known{cache: "HIT", zxid: 9})
	for _, test := range []struct {
		name          string
		first, second http.HandlerFunc
		want          string // the datacenter, or of the error
		once          bool   // the second server is not asked
	}{
		{"away", nil, good, "ash1", false},
		{"unavailable", problem(503, "unavailable", known{}), good, "ash1", false},
		{"not magellan", http.NotFound, good, "ash1", false},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, good, "ash1", false},
		{"behind", problem(412, "zxid-not-reached", known{}), good, "ash1", false},
		{"stale", shop("old", known{cache: "STALE", age: 50}), good, "ash1", false},
		{"both stale", shop("old", known{cache: "STALE", age: 50}), shop("older", known{cache: "STALE", age: 90}), "old", false},
		{"stale and away", shop("old", known{cache: "STALE", age: 50}), nil, "old", false},
		{"stale absence", problem(404, "not-found", known{cache: "STALE", age: 50}), good, "ash1", false},
		{"absent", problem(404, "not-found", known{cache: "HIT"}), good, "not-found", true},
		{"wrong", problem(400, "invalid-name", known{}), good, "invalid-name", true},
		{"both away", nil, nil, "connection refused; the server", false},
		{"unavailable and away", problem(503, "unavailable", known{}), nil, "it is unavailable; the server", false},
	} {
		first, second := newFake(t, test.first), newFake(t, test.second)
		for s, handle := range map[*fake]http.HandlerFunc{first: test.first, second: test.second} {
			if handle == nil {
				s.Close()
			}
		}
		// The client begins with any of them. So it is tried until both have been the first.
		for range 20 {
			c := newClient(t, client.Config{}, first, second)
			a, err := c.Shop("42").Get(t.Context())
			got := a.Value.Datacenter
			if err != nil {
				got = err.Error()
			}
			if !test.once && !strings.Contains(got, test.want) && !strings.Contains(test.want, "; the server") {
				t.Errorf("%s: %q", test.name, got)
			}
			if strings.Contains(test.want, "; the server") && (!errors.Is(err, client.ErrUnreachable) || strings.Count(got, ";") != 1) {
				t.Errorf("%s: %q", test.name, got)
			}
			if test.once && err != nil && !strings.Contains(got, test.want) {
				t.Errorf("%s: %q", test.name, got)
			}
			if err == nil {
				before := second.count("/") + first.count("/")
				if _, err := c.Shop("42").Get(t.Context()); err != nil {
					t.Errorf("%s: %v", test.name, err)
				}
				if n := second.count("/") + first.count("/") - before; a.Cache == client.Hit && n != 1 {
					t.Errorf("%s: the second request was sent %d times", test.name, n)
				}
			}
			c.Close()
		}
	}
}

// TestUnread: a server that cannot answer one question is still the one to ask.
func TestUnread(t *testing.T) {
	first, second := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/shops/43" {
			problem(503, "unread-record", known{})(w, r)
			return
		}
		shop("first", known{cache: "HIT"})(w, r)
	}), newFake(t, shop("second", known{cache: "HIT"}))
	for range 100 { // the client begins with any of them
		c := newClient(t, client.Config{LongPolls: true}, first, second)
		if a, err := c.Shop("42").Get(t.Context()); err != nil || a.Value.Datacenter != "first" {
			c.Close()
			continue
		}
		if a, err := c.Shop("43").Get(t.Context()); err != nil || a.Value.Datacenter != "second" {
			t.Errorf("%+v %v", a, err)
		}
		f := c.Shop("43").Follow()
		in(t, f, "second") // which has read it
		doubted(t, f, "it is unread-record")
		if a, err := c.Shop("42").Get(t.Context()); err != nil || a.Value.Datacenter != "first" {
			t.Errorf("%+v %v", a, err)
		}
		f.Close()
		return
	}
	t.Error("no client has begun with the first of two servers")
}

// TestTimeout: a server that says nothing has its time.
func TestTimeout(t *testing.T) {
	s := newFake(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, client.Config{Timeout: 50 * time.Millisecond}, s)
	_, err := c.Shop("42").Get(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Error(err)
	}
}

// TestConfig: what cannot be asked is refused at once.
func TestConfig(t *testing.T) {
	for _, servers := range [][]string{nil, {""}, {"localhost:8080"}, {"ftp://h"}, {"http://"}, {"http://h?x=1"}, {"http://h#x"}, {"http://a", "b"}} {
		if c, err := client.New(client.Config{Servers: servers}); err == nil {
			c.Close()
			t.Errorf("%q is taken", servers)
		}
	}
	if _, err := client.New(client.Config{Servers: []string{"http://h"}, Timeout: -1}); err == nil {
		t.Error("a negative timeout is taken")
	}
	// A password is for the server only.
	s := newFake(t, problem(503, "unavailable", known{}))
	s.Close()
	c, err := client.New(client.Config{Servers: []string{strings.Replace(s.URL, "://", "://user:secret@", 1) + "/prefix/"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Shop("42").Get(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestNoPasswordInErrors: a URL that is none is not told with the password in it.
func TestNoPasswordInErrors(t *testing.T) {
	for _, url := range []string{"http://u:secret@h/?x", "u:secret@h", "http://u:secret%@h"} {
		if _, err := client.New(client.Config{Servers: []string{url}}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestProxyWithoutServer: a proxy that reaches no magellan has not answered, whatever it says.
func TestProxyWithoutServer(t *testing.T) {
	for status, unreachable := range map[int]bool{502: true, 503: true, 504: true, 403: false, 200: false} {
		s := newFake(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		_, err := newClient(t, client.Config{}, s).Shop("42").Get(t.Context())
		if err == nil || errors.Is(err, client.ErrUnreachable) != unreachable {
			t.Errorf("%d: %v", status, err)
		}
	}
}
