package client_test

import (
	"fmt"
	"net/http"
	"testing"

	"magellan/client"
)

const gone = "event: change\ndata: {\"key\":\"shop=42\",\"status\":404,\"cache\":\"HIT\",\"age\":0,\"problem\":{\"type\":\"urn:magellan:problem:not-found\",\"detail\":\"gone\"}}\n\n"

// unconfirmed follows shop 42, which is in ash1 by transaction 9. more is what the stream has besides, and
// confirm answers the requests that confirm something.
func unconfirmed(t *testing.T) (f *client.Follower[client.Shop], more chan string, confirm chan http.HandlerFunc) {
	more, confirm = make(chan string), make(chan http.HandlerFunc)
	stream := script(more, snapshot("snapshot", "ash1", 9), synced)
	s := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/watch" {
			stream(w, r)
			return
		}
		(<-confirm)(w, r)
	})
	f = newClient(t, client.Config{}, s).Shop("42").Follow()
	in(t, f, "ash1")
	return f, more, confirm
}

// TestDeleted: what is known to be deleted does not come back because a server still has it. The
// transaction of what was there proves nothing then, so what ZooKeeper holds now is asked for.
func TestDeleted(t *testing.T) {
	f, more, confirm := unconfirmed(t)
	send(t, more, gone)
	send(t, confirm, problem(404, "not-found", known{cache: "HIT"}))
	in(t, f, "-")
	send(t, more, snapshot("change", "ash1", 9)) // as a server that lags behind
	asked := ""
	send[http.HandlerFunc](t, confirm, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Cache-Control")
		problem(504, "timeout", known{})(w, r)
	})
	doubted(t, f, "it is timeout")
	in(t, f, "-")
	if asked != "no-cache" {
		t.Errorf("asked with Cache-Control %q", asked)
	}
	send(t, confirm, shop("ash1", known{cache: "MISS", zxid: 9})) // it is there after all
	in(t, f, "ash1")
	doubted(t, f, "")
}

// TestVouchesForAnother: a server that says something else than what counts does not vouch for what
// counts, however young its own answer is.
func TestVouchesForAnother(t *testing.T) {
	f, more, confirm := unconfirmed(t)
	send(t, more, gone) // as a server of another ZooKeeper
	send(t, confirm, shop("ash1", known{cache: "HIT", zxid: 9}))
	for range 2 {
		send(t, more, "event: age\ndata: {\"age\":0}\n\n")
		send(t, confirm, shop("ash1", known{cache: "HIT", zxid: 9}))
	}
	send(t, more, "event: age\ndata: {\"age\":0}\n\n")
	send(t, confirm, shop("dub1", known{cache: "HIT", zxid: 10}))
	in(t, f, "dub1")
}

// TestStale: a STALE answer is doubted until a server knows it to be true again; that its age comes
// once more is no reason.
func TestStale(t *testing.T) {
	more := make(chan string)
	s := newFake(t, script(more))
	c := newClient(t, client.Config{}, s)
	f, marker := c.Shop("42").Follow(), c.Shop("43").Follow()
	event := func(shop string, zxid int) string {
		return fmt.Sprintf("event: change\ndata: {\"key\":\"shop=%s\",\"status\":200,\"etag\":\"\\\"%d\\\"\",\"zxid\":\"0x%x\",\"cache\":\"STALE\",\"age\":20,\"value\":{\"datacenter\":\"%d\"}}\n\n", shop, zxid, zxid, zxid)
	}
	send(t, more, event("42", 5))
	send(t, more, synced)
	send(t, more, "event: age\ndata: {\"age\":20}\n\n")
	send(t, more, event("43", 6))
	in(t, marker, "6")
	in(t, f, "5")
	doubted(t, f, "last knew the answer to be true 20s ago")
	send(t, more, "event: age\ndata: {\"age\":0}\n\n")
	doubted(t, f, "")
	if a, _ := f.Last(); a.Cache == client.Stale {
		t.Errorf("%+v", a.Meta)
	}
}

// TestWeakETag: the ETag of an answer that a proxy has compressed is weak, and that of the 304 after
// it is not. The answer is the same.
func TestWeakETag(t *testing.T) {
	waited := make(chan int)
	s := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == "" {
			known{cache: "HIT", age: 1000}.write(w)
			w.Header().Set("ETag", `W/"e"`)
			fmt.Fprint(w, `{"datacenter":"ash1"}`)
			return
		}
		select {
		case age := <-waited:
			known{cache: "HIT", etag: "e", age: age}.write(w)
			w.WriteHeader(http.StatusNotModified)
		case <-r.Context().Done():
		}
	})
	c := newClient(t, client.Config{LongPolls: true}, s)
	f := c.Shop("42").Follow()
	in(t, f, "ash1")
	doubted(t, f, "last knew the answer to be true")
	send(t, waited, 0)
	doubted(t, f, "")
}
