package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"magellan/internal/discovery"
)

// DefaultSnapshotInterval is how often a snapshot is written.
const DefaultSnapshotInterval = time.Minute

// lastWrite is how long Close waits for the last snapshot.
const lastWrite = 10 * time.Second

const (
	// maxSnapshotAge bounds what a file may say of ages: beyond it is nonsense.
	maxSnapshotAge = 100 * 365 * 24 * time.Hour
	// maxSnapshotSize bounds the time that a start spends on a file, which is read
	// whole before it is believed. It does not follow Config.MaxBytes: whoever gives
	// the cache less memory wants the part of the file that fits.
	maxSnapshotSize = 16 << 30
)

// snapshotter keeps what is held on disk, and takes it from there at the start.
//
// What it brings back is STALE and as old as it is: see elapsed. Each value goes
// as soon as ZooKeeper gives one, and nobody is served it once its session is
// live. It can be no newer than what that session reads, which begins with a
// sync; should it seem so, it is another ensemble's and goes too.
type snapshotter struct {
	c *Cache
	// sync is (*os.File).Sync, and patience how long the last snapshot is waited for;
	// tests have others.
	sync     func(*os.File) error
	patience time.Duration
	// ended is closed when run has returned; nil if it was not started.
	ended chan struct{}
	// header is that of the snapshot read, nil for none; back is what to add to
	// its ages. file is what is left to be read of it.
	header *snapshotHeader
	back   time.Duration
	file   *os.File
	reader *snapshotReader
	// unknown counts records that mean nothing to this process.
	unknown int

	mu     sync.Mutex // held while a snapshot is written
	seen   instant    // what the last one knew of
	lastMu sync.Mutex
	at     time.Time
	size   int64
}

// restored reports whether there was a snapshot to begin with.
func (p *snapshotter) restored() bool { return p.header != nil }

// open finds the snapshot and checks it, before any session is opened. Without
// one that is whole and fits, the cache starts cold.
func (p *snapshotter) open(c *Cache) {
	p.c, p.sync, p.patience = c, (*os.File).Sync, lastWrite
	path := c.cfg.Snapshot
	if path == "" {
		return
	}
	err := p.read(path)
	switch {
	case err == nil:
		c.log.Info("snapshot found", "file", path, "age", p.back.Round(time.Second))
		return
	case errors.Is(err, fs.ErrNotExist):
		c.log.Info("no snapshot yet", "file", path)
	default:
		c.log.Warn("the snapshot is not used; it will be replaced", "file", path, "error", err)
	}
	if p.file != nil {
		p.file.Close()
	}
	p.file, p.reader, p.header = nil, nil, nil
}

func (p *snapshotter) read(path string) error {
	// A pipe would block, and a device might never end.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	p.file = file
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a file", errBadSnapshot)
	}
	if info.Size() > maxSnapshotSize {
		return fmt.Errorf("%w: %d bytes, and no more than %d are read", errBadSnapshot, info.Size(), int64(maxSnapshotSize))
	}
	if err := verifySnapshot(file, info.Size()); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	reader, header, err := newSnapshotReader(io.LimitReader(file, info.Size()-8))
	if err != nil {
		return err
	}
	if root := p.c.cfg.Root; header.Root != root {
		return fmt.Errorf("it is of root %s, and this is %s: give each its own file", header.Root, root)
	}
	if p.back, err = elapsed(header, p.c.cfg.clock); err != nil {
		return err
	}
	if most := p.c.cfg.MaxStale; most > 0 && p.back > most {
		return fmt.Errorf("it is %v old, and no answer may be older than %v", p.back.Round(time.Second), most)
	}
	p.reader, p.header = reader, &header
	return nil
}

// elapsed is the time since a snapshot was written. On the same run of the
// machine a clock that nobody sets says it, and the wall clock may only make it
// longer. On another run, or another machine, there is the wall clock alone: one
// that has been set back would make the snapshot younger than it is. That shows
// where it is back before the snapshot, which then is not used; beyond that it
// cannot be known, except that the snapshot is older than this run.
func elapsed(h snapshotHeader, c clock) (time.Duration, error) {
	wall := time.Duration(c.Now().UnixNano() - h.Written)
	boot, uptime := c.Boot()
	if boot != "" && boot == h.Boot && uptime >= h.Uptime {
		return max(wall, uptime-h.Uptime), nil
	}
	if wall < 0 {
		return 0, errors.New("the clock is before the time it was written, so its age cannot be known")
	}
	if boot != "" && h.Boot != "" && boot != h.Boot {
		wall = max(wall, uptime)
	}
	return wall, nil
}

