package zk_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

func TestWatches(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	writer := open(t, zk.Config{}, s)
	var rec recorder
	c := open(t, rec.into(zk.Config{}), s)
	create(t, writer, "/a", nil)

	expect := func(what string, want ...zk.WatchEvent) {
		t.Helper()
		// The sync's answer comes behind every event of what was before it.
		syncNow(t, c)
		if got := rec.fired(); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
		rec.reset()
	}
	watch := func() {
		t.Helper()
		// Twice: that is one watch.
		for range 2 {
			if _, _, err := c.GetW(ctx, "/a"); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.ChildrenW(ctx, "/a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	watch()
	set(t, writer, "/a", "1")
	expect("set", zk.WatchEvent{Path: "/a", Type: zk.DataChanged})
	set(t, writer, "/a", "2")
	expect("one-shot")
	create(t, writer, "/a/b", nil)
	expect("child", zk.WatchEvent{Path: "/a", Type: zk.ChildrenChanged})
	if err := writer.Delete(ctx, "/a/b", zk.AnyVersion); err != nil {
		t.Fatal(err)
	}
	watch()
	if err := writer.Delete(ctx, "/a", zk.AnyVersion); err != nil {
		t.Fatal(err)
	}
	expect("delete under a data and a child watch", zk.WatchEvent{Path: "/a", Type: zk.Deleted})

	if _, _, err := c.GetW(ctx, "/a"); !errors.Is(err, zk.ErrNoNode) {
		t.Fatal(err)
	}
	if _, err := c.ExistsW(ctx, "/a"); !errors.Is(err, zk.ErrNoNode) {
		t.Fatal(err)
	}
	create(t, writer, "/a", nil)
	expect("create", zk.WatchEvent{Path: "/a", Type: zk.Created})

	if _, _, err := c.Get(ctx, "/a"); err != nil {
		t.Fatal(err)
	}
	set(t, writer, "/a", "3")
	expect("read without a watch")
}

// watches returns the number of watches the server has. (wchs would count
// those on data only.)
func watches(t *testing.T, s *zktest.Server) int {
	t.Helper()
	text, err := s.FourLetter("mntr")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "zk_watch_count\t"); ok {
			count, err := strconv.Atoi(strings.TrimSpace(n))
			if err != nil {
				t.Fatal(err)
			}
			return count
		}
	}
	t.Fatalf("no zk_watch_count in %q", text)
	return 0
}

func TestRemoveWatch(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{SessionTimeout: 30 * time.Second}), s)
	create(t, c, "/a", nil)
	if err := c.RemoveWatch(ctx, "/a", zk.WatchData); !errors.Is(err, zk.ErrNoWatch) {
		t.Errorf("no watch: %v", err)
	}
	setAll := func() {
		t.Helper()
		if _, _, err := c.GetW(ctx, "/a"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ExistsW(ctx, "/none"); !errors.Is(err, zk.ErrNoNode) {
			t.Fatal(err)
		}
		if _, _, err := c.ChildrenW(ctx, "/a"); err != nil {
			t.Fatal(err)
		}
	}
	setAll()
	if n := watches(t, s); n != 3 {
		t.Fatalf("%d watches set", n)
	}
	for i, w := range []struct {
		path string
		kind zk.WatchKind
	}{{"/a", zk.WatchData}, {"/none", zk.WatchData}, {"/a", zk.WatchChildren}} {
		if err := c.RemoveWatch(ctx, w.path, w.kind); err != nil {
			t.Errorf("%v: %v", w, err)
		}
		if n := watches(t, s); n != 2-i {
			t.Errorf("%d watches on the server after %d were removed", n, i+1)
		}
	}
	// They are gone on this side, too: a reconnect brings none back.
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sync", func() bool { return c.Sync(ctx, "/") == nil })
	if n := watches(t, s); n != 0 {
		t.Errorf("%d watches came back", n)
	}
	// Without a connection it is enough to forget them here.
	setAll()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
	if err := c.RemoveWatch(ctx, "/a", zk.WatchAny); err != nil {
		t.Errorf("disconnected: %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sync", func() bool { return c.Sync(ctx, "/") == nil })
	if n := watches(t, s); n != 1 {
		t.Errorf("%d watches came back, want the one on /none", n)
	}
	set(t, c, "/a", "x")
	syncNow(t, c)
	if got := rec.fired(); len(got) != 0 {
		t.Errorf("removed watches fired: %v", got)
	}
}

// A cut with 5,000 watches crosses into Go as a handful of events; all watches
// come back, and those whose znodes have changed meanwhile fire.
func TestManyWatchesAndACut(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{SessionTimeout: 60 * time.Second}), s)
	const n = 5000
	done := make(chan error, n)
	for i := range n {
		c.ExistsAsync(fmt.Sprintf("/w%04d", i), true, func(_ zk.Stat, err error) { done <- err })
	}
	for range n {
		if err := <-done; !errors.Is(err, zk.ErrNoNode) {
			t.Fatal(err)
		}
	}
	if got := watches(t, s); got != n {
		t.Fatalf("%d watches set", got)
	}
	before := rec.sum(zk.SessionRecords)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all watches are back", func() bool { return watches(t, s) == n })
	if got := rec.sum(zk.SessionRecords) - before; got < 2 || got > 10 {
		t.Errorf("a cut crossed into Go as %v session events", got)
	}
	other := open(t, zk.Config{}, s)
	for i := range 10 {
		create(t, other, fmt.Sprintf("/w%04d", i*100), nil)
	}
	syncNow(t, c)
	if got := len(rec.fired()); got != 10 {
		t.Errorf("%d watches fired, want 10", got)
	}
}

// What changed while the client was away is told when it is back.
func TestWatchReplay(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	e := zktest.StartEnsemble(t, 3)
	var rec recorder
	writer := open(t, zk.Config{}, e.Servers[1:]...)
	create(t, writer, "/a", nil)
	create(t, writer, "/b", nil)
	c := open(t, rec.into(zk.Config{SessionTimeout: 30 * time.Second}), e.Servers[0])
	syncNow(t, c)
	for _, path := range []string{"/a", "/b"} {
		if _, _, err := c.GetW(ctx, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
	eventually(t, "the others go on", func() bool {
		_, err := writer.Set(ctx, "/a", []byte("x"), zk.AnyVersion)
		return err == nil
	})
	if err := e.Servers[0].Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch of what changed has fired", func() bool {
		return slices.Contains(rec.fired(), zk.WatchEvent{Path: "/a", Type: zk.DataChanged})
	})
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	syncNow(t, c)
	if got := rec.fired(); len(got) != 1 {
		t.Errorf("fired: %v", got)
	}
}

// The order the cache relies on: when a sync is answered, the events of all
// that was written before it have been delivered.
func TestSyncComesAfterEvents(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	writer := open(t, zk.Config{}, s)
	create(t, writer, "/a", nil)
	var fired int // the dispatcher's
	c := open(t, zk.Config{OnWatch: func(zk.WatchEvent) { fired++ }}, s)
	for i := range 300 {
		if _, _, err := c.GetW(testContext(t), "/a"); err != nil {
			t.Fatal(err)
		}
		set(t, writer, "/a", "x")
		seen := make(chan int)
		c.SyncAsync("/", func(err error) {
			if err != nil {
				t.Error(err)
			}
			seen <- fired
		})
		if got := <-seen; got != i+1 {
			t.Fatalf("%d events at the sync after write %d", got, i+1)
		}
	}
}
