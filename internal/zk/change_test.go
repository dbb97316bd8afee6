package zk_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// SetServers moves a session from one server to another; requests and watches go on.
func TestSetServers(t *testing.T) {
	t.Parallel()
	if !zk.HasTLS() {
		t.Skip("this libzookeeper_mt is the distribution's, which takes servers of one address for the same; build/native.sh makes one that does not")
	}
	ctx := testContext(t)
	s := zktest.Start(t)
	a, b := through(t, s), through(t, s)
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{a.Listen}}))
	if got := c.ConnectedServer(); got != a.Listen {
		t.Errorf("connected to %q, not to %s", got, a.Listen)
	}
	create(t, c, "/watched", nil)
	if _, _, err := c.GetW(ctx, "/watched"); err != nil {
		t.Fatal(err)
	}
	id := c.SessionID()
	// Requests are under way all the time: each must be answered, with the data or with
	// the loss of the connection.
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := c.Get(ctx, "/watched"); err != nil && !errors.Is(err, zk.ErrConnectionLoss) {
					t.Errorf("a read: %v", err)
					return
				}
			}
		})
	}
	at := a
	for _, to := range []string{b.Listen, a.Listen, b.Listen} {
		if err := c.SetServers(to); err != nil {
			t.Fatal(err)
		}
		eventually(t, "connected to "+to, func() bool { return c.ConnectedServer() == to })
		if got := c.Servers(); len(got) != 1 || got[0] != to {
			t.Errorf("the servers are %v", got)
		}
		at = map[bool]*toxiproxy.Proxy{true: a, false: b}[to == a.Listen]
		eventually(t, "ready", func() bool { return c.State() == zk.Ready })
	}
	close(stop)
	asking.Wait()
	if got := c.SessionID(); got != id {
		t.Errorf("the session is %#x, not %#x", got, id)
	}
	other := open(t, zk.Config{}, s)
	set(t, other, "/watched", "x")
	eventually(t, "the watch has fired", func() bool { return len(rec.fired()) > 0 })
	at.Stop()
	eventually(t, "no connection", func() bool { return c.ConnectedServer() == "" })
	if err := at.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	// Nobody listens there. What libzookeeper does not tell, the client does.
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	if err := c.SetServers(nobody.Addr().String()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
	if err := c.SetServers(at.Listen); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// A request that SetServers leaves without its answer has lost its connection, and takes
// no answer of the next one for its own: that would cost the next one as well.
func TestSetServersUnanswered(t *testing.T) {
	t.Parallel()
	if !zk.HasTLS() {
		t.Skip("this libzookeeper_mt is the distribution's, which has this fault; build/native.sh makes one that does not")
	}
	ctx := testContext(t)
	s := zktest.Start(t)
	a, b := through(t, s), through(t, s)
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{a.Listen}, Heartbeat: -1}))
	create(t, c, "/x", nil)
	if _, err := a.Toxics.AddToxicJson(toxic("downstream", "timeout", `"timeout": 0`)); err != nil {
		t.Fatal(err)
	}
	unanswered := make(chan error, 1)
	go func() {
		_, err := c.Set(ctx, "/x", []byte("new"), zk.AnyVersion)
		unanswered <- err
	}()
	other := open(t, zk.Config{}, s)
	eventually(t, "the request has been answered", func() bool {
		data, _, err := other.Get(ctx, "/x")
		return err == nil && string(data) == "new"
	})
	if err := c.SetServers(b.Listen); err != nil {
		t.Fatal(err)
	}
	if err := <-unanswered; !errors.Is(err, zk.ErrConnectionLoss) {
		t.Errorf("the request: %v", err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := c.Get(ctx, "/x"); err != nil {
			t.Error(err)
		}
	}
	if n := rec.sum(zk.Connections); n != 2 || c.ConnectedServer() != b.Listen {
		t.Errorf("the %dth connection leads to %s", n, c.ConnectedServer())
	}
}

