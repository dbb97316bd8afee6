package cache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// TestServersRefuse: ZooKeeper comes back without its last transactions, or without
// any, and refuses the cache's session, which has seen them. The cache serves what it
// holds as STALE, and follows by itself.
func TestServersRefuse(t *testing.T) {
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
				for _, dir := range []string{layout.Root, layout.RegionsDir(), layout.DatacentersDir(), layout.BadCitizensDir(), layout.ShopsDir()} {
					w.put(dir, "")
				}
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
