package cache

import (
	"fmt"
	"time"
)

// Explanation is what the cache knows of one znode, for operators.
type Explanation struct {
	// Path is the znode's path.
	Path string
	// Kind is what the znode is: the name of a keyed kind, a directory, or the member of
	// one.
	Kind string
	// Held: the cache has it.
	Held bool
	// Value is what is served, in words.
	Value string
	// Zxid wrote what is served; 0 for an absent znode.
	Zxid int64
	// Watched: a watch vouches for it.
	Watched bool
	// Reading: a read is in flight or waits.
	Reading bool
	// Cache is what X-Cache would say, Age what Age would.
	Cache string
	Age   time.Duration
	// Session is the number of the session that carries the watch, SessionID
	// ZooKeeper's name for it.
	Session   int
	SessionID int64
	// Restored: the value is a snapshot's, and ZooKeeper has not been read since.
	Restored bool
	// HeldBack: the shrink guard serves the value in place of what ZooKeeper
	// holds; [Cache.Accept] lets that through.
	HeldBack bool
	// Heat is in how many different seconds it was asked for.
	Heat uint32
	// Problem is nil, or what is wrong with the znode.
	Problem *Problem
}

// Explain tells what the cache knows of the znode at path. ok is false if path
// is none the cache could ever hold.
func (c *Cache) Explain(path string) (x Explanation, ok bool) {
	x.Path = path
	if p, is := c.problems.get(path); is {
		x.Problem = &p
	}
	if k, name := c.kindAt(path); k != nil {
		k.explain(&x, name)
		return x, true
	}
	if s, child := c.views.setAt(path); s != nil {
		s.explain(&x, child)
		return x, true
	}
	return x, false
}

func (k *kind) explain(x *Explanation, name string) {
	x.Kind = k.name
	e, l := k.c.index.entryAndLoad(k.hash(name))
	if e == nil || !e.is(k, name) {
		return
	}
	x.Reading = l != nil
	x.Heat = e.heat.Load()
	rec := e.rec.Load()
	if rec == nil {
		return
	}
	x.Held = true
	x.Zxid = rec.zxid
	x.Watched = rec.vouched()
	x.Restored = rec.restored()
	x.known(rec.epoch, rec.doubt, k.c.now())
	if value, err := k.answer(rec); err != nil {
		x.Value = err.Error()
	} else {
		x.Value = k.describe(value)
	}
}

// known fills in how well it is known that an epoch vouches for, up to a doubt.
func (x *Explanation) known(in *epoch, d doubt, now instant) {
	meta := in.meta(d, now)
	x.Cache, x.Age = meta.Cache.String(), meta.Age
	x.Session, x.SessionID = in.session.number, in.session.client.SessionID()
}

// explain fills in what is known of a child, or of the directory itself if the name is
// empty.
func (s *set) explain(x *Explanation, child string) {
	v := s.v
	v.mu.Lock()
	defer v.mu.Unlock()
	var since instant // unless it is what ZooKeeper holds
	unwatched, on := s.fault.unwatched, v.session
	if child == "" {
		x.Kind = "directory"
		x.Held, x.Zxid, x.Reading = s.listed, s.pzxid, !s.listed && s.fault.err == nil
		x.Value = fmt.Sprintf("%d znodes", len(s.nodes))
		since = earlier(s.guardedSince, s.fault.since)
		if x.HeldBack = s.guardedSince != 0; x.HeldBack {
			x.Value += fmt.Sprintf(", and %d that are gone", len(s.lost))
		}
	} else {
		x.Kind = "member of " + s.dir
		n := s.nodes[child]
		if n == nil {
			for gone, l := range s.served {
				if gone == child {
					n, x.HeldBack = l, true
				}
			}
		}
		if n != nil {
			x.HeldBack = x.HeldBack || n.pending != nil
			x.Held, x.Zxid, x.Reading = n.value != nil, n.zxid, n.unread
			if x.Value = fmt.Sprintf("%+v", n.value); n.fault.err != nil && n.value == nil {
				x.Value = s.explained(child, n).Error()
			}
			since, unwatched = n.trueUntil(), n.fault.unwatched
			if n.on != nil {
				on = n.on
			}
		}
	}
	// What the guard has held since a restart is as old, and has been read.
	_, behind := v.behind()
	d := doubt(v.dirty.Load())
	x.Restored = d < 0 && behind
	x.Watched = !x.Reading && !unwatched && v.ended() == 0
	if since != 0 && (d == 0 || since < d.since()) {
		d = newDoubt(since, false)
	}
	x.known(on.epoch.Load(), d, v.c.now())
}
