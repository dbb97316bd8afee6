package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"magellan/client"
)

// in waits until a follower says that shop 42 is there. "" stands for nothing known, and "-" for not
// found.
func in(t *testing.T, f *client.Follower[client.Shop], want string) client.Answer[client.Shop] {
	t.Helper()
	var last client.Answer[client.Shop]
	eventually(t, func() error {
		a, err := f.Last()
		last = a
		got := a.Value.Datacenter
		if errors.Is(err, client.ErrNotFound) {
			got = "-"
		} else if err != nil && !errors.Is(err, client.ErrUnknown) {
			got = err.Error()
		}
		if got != want {
			return fmt.Errorf("the shop is in %q, %v; want %q", got, err, want)
		}
		return nil
	})
	return last
}

// doubted waits until there is a doubt with this text in it, or none.
func doubted(t *testing.T, f *client.Follower[client.Shop], want string) {
	t.Helper()
	eventually(t, func() error {
		a, _ := f.Last()
		if a.Doubt == nil && want == "" || a.Doubt != nil && want != "" && strings.Contains(a.Doubt.Error(), want) {
			return nil
		}
		return fmt.Errorf("the doubt is %v, want %q", a.Doubt, want)
	})
}

// TestStreamEvents: a follower has what the events say, as soon as they have come.
func TestStreamEvents(t *testing.T) {
	more := make(chan string)
	s := newFake(t, script(more, "retry: 1000\n\n", snapshot("snapshot", "ash1", 5), synced))
	c := newClient(t, client.Config{}, s)
	f := c.Shop("42").Follow()
	defer f.Close()
	if a, err := f.Wait(t.Context()); err != nil || a.Value.Datacenter != "ash1" || a.Zxid != 5 || a.Doubt != nil || a.Cache != client.Hit {
		t.Fatalf("%+v %v", a, err)
	}
	send(t, more, snapshot("change", "dub1", 6))
	in(t, f, "dub1")

	// A value is as old as the server says, and stays.
	send(t, more, "event: age\ndata: {\"age\":100}\n\n")
	doubted(t, f, "last knew the answer to be true 1m40s ago")
	if a, _ := f.Last(); a.Age() > patience { // it was younger when it came
		t.Errorf("the age is %v", a.Age())
	}
	send(t, more, "event: age\ndata: {\"age\":100,\"others\":{\"shop=42\":0}}\n\n")
	doubted(t, f, "")
	send(t, more, "event: unavailable\ndata: {\"key\":\"shop=42\",\"status\":503,\"cache\":\"STALE\",\"age\":4000,\"problem\":"+problemText(503, "unavailable")+"}\n\n")
	doubted(t, f, "it is unavailable")
	in(t, f, "dub1")
	before, _ := f.Last()
	send(t, more, "event: age\ndata: {\"age\":0,\"others\":{\"shop=42\":null}}\n\n: and one that is not known\n\nevent: new\ndata: x\n\n")
	send(t, more, snapshot("change", "dub1", 6))
	doubted(t, f, "")
	if a, _ := f.Last(); !a.Known.After(before.Known) {
		t.Error("the same answer, sent again, is as old as before")
	}

	// What has been deleted is not there; what the server confirms.
	s.answers(problem(404, "not-found", known{cache: "HIT"}))
	send(t, more, "event: change\ndata: {\"key\":\"shop=42\",\"status\":404,\"cache\":\"HIT\",\"age\":0,\"problem\":"+problemText(404, "not-found")+"}\n\n")
	in(t, f, "-")
	send(t, more, snapshot("change", "ash1", 9))
	in(t, f, "ash1")
	if n := s.count("/v1/watch"); n != 1 {
		t.Errorf("%d streams", n)
	}
	f.Close()
	eventually(t, func() error { // nobody watches, so the stream ends
		select {
		case more <- "":
			return errors.New("the stream is still open")
		default:
			return nil
		}
	})
	if a, err := f.Last(); err != nil || a.Value.Datacenter != "ash1" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := c.Shop("42").Follow().Wait(canceled(t)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestStreamBreaks: a stream goes on at another server, from where it has ended.
func TestStreamBreaks(t *testing.T) {
	cut := make(chan struct{})
	var first, second *fake
	became := make(chan *fake, 100)
	answer := func(s **fake) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			became <- *s
			if r.Header.Get("Last-Event-ID") != "" {
				events(nil, synced, "event: age\ndata: {\"age\":0}\n\n")(w, r)
				return
			}
			events(cut, snapshot("snapshot", "ash1", 5), synced)(w, r)
		}
	}
	first, second = newFake(t, answer(&first)), newFake(t, answer(&second))
	c := newClient(t, client.Config{}, first, second)
	f := c.Shop("42").Follow()
	defer f.Close()
	in(t, f, "ash1")
	began := <-became
	close(cut) // as a server that ends
	if next := <-became; next == began {
		t.Error("the stream goes on at the server that has ended it")
	}
	doubted(t, f, "")
	in(t, f, "ash1")

	// Both away: the answer stays, and so does the wish to know.
	for _, s := range []*fake{first, second} {
		s.answers(problem(503, "unavailable", known{}))
		s.CloseClientConnections()
	}
	doubted(t, f, "it is unavailable")
	in(t, f, "ash1")
	for _, s := range []*fake{first, second} {
		s.answers(events(nil, "event: reset\ndata: {\"reason\":\"x\"}\n\n", snapshot("snapshot", "dub1", 7), synced))
	}
	in(t, f, "dub1")
	doubted(t, f, "")
}

