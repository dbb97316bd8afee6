package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// patience is how long a test waits for what must happen; it says nothing about
// how quick it is.
const patience = 2 * time.Minute

// TestMain finds out whether a goroutine is left of all the caches. Most tests wait, for
// a session to expire or a server to start, so that many run side by side.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("magellan/internal/childproc.Start.func1"))
}

var layout = shops.Layout{Root: "/magellan", ShopBuckets: 4096}

// world is a server, a client that writes to it, and the cache under test.
type world struct {
	*testing.T
	server *zktest.Server
	zk     *zk.Client
	cache  *mirror
}

// mirror is a cache of magellan's own layout, and the reader of it.
type mirror struct {
	*Cache
	shops.Mirrors
	homes               *kind
	topology, blocklist *view
	// building, unless nil, is called while a topology is being built.
	building *atomic.Pointer[func()]
}

// newMirror makes one that is not started.
func newMirror(cfg Config) (*mirror, error) { return mirrorOf(cfg, layout) }

func mirrorOf(cfg Config, layout shops.Layout) (*mirror, error) {
	cfg.Root = layout.Root
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	var building atomic.Pointer[func()]
	described := layout.Topologies()
	build := described.Build
	described.Build = func(m discovery.Moment, was *shops.Topology) *shops.Topology {
		if f := building.Load(); f != nil {
			(*f)()
		}
		return build(m, was)
	}
	homes := AddKeyed(c, layout.Homes())
	topologies, blocklists := AddView(c, described), AddView(c, layout.Blocklists())
	return &mirror{
		Cache:   c,
		Mirrors: shops.Mirrors{Homes: homes, Topologies: topologies, Blocklists: blocklists, Watcher: c},
		homes:   homes.k, topology: topologies.v, blocklist: blocklists.v, building: &building,
	}, nil
}

// openMirror makes and starts one.
func openMirror(cfg Config) (*mirror, error) {
	m, err := newMirror(cfg)
	if err == nil {
		err = m.Start()
	}
	return m, err
}

func (m *mirror) hash(name string) uint64 { return m.homes.hash(name) }

func (m *mirror) invalidate(s *session, name string) { m.homes.invalidate(s, name) }

// sets are those of the regions, the datacenters and the lists.
func (m *mirror) sets() []*set { return slices.Concat(m.topology.sets, m.blocklist.sets) }

// newWorld starts a server that holds the root and its directories.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, server: zktest.Start(t)}
	w.zk = w.client(zk.Config{Servers: []string{w.server.Addr()}})
	w.directories()
	w.put(layout.Region("us-east1"), `{"open":true}`)
	w.datacenter("ash1", "us-east1", 10)
	w.datacenter("ash2", "us-east1", 20)
	return w
}

// directories makes the root and what is in it.
func (w *world) directories() {
	w.Helper()
	for _, dir := range []string{layout.Root, layout.RegionsDir(), layout.DatacentersDir(), layout.BadCitizensDir(), layout.ShopsDir()} {
		w.put(dir, "")
	}
}