// lastTrue is the instant at which a restored value was last known to be true. It
// is before the cache's own time, which begins at 1.
func (p *snapshotter) lastTrue(age time.Duration) instant {
	return min(p.c.now()-instant(p.back)-instant(age), -1)
}

// restoreViews fills in what views hold, before their sessions are opened. The records of
// entries follow in the file.
func (p *snapshotter) restoreViews() {
	if p.header == nil {
		return
	}
	now := p.lastTrue(0)
	for _, s := range p.c.views.byDir {
		s.lag.since = now // should the file not have it
	}
	for {
		peek, err := p.reader.r.Peek(1)
		if err != nil || peek[0] == snapshotEntry || peek[0] == snapshotEnd {
			break
		}
		r, err := p.reader.next()
		if err != nil {
			p.dropViews(err)
			return
		}
		switch s, child := p.c.views.setAt(r.path); {
		case s == nil || (child == "") != (r.kind == snapshotDirectory):
			p.unknown++
		case child == "":
			s.pzxid, s.accepted, s.lag.since, s.whole = r.zxid, r.zxid, p.lastTrue(r.age), r.whole
		case !p.restoreMember(s, child, &r):
			s.whole = false
		}
	}
	for _, v := range p.c.views.all {
		v.restore()
	}
}

// dropViews begins with nothing: a part of a directory is worse than none of it.
func (p *snapshotter) dropViews(err error) {
	for _, s := range p.c.views.byDir {
		s.clear()
		s.lag = lag{}
	}
	p.file.Close()
	p.file, p.reader, p.header = nil, nil, nil
	p.giveUp(err)
}

// restore publishes what a snapshot has brought.
func (v *view) restore() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost = true
	v.version++
	at := instant(0)
	for _, s := range v.sets {
		s.lag.version = v.version
		at = earlier(at, s.lag.since)
		for _, n := range s.nodes {
			n.lag.version = v.version
			at = earlier(at, n.lag.since)
		}
	}
	v.dirty.Store(int64(newDoubt(at, false)))
	v.publish(v.moment())
	v.published = v.version
}

// restoreMember puts one member of a directory in its place. It reports false for one that
// means nothing to this process.
func (p *snapshotter) restoreMember(s *set, name string, r *snapshotRecord) bool {
	if s.nodes[name] != nil || discovery.ValidateName(name) != nil {
		return false
	}
	n := &node{read: r.zxid, unread: true, lag: lag{since: p.lastTrue(r.age)}}
	if r.kind == snapshotAccepted {
		n.fault = fault{err: errors.New("it could not be read before the last restart"), accepted: true}
	} else {
		value, err := s.decode(name, r.data, r.zxid)
		var partial *discovery.PartialError
		if err != nil && !errors.As(err, &partial) {
			return false
		}
		n.value, n.zxid, n.data = value, r.zxid, r.data
	}
	s.nodes[name] = n
	s.place(name, n)
	return true
}

// restoreEntries fills in entries, most used first, as far as there is room.
func (p *snapshotter) restoreEntries() {
	if p.file == nil {
		return
	}
	defer p.file.Close()
	c := p.c
	n, room := 0, c.cfg.MaxBytes
	for {
		r, err := p.reader.next()
		if err == io.EOF {
			break
		} else if err != nil {
			p.giveUp(err)
			return
		}
		k, name := c.kindAt(r.path)
		if k == nil || r.kind != snapshotEntry {
			p.unknown++
			continue
		}
		e := newEntry(k, name)
		if room -= c.cost(e); room < 0 {
			break
		}
		full, err := p.restoreEntry(e, &r)
		if full {
			break
		}
		if err != nil {
			p.unknown++
			continue
		}
		n++
	}
	c.log.Info("snapshot read", "entries", n, "age", p.back.Round(time.Second))
	if p.unknown > 0 {
		c.log.Warn("some of the snapshot is not used, because it is of znodes that are not mirrored, or does not parse", "records", p.unknown)
	}
	for _, s := range c.sessions.list() {
		s.mu.Lock()
		s.revalidate(false) // a search for what to read again may have been before all this
		s.mu.Unlock()
	}
}

