package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// fakeClock is a machine's time.
type fakeClock struct {
	wall   time.Time
	boot   string
	uptime time.Duration
}

func (c *fakeClock) Now() time.Time                { return c.wall }
func (c *fakeClock) Boot() (string, time.Duration) { return c.boot, c.uptime }

func (c *fakeClock) pass(d time.Duration) { c.wall, c.uptime = c.wall.Add(d), c.uptime+d }

// snapshotOf fills a cache, closes it, and returns the file it left.
func (w *world) snapshotOf(clock clock) string {
	w.Helper()
	file := filepath.Join(w.TempDir(), "snapshot")
	w.shop("42", "ash1")
	w.shop("43", "ash2")
	w.put(layout.BadCitizenList("a"), "203.0.113.1\n203.0.113.2\n")
	c := w.open(Config{Snapshot: file, clock: clock})
	for _, name := range []string{"42", "43", "none"} {
		w.ask(name)
	}
	w.expect("43", "ash2", discovery.Hit)
	w.must(c.Close())
	if at, size := c.snapshot.last(); at.IsZero() || size == 0 {
		w.Fatal("no snapshot was written")
	}
	return file
}

// TestSnapshot: magellan starts while ZooKeeper is away, and ZooKeeper comes back
// with newer values.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := &fakeClock{wall: time.Unix(1_800_000_000, 0), boot: "a", uptime: time.Hour}
	file := w.snapshotOf(clock)
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	w.must(w.server.Kill())
	clock.pass(10 * time.Minute)
	c := w.open(Config{Snapshot: file, clock: clock})
	for name, want := range map[string]string{"42": "ash1", "43": "ash2"} {
		meta := w.expect(name, want, discovery.Stale)
		if meta.Age < 10*time.Minute || meta.Age > 10*time.Minute+patience || meta.Zxid == 0 {
			t.Errorf("%s: %+v", name, meta)
		}
	}
	topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
	if err != nil || len(topology.Datacenters()) != 2 || len(topology.Regions()) != 1 || meta.Cache != discovery.Stale || meta.Age < 10*time.Minute {
		t.Errorf("%+v, %+v, %v", topology, meta, err)
	}
	list, meta, err := c.Blocklist(w.soon(), discovery.ReadOptions{})
	if err != nil || listed(list) != 2 || meta.Cache != discovery.Stale {
		t.Errorf("%+v, %v", meta, err)
	}
	if age, ok := c.Age(); !ok || age < 10*time.Minute {
		t.Errorf("age %v, %v", age, ok)
	}
	if x, _ := c.Explain(layout.Shop("42")); !x.Held || !x.Restored || x.Watched {
		t.Errorf("%+v", x)
	}
	// What was not held, that there is none included, is not made up.
	for _, name := range []string{"none", "never"} {
		if _, _, err := c.Shop(w.soon(), name, discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := c.Shop(w.soon(), "42", discovery.ReadOptions{Fresh: true}); !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("fresh: %v", err)
	}

	w.must(w.server.Restart())
	w.must(w.zk.WaitReady(w.soon()))
	zxid := w.shop("42", "ash2")
	w.delete(layout.Shop("43"))
	w.datacenter("ash3", "us-east1", 1)
	if meta := w.expect("42", "ash2", discovery.Hit); meta.Zxid != zxid || meta.Age > patience {
		t.Errorf("%+v", meta)
	}
	w.expect("43", "absent", discovery.Hit)
	w.expectDatacenters(3, discovery.Hit)
	if x, _ := c.Explain(layout.Shop("42")); x.Restored || !x.Watched {
		t.Errorf("%+v", x)
	}
}

