package cache

import (
	"cmp"
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

// DefaultSnapshotInterval is how often a snapshot is written by default.
const DefaultSnapshotInterval = time.Minute

// lastWrite is how long Close waits until the last snapshot has been written.
const lastWrite = 10 * time.Second

const (
	// maxSnapshotAge is the greatest age that a record may have: a greater one is nonsense.
	maxSnapshotAge = 100 * 365 * 24 * time.Hour
	// maxSnapshotSize bounds the time that a start spends on a file, because the whole file
	// is read to verify it before it is used. It does not depend on Config.MaxBytes: if an
	// operator gives the cache less memory than before, the cache uses the part of the file
	// that fits.
	maxSnapshotSize = 16 << 30
)

// snapshotter writes what the cache holds to a file, and restores it from the file at the start.
//
// A restored value is STALE, and its age counts the time since it was last known to be true: see
// elapsed. It is replaced as soon as ZooKeeper answers with a value, and it is not served once its
// session is live, unless ZooKeeper does not answer. The session syncs before it reads, so what it
// reads cannot be older than the restored value. If it seems to be, the restored value is of another
// ensemble, and is replaced as well.
type snapshotter struct {
	c *Cache
	// sync is (*os.File).Sync, and patience is how long close waits for the last snapshot.
	// Tests set others.
	sync     func(*os.File) error
	patience time.Duration
	// ended is closed when run has returned. It is nil if run was not started.
	ended chan struct{}
	// header is the header of the snapshot that was read, nil if none was. back is the time
	// since it was written, which is added to its ages. file has the records that are still
	// to be read.
	header *snapshotHeader
	back   time.Duration
	file   *os.File
	reader *snapshotReader
	// unknown is the number of records that are not used.
	unknown int

	mu     sync.Mutex // held while a snapshot is written
	seen   instant    // what the session had verified at the last snapshot
	lastMu sync.Mutex
	at     time.Time
	size   int64
}

// restored reports whether the cache has begun with a snapshot.
func (p *snapshotter) restored() bool { return p.header != nil }

// open opens the snapshot and verifies it, before any session is opened. If there is no snapshot that
// is complete and can be used, the cache starts cold.
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
	// Opening a pipe must not block. It is no regular file, and a device, which might never
	// end, is none either.
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
		return fmt.Errorf("it is of root %s, and this magellan has root %s: give each its own file", header.Root, root)
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

// elapsed returns the time since a snapshot was written. If the machine has not been started again
// since, the uptime says so, which nobody can set; the wall clock may only make the time longer.
//
// Otherwise, and on another machine, there is only the wall clock. If that was set back, the snapshot
// would seem younger than it is. If it was set back to a time before the snapshot, elapsed returns an
// error, so that the snapshot is not used. Otherwise elapsed cannot find that out, but the
// time that it returns is at least the machine's uptime.
func elapsed(h snapshotHeader, c clock) (time.Duration, error) {
	wall := time.Duration(c.Now().UnixNano() - h.Written)
	boot, uptime := c.Boot()
	if boot != "" && boot == h.Boot && uptime >= h.Uptime {
		return max(wall, uptime-h.Uptime), nil
	}
	if wall < 0 {
		return 0, errors.New("the clock shows a time before the snapshot was written, so that its age is not known")
	}
	if boot != "" && h.Boot != "" && boot != h.Boot {
		wall = max(wall, uptime)
	}
	return wall, nil
}

// lastTrue returns the instant at which a restored value was last known to be true, if its record has
// the given age. That is before the cache's own time, which begins at 1.
func (p *snapshotter) lastTrue(age time.Duration) instant {
	return min(p.c.now()-instant(p.back)-instant(age), -1)
}

// begin begins to write snapshots, until the cache is closed.
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

// close writes the last snapshot. If the disk hangs, a write cannot be stopped, be it this one
// or one of run's. Then close returns after a while, and the file that was written before
// stays.
func (p *snapshotter) close() {
	if p.file != nil {
		p.file.Close() // Start failed before the file was read, or it has been closed already
	}
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
		p.c.log.Error("the last snapshot could not be written in time, probably because the disk hangs; the snapshot before it stays", "file", p.c.cfg.Snapshot, "waited", p.patience)
	}
}