// restoreEntry puts one entry in its place. full says that no session has room for more
// watches. An error is the decoder's.
func (p *snapshotter) restoreEntry(e *entry, r *snapshotRecord) (full bool, err error) {
	c := p.c
	k := c.kindOf(e)
	value, err := k.decode(e.name, r.data, discovery.Stat{Mzxid: r.zxid})
	if err != nil {
		return false, err
	}
	s, err := c.sessions.reserve(c, r.path)
	if err != nil {
		return true, nil
	}
	hash := k.hash(e.name)
	e.heat.Store(r.heat)
	e.rec.Store(restored(value, r.zxid, s.epoch.Load(), p.lastTrue(r.age)))
	sh := c.index.shard(hash)
	sh.mu.Lock()
	free := sh.find(hash) == nil
	if free {
		sh.insert(hash, e)
	}
	sh.mu.Unlock()
	if !free {
		c.sessions.unreserve(s, r.path)
		return false, nil
	}
	c.admit(hash, e)
	return false, nil
}

// giveUp goes on without the rest of a file whose checksum is right and whose
// records make no sense: somebody made it so.
func (p *snapshotter) giveUp(err error) {
	p.c.log.Warn("the rest of the snapshot is not used", "error", err)
}

// waitRestored waits for ZooKeeper for as long as a session may be away without
// its absence showing, or until ctx's deadline if that is earlier, and is content with
// the snapshot then.
func (c *Cache) waitRestored(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for _, v := range c.views.all {
		err := v.wait(first, true)
		switch {
		case err == nil:
		case errors.Is(err, ErrNoRoot) || errors.Is(ctx.Err(), context.Canceled):
			return err
		default:
			c.log.Warn("ZooKeeper is out of reach: answers come from the snapshot, STALE, until it is back", "age", c.snapshot.back.Round(time.Second))
			return nil
		}
	}
	return nil
}

// begin has snapshots written until the cache is closed.
func (p *snapshotter) begin() {
	p.ended = make(chan struct{})
	go p.run()
}

func (p *snapshotter) run() {
	defer close(p.ended)
	ticker := time.NewTicker(p.c.cfg.SnapshotInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.c.closing:
			return
		case <-ticker.C:
			p.write()
		}
	}
}

// close writes the last snapshot. Nobody can stop a write to a disk that hangs, be it
// this one or one of run's: that is left alone, with the file that there is.
func (p *snapshotter) close() {
	if p.ended == nil {
		return
	}
	written := make(chan struct{})
	go func() {
		p.write()
		<-p.ended
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(p.patience):
		p.c.metrics.failedSnapshots.Inc()
		p.c.log.Error("the last snapshot is not written: the disk hangs; what was written before it stays", "file", p.c.cfg.Snapshot, "waited", p.patience)
	}
}

// last says when the last snapshot was written, and how large it is.
func (p *snapshotter) last() (at time.Time, size int64) {
	p.lastMu.Lock()
	defer p.lastMu.Unlock()
	return p.at, p.size
}

// write writes a snapshot, unless there is nothing that the last one did not
// know.
func (p *snapshotter) write() {
	if p.c == nil || p.c.cfg.Snapshot == "" || len(p.c.sessions.list()) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	verified := p.c.views.session.verified()
	if _, ok := p.c.Age(); !ok || verified <= max(p.seen, 1) {
		return
	}
	size, err := p.replace(p.c.cfg.Snapshot)
	if err != nil {
		p.c.metrics.failedSnapshots.Inc()
		p.c.log.Warn("the snapshot could not be written", "file", p.c.cfg.Snapshot, "error", err)
		return
	}
	p.seen = verified
	p.c.metrics.snapshots.Inc()
	p.lastMu.Lock()
	p.at, p.size = time.Now(), size
	p.lastMu.Unlock()
}

var errSnapshotBusy = errors.New("another process is writing it: give each its own file")