func (w *world) client(cfg zk.Config) *zk.Client {
	w.Helper()
	cfg.Logger, cfg.SessionTimeout, cfg.LostAfter = quiet, time.Minute, -1
	client, err := zk.Open(cfg)
	w.must(err)
	w.Cleanup(func() { client.Close() })
	w.must(client.WaitReady(w.soon()))
	return client
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// open opens the cache under test and waits until it is ready.
func (w *world) open(cfg Config) *mirror {
	w.Helper()
	c := w.openUnready(cfg)
	w.must(c.WaitReady(w.soon()))
	return c
}

func (w *world) openUnready(cfg Config) *mirror {
	w.Helper()
	if cfg.ZooKeeper.Servers == nil {
		cfg.ZooKeeper.Servers = []string{w.server.Addr()}
	}
	if cfg.ZooKeeper.SessionTimeout == 0 { // a machine that stands still for seconds is no outage
		cfg.ZooKeeper.SessionTimeout = time.Minute
	}
	cfg.Logger, cfg.ZooKeeper.Logger = quiet, quiet
	c, err := openMirror(cfg)
	w.must(err)
	w.cache = c
	w.Cleanup(func() { w.must(c.Close()) })
	return c
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// soon is a context for what must happen within patience.
func (w *world) soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.Cleanup(cancel)
	return ctx
}

// put creates or sets a znode and returns the transaction that did.
func (w *world) put(path, data string) (zxid int64) {
	w.Helper()
	w.write(func(ctx context.Context) error {
		st, err := w.zk.Set(ctx, path, []byte(data), zk.AnyVersion)
		for errors.Is(err, zk.ErrNoNode) {
			if _, _, err = w.zk.Create(ctx, path, []byte(data), zk.CreateOptions{}); errors.Is(err, zk.ErrNoNode) {
				w.put(path[:strings.LastIndexByte(path, '/')], "")
			}
			st, err = w.zk.Set(ctx, path, []byte(data), zk.AnyVersion)
		}
		zxid = st.Mzxid
		return err
	})
	return zxid
}

func (w *world) delete(path string) {
	w.Helper()
	tries := 0
	w.write(func(ctx context.Context) error {
		err := w.zk.Delete(ctx, path, zk.AnyVersion)
		if tries++; tries > 1 && errors.Is(err, zk.ErrNoNode) {
			return nil // the one before was carried out, only its answer was lost
		}
		return err
	})
}

// write tries again what was under way when the connection broke: a server that
// was just restarted may take its time, and the writer's patience is no matter
// of the tests.
func (w *world) write(f func(context.Context) error) {
	w.Helper()
	ctx := w.soon()
	for {
		err := f(ctx)
		if !errors.Is(err, zk.ErrConnectionLoss) && !errors.Is(err, zk.ErrOperationTimeout) && !errors.Is(err, zk.ErrSessionExpired) {
			w.must(err)
			return
		}
		if w.zk.WaitReady(ctx) != nil {
			w.Fatal(err)
		}
	}
}

// removeWatch removes the watch of a session on a znode's data.
func (w *world) removeWatch(s *session, path string) {
	w.Helper()
	removed := make(chan error, 1)
	s.client.RemoveWatchAsync(path, zk.WatchData, func(err error) { removed <- err })
	w.must(<-removed)
}

// listed is how many entries of a blocklist have not expired.
func listed(list *shops.Blocklist) (n int) {
	for range list.Entries(time.Now()) {
		n++
	}
	return n
}

// hidden lets everybody do anything but read.
var hidden = []zk.ACL{{Perms: zk.PermAll &^ zk.PermRead, Scheme: "world", ID: "anyone"}}

// hide takes the permission to read a znode from everybody.
func (w *world) hide(path string) {
	w.Helper()
	w.must(w.zk.SetACL(w.soon(), path, hidden, -1))
}

func (w *world) show(path string) {
	w.Helper()
	w.must(w.zk.SetACL(w.soon(), path, zk.OpenACL(), -1))
}

// noProblems wants none to be left.
func (w *world) noProblems() {
	w.Helper()
	if p := w.cache.Problems(); len(p) > 0 {
		w.Errorf("problems left: %+v", p)
	}
}

func (w *world) shop(name, datacenter string) int64 {
	w.Helper()
	return w.put(layout.Shop(name), `{"datacenter":"`+datacenter+`"}`)
}

func (w *world) datacenter(name, region string, assigned int) int64 {
	w.Helper()
	return w.put(layout.Datacenter(name), fmt.Sprintf(`{"region":%q,"capacity":1000,"assigned":%d,"open":true}`, region, assigned))
}

// ask reads a shop: its datacenter, or the error as words.
func (w *world) ask(name string) (string, discovery.Meta) {
	return w.askWith(name, discovery.ReadOptions{})
}

func (w *world) askWith(name string, opt discovery.ReadOptions) (string, discovery.Meta) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	shop, meta, err := w.cache.Shop(ctx, name, opt)
	switch {
	case errors.Is(err, discovery.ErrNotFound):
		return "absent", meta
	case errors.Is(err, discovery.ErrBadData):
		return "unreadable", meta
	case err != nil:
		return err.Error(), meta
	}
	return shop.Datacenter, meta
}

// expect asks until the answer is want under the given status.
func (w *world) expect(name, want string, status discovery.CacheStatus) discovery.Meta {
	w.Helper()
	var meta discovery.Meta
	w.eventually(func() string {
		var got string
		if got, meta = w.ask(name); got != want || meta.Cache != status {
			return fmt.Sprintf("shop %s is %s (%v), want %s (%v)", name, got, meta.Cache, want, status)
		}
		return ""
	})
	return meta
}

// eventually polls until f has no complaint.
func (w *world) eventually(f func() string) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		complaint := f()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal(complaint)
		}
	}
}

// watches asks the server how many watches it holds.
func (w *world) watches() int {
	w.Helper()
	out, err := w.server.FourLetter("wchs")
	w.must(err)
	for line := range strings.Lines(out) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "Total watches:"); ok {
			count, err := strconv.Atoi(n)
			w.must(err)
			return count
		}
	}
	w.Fatalf("wchs says %q", out)
	return 0
}
