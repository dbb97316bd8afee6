package zk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// shortSession makes a silent server noticed after two thirds of a second.
const shortSession = time.Second

func TestReconnect(t *testing.T) {
	for name, cut := range map[string]func(s *zktest.Server) error{
		"kill": func(s *zktest.Server) error { return errors.Join(s.Kill(), s.Start()) },
		"stop": func(s *zktest.Server) error { return s.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := zktest.Start(t)
			var rec recorder
			c := open(t, rec.into(zk.Config{SessionTimeout: 30 * time.Second}), s)
			id := c.SessionID()
			if err := cut(s); err != nil {
				t.Fatal(err)
			}
			eventually(t, "ready again", func() bool { return rec.states() == "ready 1, disconnected 1, ready 1" })
			if c.SessionID() != id {
				t.Error("it is another session")
			}
			if _, err := c.Exists(testContext(t), "/"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A frozen server is noticed without help, and what was in flight fails.
func TestPausedServer(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{SessionTimeout: shortSession}), s)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Get(testContext(t), "/")
	if !errors.Is(err, zk.ErrConnectionLoss) && !errors.Is(err, zk.ErrOperationTimeout) {
		t.Errorf("Get from a frozen server: %v", err)
	}
	eventually(t, "disconnected", func() bool { return c.State() == zk.Disconnected })
	verified := c.VerifiedAt()
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if !c.VerifiedAt().After(verified) {
		t.Errorf("verified at %v before and %v after", verified, c.VerifiedAt())
	}
}

// An expired session is followed by another one, which syncs before it is Ready.
func TestExpiry(t *testing.T) {
	ctx := testContext(t)
	s := zktest.Start(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{Heartbeat: -1, SessionTimeout: expirable}), s)
	create(t, c, "/a", nil)
	if _, _, err := c.GetW(ctx, "/a"); err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= 4; i++ {
		id, before := c.SessionID(), c.VerifiedAt()
		rec.reset()
		expire(t, s, c)
		// Before that it may be disconnected and ready again, more than once:
		// the client takes the session back until the server has ended it.
		end := fmt.Sprintf("disconnected %d, expired %d, ready %d", i-1, i-1, i)
		eventually(t, end, func() bool { return strings.HasSuffix(rec.states(), end) })
		if n := strings.Count(rec.states(), "expired"); n != 1 {
			t.Errorf("it expired %d times: %s", n, rec.states())
		}
		if c.SessionID() == id {
			t.Error("the session's id is the old one")
		}
		// There is no heartbeat: only the sync before Ready can have done this.
		if !c.VerifiedAt().After(before) {
			t.Error("Ready without a sync")
		}
	}
	set(t, c, "/a", "new")
	syncNow(t, c)
	if got := rec.fired(); len(got) != 0 {
		t.Errorf("watches of a dead session fired: %v", got)
	}
	if got := rec.sum(zk.SessionsExpired); got != 3 {
		t.Errorf("%d sessions expired, as the observer was told", got)
	}
	eventually(t, "the old handles are closed", func() bool { _, h, _, _ := zk.Live(); return h == 1 && threads(t) == 2 })
}

// A session that ends while libzookeeper writes a long request ends it like any
// other. For that the end must come between two of its operations, so there are
// many of them, and many such requests. Here a session may end by itself, too.
func TestExpiredInTheMiddleOfAMulti(t *testing.T) {
	t.Parallel()
	if !zk.HasTLS() {
		t.Skip("this libzookeeper_mt is the distribution's, which frees paths that it has not set when this happens; build/native.sh makes one that does not")
	}
	s := zktest.Start(t)
	c := open(t, zk.Config{SessionTimeout: 6 * time.Second}, s)
	ops := make([]zk.Op, 20_000)
	for i := range ops {
		ops[i] = zk.CheckOp("/", zk.AnyVersion)
	}
	for range 10 {
		ended, end := context.WithCancel(testContext(t))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for ended.Err() == nil {
					_, err := c.Multi(testContext(t), ops...)
					if err == nil {
						continue
					}
					if !errors.Is(err, zk.ErrSessionExpired) && !errors.Is(err, zk.ErrConnectionLoss) && !errors.Is(err, zk.ErrOperationTimeout) {
						t.Error(err)
					}
					end()
				}
			})
		}
		session := c.SessionID()
		if err := s.Expire(c.SessionCredentials()); err != nil {
			t.Log(err) // it has ended by itself
		}
		eventually(t, "another session", func() bool { return c.SessionID() != session && c.State() == zk.Ready })
		end()
		wg.Wait()
	}
}

