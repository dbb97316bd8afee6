package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/client"
)

// patience bounds each wait for what must happen. Machines that run tests stand still for seconds.
const patience = time.Minute

// fake answers as a test tells it to: what the client does with answers that no magellan gives on
// demand is tested with it. The tests with servers are in test/client.
type fake struct {
	*httptest.Server
	mu     sync.Mutex
	handle http.HandlerFunc
	asked  []*http.Request
}

func newFake(t *testing.T, handle http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{handle: handle}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r)
		handle := f.handle
		f.mu.Unlock()
		handle(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// answers has the fake answer so from now on.
func (f *fake) answers(handle http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handle = handle
}

// count is how many requests with this beginning of the path there were.
func (f *fake) count(path string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.asked {
		if strings.HasPrefix(r.URL.Path, path) {
			n++
		}
	}
	return n
}

// known are the headers of an answer.
type known struct {
	cache, etag string
	zxid, age   int
}

func (k known) write(w http.ResponseWriter) {
	w.Header().Set("X-Cache", k.cache)
	w.Header().Set("Age", fmt.Sprint(k.age))
	if k.etag != "" {
		w.Header().Set("ETag", `"`+k.etag+`"`)
	}
	if k.zxid > 0 {
		w.Header().Set("X-Zxid", fmt.Sprintf("0x%x", k.zxid))
	}
}

// shop answers that shop 42 is in a datacenter.
func shop(datacenter string, k known) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if k.etag == "" {
			k.etag = datacenter
		}
		k.write(w)
		fmt.Fprintf(w, `{"shop":"42","datacenter":%q,"region":"r"}`, datacenter)
	}
}

// problem answers with a problem.
func problem(status int, kind string, k known) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if k.cache != "" {
			k.write(w)
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprint(w, problemText(status, kind))
	}
}

func problemText(status int, kind string) string {
	return fmt.Sprintf(`{"type":"urn:magellan:problem:%s","title":"T","status":%d,"detail":"it is %s"}`, kind, status, kind)
}

// events answers with a stream: the text, which stays open until the client has gone or cut is
// closed.
func events(cut <-chan struct{}, text ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, one := range text {
			fmt.Fprint(w, one)
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-cut:
		case <-r.Context().Done():
		}
	}
}

// script is a stream that a test writes.
func script(more <-chan string, first ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, text := range first {
			fmt.Fprint(w, text)
		}
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case text := <-more:
				fmt.Fprint(w, text)
			case <-r.Context().Done():
				return
			}
		}
	}
}

// snapshot is an event with the datacenter of shop 42.
func snapshot(name, datacenter string, zxid int) string {
	return fmt.Sprintf("event: %s\ndata: {\"key\":\"shop=42\",\"status\":200,\"etag\":\"\\\"%s\\\"\",\"zxid\":\"0x%x\",\"cache\":\"HIT\",\"age\":0,\"value\":{\"shop\":\"42\",\"datacenter\":%q,\"region\":\"r\"}}\n\n", name, datacenter, zxid, datacenter)
}

const synced = "event: synced\ndata: {\"keys\":1}\nid: first\n\n"

func newClient(t *testing.T, cfg client.Config, servers ...*fake) *client.Client {
	t.Helper()
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.URL)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// send hands a value to a fake that waits for one.
func send[T any](t *testing.T, to chan<- T, v T) {
	t.Helper()
	select {
	case to <- v:
	case <-time.After(patience):
		t.Fatal("the fake was not asked")
	}
}