// What SetServers refuses leaves everything as it was.
func TestSetServersRefused(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	c := open(t, zk.Config{Servers: []string{s.Addr() + "/below"}})
	for _, list := range []string{"", "a:b", "127.0.0.1:1/elsewhere"} {
		if err := c.SetServers(list); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("%q: %v", list, err)
		}
	}
	for _, list := range []string{s.Addr(), s.Addr() + "/below"} {
		if err := c.SetServers(list); err != nil {
			t.Errorf("%q: %v", list, err)
		}
	}
	if got := c.Servers(); len(got) != 1 || got[0] != s.Addr() {
		t.Errorf("the servers are %v", got)
	}
	if err := c.SetServers("no-such-host.invalid:1"); !errors.Is(err, zk.ErrSystem) && !errors.Is(err, zk.ErrBadArguments) {
		t.Errorf("a name that does not resolve: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetServers(s.Addr()); !errors.Is(err, zk.ErrClosed) {
		t.Errorf("when it is closed: %v", err)
	}
	c.SetResolutionDelay(time.Second)
	if err := c.AddAuth(testContext(t), zk.Credential{Scheme: "digest", Data: "a:b"}); !errors.Is(err, zk.ErrClosed) {
		t.Errorf("a credential when it is closed: %v", err)
	}
	if got := c.ConnectedServer(); got != "" {
		t.Errorf("closed, and connected to %s", got)
	}
}

// A credential that is added later has effect at once, and on every session after.
func TestAddAuth(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	c := open(t, zk.Config{SessionTimeout: expirable}, s)
	owner := zk.Credential{Scheme: "digest", Data: "alice:secret"}
	other := open(t, zk.Config{Auth: []zk.Credential{owner}}, s)
	if _, _, err := other.Create(ctx, "/private", []byte("x"), zk.CreateOptions{ACL: zk.CreatorACL()}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(ctx, "/private"); !errors.Is(err, zk.ErrNoAuth) {
		t.Fatalf("before: %v", err)
	}
	for range 3 {
		if err := c.AddAuth(ctx, owner); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Get(ctx, "/private"); err != nil {
		t.Fatalf("after: %v", err)
	}
	expire(t, s, c)
	eventually(t, "another session can read", func() bool {
		_, _, err := c.Get(ctx, "/private")
		if errors.Is(err, zk.ErrNoAuth) {
			t.Fatal("a request was sent before the credential")
		}
		return err == nil
	})
	for _, a := range []zk.Credential{{}, {Scheme: "a\x00b"}} {
		if err := c.AddAuth(ctx, a); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// A name that resolves to another address after a while moves the client there, within
// the delay that was set. Here the delay is all that can be seen: no name changes.
func TestSetResolutionDelay(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	c := open(t, zk.Config{ResolutionDelay: -1}, s)
	for _, d := range []time.Duration{time.Nanosecond, 0, -1, 1 << 60} {
		c.SetResolutionDelay(d)
		syncNow(t, c)
	}
	for d, want := range map[time.Duration]int{0: 10_000, -5: -1, 1: 1, time.Second: 1000, 1 << 62: 1<<31 - 1} {
		if got := zk.ResolutionDelay(d); got != want {
			t.Errorf("%v is %d ms for libzookeeper, not %d", d, got, want)
		}
	}
}

// A watch that is forgotten fires no more, and no connection sets it again.
func TestForgetWatch(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := zktest.Start(t)
	p := through(t, s)
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{p.Listen}}))
	for _, path := range []string{"/a", "/b"} {
		create(t, c, path, nil)
		if _, _, err := c.GetW(ctx, path); err != nil {
			t.Fatal(err)
		}
	}
	if !c.ForgetWatch("/a", zk.WatchData) {
		t.Error("the watch was not found")
	}
	if c.ForgetWatch("/a", zk.WatchAny) {
		t.Error("a watch was found that is forgotten")
	}
	other := open(t, zk.Config{}, s)
	set(t, other, "/a", "x")
	syncNow(t, c)
	p.Stop()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.GetW(ctx, "/b"); err != nil && !errors.Is(err, zk.ErrConnectionLoss) {
		t.Fatal(err)
	}
	set(t, other, "/a", "y")
	set(t, other, "/b", "y")
	eventually(t, "an event", func() bool { return len(rec.fired()) > 0 })
	for _, e := range rec.fired() {
		if e.Path != "/b" {
			t.Errorf("%+v", e)
		}
	}
}