// TestSilence: a stream without a sign of life is given up, as that of a server that stands still.
func TestSilence(t *testing.T) {
	s := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-ID") != "" {
			events(nil, snapshot("change", "dub1", 6), synced)(w, r)
			return
		}
		events(nil, snapshot("snapshot", "ash1", 5), synced)(w, r)
	})
	c := newClient(t, client.Config{}, s)
	c.SetSilence(100 * time.Millisecond)
	f := c.Shop("42").Follow()
	defer f.Close()
	in(t, f, "dub1")
	doubted(t, f, "no sign of life for 100ms")
}

// TestLate: an answer is as old as it was when the server wrote it, however late it comes; and by the
// client's clock, whatever the server's says.
func TestLate(t *testing.T) {
	skew := 5 * time.Hour
	more := make(chan string)
	at := func(late time.Duration, event string) string {
		return strings.Replace(event, `{"`, fmt.Sprintf(`{"time":%d,"`, time.Now().Add(skew-late).UnixMilli()), 1)
	}
	s := newFake(t, script(more, at(0, snapshot("snapshot", "ash1", 5)), synced))
	c := newClient(t, client.Config{}, s)
	f := c.Shop("42").Follow()
	defer f.Close()
	if a := in(t, f, "ash1"); a.Age() > patience {
		t.Errorf("the age of an answer that came at once is %v", a.Age())
	}
	send(t, more, at(10*time.Minute, snapshot("change", "dub1", 6)))
	if a := in(t, f, "dub1"); a.Age() < 9*time.Minute || a.Age() > 10*time.Minute+patience {
		t.Errorf("the age of an answer that came ten minutes late is %v", a.Age())
	}
	doubted(t, f, "last knew the answer")
	send(t, more, at(5*time.Minute, "event: age\ndata: {\"age\":60}\n\n"))
	eventually(t, func() error {
		if a, _ := f.Last(); a.Age() < 6*time.Minute-time.Second || a.Age() > 7*time.Minute {
			return fmt.Errorf("the age is %v", a.Age())
		}
		return nil
	})
	send(t, more, at(0, "event: age\ndata: {\"age\":0}\n\n"))
	doubted(t, f, "")
}

// TestOlder: an answer of an older state does not take the place of a newer one, unless a server
// says that it is what there is now.
func TestOlder(t *testing.T) {
	for _, polls := range []bool{false, true} {
		var asked atomic.Int32
		confirm := make(chan http.HandlerFunc)
		var s *fake
		older := atomic.Bool{}
		s = newFake(t, func(w http.ResponseWriter, r *http.Request) {
			min := r.Header.Get("X-Min-Zxid")
			name, zxid := "new", 9
			if older.Load() {
				name, zxid = "old", 5
			}
			switch {
			case min != "":
				if min != "0x9" {
					t.Errorf("asked for transaction %q", min)
				}
				asked.Add(1)
				(<-confirm)(w, r)
			case r.URL.Path == "/v1/watch":
				events(nil, snapshot("snapshot", name, zxid), synced, "event: age\ndata: {\"age\":0}\n\n")(w, r)
			default:
				shop(name, known{cache: "HIT", zxid: zxid})(w, r)
			}
		})
		c := newClient(t, client.Config{LongPolls: polls}, s)
		f := c.Shop("42").Follow()
		in(t, f, "new")
		older.Store(true)
		s.CloseClientConnections()
		// The server has not caught up.
		send(t, confirm, problem(412, "zxid-not-reached", known{}))
		in(t, f, "new")
		send(t, confirm, shop("old", known{cache: "HIT", zxid: 5})) // the newer transaction was undone
		in(t, f, "old")
		f.Close()
		c.Close()
	}
}

