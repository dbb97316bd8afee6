package zk_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// TestZxid: after a sync a client knows of every transaction before it, those
// of others that it has read nothing of included.
func TestZxid(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := zktest.Start(t)
	writer, reader := open(t, zk.Config{}, server), open(t, zk.Config{Heartbeat: -1}, server)
	needZxids(t, reader)
	create(t, writer, "/a", nil)
	for range 10 {
		st, err := writer.Set(ctx, "/a", []byte("x"), zk.AnyVersion)
		if err != nil {
			t.Fatal(err)
		}
		if got := reader.Zxid(); got >= st.Mzxid {
			t.Fatalf("knows of %#x before it has heard of %#x", got, st.Mzxid)
		}
		if err := reader.Sync(ctx, "/"); err != nil {
			t.Fatal(err)
		}
		if got := reader.Zxid(); got != st.Mzxid {
			t.Fatalf("after the sync %#x, want %#x", got, st.Mzxid)
		}
		if got := reader.SettledZxid(); got >= st.Mzxid {
			t.Fatalf("%#x is settled by the very answer that has shown it", got)
		}
		if err := reader.Sync(ctx, "/"); err != nil {
			t.Fatal(err)
		}
		if got := reader.SettledZxid(); got != st.Mzxid {
			t.Fatalf("after a request more %#x is settled, want %#x", got, st.Mzxid)
		}
	}
}

// TestEventsAreSentAgain: a server that closes a connection drops the watches
// first, so that its last answer may show a change of which no event was sent. With
// the next connection recent changes are told of again, and old ones are not.
func TestEventsAreSentAgain(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := zktest.Start(t)
	p := through(t, server)
	writer := open(t, zk.Config{}, server)
	create(t, writer, "/old", nil)
	create(t, writer, "/new", nil)
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{p.Listen}, SessionTimeout: 30 * time.Second}))
	needZxids(t, c)
	watch := func(path string) {
		if _, _, err := c.GetW(ctx, path); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "only what is new is told of again", func() bool {
		set(t, writer, "/new", "x")
		watch("/old")
		watch("/new")
		rec.reset()
		p.Stop()
		eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		syncNow(t, c)
		var again []string
		for _, e := range rec.fired() {
			again = append(again, e.Path)
		}
		if !slices.Contains(again, "/new") {
			t.Fatalf("told of again: %q", again)
		}
		return !slices.Contains(again, "/old")
	})
}

// needZxids skips a test that wants to know how far a session is where that cannot
// be known.
func needZxids(t *testing.T, c *zk.Client) {
	if os.Getenv("CGO_LDFLAGS") == "" && c.Zxid() == 0 {
		t.Skip("the distribution's shared libzookeeper keeps the zxid of replies to itself")
	}
}
