package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// file is what a znode holds, and folder which children it has: two kinds of the same znodes.
type (
	file   struct{ text string }
	folder struct{ names []string }
)

// cabinet is a cache of both kinds, for the znodes below /magellan/files and the root itself.
type cabinet struct {
	*world
	c       *Cache
	files   *Keyed[file]
	folders *Keyed[folder]
}

func (w *world) cabinet(cfg Config) *cabinet {
	w.Helper()
	cfg.Root = layout.Root
	cfg.ZooKeeper.Servers, cfg.ZooKeeper.SessionTimeout = []string{w.server.Addr()}, patience/2
	cfg.Logger, cfg.ZooKeeper.Logger = quiet, quiet
	c, err := New(cfg)
	w.must(err)
	path := func(name string) string { return name }
	name := func(path string) (string, bool) {
		return path, path == layout.Root || strings.HasPrefix(path, "/magellan/files")
	}
	s := &cabinet{world: w, c: c}
	s.files = AddKeyed(c, discovery.Keyed[file]{
		Kind: "file", Dir: "/magellan/files", Path: path, Name: name, Validate: discovery.ValidatePath, Revocable: true,
		Decode: func(_ string, data []byte, _ discovery.Stat) (*file, error) { return &file{string(data)}, nil },
		Size:   func(f *file) int { return len(f.text) },
	})
	s.folders = AddKeyed(c, discovery.Keyed[folder]{
		Kind: "folder", Dir: "/magellan/files", Path: path, Name: name, Validate: discovery.ValidatePath, Revocable: true, Children: true,
		Decode: func(_ string, data []byte, st discovery.Stat) (*folder, error) {
			names := strings.Split(string(data), "/")
			if n := len(names) - 1; n != int(st.NumChildren) || names[n] != "" {
				return nil, fmt.Errorf("%q has %d children", data, st.NumChildren)
			}
			return &folder{names[:len(names)-1]}, nil
		},
	})
	w.must(c.Start())
	w.Cleanup(func() { w.must(c.Close()) })
	w.must(c.WaitReady(w.soon()))
	return s
}

// of is both answers about a znode, and how well each is known.
func (s *cabinet) of(path string, opt discovery.ReadOptions) string {
	s.Helper()
	say := func(text string, meta discovery.Meta, err error) string {
		switch {
		case errors.Is(err, discovery.ErrNotFound):
			text = "none"
		case errors.Is(err, discovery.ErrDenied):
			return "denied"
		case err != nil:
			return err.Error()
		}
		return text + " " + meta.Cache.String()
	}
	f, meta, err := s.files.Get(s.soon(), path, opt)
	text := ""
	if err == nil {
		text = f.text
	}
	one := say(text, meta, err)
	l, meta, err := s.folders.Get(s.soon(), path, opt)
	text = ""
	if err == nil {
		text = fmt.Sprint(l.names)
	}
	return one + ", " + say(text, meta, err)
}

// expect asks until the answer is want. It never asks for a fresh answer, which would mend what no
// event has mended.
func (s *cabinet) expect(path, want string) {
	s.Helper()
	s.eventually(func() string {
		if got := s.of(path, discovery.ReadOptions{}); got != want {
			return fmt.Sprintf("%s is %s, want %s", path, got, want)
		}
		return ""
	})
}

// drop drops an entry, as an eviction does, and waits until its watch is gone.
func (s *cabinet) drop(k *kind, path string) {
	s.Helper()
	hash := k.hash(path)
	e := s.c.index.entry(hash)
	if e == nil {
		s.Fatalf("%s is not held", path)
	}
	s.c.drop(hash, e)
	s.eventually(func() string {
		sh := s.c.index.shard(hash)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if sh.leaving[hash] != nil {
			return "its watch is not gone"
		}
		return ""
	})
}