// TestSnapshotForLess: a cache that was given less memory takes what was used
// most, and all children of directories.
func TestSnapshotForLess(t *testing.T) {
	t.Parallel()
	const all, room = 60, 20
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "snapshot")
	c := w.open(Config{Snapshot: file})
	for i := range all {
		w.shop(strconv.Itoa(100+i), "ash1")
	}
	for i := range all {
		w.ask(strconv.Itoa(100 + i))
	}
	w.eventually(func() string { // used most is what was asked for in most seconds
		for i := range room / 2 {
			w.ask(strconv.Itoa(100 + i))
		}
		if x, _ := c.Explain(layout.Shop("100")); x.Heat < 3 {
			return fmt.Sprintf("heat %d", x.Heat)
		}
		return ""
	})
	w.must(c.Close())
	w.must(w.server.Kill())

	c = w.open(Config{Snapshot: file, MaxBytes: room * (entryBytes + 3*8)})
	w.expectDatacenters(2, discovery.Stale)
	for i := range room / 2 {
		w.expect(strconv.Itoa(100+i), "ash1", discovery.Stale)
	}
	if n, _ := c.index.len(); n > room {
		t.Errorf("%d shops in room for %d", n, room)
	}
}

// TestSnapshotIsNotServedBesideZooKeeper: what has changed since is never seen as
// it was, if ZooKeeper is there.
func TestSnapshotIsNotServedBesideZooKeeper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.snapshotOf(systemClock{})
	w.shop("42", "ash2")
	w.delete(layout.Shop("43"))
	w.delete(layout.BadCitizenList("a"))
	w.datacenter("ash1", "us-east1", 500)
	c := w.open(Config{Snapshot: file})
	for range 50 {
		topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != 500 {
			t.Fatalf("ash1 is %+v", d)
		}
	}
	for range 50 {
		if got, meta := w.ask("42"); got != "ash2" {
			t.Fatalf("42 is %s (%v)", got, meta)
		}
		out := make([]shops.ShopRead, 2)
		c.Shops(w.soon(), []string{"42", "43"}, discovery.ReadOptions{}, out)
		if out[0].Value.Datacenter != "ash2" || !errors.Is(out[1].Err, discovery.ErrNotFound) {
			t.Fatalf("%+v", out)
		}
	}
}

// TestSnapshotOfAnotherEnsemble: its values are newer by their zxids, and none of
// them has ever been true here.
func TestSnapshotOfAnotherEnsemble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 100 { // zxids rise
		w.datacenter(fmt.Sprint("other", i%5), "us-west1", i)
	}
	file := w.snapshotOf(systemClock{})
	here := newWorld(t)
	here.shop("42", "ash2")
	c := here.open(Config{Snapshot: file, ShrinkGuard: DefaultShrinkGuard})
	here.expectDatacenters(2, discovery.Hit)
	here.expect("42", "ash2", discovery.Hit)
	here.expect("43", "absent", discovery.Hit)
	if c.guarded() != 0 || len(c.Problems()) != 0 {
		t.Errorf("%+v", c.Problems())
	}
}

// TestGuardAfterARestart: what was lost while magellan was down is a loss, too.
func TestGuardAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 4 {
		w.datacenter(fmt.Sprint("lost", i), "us-east1", 1)
	}
	file := w.snapshotOf(systemClock{})
	for i := range 4 {
		w.delete(layout.Datacenter(fmt.Sprint("lost", i)))
	}
	for range 2 { // and the next restart does not forget it
		c := w.open(Config{Snapshot: file, ShrinkGuard: DefaultShrinkGuard})
		w.expectDatacenters(6, discovery.Stale)
		if c.guarded() != 1 {
			t.Errorf("%d held", c.guarded())
		}
		if x, ok := c.Explain(layout.DatacentersDir()); !ok || x.Restored || !x.HeldBack {
			t.Errorf("%+v", x)
		}
		w.must(c.Close())
	}
}

