package gozk_test

import (
	"fmt"
	"sync"
	"testing"

	zookeeper "github.com/Shopify/gozk"

	"magellan/internal/zk/zktest"
)

// Each change fires the watches that were set for it, all of them and no others, once.
func TestWatches(t *testing.T) {
	s := shared(t)
	before := zookeeper.CountPendingWatches()
	conn, session := dial(t, s.Addr(), sessionTimeout)
	other, _ := dial(t, s.Addr(), sessionTimeout)
	wantCount := func(n int) {
		t.Helper()
		if got := zookeeper.CountPendingWatches() - before; got != n {
			t.Errorf("%d channels are open, not %d", got, n)
		}
	}
	wantCount(2)
	const path = "/watched"
	get := func() <-chan zookeeper.Event { _, _, w, err := conn.GetW(path); must(t, err); return w }
	children := func() <-chan zookeeper.Event { _, _, w, err := conn.ChildrenW(path); must(t, err); return w }
	exists := func() <-chan zookeeper.Event { _, w, err := conn.ExistsW(path); must(t, err); return w }
	for _, step := range []struct {
		change func()
		event  int
		fired  []func() <-chan zookeeper.Event
		quiet  []func() <-chan zookeeper.Event
	}{
		{func() { create(t, other, path, "") }, zookeeper.EVENT_CREATED, []func() <-chan zookeeper.Event{exists, exists}, nil},
		{func() { set(t, other, path, "x") }, zookeeper.EVENT_CHANGED, []func() <-chan zookeeper.Event{get, exists, get}, []func() <-chan zookeeper.Event{children}},
		{func() { create(t, other, path+"/c", "") }, zookeeper.EVENT_CHILD, []func() <-chan zookeeper.Event{children, children}, []func() <-chan zookeeper.Event{get, exists}},
		{func() { must(t, other.Delete(path+"/c", -1)) }, zookeeper.EVENT_CHILD, []func() <-chan zookeeper.Event{children}, []func() <-chan zookeeper.Event{get, exists}},
		{func() { must(t, other.Delete(path, -1)) }, zookeeper.EVENT_DELETED, []func() <-chan zookeeper.Event{get, exists, children}, nil},
	} {
		var fired, quiet []<-chan zookeeper.Event
		for _, w := range step.fired {
			fired = append(fired, w())
		}
		for _, w := range step.quiet {
			quiet = append(quiet, w())
		}
		step.change()
		for _, w := range fired {
			want := zookeeper.Event{Type: step.event, Path: path, State: zookeeper.STATE_CONNECTED}
			if e := next(t, w); e != want {
				t.Errorf("%+v, not %+v", e, want)
			}
			wantClosed(t, w)
		}
		for _, w := range quiet {
			wantQuiet(t, w)
		}
	}
	// Quiet watches of earlier steps have fired with the later ones: none is left.
	wantCount(2)
	wantQuiet(t, session)

	// A request that fails leaves no watch.
	for _, r := range requests {
		_, _ = r.ask(conn, "/none/below")
	}
	wantCount(3) // that of ExistsW
	must(t, conn.Close())
	wantCount(1)
}

// When the connection breaks every watch channel gets an event of the session and is
// closed. What is watched after that, fires.
func TestWatchesAndACut(t *testing.T) {
	s := shared(t)
	p := through(t, s.server)
	before := zookeeper.CountPendingWatches()
	conn, session := dial(t, s.behind(p.Listen), sessionTimeout)
	other, _ := dial(t, s.Addr(), sessionTimeout)
	create(t, other, "/a", "")
	for range 5 {
		_, absent, err := conn.ExistsW("/none")
		must(t, err)
		_, _, data, err := conn.GetW("/a")
		must(t, err)
		_, _, children, err := conn.ChildrenW("/a")
		must(t, err)
		cut(t, p)
		for _, w := range []<-chan zookeeper.Event{absent, data, children} {
			wantState(t, w, zookeeper.STATE_CONNECTING)
			wantClosed(t, w)
		}
		wantState(t, session, zookeeper.STATE_CONNECTING)
		wantState(t, session, zookeeper.STATE_CONNECTED)
		if n := zookeeper.CountPendingWatches() - before; n != 2 {
			t.Errorf("after a cut %d channels are open", n)
		}
		_, _, data, err = conn.GetW("/a")
		must(t, err)
		set(t, other, "/a", "x")
		if e := next(t, data); e.Type != zookeeper.EVENT_CHANGED {
			t.Errorf("after a cut: %v", e)
		}
		wantClosed(t, data)
	}
}

