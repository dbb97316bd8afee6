package zk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// Whatever is going on, Close ends all of it, and every call is answered once.
func TestCloseLeavesNothing(t *testing.T) {
	nothingLeft(t)
	open(t, zk.Config{}, zktest.Start(t)).Close() // libzookeeper's log and Go's poller open their files
	for name, disturb := range map[string]func(t *testing.T, s *zktest.Server, c *zk.Client) error{
		"idle":    func(*testing.T, *zktest.Server, *zk.Client) error { return nil },
		"paused":  func(_ *testing.T, s *zktest.Server, _ *zk.Client) error { return s.Pause() },
		"killed":  func(_ *testing.T, s *zktest.Server, _ *zk.Client) error { return s.Kill() },
		"expired": func(_ *testing.T, s *zktest.Server, c *zk.Client) error { return s.Expire(c.SessionCredentials()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := zktest.Start(t)
			files := openFiles(t)
			c, err := zk.Open(zk.Config{Servers: []string{s.Addr()}})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WaitReady(testContext(t)); err != nil {
				t.Fatal(err)
			}
			create(t, c, "/a", []byte("x"))
			if err := disturb(t, s, c); err != nil {
				t.Fatal(err)
			}
			const n = 1000
			var answered [n]atomic.Int32
			var wrong atomic.Pointer[error]
			answer := func(i int, err error) {
				answered[i].Add(1)
				if err != nil && !errors.Is(err, zk.ErrClosed) && !errors.Is(err, zk.ErrConnectionLoss) && !errors.Is(err, zk.ErrSessionExpired) {
					wrong.Store(&err)
				}
			}
			var multis sync.WaitGroup
			for i := range n {
				switch i % 5 {
				case 0:
					c.GetAsync("/a", true, func(_ []byte, _ zk.Stat, err error) { answer(i, err) })
				case 1:
					c.ChildrenAsync("/a", true, func(_ []string, _ zk.Stat, err error) { answer(i, err) })
				case 2:
					c.SyncAsync("/", func(err error) { answer(i, err) })
				case 3:
					c.ExistsAsync("/a", true, func(_ zk.Stat, err error) { answer(i, err) })
				case 4:
					multis.Go(func() {
						_, err := c.Multi(testContext(t), zk.SetOp("/a", nil, -1), zk.CreateOp("/a/s", nil, zk.CreateOptions{Mode: zk.EphemeralSequential}))
						answer(i, err)
					})
				}
			}
			begun := time.Now()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			t.Logf("Close took %v", time.Since(begun))
			multis.Wait()
			if err := c.Close(); err != nil {
				t.Errorf("again: %v", err)
			}
			for i := range answered {
				if got := answered[i].Load(); got != 1 {
					t.Fatalf("call %d was answered %d times", i, got)
				}
			}
			if err := wrong.Load(); err != nil {
				t.Error(*err)
			}
			if c.State() != zk.Closed {
				t.Errorf("state %v", c.State())
			}
			nothingLeft(t)
			if got := openFiles(t); got > files {
				t.Errorf("%d files open before, %d after", files, got)
			}
			// After Close everything fails at once.
			if _, _, err := c.Get(testContext(t), "/a"); !errors.Is(err, zk.ErrClosed) {
				t.Errorf("Get after Close: %v", err)
			}
			late := make(chan error)
			c.RemoveWatchAsync("/a", zk.WatchAny, func(err error) { late <- err })
			if err := <-late; !errors.Is(err, zk.ErrClosed) {
				t.Errorf("RemoveWatch after Close: %v", err)
			}
			c.GetAsync("no path", false, func(_ []byte, _ zk.Stat, err error) { late <- err })
			if err := <-late; err == nil {
				t.Error("no error")
			}
			if err := c.WaitReady(testContext(t)); !errors.Is(err, zk.ErrClosed) {
				t.Errorf("WaitReady after Close: %v", err)
			}
		})
	}
}

// A client whose handle is closed in the moment in which it has been opened must not
// give its credentials to it: the handle's place may be another client's by then.
func TestCredentialsStayWithTheirClient(t *testing.T) {
	s := zktest.Start(t)
	for range 1000 {
		alice, err := zk.Open(zk.Config{Servers: []string{s.Addr()}, Auth: []zk.Credential{{Scheme: "digest", Data: "alice:secret"}}})
		if err != nil {
			t.Fatal(err)
		}
		var nobody *zk.Client
		hit := alice.DropWhileOpening(func() { nobody = open(t, zk.Config{}, s) })
		if err := alice.Close(); err != nil {
			t.Fatal(err)
		}
		if !hit {
			continue
		}
		syncNow(t, nobody)
		_, _, err = nobody.Create(testContext(t), "/a", nil, zk.CreateOptions{Mode: zk.Ephemeral, ACL: zk.CreatorACL()})
		if !errors.Is(err, zk.ErrInvalidACL) {
			acl, _, err := nobody.GetACL(testContext(t), "/a")
			t.Fatalf("a client without credentials has created a znode of %v (%v)", acl, err)
		}
		return
	}
	t.Fatal("no handle was ever dropped while it was being opened, so nothing was proved")
}

// What a server says of the end of a session, the caller of a request and of a part
// of a multi gets as a code that he can try again at.
func TestAnswersOfDeadSessions(t *testing.T) {
	t.Parallel()
	c := open(t, zk.Config{}, zktest.Start(t))
	for rc, want := range map[zk.Code]zk.Code{
		zk.UnknownSession: zk.ErrSessionExpired, zk.SessionMoved: zk.ErrConnectionLoss, zk.ErrClosed: zk.ErrConnectionLoss,
		zk.ErrNoAuth: zk.ErrNoAuth,
	} {
		if err := c.CompleteVoid(rc); !errors.Is(err, want) {
			t.Errorf("a request that ends with %d: %v, not %v", rc, err, want)
		}
		part, whole := c.CompleteMulti(rc, rc)
		if !errors.Is(part, want) || !errors.Is(whole, want) {
			t.Errorf("a multi that ends with %d: %v and %v, not %v", rc, part, whole, want)
		}
	}
}