// TestSnapshotThatIsNone: whatever the file is, the start is a cold one.
func TestSnapshotThatIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := &fakeClock{wall: time.Unix(1_800_000_000, 0), boot: "a", uptime: time.Hour}
	good, err := os.ReadFile(w.snapshotOf(clock))
	w.must(err)
	dir := t.TempDir()
	try := func(name string, cfg Config, make func(file string) error) {
		t.Helper()
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		w.must(make(file))
		p := &snapshotter{}
		if cfg.clock == nil {
			cfg.clock = clock
		}
		if cfg.Root == "" {
			cfg.Root = layout.Root
		}
		cfg.Snapshot, cfg.MaxBytes = file, max(cfg.MaxBytes, 1<<20)
		p.open(&Cache{cfg: cfg, log: quiet})
		if p.restored() {
			t.Errorf("%s: taken for a snapshot", name)
		}
	}
	content := func(b []byte) func(string) error {
		return func(file string) error { return os.WriteFile(file, b, 0o600) }
	}
	for n := range good {
		try("truncated", Config{}, content(good[:n]))
		flipped := bytes.Clone(good)
		flipped[n] ^= 0x40
		try("flipped", Config{}, content(flipped))
	}
	try("longer", Config{}, content(append(bytes.Clone(good), 0)))
	try("another root", Config{Root: "/elsewhere"}, content(good))
	try("a directory", Config{}, func(file string) error { return os.Mkdir(file, 0o700) })
	try("a pipe", Config{}, func(file string) error { return syscall.Mkfifo(file, 0o600) })
	try("too long", Config{}, func(file string) error {
		w.must(os.WriteFile(file, good, 0o600))
		return os.Truncate(file, maxSnapshotSize+1)
	})
	late := *clock
	late.pass(time.Hour)
	try("too old", Config{MaxStale: time.Hour - time.Second, clock: &late}, content(good))
	set := fakeClock{wall: clock.wall.Add(-time.Hour), boot: "b", uptime: time.Minute}
	try("from the future", Config{clock: &set}, content(good))
	p := &snapshotter{}
	file := filepath.Join(dir, "good")
	w.must(os.WriteFile(file, good, 0o600))
	p.open(&Cache{cfg: Config{Snapshot: file, Root: layout.Root, MaxBytes: 1 << 20, clock: clock, MaxStale: time.Hour}, log: quiet})
	if !p.restored() {
		t.Error("the good one is not taken, so the others prove nothing")
	}
	p.file.Close()
}

