package gozk_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	zookeeper "github.com/Shopify/gozk"

	"magellan/cgo/jemalloc"
)

// The leaks that programs with the original have, by the bytes that C has allocated. A
// leak grows with each round, and so does the least growth of any: what a round happens
// to hold at its end, such as a buffer of the next heartbeat, does not.
const rounds = 6

// leakChild names the case for a process that counts exactly, without jemalloc's caches
// and profiler.
const leakChild = "GOZK_LEAK_CHILD"

func TestNoLeaks(t *testing.T) {
	if _, err := jemalloc.ReadStats(); errors.Is(err, jemalloc.ErrNotLinked) {
		t.Skip("jemalloc is not linked: the leak sanitizer sees what this test sees")
	}
	server := shared(t).server
	for name, c := range map[string]func(*testing.T) func(){
		"quiet watches and cuts":     quietWatches,
		"watches of ever new nodes":  newWatches,
		"watches that fire":          firedWatches,
		"reads":                      reads,
		"requests that fail":         failures,
		"servers and credentials":    changes,
		"sessions":                   sessions,
		"sessions that nobody takes": deadSessions,
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(leakChild) == name {
				leastGrowth(t, c(t))
				return
			}
			if os.Getenv(leakChild) != "" {
				t.Skip("not the case of this process")
			}
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^TestNoLeaks$", "-test.v", "-test.timeout=20m")
			child.Env = append(os.Environ(), leakChild+"="+name, sharedServer+"="+server, "MALLOC_CONF=tcache:false,prof:false")
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// leastGrowth runs rounds, and fails unless one of them has left nothing.
func leastGrowth(t *testing.T, round func()) {
	t.Helper()
	zookeeper.SetLogLevel(0)
	allocated := func() int64 {
		stats, err := jemalloc.ReadStats()
		must(t, err)
		return int64(stats.Allocated)
	}
	round() // what is made once
	var grown []int64
	for range rounds {
		before := allocated()
		round()
		grown = append(grown, allocated()-before)
		if grown[len(grown)-1] <= 0 {
			t.Logf("grown by %d bytes", grown)
			return
		}
	}
	t.Errorf("each round has left memory: %d bytes", grown)
}

// sideBySide calls f for 0 to n-1, on some goroutines.
func sideBySide(n int, f func(i int)) {
	var all sync.WaitGroup
	const workers = 32
	for w := range workers {
		all.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	all.Wait()
}

// connected cuts the connection and waits until there is another one.
func reconnect(t *testing.T, cut func(), session <-chan zookeeper.Event) {
	cut()
	wantState(t, session, zookeeper.STATE_CONNECTING)
	wantState(t, session, zookeeper.STATE_CONNECTED)
}

func quietWatches(t *testing.T) func() {
	const watches, cuts = 2000, 2
	s := shared(t)
	p := through(t, s.server)
	conn, session := dial(t, s.behind(p.Listen), expirable)
	channels := make([]<-chan zookeeper.Event, watches)
	watch := func() {
		sideBySide(watches, func(i int) {
			_, w, err := conn.ExistsW(fmt.Sprintf("/quiet%d", i))
			if err != nil {
				t.Error(err)
			}
			channels[i] = w
		})
	}
	watch()
	return func() {
		for range cuts {
			reconnect(t, func() { cut(t, p) }, session)
			for _, w := range channels {
				wantState(t, w, zookeeper.STATE_CONNECTING)
				wantClosed(t, w)
			}
			watch()
		}
	}
}

func newWatches(t *testing.T) func() {
	s := shared(t)
	p := through(t, s.server)
	conn, session := dial(t, s.behind(p.Listen), expirable)
	n := 0
	return func() {
		sideBySide(1000, func(i int) {
			if _, _, err := conn.ExistsW(fmt.Sprintf("/new%d-%d", n, i)); err != nil {
				t.Error(err)
			}
		})
		n++
		reconnect(t, func() { cut(t, p) }, session)
	}
}

func firedWatches(t *testing.T) func() {
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	const nodes = 500
	for i := range nodes {
		create(t, conn, fmt.Sprintf("/f%d", i), "")
	}
	return func() {
		sideBySide(nodes, func(i int) {
			path := fmt.Sprintf("/f%d", i)
			_, _, data, err1 := conn.GetW(path)
			_, exists, err2 := conn.ExistsW(path)
			_, _, children, err3 := conn.ChildrenW(path)
			if err := errors.Join(err1, err2, err3); err != nil {
				t.Error(err)
				return
			}
			if err := conn.Delete(path, -1); err != nil {
				t.Error(err)
			}
			for _, w := range []<-chan zookeeper.Event{data, exists, children} {
				if e := <-w; e.Type != zookeeper.EVENT_DELETED {
					t.Errorf("%v", e)
				}
			}
			if _, err := conn.Create(path, "", 0, everybody); err != nil {
				t.Error(err)
			}
		})
	}
}

func reads(t *testing.T) func() {
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	create(t, conn, "/a", "some data")
	create(t, conn, "/a/b", "")
	return func() {
		sideBySide(1000, func(int) {
			_, _, err1 := conn.Get("/a")
			_, _, err2 := conn.Children("/a")
			_, err3 := conn.Exists("/a")
			_, _, err4 := conn.ACL("/a")
			_, err5 := conn.Set("/a", "some data", -1)
			if err := errors.Join(err1, err2, err3, err4, err5, conn.SetACL("/a", everybody, -1)); err != nil {
				t.Error(err)
			}
		})
	}
}

func failures(t *testing.T) func() {
	conn, _ := dial(t, shared(t).Addr(), sessionTimeout)
	return func() {
		for _, path := range []string{"/none/below", "bad", "/bad\x00"} {
			sideBySide(100, func(int) {
				for _, r := range requests {
					if _, err := r.ask(conn, path); err == nil && r.op != "exists" && r.op != "existsw" {
						t.Errorf("%s %q succeeded", r.op, path)
					}
				}
			})
		}
	}
}

func changes(t *testing.T) func() {
	s := shared(t)
	a, b := through(t, s.server), through(t, s.server)
	conn, session := dial(t, s.behind(a.Listen), expirable)
	return func() {
		for _, to := range []string{b.Listen, a.Listen} {
			reconnect(t, func() { conn.SetServers(to) }, session)
			for range 100 {
				must(t, conn.AddAuth("digest", "joe:passwd"))
				conn.SetServers(to)
			}
		}
	}
}

func sessions(t *testing.T) func() {
	s := shared(t)
	return func() {
		for range 10 {
			conn, session, err := zookeeper.Dial(s.Addr(), expirable)
			must(t, err)
			wantState(t, session, zookeeper.STATE_CONNECTED)
			_, _, _, err = conn.GetW("/")
			must(t, err)
			must(t, conn.AddAuth("digest", "joe:passwd"))
			must(t, conn.Close())
		}
	}
}

func deadSessions(t *testing.T) func() {
	s := shared(t)
	first, _ := dial(t, s.Addr(), expirable)
	id := first.ClientId()
	must(t, first.Close())
	return func() {
		for range 10 {
			conn, session, err := zookeeper.Redial(s.Addr(), expirable, id)
			must(t, err)
			wantState(t, session, zookeeper.STATE_EXPIRED_SESSION)
			must(t, conn.Close())
			if _, _, err := zookeeper.Dial("no-such-host.invalid:1", expirable); err == nil {
				t.Error("a session with nobody")
			}
		}
	}
}
