package zk_test

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// doubting is a Config by which a client gives a lost session up soon. Its session
// timeout makes libzookeeper try again each half second.
func doubting(rec *recorder) zk.Config {
	return rec.into(zk.Config{SessionTimeout: 30 * time.Second, LostAfter: 3 * time.Second, Heartbeat: 50 * time.Millisecond})
}

// A server that has lost transactions refuses a session that has seen them, and
// libzookeeper tries for ever. The client opens another session.
func TestLostTransactions(t *testing.T) {
	for name, empty := range map[string]bool{"emptied": true, "restored from a backup": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			s := zktest.Start(t)
			var rec recorder
			cfg := doubting(&rec)
			var log lockedBuffer
			cfg.Logger = logTo(&log)
			c := open(t, cfg, s)
			create(t, c, "/a", []byte("old"))
			backup := ""
			if !empty {
				backup = filepath.Join(t.TempDir(), "backup")
				if err := s.Backup(backup); err != nil {
					t.Fatal(err)
				}
			}
			for range 60 { // more than there are transactions while it is found out
				set(t, c, "/a", "new")
			}
			syncNow(t, c)
			id, seen := c.SessionID(), c.Zxid()
			// It may be over when Restore returns.
			why := make(chan *zk.Refusal, 1)
			go func() {
				var r *zk.Refusal
				for r == nil && c.SessionID() == id && ctx.Err() == nil {
					r = c.Refused()
					time.Sleep(time.Millisecond)
				}
				why <- r
			}()
			if err := s.Restore(backup); err != nil {
				t.Fatal(err)
			}
			end := "disconnected 1, expired 1, ready 2"
			eventually(t, end, func() bool { return strings.HasSuffix(rec.states(), end) })
			if r := <-why; r == nil || (r.Seen < seen || r.Has == 0 || r.Has >= r.Seen) && seen != 0 {
				t.Errorf("it had seen %#x, and was given up because %v", seen, r)
			}
			if r := c.Refused(); r != nil {
				t.Errorf("in a new session: %v", r)
			}
			if data, _, err := c.Get(ctx, "/a"); empty && err == nil || !empty && string(data) != "old" {
				t.Errorf("%q, %v", data, err)
			}
			if at := c.Zxid(); at >= seen && seen != 0 {
				t.Errorf("the new session has come to %#x, the old one had to %#x", at, seen)
			}
			if rec.sum(zk.SessionsRefused) == 0 || rec.sum(zk.SessionsReopened) != 1 || rec.sum(zk.SessionsInDoubt) != 0 {
				t.Errorf("%v refused, %v reopened, %v in doubt", rec.sum(zk.SessionsRefused), rec.sum(zk.SessionsReopened), rec.sum(zk.SessionsInDoubt))
			}
			if text := log.String(); strings.Count(text, "ZooKeeper has lost transactions") != 1 || strings.Count(text, "the session is given up") != 1 {
				t.Errorf("the log:\n%s", text)
			}
		})
	}
}

// A server that has lost transactions and has written as many since takes the session
// back, which it knows from the backup. Of what is lost no watch tells, so the session
// is good for nothing.
func TestLostTransactionsAreOvertaken(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	var rec recorder
	cfg := doubting(&rec)
	cfg.LostAfter = 10 * time.Minute
	c := open(t, cfg, s)
	needZxids(t, c)
	create(t, c, "/a", nil)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(backup); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		set(t, c, "/a", "new")
	}
	syncNow(t, c)
	if err := s.Restore(backup); err != nil {
		t.Fatal(err)
	}
	// The pause between two questions is five seconds here.
	eventually(t, "it is known that transactions are lost", func() bool { return c.Refused() != nil })
	other := open(t, zk.Config{}, s)
	for range 100 {
		set(t, other, "/", "x")
	}
	end := "disconnected 1, expired 1, ready 2"
	eventually(t, end, func() bool { return strings.HasSuffix(rec.states(), end) })
	if rec.sum(zk.SessionsReopened) != 1 {
		t.Errorf("%v reopened", rec.sum(zk.SessionsReopened))
	}
}

// A follower that lags behind refuses the session, too. It is no reason to give the
// session up, even where it is the only server that can be reached.
func TestLaggingFollowerRefuses(t *testing.T) {
	t.Parallel()
	follower, leader, link := laggingEnsemble(t)
	p := through(t, leader)
	var rec recorder
	cfg := doubting(&rec)
	toFollower := through(t, follower)
	toFollower.Stop()
	cfg.Servers = []string{p.Listen, toFollower.Listen}
	c := open(t, cfg)
	create(t, c, "/a", nil)
	other := open(t, zk.Config{}, leader)

	link.stall(t)
	set(t, c, "/a", "the follower does not hear of this")
	syncNow(t, c)
	id := c.SessionID()
	if err := toFollower.Start(); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	refused, begin := rec.sum(zk.SessionsRefused), time.Now()
	eventually(t, "the follower refuses the session for far longer than LostAfter, with answers and without", func() bool {
		return rec.sum(zk.SessionsRefused) >= refused+20 && time.Since(begin) > 5*cfg.LostAfter
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	set(t, other, "/a", "x")
	if got := c.SessionID(); got != id || strings.Contains(rec.states(), "expired") || rec.sum(zk.SessionsReopened) != 0 || c.Refused() != nil {
		t.Errorf("session %#x is now %#x, states %s, %v reopened, %v", id, got, rec.states(), rec.sum(zk.SessionsReopened), c.Refused())
	}

	// Once it has caught up, it takes the session.
	link.resume(t)
	p.Stop()
	if err := c.WaitReady(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the follower has the session", func() bool {
		text, err := follower.FourLetter("cons")
		return err == nil && strings.Contains(text, "sid=0x"+strconv.FormatInt(id, 16))
	})
	if rec.sum(zk.SessionsReopened) != 0 || strings.Contains(rec.states(), "expired") {
		t.Errorf("states %s, %v reopened", rec.states(), rec.sum(zk.SessionsReopened))
	}
}

// link is the way on which a follower hears of transactions.
type link struct{ *toxiproxy.Proxy }

// laggingEnsemble starts three servers of which one follower can be made to lag while
// it goes on serving.
func laggingEnsemble(t *testing.T) (follower, leader *zktest.Server, l link) {
	t.Helper()
	e := zktest.StartEnsemble(t, 3, zktest.WithLines("syncLimit=1000"))
	leader, err := e.Leader()
	if err != nil {
		t.Fatal(err)
	}
	follower = e.Followers()[0]
	host, _, err := net.SplitHostPort(leader.QuorumAddr())
	if err != nil {
		t.Fatal(err)
	}
	l.Proxy = proxyAt(t, host+":0", leader.QuorumAddr())
	_, port, err := net.SplitHostPort(l.Listen)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	e.Reroute(follower, leader, n)
	if err := follower.Restart(); err != nil {
		t.Fatal(err)
	}
	return follower, leader, l
}

func (l link) stall(t *testing.T) {
	t.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		if _, err := l.Toxics.AddToxicJson(toxic(direction, "latency", `"latency": 100000000`)); err != nil {
			t.Fatal(err)
		}
	}
}

func (l link) resume(t *testing.T) {
	t.Helper()
	l.Toxics.ResetToxics(testContext(t))
}
