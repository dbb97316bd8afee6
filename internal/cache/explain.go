package cache

import (
	"fmt"
	"time"

	"magellan/internal/shops"
)

// Explanation is what the cache knows of one znode, for operators.
type Explanation struct {
	// Path is the znode's path.
	Path string
	// Kind is what the znode holds: shop, or the directory of a pinned set.
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
	if name, is := c.cfg.Layout.ShopName(path); is {
		c.explainShop(&x, name)
		return x, true
	}
	for _, v := range c.pinned.views() {
		if v.explain(&x) {
			return x, true
		}
	}
	return x, false
}

func (c *Cache) explainShop(x *Explanation, name string) {
	x.Kind = "shop"
	e, l := c.index.entryAndLoad(c.hash(name))
	if e == nil || e.name != name {
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
	x.in(rec, c.now())
	switch shop, err := rec.shop(name); {
	case err != nil:
		x.Value = err.Error()
	default:
		x.Value = "datacenter " + shop.Datacenter
	}
}

// in fills in what a record tells of itself.
func (x *Explanation) in(rec *record, now instant) {
	meta := rec.meta(now)
	x.Cache, x.Age = meta.Cache.String(), meta.Age
	s := rec.epoch.session
	x.Session, x.SessionID = s.number, s.client.SessionID()
}

// words describes a member's value. Of a list it tells how long it is: a lock is
// held that events wait for, and GET /v1/bad-citizens has its entries.
func words(value any) string {
	if list, ok := value.(shops.BadCitizenList); ok {
		return fmt.Sprintf("%d entries, %d bad lines", list.Len(), list.BadLines)
	}
	return fmt.Sprintf("%+v", value)
}

// explain fills in x if its path is of one of the view's sets.
func (v *view) explain(x *Explanation) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.sets {
		name, below := s.childName(x.Path)
		if !below && x.Path != s.dir {
			continue
		}
		var since instant // unless it is what ZooKeeper holds
		unwatched, on := s.fault.unwatched, v.session
		if n := s.nodes[name]; below {
			x.Kind = "member of " + s.dir
			if n == nil {
				for gone, l := range s.served {
					if gone == name {
						n, x.HeldBack = l, true
					}
				}
			}
			if n != nil {
				x.HeldBack = x.HeldBack || n.pending != nil
				x.Held, x.Zxid, x.Reading = n.value != nil, n.zxid, n.unread
				if x.Value = words(n.value); n.fault.err != nil && n.value == nil {
					x.Value = s.explained(name, n).Error()
				}
				since, unwatched = n.trueUntil(), n.fault.unwatched
				if n.on != nil {
					on = n.on
				}
			}
		} else {
			x.Kind = "pinned set"
			x.Held, x.Zxid, x.Reading = s.listed, s.pzxid, !s.listed && s.fault.err == nil
			x.Value = fmt.Sprintf("%d znodes", len(s.nodes))
			since = earlier(s.heldSince, s.fault.since)
			if x.HeldBack = s.heldSince != 0; x.HeldBack {
				x.Value += fmt.Sprintf(", and %d that are gone", len(s.lost))
			}
		}
		// What the guard has held since a restart is as old, and has been read.
		_, behind := v.behind()
		x.Restored = v.dirty.Load() < 0 && behind
		x.Watched = !x.Reading && !unwatched && v.ended() == 0
		rec := &record{epoch: on.epoch.Load(), doubt: doubt(v.dirty.Load())}
		if since != 0 && (rec.doubt == 0 || since < rec.doubt.since()) {
			rec.doubt = newDoubt(since, false)
		}
		x.in(rec, v.c.now())
		return true
	}
	return false
}