// TestChildren: which children a znode has is kept true as its bytes are, and that there is no such
// znode is never told as certain.
func TestChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{})
	const path = "/magellan/files"
	if got := s.of(path, discovery.ReadOptions{}); got != "none MISS, none STALE" {
		t.Errorf("before there is one: %s", got)
	}
	s.expect(path, "none HIT, none STALE")
	w.put(path, "x")
	s.expect(path, "x HIT, [] HIT")
	woken := make(wakeUp, 1)
	watch := s.c.Watch(discovery.Topic{Kind: "folder", Name: path}, woken)
	w.put(path+"/b", "")
	<-woken
	w.put(path+"/a", "")
	s.expect(path, "x HIT, [a b] HIT")
	watch.Stop()
	w.put(path, "y")
	s.expect(path, "y HIT, [a b] HIT")
	w.delete(path + "/b")
	s.expect(path, "y HIT, [a] HIT")
	w.deleteAll(path)
	s.expect(path, "none HIT, none STALE")
	zxid := w.put(path, "z")
	if got := s.of(path, discovery.ReadOptions{MinZxid: zxid}); got != "z MISS, [] MISS" && got != "z HIT, [] MISS" {
		t.Errorf("after it was created again: %s", got)
	}
	s.expect(path, "z HIT, [] HIT")
	if n := counted(s.c.metrics.drift) + counted(s.c.metrics.hidden); n != 0 {
		t.Errorf("%v drifts and hidden changes", n)
	}
}

// TestTwoKindsOfOneZnode: entries of both kinds are on one session. If one is evicted, the watch of the
// other stays.
func TestTwoKindsOfOneZnode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{MaxSessions: 1})
	const path = "/magellan/files"
	w.put(path, "1")
	s.expect(path, "1 HIT, [] HIT")

	s.drop(s.files.k, path)
	w.put(path+"/a", "")
	s.expect(path, "1 HIT, [a] HIT")

	s.drop(s.folders.k, path)
	w.put(path, "2")
	s.expect(path, "2 HIT, [a] HIT")

	w.deleteAll(path)
	s.expect(path, "none HIT, none STALE")
	s.drop(s.folders.k, path)
	w.put(path, "3")
	s.expect(path, "3 HIT, [] HIT")
}

// TestRootOfTwo: the cache watches the root itself. If an entry of the root is evicted, that watch
// stays.
func TestRootOfTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{MaxSessions: 1})
	s.expect(layout.Root, " HIT, [bad-citizens datacenters regions shops] HIT")
	reserved := s.c.sessions.list()[0].reserved.Load()
	s.drop(s.files.k, layout.Root)
	s.drop(s.folders.k, layout.Root)
	if n := s.c.sessions.list()[0].reserved.Load(); n >= reserved {
		t.Errorf("%d bytes of watches are reserved, and %d were before", n, reserved)
	}
	was := counted(s.c.metrics.watchEvents)
	w.put(layout.Root, "changed")
	w.eventually(func() string {
		if counted(s.c.metrics.watchEvents) == was {
			return "nothing has announced that the root was changed"
		}
		return ""
	})
	w.deleteAll(layout.Root)
	w.eventually(func() string {
		if !s.c.views.root.gone.Load() {
			return "the root is gone, and the cache does not know"
		}
		return ""
	})
	if got := s.of("/magellan/files/x", discovery.ReadOptions{}); strings.Contains(got, "none") {
		t.Errorf("without a root: %s", got)
	}
}

// TestRevocable: what was read is not served any more once it is found that it may not be read.
func TestRevocable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{AuditRate: 100})
	const path, never = "/magellan/files/a", "/magellan/files/b"
	w.put(path, "secret")
	w.put(path+"/child", "")
	w.put(never, "secret")
	w.hide(never)
	for range 2 {
		if got := s.of(never, discovery.ReadOptions{}); got != "denied, denied" {
			t.Errorf("never allowed: %s", got)
		}
	}
	s.expect(path, "secret HIT, [child] HIT")
	w.hide(path)
	if got := s.of(path, discovery.ReadOptions{Fresh: true}); got != "denied, denied" {
		t.Errorf("denied, and asked for afresh: %s", got)
	}
	if got := s.of(path, discovery.ReadOptions{}); got != "denied, denied" {
		t.Errorf("after that: %s", got)
	}
	w.show(path)
	s.expect(path, "secret HIT, [child] HIT")
	w.hide(path) // nothing announces that: the audit finds it
	s.expect(path, "denied, denied")
	w.put(path, "changed")
	if got := s.of(path, discovery.ReadOptions{Fresh: true}); got != "denied, denied" {
		t.Errorf("changed while it was denied: %s", got)
	}
	w.show(path)
	s.expect(path, "changed HIT, [child] HIT")
	w.show(never)
	s.expect(never, "secret HIT, [] HIT")
	if p := s.c.Problems(); len(p) != 0 {
		t.Errorf("problems %+v", p)
	}
	for _, one := range s.c.sessions.list() {
		if one.epoch.Load().toldLost.Load() {
			t.Error("what was read after it was denied was taken for an older state")
		}
	}
}