// Watches that are set while the connection is being cut fire, or are told of the cut:
// no channel is forgotten.
func TestNoWatchIsLost(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := through(t, s.server)
	conn, session := dial(t, s.behind(p.Listen), sessionTimeout)
	other, _ := dial(t, s.Addr(), sessionTimeout)
	const nodes, rounds = 8, 20
	for i := range nodes {
		create(t, other, fmt.Sprintf("/n%d", i), "")
	}
	var last sync.Map // path -> the newest channel
	stop := make(chan struct{})
	var watching sync.WaitGroup
	for i := range nodes {
		path := fmt.Sprintf("/n%d", i)
		watching.Go(func() {
			for {
				_, _, w, err := conn.GetW(path)
				switch {
				case err == nil:
					last.Store(path, w)
				case !zookeeper.IsError(err, zookeeper.ZCONNECTIONLOSS):
					t.Errorf("%v", err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range rounds {
		cut(t, p)
		for e := range session {
			if e.State == zookeeper.STATE_CONNECTED {
				break
			}
		}
	}
	close(stop)
	watching.Wait()
	for i := range nodes {
		set(t, other, fmt.Sprintf("/n%d", i), "x")
	}
	last.Range(func(path, w any) bool {
		if e := next(t, w.(<-chan zookeeper.Event)); e.Type != zookeeper.EVENT_CHANGED && e.State != zookeeper.STATE_CONNECTING {
			t.Errorf("%s: %v", path, e)
		}
		return true
	})
}

// When the session ends, each watch channel is told or has been told of the cut before,
// and closed.
func TestWatchesAndTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	for name, end := range map[string]func(t *testing.T, conn *zookeeper.Conn) int{
		"expired": func(t *testing.T, conn *zookeeper.Conn) int {
			expire(t, s, conn)
			return zookeeper.STATE_EXPIRED_SESSION
		},
		"auth failed": func(t *testing.T, conn *zookeeper.Conn) int {
			wantError(t, conn.AddAuth("unheard of", "x"), zookeeper.ZAUTHFAILED, "addauth", "")
			return zookeeper.STATE_AUTH_FAILED
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, session := dial(t, s.Addr(), expirable)
			_, w, err := conn.ExistsW("/none")
			must(t, err)
			want := end(t, conn)
			e := next(t, w)
			if e.Type != zookeeper.EVENT_SESSION || e.State != want && e.State != zookeeper.STATE_CONNECTING {
				t.Errorf("%v", e)
			}
			wantClosed(t, w)
			for e := next(t, session); e.State != want; e = next(t, session) {
				if e.Type != zookeeper.EVENT_SESSION {
					t.Fatalf("%v", e)
				}
			}
			// The Conn is dead, and says so.
			wantAll(t, conn, "/a", zookeeper.ZINVALIDSTATE)
			wantError(t, conn.AddAuth("digest", "a:b"), zookeeper.ZINVALIDSTATE, "addauth", "")
			wantQuiet(t, session)
			must(t, conn.Close())
			wantClosed(t, session)
		})
	}
}

// Close closes all channels, without an event.
func TestWatchesAndClose(t *testing.T) {
	s := shared(t)
	before := zookeeper.CountPendingWatches()
	conn, session := dial(t, s.Addr(), sessionTimeout)
	_, _, data, err := conn.GetW("/")
	must(t, err)
	_, absent, err := conn.ExistsW("/none")
	must(t, err)
	must(t, conn.Close())
	for _, w := range []<-chan zookeeper.Event{data, absent, session} {
		wantClosed(t, w)
	}
	if n := zookeeper.CountPendingWatches() - before; n != 0 {
		t.Errorf("%d channels are open", n)
	}
	wantAll(t, conn, "/a", zookeeper.ZCLOSING)
	wantError(t, conn.AddAuth("digest", "a:b"), zookeeper.ZCLOSING, "addauth", "")
	wantError(t, conn.Close(), zookeeper.ZCLOSING, "close", "")
	conn.SetServers(s.Addr())
	conn.SetServersResolutionDelay(0)
	_ = conn.ClientId()
}

// A program that never reads its session's channel gets no panic, and the newest events.
func TestNobodyReadsTheSession(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := through(t, s.server)
	conn, session := dial(t, s.behind(p.Listen), sessionTimeout)
	for range 40 { // two events each: more than the channel holds
		cut(t, p)
		_, w, err := conn.ExistsW("/none")
		for err != nil {
			wantCode(t, err, zookeeper.ZCONNECTIONLOSS)
			_, w, err = conn.ExistsW("/none")
		}
		wantQuiet(t, w)
	}
	must(t, conn.Close())
	var got []zookeeper.Event
	for e := range session {
		got = append(got, e)
	}
	if len(got) == 0 || len(got) > 32 {
		t.Errorf("%d events", len(got))
	}
}