func TestElapsed(t *testing.T) {
	h := snapshotHeader{Written: time.Unix(1000, 0).UnixNano(), Boot: "a", Uptime: 100 * time.Second}
	for _, tt := range []struct {
		name   string
		wall   int64
		boot   string
		uptime time.Duration
		want   time.Duration
	}{
		{"both agree", 1060, "a", 160 * time.Second, 60 * time.Second},
		{"set back", 900, "a", 160 * time.Second, 60 * time.Second},
		{"set forward", 5000, "a", 160 * time.Second, 4000 * time.Second},
		{"another run", 1060, "b", 5 * time.Second, 60 * time.Second},
		{"another run, set back a little", 1010, "b", 50 * time.Second, 50 * time.Second},
		{"no names of runs", 1060, "", 0, 60 * time.Second},
		{"another run, set back a lot", 900, "b", 5 * time.Second, -1},
		{"no names of runs, set back", 900, "", 0, -1},
	} {
		got, err := elapsed(h, &fakeClock{time.Unix(tt.wall, 0), tt.boot, tt.uptime})
		if err != nil {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%s: %v (%v), want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestSnapshotEndsOutages: a snapshot is not written while there is nothing new,
// so that an old one is not made to look like a new one.
func TestSnapshotEndsOutages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.snapshotOf(systemClock{})
	before, err := os.ReadFile(file)
	w.must(err)
	w.must(w.server.Kill())
	c := w.open(Config{Snapshot: file, SnapshotInterval: 10 * time.Millisecond})
	w.expect("42", "ash1", discovery.Stale)
	w.must(c.Close())
	after, err := os.ReadFile(file)
	w.must(err)
	if !bytes.Equal(before, after) {
		t.Error("the snapshot was written without having heard of ZooKeeper")
	}
	w.must(w.server.Restart())
	c = w.open(Config{Snapshot: file, SnapshotInterval: 10 * time.Millisecond})
	w.eventually(func() string {
		if at, _ := c.snapshot.last(); at.IsZero() {
			return "no snapshot in time"
		}
		return ""
	})
	// A directory that cannot be written to is a warning.
	w.must(os.RemoveAll(filepath.Dir(file)))
	w.eventually(func() string {
		if _, err := c.snapshot.replace(file); err == nil {
			return "written to nowhere"
		}
		return ""
	})
}

// TestSnapshotWriters: two processes are given the same file, by a rolling restart
// say. What is there is always the whole snapshot of one of them.
func TestSnapshotWriters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.snapshotOf(systemClock{})
	one, two := w.open(Config{}), w.open(Config{})
	for i := range 200 {
		w.ask(fmt.Sprint("shop-", i))
	}
	var writers sync.WaitGroup
	for _, c := range []*mirror{one, two} {
		writers.Go(func() {
			for written := 0; written < 50 && !t.Failed(); {
				if _, err := c.snapshot.replace(file); err == nil {
					written++
				} else if !errors.Is(err, errSnapshotBusy) {
					t.Errorf("writing: %v", err)
				}
			}
		})
	}
	defer writers.Wait()
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for checked := false; !checked; {
		select {
		case <-done:
			checked = true // once more
		default:
		}
		b, err := os.ReadFile(file)
		w.must(err)
		if err := verifySnapshot(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Error(err)
		}
	}
	if left, err := filepath.Glob(file + "?*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSnapshotOfOddNames: a list may have a name that no reader of a snapshot
// takes. It must not cost the rest.
func TestSnapshotOfOddNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(layout.BadCitizenList(strings.Repeat("long", 500)), "203.0.113.9\n")
	file := w.snapshotOf(systemClock{})
	w.must(w.server.Kill())
	w.open(Config{Snapshot: file})
	w.expect("42", "ash1", discovery.Stale)
	w.expectDatacenters(2, discovery.Stale)
}

// TestSnapshotThatBreaksOff: its checksum is right, and its datacenters make no
// sense from the second on. Then there is no snapshot.
func TestSnapshotThatBreaksOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "snapshot")
	var b bytes.Buffer
	s := newSnapshotWriter(&b, snapshotHeader{Root: layout.Root, Written: time.Now().UnixNano()})
	s.record(&snapshotRecord{kind: snapshotMember, path: layout.Datacenter("ash1"), zxid: 7, data: []byte(`{"region":"a","capacity":1,"assigned":0,"open":true}`)})
	s.record(&snapshotRecord{kind: snapshotMember, path: layout.Datacenter("ash2"), zxid: 0})
	s.record(&snapshotRecord{kind: snapshotEntry, path: layout.Shop("42"), zxid: 8, data: []byte(`{"datacenter":"ash1"}`)})
	w := &world{T: t}
	w.must(s.end())
	w.must(os.WriteFile(file, b.Bytes(), 0o600))
	c := w.openUnready(Config{Snapshot: file, ZooKeeper: zk.Config{Servers: []string{"127.0.0.1:1"}}})
	if entries, _ := c.index.len(); c.snapshot.restored() || entries != 0 || len(c.sets()[1].nodes) != 0 {
		t.Errorf("restored: %v, %d shops, datacenters %+v", c.snapshot.restored(), entries, c.sets()[1].nodes)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*grace)
	defer cancel()
	if err := c.WaitReady(ctx); err == nil {
		t.Error("ready with nothing to serve")
	}
}

// withChecksum makes a file of what stands before the checksum.
func withChecksum(body []byte) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(body), xxhash.Sum64(body))
}