// Requests between two sessions are answered, and never hang.
func TestRequestsWithoutSession(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	c, err := zk.Open(zk.Config{Servers: []string{s.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Get(testContext(t), "/"); !errors.Is(err, zk.ErrConnectionLoss) {
		t.Errorf("Get: %v", err)
	}
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := c.WaitReady(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("WaitReady: %v", err)
	}
	if !c.VerifiedAt().IsZero() || c.SessionID() != 0 || c.State() != zk.Connecting {
		t.Errorf("verified at %v, session %#x, %v", c.VerifiedAt(), c.SessionID(), c.State())
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Error(err)
	}
}

// A server's name that is not known yet is looked up again and again.
func TestUnknownHost(t *testing.T) {
	c, err := zk.Open(zk.Config{Servers: []string{"no-such-host.invalid:2181"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(testContext(t), "/"); !errors.Is(err, zk.ErrConnectionLoss) {
		t.Errorf("Get: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

// When the server of a client is gone, each of the others is tried.
func TestEveryServerIsTried(t *testing.T) {
	t.Parallel()
	if !zk.HasTLS() {
		t.Skip("this libzookeeper_mt is the distribution's, which of an even number of servers tries half (ZOOKEEPER-2466); build/native.sh makes one that tries all")
	}
	s := zktest.Start(t)
	ways := []*toxiproxy.Proxy{through(t, s), through(t, s)}
	c := open(t, zk.Config{Servers: []string{ways[0].Listen, ways[1].Listen}})
	id := c.SessionID()
	for i := range 6 {
		gone := ways[i%2]
		gone.Stop()
		eventually(t, "the other one is used", func() bool { _, err := c.Exists(testContext(t), "/"); return err == nil })
		if err := gone.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if c.SessionID() != id {
		t.Error("it is another session")
	}
}

func TestContext(t *testing.T) {
	s := zktest.Start(t)
	c := open(t, zk.Config{SessionTimeout: 30 * time.Second, Heartbeat: -1}, s)
	create(t, c, "/a", []byte("x"))
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	for i := range 100 {
		ctx, cancel := context.WithCancelCause(context.Background())
		go cancel(mine)
		var err error
		switch i % 4 {
		case 0:
			_, _, err = c.Get(ctx, "/a")
		case 1:
			_, err = c.Set(ctx, "/a", []byte("y"), zk.AnyVersion)
		case 2:
			_, err = c.Multi(ctx, zk.SetOp("/a", []byte("z"), zk.AnyVersion))
		case 3:
			err = c.RemoveWatch(ctx, "/a", zk.WatchAny)
		}
		if !errors.Is(err, mine) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	// The late answers are dropped, each in its place.
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if data, _, err := c.Get(testContext(t), "/a"); err != nil || string(data) != "y" && string(data) != "z" {
			t.Fatalf("%q, %v", data, err)
		}
	}
	if n := c.InFlight(); n != 0 {
		t.Errorf("%d calls in flight", n)
	}
	if _, _, multis, _ := zk.Live(); multis != 0 {
		t.Errorf("%d multis left", multis)
	}
}

// Only syncs move VerifiedAt, to the time of their issue.
func TestVerifiedAt(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	c := open(t, zk.Config{Heartbeat: -1}, s)
	first := c.VerifiedAt()
	if first.IsZero() {
		t.Fatal("zero after Ready")
	}
	for range 10 {
		if _, err := c.Exists(testContext(t), "/"); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.VerifiedAt(); got != first {
		t.Errorf("a read moved it from %v to %v", first, got)
	}
	before := time.Now()
	issued := make(chan time.Time, 1)
	done := make(chan error)
	c.SyncAsync("/", func(err error) { done <- err })
	issued <- time.Now()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := c.VerifiedAt(); got.Before(before) || got.After(<-issued) {
		t.Errorf("verified at %v, the sync was issued after %v", got, before)
	}

	beating := open(t, zk.Config{Heartbeat: 5 * time.Millisecond}, s)
	for range 5 {
		at := beating.VerifiedAt()
		eventually(t, "the heartbeat moves it", func() bool { return beating.VerifiedAt().After(at) })
	}
}

// In an ensemble the session moves with the client to another server, and its watches
// with it.
func TestSessionMoves(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	e := zktest.StartEnsemble(t, 3)
	var proxies []*toxiproxy.Proxy
	cfg := zk.Config{SessionTimeout: 30 * time.Second}
	for _, s := range e.Servers {
		p := through(t, s)
		proxies, cfg.Servers = append(proxies, p), append(cfg.Servers, p.Listen)
	}
	var rec recorder
	c := open(t, rec.into(cfg))
	create(t, c, "/a", nil)
	if _, _, err := c.GetW(ctx, "/a"); err != nil {
		t.Fatal(err)
	}
	id := c.SessionID()
	// server waits until one server has the session and is not the last one.
	server := func(last int) (at int) {
		t.Helper()
		eventually(t, fmt.Sprintf("the session is not at server %d", last), func() bool {
			for i, s := range e.Servers {
				text, err := s.FourLetter("cons")
				if i != last && err == nil && strings.Contains(text, fmt.Sprintf("sid=0x%x", id)) && c.State() == zk.Ready {
					at = i
					return true
				}
			}
			return false
		})
		return at
	}
	at := server(-1)
	for range 5 {
		proxies[at].Stop()
		next := server(at)
		if err := proxies[at].Start(); err != nil {
			t.Fatal(err)
		}
		at = next
	}
	set(t, c, "/a", "x")
	eventually(t, "the watch has moved, too", func() bool { return len(rec.fired()) == 1 })
	if strings.Contains(rec.states(), "expired") {
		t.Errorf("states: %s", rec.states())
	}

	// A killed leader is a short cut, for the same session.
	leader, err := e.Leader()
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Followers()) != 2 {
		t.Errorf("%d followers", len(e.Followers()))
	}
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others go on", func() bool {
		_, err := c.Set(ctx, "/a", []byte("y"), zk.AnyVersion)
		return err == nil
	})
	if c.SessionID() != id {
		t.Error("it is another session")
	}
}

// A server that accepts connections and says nothing must not stop Close.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// The server can have accepted before Open's goroutine has its handle, and until
	// then requests fail at once, or what stands for that on a busy machine.
	for try := 0; ; try++ {
		switch err := askSilentServer(t, l); {
		case errors.Is(err, zk.ErrClosed):
			nothingLeft(t)
			return
		case !errors.Is(err, zk.ErrConnectionLoss) || try == 20:
			t.Fatalf("Get: %v", err)
		}
	}
}

// askSilentServer returns what becomes of a request that is under way when the client
// is closed.
func askSilentServer(t *testing.T, l net.Listener) error {
	t.Helper()
	c, err := zk.Open(zk.Config{Servers: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	done := make(chan error, 1)
	get := func() { c.GetAsync("/", true, func(_ []byte, _ zk.Stat, err error) { done <- err }) }
	get()
	for waiting := false; !waiting; {
		select {
		case err := <-done:
			if !errors.Is(err, zk.ErrConnectionLoss) {
				t.Fatal(err)
			}
			get()
		case <-time.After(100 * time.Millisecond):
			waiting = true
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return <-done
}