// replace writes a file beside the old one and puts it in its place: whoever
// reads sees one of the two, whole, and after a crash of the machine as well.
func (p *snapshotter) replace(path string) (size int64, err error) {
	draft := path + ".new"
	file, err := openDraft(draft)
	if err != nil {
		return 0, err
	}
	defer file.Close() // and with that the lock goes, so not before it has its name
	size, err = p.writeTo(file)
	if err == nil {
		err = p.sync(file)
	}
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		os.Remove(draft)
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return size, dir.Sync()
}

// openDraft opens an empty file that no other process writes to.
func openDraft(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	// Where the file system knows no locks it has to do without.
	busy := errors.Is(syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
	mine, err := file.Stat()
	if err == nil {
		// Whoever had the lock may have given the file its name since it was opened.
		there, gone := os.Lstat(name)
		if busy || gone != nil || !os.SameFile(mine, there) {
			err = errSnapshotBusy
		}
	}
	if err == nil {
		err = errors.Join(file.Chmod(0o600), file.Truncate(0))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (p *snapshotter) writeTo(out io.Writer) (int64, error) {
	c := p.c
	h := snapshotHeader{Root: c.cfg.Root, RootCzxid: c.views.root.czxid.Load(), RootCtime: c.views.root.ctime.Load()}
	// The times come before the values: nothing is younger than it says.
	h.Written = c.cfg.clock.Now().UnixNano()
	h.Boot, h.Uptime = c.cfg.clock.Boot()
	now := c.now()
	w := newSnapshotWriter(out, h)
	for _, v := range c.views.all {
		for _, s := range v.sets {
			// Nothing is written while the lock is held: events wait for it, and a disk
			// may hang.
			records := s.records(now)
			for i := range records {
				w.record(&records[i])
			}
		}
	}
	var data []byte
	for _, e := range c.byUse() {
		rec := e.rec.Load()
		if rec == nil || rec.value == nil || rec.zxid <= 0 {
			continue // that there is none is not worth a place
		}
		k := c.kindOf(e)
		data = k.encode(data[:0], rec.value)
		w.record(&snapshotRecord{kind: snapshotEntry, path: k.path(e.name), zxid: rec.zxid, age: rec.meta(now).Age, data: data, heat: e.heat.Load()})
	}
	err := w.end()
	return w.bytes, err
}

// records are what a snapshot keeps of the set, its directory first.
func (s *set) records(now instant) []snapshotRecord {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	age := s.v.meta(now).Age
	ageOf := func(since instant) time.Duration {
		if since == 0 {
			return age
		}
		return max(age, time.Duration(now-since))
	}
	all := age
	if whole := s.doubts().Whole(); whole != nil {
		all = max(all, time.Since(whole.Since))
	}
	records := []snapshotRecord{{kind: snapshotDirectory, path: s.dir, zxid: s.accepted, age: all, whole: true}}
	put := func(name string, n *node, since instant) {
		switch fits := discovery.ValidateName(name) == nil && int64(len(n.data)) <= maxSnapshotData; {
		case fits && n.value != nil && n.zxid > 0:
			records = append(records, snapshotRecord{kind: snapshotMember, path: s.path(name), zxid: n.zxid, age: ageOf(since), data: n.data})
		case fits && n.fault.accepted && n.read > 0:
			records = append(records, snapshotRecord{kind: snapshotAccepted, path: s.path(name), zxid: n.read})
		case n.value != nil || n.fault.accepted:
			records[0].whole = false // nobody may serve the directory without this one
		}
	}
	for name, n := range s.nodes {
		put(name, n, n.trueUntil())
	}
	for name, n := range s.served {
		put(name, n, s.lost[name].at)
	}
	return records
}

// byUse returns all entries, the most used first.
func (c *Cache) byUse() []*entry {
	type use struct {
		e    *entry
		heat uint32 // at one time: it changes while this is sorted
	}
	var uses []use
	c.index.each(func(_ uint64, e *entry) { uses = append(uses, use{e, e.heat.Load()}) })
	slices.SortStableFunc(uses, func(a, b use) int {
		return cmp.Or(cmp.Compare(b.heat, a.heat), strings.Compare(a.e.name, b.e.name))
	})
	all := make([]*entry, len(uses))
	for i := range uses {
		all[i] = uses[i].e
	}
	return all
}
