package cache

import (
	"context"
	"errors"
	"io"
	"time"

	"magellan/internal/discovery"
)

// restoreViews fills in what views hold, before their sessions are opened. It reads the file up to the
// records of entries.
func (p *snapshotter) restoreViews() {
	if p.header == nil {
		return
	}
	now := p.lastTrue(0)
	for _, v := range p.c.views.all {
		for _, s := range v.sets {
			s.lag.since = now // in case that the file has no record of the directory
		}
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
		s, child := p.c.views.setAt(r.path)
		if s != nil && child != "" && r.kind == snapshotDirectory {
			s, child = s.restoreBranch(child)
		}
		switch {
		case s == nil || (child == "") != (r.kind == snapshotDirectory):
			p.unknown++
		case child == "":
			s.pzxid, s.accepted, s.lag.since, s.whole = r.zxid, r.zxid, p.lastTrue(r.age), r.whole
		case !p.restoreMember(s, child, &r):
			s.whole = false
		}
	}
	p.c.views.each((*view).restore)
}

// dropViews empties all views again, because a part of a directory is worse than none of it.
func (p *snapshotter) dropViews(err error) {
	for _, v := range p.c.views.all {
		for _, s := range v.sets {
			s.clear()
			s.lag = lag{}
		}
	}
	p.file.Close()
	p.file, p.reader, p.header = nil, nil, nil
	p.giveUp(err)
}

// restore publishes the value that is made of what a snapshot has brought.
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

// restoreMember adds one child to its set. It returns false if the record cannot be used.
func (p *snapshotter) restoreMember(s *set, name string, r *snapshotRecord) bool {
	if s.nodes[name] != nil || !s.takes(name) || r.kind == snapshotUnread && s.v.branch == nil {
		return false
	}
	n := &node{read: r.zxid, unread: true, lag: lag{since: p.lastTrue(r.age)}}
	if r.kind == snapshotAccepted || r.kind == snapshotUnread {
		n.fault = fault{err: errors.New("it could not be read before the last restart"), accepted: r.kind == snapshotAccepted}
	} else {
		value, err := s.decode(name, r.data, r.zxid)
		var partial *discovery.PartialError
		if err != nil && !errors.As(err, &partial) {
			return false
		}
		n.value, n.zxid, n.data = value, r.zxid, r.data
	}
	s.nodes[name] = n
	if !s.bare() {
		s.place(name, n)
	}
	return true
}

// restoreEntries fills in entries, the most used first, for as long as there is room.
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
		c.log.Warn("some records of the snapshot are not used: they are of znodes that are not mirrored, or do not parse", "records", p.unknown)
	}
	for _, s := range c.sessions.list() {
		s.mu.Lock()
		s.revalidate(false) // because an earlier search may not have found these entries
		s.mu.Unlock()
	}
}

// restoreEntry adds one entry to the index. full says that no session has room for more watches. An
// error is the decoder's.
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

// giveUp logs that the rest of a file is not used, because a record is invalid although the
// checksum of the file is right. Somebody must have made such a file.
func (p *snapshotter) giveUp(err error) {
	p.c.log.Warn("the rest of the snapshot is not used", "error", err)
}

// waitRestored waits until all views have been read from ZooKeeper. It does not wait longer
// than grace, or than until ctx's deadline. If the views have not been read by then, it
// returns nil, because the cache can answer from the snapshot.
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