// TestLongPolls: a follower waits with what it has, and asks again for what does not exist.
func TestLongPolls(t *testing.T) {
	release := make(chan struct{})
	s := newFake(t, nil)
	s.handle = func(w http.ResponseWriter, r *http.Request) {
		absent := problem(404, "not-found", known{cache: "HIT"})
		if r.Header.Get("If-None-Match") == "" {
			select {
			case <-release:
				absent(w, r)
			default:
				shop("ash1", known{cache: "HIT", zxid: 5})(w, r)
			}
			return
		}
		if r.Header.Get("If-None-Match") != `"ash1"` || r.Header.Get("Prefer") != "wait=7" {
			t.Errorf("%v", r.Header)
		}
		select {
		case <-release:
			absent(w, r)
		case <-time.After(10 * time.Millisecond):
			known{cache: "HIT", etag: "ash1", zxid: 5}.write(w)
			w.WriteHeader(http.StatusNotModified)
		case <-r.Context().Done():
		}
	}
	c := newClient(t, client.Config{LongPolls: true, Wait: 7 * time.Second}, s)
	f := c.Shop("42").Follow()
	defer f.Close()
	before := in(t, f, "ash1")
	eventually(t, func() error {
		if a, err := f.Last(); !a.Known.After(before.Known) || err != nil {
			return fmt.Errorf("known since %v, %v", a.Known, err)
		}
		return nil
	})
	close(release)
	// Not found is of no transaction: it is confirmed.
	in(t, f, "-")
	s.answers(shop("dub1", known{cache: "HIT", zxid: 8}))
	in(t, f, "dub1")
	s.answers(problem(403, "forbidden", known{}))
	in(t, f, "it is forbidden") // what may not be known any more
}

// TestChanges: each answer is yielded once, the last of those that have come meanwhile.
func TestChanges(t *testing.T) {
	more := make(chan string)
	s := newFake(t, script(more, snapshot("snapshot", "d1", 1), synced))
	next := func(n int) {
		event := snapshot("change", fmt.Sprint("d", n), n)
		send(t, more, event+event)
	}
	c := newClient(t, client.Config{}, s)
	f := c.Shop("42").Follow()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for a, err := range f.Changes(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Value.Datacenter)
		switch len(got) {
		case 1:
			next(2)
		case 2:
			next(3)
			next(4)
			in(t, f, "d4")
		case 3:
			cancel()
		}
	}
	if !slices.Equal(got, []string{"d1", "d2", "d4"}) {
		t.Errorf("%q", got)
	}
	// Who closes a follower ends those who wait.
	f2 := c.Shop("43").Follow()
	time.AfterFunc(10*time.Millisecond, f2.Close)
	for range f2.Changes(t.Context()) {
		t.Error("an answer for another shop")
	}
	if _, err := f2.Wait(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	if _, err := f2.Last(); !errors.Is(err, client.ErrUnknown) {
		t.Error(err)
	}
}

// agedBy answers that shop 42 is in ash1, as was known so many seconds ago.
func agedBy(age int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/watch" {
			events(nil, snapshot("snapshot", "ash1", 5), synced, fmt.Sprintf("event: age\ndata: {\"age\":%d}\n\n", age))(w, r)
			return
		}
		shop("ash1", known{cache: "STALE", zxid: 5, age: age})(w, r)
	}
}

// TestElsewhere: followers of a server that is cut off from ZooKeeper go to one that is not.
func TestElsewhere(t *testing.T) {
	for _, polls := range []bool{false, true} {
		old, young := newFake(t, agedBy(300)), newFake(t, agedBy(3))
		for range 8 { // the client begins with any of them
			c := newClient(t, client.Config{LongPolls: polls}, old, young)
			f := c.Shop("42").Follow()
			eventually(t, func() error {
				a, err := f.Last()
				if err != nil || a.Server != young.URL && a.Doubt != nil || a.Age() > patience {
					return fmt.Errorf("%+v %v", a.Meta, err)
				}
				return nil
			})
			f.Close()
			c.Close()
		}
	}
}

// TestNowhereElse: followers stay where they are if no server knows much more.
func TestNowhereElse(t *testing.T) {
	first, second := newFake(t, agedBy(300)), newFake(t, agedBy(200))
	c := newClient(t, client.Config{}, first, second)
	f := c.Shop("42").Follow()
	defer f.Close()
	eventually(t, func() error {
		if n := first.count("/v1/shops/42") + second.count("/v1/shops/42"); n == 0 {
			return errors.New("no other server was asked")
		}
		return nil
	})
	doubted(t, f, "ago")
	time.Sleep(50 * time.Millisecond) // for a stream that must not come
	if n := first.count("/v1/watch") + second.count("/v1/watch"); n != 1 {
		t.Errorf("%d streams", n)
	}
}
