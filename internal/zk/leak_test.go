package zk_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// leakLimit is what C memory may have grown by after all of TestNoLeaks's work:
// far less than one byte for each of its requests. glibc's statistics count
// what its caches hold, so nought would be too strict.
const leakLimit = 64 << 10

// TestNoLeaks works hard twice in the same way, and C memory after the second
// time is what it was after the first. Built with -asan it also has the leak
// sanitizer look at the end of the process.
func TestNoLeaks(t *testing.T) {
	reads := 50_000
	if testing.Short() {
		reads = 5_000
	}
	s := zktest.Start(t)
	work := func() {
		c := open(t, zk.Config{SessionTimeout: expirable}, s)
		churn(t, s, c, reads)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		nothingLeft(t)
	}
	work()
	before, source := zk.Allocated()
	work()
	after, _ := zk.Allocated()
	t.Logf("C has %d bytes allocated after once, %d after twice (%s)", before, after, source)
	if after-before > leakLimit {
		t.Errorf("%d reads and more have left %d bytes in C", reads, after-before)
	}
}

// churn does everything that can leave something behind: reads of data, of
// empty and full lists of children, watches that fire, that are removed and
// that stay, errors, multis, ACLs, cancelled calls, expired sessions.
func churn(t *testing.T, s *zktest.Server, c *zk.Client, reads int) {
	ctx := testContext(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const nodes = 100
	ready := func() {
		t.Helper()
		must(c.WaitReady(ctx))
		for i := range nodes {
			path := fmt.Sprintf("/leak%d", i)
			if _, _, err := c.Create(ctx, path, []byte(path), zk.CreateOptions{}); err != nil && !errors.Is(err, zk.ErrNodeExists) {
				t.Fatal(err)
			}
		}
	}
	ready()
	slots := make(chan struct{}, 500)
	var failed atomic.Int64
	done := func(err error) {
		if err != nil {
			failed.Add(1)
		}
		<-slots
	}
	rounds := 10
	for round := range rounds {
		ctx = testContext(t)
		for i := range reads / rounds {
			slots <- struct{}{}
			path := fmt.Sprintf("/leak%d", i%nodes)
			switch i % 8 {
			case 0, 1:
				c.GetAsync(path, i%16 == 0, func(_ []byte, _ zk.Stat, err error) { done(err) })
			case 2:
				c.ChildrenAsync(path, i%16 == 2, func(_ []string, _ zk.Stat, err error) { done(err) }) // none
			case 3:
				c.ChildrenAsync("/", true, func(_ []string, _ zk.Stat, err error) { done(err) })
			case 4:
				c.ExistsAsync(path+"/none", true, func(_ zk.Stat, err error) { done(err) })
			case 5:
				c.GetAsync(path+"/none", true, func(_ []byte, _ zk.Stat, err error) { done(err) })
			case 6:
				c.RemoveWatchAsync(path, zk.WatchAny, done)
			case 7:
				c.GetAsync("bad", false, func(_ []byte, _ zk.Stat, err error) { done(err) })
			}
		}
		for range cap(slots) {
			slots <- struct{}{}
		}
		for range cap(slots) {
			<-slots
		}
		for i := range nodes { // fires watches
			_, err := c.Multi(ctx, zk.SetOp(fmt.Sprintf("/leak%d", i), []byte("x"), zk.AnyVersion),
				zk.CreateOp(fmt.Sprintf("/leak%d/s-", i), nil, zk.CreateOptions{Mode: zk.EphemeralSequential}))
			must(err)
			_, err = c.Multi(ctx, zk.CheckOp("/none", 0), zk.CreateOp("/leak0/none", nil, zk.CreateOptions{}))
			if !errors.Is(err, zk.ErrNoNode) {
				t.Fatal(err)
			}
		}
		_, _, err := c.GetACL(ctx, "/leak0")
		must(err)
		must(c.SetACL(ctx, "/leak0", nil, zk.AnyVersion))
		for range 20 {
			ended, cancel := context.WithCancel(ctx)
			go cancel()
			_, _, _ = c.Get(ended, "/leak0") // either way
		}
		if round%2 == 0 {
			expire(t, s, c)
			eventually(t, "another session", func() bool { _, err := c.Exists(ctx, "/"); return err == nil })
			ready()
		}
	}
	if failed.Load() == 0 {
		t.Error("no request failed: the test does not do what it says")
	}
}

// What libzookeeper allocates for each name of a list, and for a list without
// names, it gets back: the leak of 2019 was in the second.
func TestChildrenDoNotLeak(t *testing.T) {
	s := zktest.Start(t)
	c := open(t, zk.Config{}, s)
	create(t, c, "/full", nil)
	create(t, c, "/empty", nil)
	for i := range 50 {
		create(t, c, fmt.Sprintf("/full/child-with-a-name-%d", i), nil)
	}
	for _, path := range []string{"/full", "/empty"} {
		read := func(n int) {
			for range n {
				if _, _, err := c.Children(testContext(t), path); err != nil {
					t.Fatal(err)
				}
			}
		}
		read(500)
		before, source := zk.Allocated()
		const n = 4000
		read(n)
		after, _ := zk.Allocated()
		// The smallest leak possible is 16 bytes, glibc's and jemalloc's
		// smallest block or more, for each call.
		if after-before > 8*n {
			t.Errorf("%s: %d bytes left after %d calls (%s)", path, after-before, n, source)
		}
	}
}