// FuzzSnapshot: a file with a right checksum may still hold anything.
func FuzzSnapshot(f *testing.F) {
	var b bytes.Buffer
	s := newSnapshotWriter(&b, snapshotHeader{Root: "/magellan", Written: 1})
	s.record(&snapshotRecord{kind: snapshotDirectory, path: "/magellan/datacenters", zxid: 7})
	s.record(&snapshotRecord{kind: snapshotMember, path: "/magellan/datacenters/ash1", zxid: 7, age: time.Second, data: []byte(`{"region":"a"}`)})
	s.record(&snapshotRecord{kind: snapshotAccepted, path: "/magellan/datacenters/ash2", zxid: 7})
	s.record(&snapshotRecord{kind: snapshotEntry, path: "/magellan/shops/42", zxid: 8, age: time.Minute, data: []byte(`{"datacenter":"ash1"}`), heat: 3})
	if err := s.end(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[:b.Len()-8])
	f.Add([]byte(snapshotMagic))
	f.Add([]byte(snapshotMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f{}"))
	f.Add([]byte(snapshotMagic + "\x02{}\x03\x01\x0142\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		whole := withChecksum(body)
		if err := verifySnapshot(bytes.NewReader(whole), int64(len(whole))); err != nil && len(whole) >= len(snapshotMagic)+8 {
			t.Fatal(err)
		}
		r, _, err := newSnapshotReader(bytes.NewReader(body))
		if err != nil {
			return
		}
		for n := 0; ; n++ {
			record, err := r.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				if !errors.Is(err, errBadSnapshot) {
					t.Errorf("%v", err)
				}
				return
			}
			if record.kind != snapshotDirectory && record.zxid <= 0 || record.zxid < 0 || record.age < 0 || record.age > maxSnapshotAge ||
				len(record.path) > maxSnapshotPath || n > len(body) {
				t.Fatalf("%+v", record)
			}
		}
	})
}

// stuck is a disk that hangs.
type stuck struct{ begun, on chan struct{} }

func (s *stuck) Write(b []byte) (int, error) {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	<-s.on
	return len(b), nil
}

// TestSnapshotOnADiskThatHangs: changes go on being learnt of.
func TestSnapshotOnADiskThatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := layout.BadCitizenList("a")
	w.put(path, "203.0.113.1 reason=\""+strings.Repeat("x", 200_000)+"\"\n") // more than is buffered
	c := w.open(Config{Snapshot: filepath.Join(t.TempDir(), "snapshot")})
	disk := &stuck{make(chan struct{}, 1), make(chan struct{})}
	written := make(chan error, 1)
	go func() {
		_, err := c.snapshot.writeTo(disk)
		written <- err
	}()
	<-disk.begun
	w.put(path, "203.0.113.1\n203.0.113.2\n")
	w.eventually(func() string {
		list, meta, err := c.Blocklist(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if n := listed(list); n != 2 || meta.Cache != discovery.Hit {
			return fmt.Sprintf("%d entries (%v, %v old)", n, meta.Cache, meta.Age)
		}
		return ""
	})
	close(disk.on)
	w.must(<-written)
}

// TestCloseOnADiskThatHangs: the end does not wait for it, whichever write is stuck,
// and what was written before stays.
func TestCloseOnADiskThatHangs(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		w := newWorld(t)
		file := w.snapshotOf(systemClock{})
		before, err := os.ReadFile(file)
		w.must(err)
		c := w.open(Config{Snapshot: file, SnapshotInterval: time.Hour})
		begun, on := make(chan struct{}), make(chan struct{})
		var once sync.Once
		c.snapshot.patience = 10 * time.Millisecond
		c.snapshot.sync = func(*os.File) error {
			once.Do(func() { close(begun) })
			<-on
			return errors.New("the disk is gone")
		}
		w.eventually(func() string {
			if c.views.session.verified() <= 1 {
				return "there is nothing to write yet"
			}
			return ""
		})
		var other sync.WaitGroup
		if !own { // run's
			other.Go(c.snapshot.write)
			<-begun
		}
		w.must(c.Close())
		<-begun
		if c.sessions.list()[0].live.Load() {
			t.Error("the session lives on")
		}
		after, err := os.ReadFile(file)
		w.must(err)
		if !bytes.Equal(before, after) {
			t.Error("the file before is gone")
		}
		close(on)
		other.Wait()
	}
}