// TestSize: the memory of values counts, whether they come large or grow.
func TestSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n, size, most = 30, 64 << 10, 512 << 10
	s := w.cabinet(Config{MaxBytes: most})
	path := func(i int) string { return fmt.Sprintf("/magellan/files/%d", i) }
	for i := range n {
		w.put(path(i), "")
		s.files.Get(w.soon(), path(i), discovery.ReadOptions{})
	}
	held := func() (entries, bytes int) {
		s.c.keep.Wait()
		s.c.index.each(func(_ uint64, e *entry) {
			if rec := e.rec.Load(); rec != nil && rec.value != nil {
				entries++
				bytes += len((*file)(rec.value).text)
			}
		})
		return entries, bytes
	}
	w.eventually(func() string {
		if entries, _ := held(); entries != n {
			return fmt.Sprintf("%d of %d small files are held", entries, n)
		}
		return ""
	})
	large := strings.Repeat("x", size)
	for i := range n {
		w.put(path(i), large)
	}
	w.eventually(func() string {
		if counted := most - s.c.keep.RemainingCost(); counted < n*size {
			return fmt.Sprintf("%d files of %d bytes count as %d", n, size, counted)
		}
		return ""
	})
	// Ristretto makes room for what has grown when the next entry comes.
	more := 0
	w.eventually(func() string {
		more++
		other := path(n + more)
		w.put(other, large)
		s.files.Get(w.soon(), other, discovery.ReadOptions{})
		entries, bytes := held()
		if bytes > most+2*size || bytes == 0 {
			return fmt.Sprintf("%d files of %d bytes are held", entries, bytes)
		}
		return ""
	})
	w.put(path(0), "now")
	f, _, err := s.files.Get(w.soon(), path(0), discovery.ReadOptions{Fresh: true})
	if err != nil || f.text != "now" {
		t.Errorf("%v, %v", f, err)
	}
}

// TestSnapshotKeepsNot: a kind that no snapshot can keep is refused by a cache that has one.
func TestSnapshotKeepsNot(t *testing.T) {
	c, err := New(Config{Root: "/", Snapshot: t.TempDir() + "/s", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	described := printers
	described.Encode = nil
	AddKeyed(c, described)
	if err := c.Start(); err == nil || !strings.Contains(err.Error(), "printers") {
		t.Errorf("started: %v", err)
	}
}

// TestPinnedSize: what is pinned counts with the memory of its values, so that clients which watch
// large znodes cannot have all of them kept.
func TestPinnedSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n, size, most = 20, 64 << 10, 512 << 10
	s := w.cabinet(Config{MaxBytes: most})
	woken := make(wakeUp, 1)
	large := strings.Repeat("x", size)
	for i := range n {
		path := fmt.Sprintf("/magellan/files/%d", i)
		w.put(path, large)
		defer s.c.Watch(discovery.Topic{Kind: "file", Name: path}, woken).Stop()
	}
	w.eventually(func() string {
		for i := range n {
			s.files.Get(w.soon(), fmt.Sprintf("/magellan/files/%d", i), discovery.ReadOptions{})
		}
		s.c.keep.Wait()
		if s.c.notify.pins() == 0 {
			return "nothing is pinned"
		}
		return ""
	})
	if pins := s.c.notify.pins(); pins > most/pinnedShare/size {
		t.Errorf("%d values of %d bytes are pinned", pins, size)
	}
}

// TestDeniedThenAnnounced: a watch from before a znode was denied may still fire. Nothing is known of
// the znode then either, and least of all that its bytes do not parse.
func TestDeniedThenAnnounced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{})
	const path = "/magellan/files/a"
	w.put(path, "secret")
	s.expect(path, "secret HIT, [] HIT")
	w.hide(path)
	if got := s.of(path, discovery.ReadOptions{Fresh: true}); got != "denied, denied" {
		t.Fatalf("denied: %s", got)
	}
	for _, k := range []*kind{s.files.k, s.folders.k} {
		rec := s.c.index.entry(k.hash(path)).rec.Load()
		if _, err := k.answer(rec.superseded(rec.doubt.since())); !errors.Is(err, discovery.ErrDenied) {
			t.Errorf("a %s after an event: %v", k.name, err)
		}
	}
}

