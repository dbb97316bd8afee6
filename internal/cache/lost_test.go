package cache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// TestServersRefuse: ZooKeeper comes back without its last transactions, or without
// any, and refuses the cache's session, which has seen them. The cache serves what it
// holds as STALE, and follows by itself.
func TestServersRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		empty bool
		more  int // transactions between the backup and the loss, beside the first six
	}{
		{"emptied", true, 60},
		{"restored from a backup", false, 60},
		{"15 transactions short", false, 10}, // written anew while it is found out
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.shop("42", "ash1")
			c := w.open(Config{ZooKeeper: zk.Config{SessionTimeout: 30 * time.Second, LostAfter: 3 * time.Second}})
			w.expect("42", "ash1", discovery.Hit)
			w.expect("43", "absent", discovery.Hit)
			backup := ""
			if !tt.empty {
				backup = filepath.Join(t.TempDir(), "backup")
				w.must(w.server.Backup(backup))
			}
			w.shop("42", "ash2")
			w.shop("43", "ash2")
			for i := range tt.more + 1 {
				w.datacenter("ash1", "us-east1", 100+i)
			}
			w.datacenter("lost", "us-east1", 1)
			w.expect("42", "ash2", discovery.Hit)
			w.expect("43", "ash2", discovery.Hit)
			was, _, err := c.Topology(w.soon(), discovery.ReadOptions{Fresh: true})
			w.must(err)

			old := w.zk
			old.Close() // it would be refused as well
			w.must(w.server.Restore(backup))
			w.zk = w.client(zk.Config{Servers: []string{w.server.Addr()}})
			want42, want43 := "ash1", "absent"
			if tt.empty {
				w.directories()
				w.datacenter("ash1", "us-east1", 7)
				want42 = "ash3"
				w.shop("42", want42)
			}
			followed := false
			w.eventually(func() string {
				got, meta := w.ask("42")
				switch {
				case got == want42 && meta.Cache == discovery.Hit:
					return ""
				case got == want42:
					followed = true
				case tt.empty && got == "absent" && !followed:
					// So it was, until the shop was written.
				case got != "ash2" || meta.Cache != discovery.Stale:
					t.Errorf("42 is %s (%v)", got, meta.Cache)
				case followed:
					t.Error("it goes back to what is lost")
				}
				return fmt.Sprintf("42 is %s (%v); %v", got, meta.Cache, c.Refused())
			})
			w.expect("43", want43, discovery.Hit)
			w.eventually(func() string {
				topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
				w.must(err)
				if d, _ := topology.Datacenter("ash1"); d.Assigned >= 100 || meta.Cache != discovery.Hit {
					return fmt.Sprintf("the topology has %+v (%v)", d, meta.Cache)
				}
				w.must(w.zk.Sync(w.soon(), "/"))
				if now := w.zk.Zxid(); now != 0 && meta.Zxid > now {
					t.Errorf("the topology is of %#x, and ZooKeeper has come to %#x", meta.Zxid, now)
				}
				return ""
			})
			// What is written from now on is followed as ever.
			w.shop("43", "ash1")
			w.expect("43", "ash1", discovery.Hit)
			if err := c.Refused(); err != nil {
				t.Error(err)
			}
			if tt.more < 60 {
				return
			}
			// A client that has seen what is lost is told so.
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, _, err := c.Shop(ctx, "42", discovery.ReadOptions{MinZxid: was.Zxid()}); !errors.Is(err, discovery.ErrZxidNotReached) {
				t.Errorf("a state with a lost transaction in it: %v", err)
			}
		})
	}
}

// TestRootIsGone: ZooKeeper comes back empty, and its servers let every session in. That
// it has nothing says nothing of what was in it.
func TestRootIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	file := filepath.Join(t.TempDir(), "snapshot")
	c := w.open(Config{Snapshot: file, ZooKeeper: zk.Config{SessionTimeout: 30 * time.Second, LostAfter: 3 * time.Second}})
	a := w.answers(0)
	a.expect("shop 42: HIT", "ip 203.0.113.1: listed HIT", "ip 203.0.113.9: free HIT", "datacenters: HIT")
	w.zk.Close() // it would be refused
	w.must(w.server.Restore(""))
	w.zk = w.client(zk.Config{Servers: []string{w.server.Addr()}})
	w.eventually(func() string {
		if p, ok := c.problems.get(layout.Root); !ok || !strings.Contains(p.Error, "does not exist") {
			return fmt.Sprintf("problems: %+v, refused: %v", c.Problems(), c.Refused())
		}
		return ""
	})
	stale := []string{"shop 42: STALE", "shop 99: 503", "ip 203.0.113.1: listed STALE", "ip 203.0.113.9: free STALE", "datacenters: STALE"}
	a.expect(stale...)
	if _, _, err := a.route("shop 99", discovery.ReadOptions{}); !errors.Is(err, ErrNoRoot) {
		t.Errorf("what was never asked for: %v", err)
	}
	for _, path := range []string{"shop 42", "datacenters", "ip 203.0.113.1"} {
		if got, _, err := a.route(path, discovery.ReadOptions{Fresh: true}); got != "503" {
			t.Errorf("%s, asked for afresh, is %s, %v", path, got, err)
		}
	}
	a.expect(stale...)

	// It is filled again, from the root on.
	w.directories()
	w.put(layout.Region("us-east1"), `{"open":true}`)
	w.datacenter("ash2", "us-east1", 5)
	w.shop("99", "ash2")
	a.expect("shop 99: HIT", "shop 42: 404", "datacenters: HIT", "datacenter ash1: 404", "ip 203.0.113.1: free HIT")
	w.noProblems()
}

// TestRootIsBack: a session that is behind says that there is no root when the others
// have seen it come back. That ends with the next that sees it.
func TestRootIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	c := w.open(Config{})
	a := w.answers(0)
	a.expect("shop 42: HIT", "shop none: 404")
	c.views.root.gone.Store(true)
	a.expect("shop other: 404")
	w.eventually(func() string {
		if got, _, err := a.route("datacenters", discovery.ReadOptions{Fresh: true}); got != "MISS" || len(c.Problems()) > 0 {
			return fmt.Sprintf("%s, %v; problems %+v", got, err, c.Problems())
		}
		return ""
	})
}