// last returns when the last snapshot was written, and its size.
func (p *snapshotter) last() (at time.Time, size int64) {
	p.lastMu.Lock()
	defer p.lastMu.Unlock()
	return p.at, p.size
}

// write writes a snapshot. It writes none if the views have never been known, or if ZooKeeper has
// verified nothing since the last snapshot.
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

// replace writes a new file beside the old one, and renames it. So a reader gets one of the two,
// complete, even after a crash of the machine.
func (p *snapshotter) replace(path string) (size int64, err error) {
	draft := path + ".new"
	file, err := openDraft(draft)
	if err != nil {
		return 0, err
	}
	defer file.Close() // which releases the lock, so not before the file has been renamed
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

// openDraft opens an empty file that no other process is writing to.
func openDraft(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	// If the file system has no locks, openDraft does without one.
	busy := errors.Is(syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
	mine, err := file.Stat()
	if err == nil {
		// Another process that had the lock may have renamed the file since it was opened.
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
	// The times are taken before the values, so that no value is older than its record says.
	h.Written = c.cfg.clock.Now().UnixNano()
	h.Boot, h.Uptime = c.cfg.clock.Boot()
	now := c.now()
	w := newSnapshotWriter(out, h)
	c.views.each(func(v *view) {
		if v.branch != nil && v.branch.broken.Load() {
			return // it is a record of the directory above, which cannot be read
		}
		for _, s := range v.sets {
			// records has released v.mu when it returns. Nothing may be written under v.mu,
			// because events wait for the lock and the disk may hang.
			records := s.records(now)
			for i := range records {
				w.record(&records[i])
			}
		}
	})
	var data []byte
	for _, e := range c.byUse() {
		rec := e.rec.Load()
		if rec == nil || rec.value == nil || rec.zxid <= 0 {
			continue // an absent thing is not worth a record
		}
		k := c.kindOf(e)
		data = k.encode(data[:0], rec.value)
		w.record(&snapshotRecord{kind: snapshotEntry, path: k.path(e.name), zxid: rec.zxid, age: rec.meta(now).Age, data: data, heat: e.heat.Load()})
	}
	err := w.end()
	return w.bytes, err
}

// records returns the records of the set for a snapshot. The first is that of the directory.
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
	if whole := s.doubts().Whole(); whole != nil && !whole.Since.IsZero() {
		all = max(all, time.Since(whole.Since))
	}
	records := []snapshotRecord{{kind: snapshotDirectory, path: s.dir, zxid: s.accepted, age: all, whole: s.whole}}
	put := func(name string, n *node, since instant) {
		switch fits := s.takes(name) && int64(len(n.data)) <= maxSnapshotData; {
		case fits && n.value != nil && n.zxid > 0:
			records = append(records, snapshotRecord{kind: snapshotMember, path: s.path(name), zxid: n.zxid, age: ageOf(since), data: n.data})
		case fits && n.fault.accepted && n.read > 0:
			records = append(records, snapshotRecord{kind: snapshotAccepted, path: s.path(name), zxid: n.read})
		case fits && s.v.branch != nil && n.value == nil && !n.isDirectory() && n.fault.err != nil:
			records = append(records, snapshotRecord{kind: snapshotUnread, path: s.path(name), zxid: max(1, n.read)})
		case n.value != nil || n.fault.accepted:
			records[0].whole = false // because this child is missing from the snapshot
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

// takes reports whether a child of that name can be in a snapshot. In a tree names may be longer than
// those of magellan's own znodes.
func (s *set) takes(name string) bool {
	return discovery.ValidateName(name) == nil || s.v.branch != nil && len(name) > discovery.MaxNameBytes && len(s.path(name)) <= maxSnapshotPath
}

// byUse returns all entries, ordered by how much they are used, the most used first.
func (c *Cache) byUse() []*entry {
	type use struct {
		e    *entry
		heat uint32 // a copy, because the entry's may change while the slice is sorted
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