// TestAbsentAtZxid: that there is no znode is an answer to a request which names a transaction, although
// nothing will announce the znode.
func TestAbsentAtZxid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{})
	const path = "/magellan/files/a"
	zxid := w.put(path, "x")
	w.delete(path)
	for range 2 {
		if got := s.of(path, discovery.ReadOptions{MinZxid: zxid}); got != "none MISS, none STALE" && got != "none HIT, none STALE" {
			t.Errorf("at its own transaction: %s", got)
		}
	}
}

// TestHiddenEnd: a revocable znode that was denied, and then deleted and created, is no drift.
func TestHiddenEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{AuditRate: 100})
	const path = "/magellan/files/a"
	w.put(path, "before")
	s.expect(path, "before HIT, [] HIT")
	w.hide(path)
	w.delete(path)
	w.put(path, "after")
	s.expect(path, "after HIT, [] HIT")
	for _, tt := range []struct {
		name      string
		revocable bool
		st        zk.Stat
		err       error
		want      bool
	}{
		{"another transaction", true, zk.Stat{Czxid: 5, Mzxid: 9}, nil, false},
		{"its permissions were changed", false, zk.Stat{Czxid: 5, Mzxid: 9, Aversion: 1}, nil, true},
		{"denied", false, zk.Stat{}, zk.ErrNoAuth, true},
		{"gone", true, zk.Stat{}, zk.ErrNoNode, true},
		{"gone, of a kind that is not revocable", false, zk.Stat{}, zk.ErrNoNode, false},
		{"created again", true, zk.Stat{Czxid: 8, Mzxid: 9}, nil, true},
		{"created again, not revocable", false, zk.Stat{Czxid: 8, Mzxid: 9}, nil, false},
	} {
		k := &kind{revocable: tt.revocable}
		if got := k.hides(7, tt.st, tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestEqualIsAsked: a kind decides what counts as a change.
func TestEqualIsAsked(t *testing.T) {
	c, err := New(Config{Root: "/", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	described := printers
	described.Equal = func(a, b *printer) bool { return a.Room == b.Room }
	k := AddKeyed(c, described).k
	a, b := &printer{Room: "1", Trays: []string{"x"}}, &printer{Room: "1"}
	if !k.same(unsafe.Pointer(a), unsafe.Pointer(b)) || k.same(unsafe.Pointer(a), unsafe.Pointer(&printer{Room: "2"})) {
		t.Error("Equal is not asked")
	}
}

// TestMissedNothing: an entry that leaves the index while it is read is not found by the event of its
// change. That is no missed event.
func TestMissedNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cabinet(Config{})
	const path = "/magellan/files"
	w.put(path, "1")
	s.expect(path, "1 HIT, [] HIT")
	k := s.files.k
	hash := k.hash(path)
	e := s.c.index.entry(hash)
	l := &load{s: e.rec.Load().epoch.session, e: e, hash: hash, path: path}
	newer := zk.Stat{Mzxid: e.rec.Load().zxid + 1, Aversion: 1}
	l.missed(newer, nil)
	if n := counted(s.c.metrics.hidden); n != 1 {
		t.Errorf("%v missed changes of an entry that is held", n)
	}
	s.drop(k, path)
	l.missed(newer, nil)
	if n := counted(s.c.metrics.hidden); n != 1 {
		t.Errorf("%v missed changes after it has left", n)
	}
}
