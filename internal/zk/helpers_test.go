package zk_test

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// patience bounds each wait; it is never measured.
const patience = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until cond is true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// recorder keeps what a client tells.
type recorder struct {
	mu       sync.Mutex
	watches  []zk.WatchEvent
	sessions []zk.SessionEvent
	sums     [zk.NumQuantities]int // of what it was told as an Observer
}

// Add is that of zk.Observer.
func (r *recorder) Add(q zk.Quantity, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sums[q] += n
}

func (r *recorder) sum(q zk.Quantity) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sums[q]
}

func (r *recorder) Answered(zk.Operation, zk.Code) {}
func (r *recorder) Fired(zk.WatchType)             {}
func (r *recorder) Entered(zk.State)               {}
func (r *recorder) Took(int)                       {}

func (r *recorder) into(cfg zk.Config) zk.Config {
	cfg.Observer = r
	cfg.OnWatch = func(e zk.WatchEvent) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watches = append(r.watches, e)
	}
	cfg.OnSession = func(e zk.SessionEvent) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sessions = append(r.sessions, e)
	}
	return cfg
}

// fired returns the watch events so far.
func (r *recorder) fired() []zk.WatchEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]zk.WatchEvent(nil), r.watches...)
}

// states returns the states so far, with the session's number.
func (r *recorder) states() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for i, e := range r.sessions {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%v %d", e.State, e.Session)
	}
	return b.String()
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches, r.sessions = nil, nil
}

// open returns a Ready client that is closed with the test. Its session, unless
// told otherwise, outlives what a busy machine does to a server.
func open(t testing.TB, cfg zk.Config, servers ...*zktest.Server) *zk.Client {
	t.Helper()
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = time.Minute
	}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.Addr())
	}
	c, err := zk.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t testing.TB, c *zk.Client, path string, data []byte) {
	t.Helper()
	if _, _, err := c.Create(testContext(t), path, data, zk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, c *zk.Client, path, data string) {
	t.Helper()
	if _, err := c.Set(testContext(t), path, []byte(data), zk.AnyVersion); err != nil {
		t.Fatal(err)
	}
}

func syncNow(t testing.TB, c *zk.Client) {
	t.Helper()
	if err := c.Sync(testContext(t), "/"); err != nil {
		t.Fatal(err)
	}
}

// expirable is the timeout of a session that a test expires. A server that takes
// the client's new connection in the moment in which the session ends keeps it
// and is silent, and the client notices after two thirds of this.
const expirable = 20 * time.Second

// expire ends the client's session on the server.
func expire(t testing.TB, s *zktest.Server, c *zk.Client) {
	t.Helper()
	if err := s.Expire(c.SessionCredentials()); err != nil {
		t.Fatal(err)
	}
}

// openFiles counts this process's file descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// threads counts libzookeeper's threads by the name the shim gives them.
func threads(t testing.TB) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, task := range tasks {
		name, err := os.ReadFile("/proc/self/task/" + task.Name() + "/comm")
		if err == nil && strings.HasPrefix(string(name), "zookeeper-") {
			n++
		}
	}
	return n
}

// clientGoroutines counts the goroutines that run this package's code.
func clientGoroutines() int {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
	n := 0
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(g, "internal/zk.(*client)") {
			n++
		}
	}
	return n
}

// nothingLeft fails unless every client has gone without a trace.
func nothingLeft(t testing.TB) {
	t.Helper()
	if q, h, m, ch := zk.Live(); q+h+m+ch != 0 {
		t.Errorf("left in C: %d queues, %d handles, %d multis, %d chunks", q, h, m, ch)
	}
	if n := threads(t); n != 0 {
		t.Errorf("%d of libzookeeper's threads are left", n)
	}
	// The last one may be in its last line still.
	eventually(t, "no goroutine is left", func() bool { return clientGoroutines() == 0 })
}