// The session's end is told, and nothing after it.
func TestClosedIsTheLastEvent(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{}), s)
	create(t, c, "/a", nil)
	if _, _, err := c.GetW(testContext(t), "/a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := rec.states(); got != "ready 1, closed 1" {
		t.Errorf("states: %s", got)
	}
	if got := rec.fired(); len(got) != 0 {
		t.Errorf("fired: %v", got)
	}
	// The server was told, too: nothing of the session is left there.
	eventually(t, "the session has ended", func() bool { return watches(t, s) == 0 })
}

// Many clients in one process, opened and closed at once, do not get each
// other's answers.
func TestManyClients(t *testing.T) {
	s := zktest.Start(t)
	boss := open(t, zk.Config{}, s)
	const n = 120
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			path := fmt.Sprintf("/c%d", i)
			for round := range 3 {
				var rec recorder
				c, err := zk.Open(rec.into(zk.Config{Servers: []string{s.Addr()}, SessionTimeout: time.Minute}))
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.WaitReady(testContext(t)); err != nil {
					t.Error(err)
				}
				want := fmt.Sprintf("%s round %d", path, round)
				if _, _, err := c.Create(testContext(t), path, []byte(want), zk.CreateOptions{Mode: zk.Ephemeral}); err != nil {
					t.Error(err)
				}
				for range 20 {
					if got, _, err := c.GetW(testContext(t), path); err != nil || string(got) != want {
						t.Errorf("%s: %q, %v", path, got, err)
					}
				}
				if _, err := boss.Set(testContext(t), path, nil, zk.AnyVersion); err != nil {
					t.Error(err)
				}
				if err := c.Sync(testContext(t), "/"); err != nil {
					t.Error(err)
				}
				if got := rec.fired(); len(got) != 1 || got[0].Path != path {
					t.Errorf("%s: fired %v", path, got)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := boss.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

// 64 goroutines do everything at once, while the session expires.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	c := open(t, zk.Config{SessionTimeout: expirable}, s)
	create(t, c, "/r", nil)
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 64 {
		wg.Go(func() {
			path := fmt.Sprintf("/r/n%d", i%16)
			for j := range 60 {
				ctx := testContext(t)
				var err error
				switch (i + j) % 9 {
				case 0:
					_, _, err = c.Create(ctx, path, []byte("x"), zk.CreateOptions{})
				case 1:
					_, err = c.Set(ctx, path, []byte(path), zk.AnyVersion)
				case 2:
					var data []byte
					var st zk.Stat
					if data, st, err = c.GetW(ctx, path); err == nil && len(data) != int(st.DataLength) {
						t.Errorf("%d bytes, the stat says %d", len(data), st.DataLength)
					}
				case 3:
					_, err = c.ExistsW(ctx, path)
				case 4:
					_, _, err = c.ChildrenW(ctx, "/r")
				case 5:
					err = c.Delete(ctx, path, zk.AnyVersion)
				case 6:
					_, err = c.Multi(ctx, zk.CheckOp("/r", 0), zk.SetOp(path, nil, zk.AnyVersion))
				case 7:
					err = c.RemoveWatch(ctx, path, zk.WatchAny)
				case 8:
					err = c.Sync(ctx, "/")
				}
				var e *zk.Error
				if err != nil && !errors.As(err, &e) {
					t.Error(err)
				}
				if done.Add(1)%1000 == 0 {
					if err := s.Expire(c.SessionCredentials()); err != nil {
						t.Log(err) // it was between two sessions
					}
				}
			}
		})
	}
	wg.Wait()
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing in flight but the heartbeat", func() bool { return c.InFlight() <= 1 })
}

// libzookeeper would cut the connection, without a word, if too many requests
// were queued.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var rec recorder
	c := open(t, rec.into(zk.Config{SessionTimeout: time.Minute, Heartbeat: -1}), s)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	const limit, more = 60_000, 1_000
	var ok, refused atomic.Int64
	for range limit + more {
		c.ExistsAsync("/", false, func(_ zk.Stat, err error) {
			switch {
			case err == nil:
				ok.Add(1)
			case errors.Is(err, zk.ErrTooManyRequests):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	eventually(t, "too many are refused", func() bool { return refused.Load() == more })
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all others are answered", func() bool { return ok.Load() == limit })
	if got := rec.states(); got != "ready 1" {
		t.Errorf("states: %s", got)
	}
}

// What libzookeeper has to say goes to the logger, at debug level.
func TestLog(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var out lockedBuffer
	c := open(t, zk.Config{Logger: logTo(&out)}, s)
	quiet := open(t, zk.Config{}, s) // its lines must not end up in the other's log
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cut is logged", func() bool {
		text := out.String()
		return strings.Contains(text, `level=WARN msg="zookeeper: disconnected"`) &&
			strings.Contains(text, "level=DEBUG") && strings.Contains(text, "libzookeeper: ") && strings.Contains(text, s.Addr())
	})
	eventually(t, "both have noticed", func() bool { return c.State() == zk.Disconnected && quiet.State() == zk.Disconnected })
}

// logTo returns a logger that leaves nothing out.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lockedBuffer is a buffer for one writer and one reader.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
