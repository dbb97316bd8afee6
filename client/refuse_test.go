package client_test

import (
	"net/http"
	"testing"

	"magellan/client"
)

// TestOneRefuses: that one server does not take a question, because it was started with other flags
// say, is no answer as long as another has one.
func TestOneRefuses(t *testing.T) {
	refuses := newFake(t, problem(501, "not-served", known{}))
	answers := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/watch" {
			events(nil, snapshot("snapshot", "ash1", 9), synced)(w, r)
			return
		}
		shop("ash1", known{cache: "HIT", zxid: 9})(w, r)
	})
	for i := range 12 { // a client begins with any of them
		c := newClient(t, client.Config{LongPolls: i%3 == 0}, refuses, answers)
		if i%3 == 1 {
			if a, err := c.Shop("42").Get(t.Context()); err != nil || a.Value.Datacenter != "ash1" {
				t.Errorf("%+v %v", a, err)
			}
			continue
		}
		f := c.Shop("42").Follow()
		if a, err := f.Wait(t.Context()); err != nil || a.Value.Datacenter != "ash1" {
			t.Errorf("%+v %v", a, err)
		}
		f.Close()
	}
}

// TestNoRefugeAtRefusal: old answers are better than those of a server that refuses the question.
func TestNoRefugeAtRefusal(t *testing.T) {
	more := make(chan string)
	old := newFake(t, script(more))
	refuses := newFake(t, problem(501, "not-served", known{}))
	c := newClient(t, client.Config{}, old, refuses)
	f := c.Shop("42").Follow()
	send(t, more, snapshot("snapshot", "ash1", 5))
	send(t, more, synced)
	in(t, f, "ash1")
	before := refuses.count("/v1/shops/")
	send(t, more, "event: age\ndata: {\"age\":100}\n\n")
	send(t, more, snapshot("change", "dub1", 6))
	in(t, f, "dub1")
	if refuses.count("/v1/shops/") == before {
		t.Error("the other server was not asked")
	}
	if n := old.count("/v1/watch"); n != 1 {
		t.Errorf("%d streams", n)
	}
}
