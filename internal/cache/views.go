package cache

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// views are all the views of a cache, and the root that everything is below.
type views struct {
	c *Cache
	// session watches the root: the first one.
	session *session
	root    root
	// all are those that were there at the start: the directories of trees that have come
	// since are found in trees.
	all   []*view
	trees []*tree
	// byDir finds the set of a directory by its path. It has those of trees not.
	byDir map[string]*set
}

// AddView has the cache mirror the directories of a view, and returns the reader of the
// value that is made of them. It is to be called before [Cache.Start], and panics afterwards.
func AddView[S any](c *Cache, d discovery.View[S]) *View[S] {
	c.mustNotBeStarted()
	r := &View[S]{v: &view{c: c, name: d.Name, essential: d.Essential}, zxid: d.Zxid}
	for _, dir := range d.Directories {
		r.v.sets = append(r.v.sets, newSet(r.v, dir, discovery.Records))
	}
	r.v.build = func(m discovery.Moment) (changes func() []discovery.Topic) {
		was := r.current.Load()
		is := d.Build(m, was)
		r.current.Store(is)
		return func() []discovery.Topic { return d.Changes(was, is) }
	}
	r.v.drop = func() { r.current.Store(nil) }
	c.views.all = append(c.views.all, r.v)
	return r
}

// plan chooses a session for each view, which lists the children of its directories and
// carries the watches on them, and makes as many sessions as that takes. They are not
// connected yet.
func (p *views) plan(c *Cache) (planned []*session, err error) {
	p.c, p.byDir = c, map[string]*set{}
	if len(p.all) == 0 {
		AddView(c, rootAlone)
	}
	p.session = c.newSession(0)
	p.session.reserved.Add(listingCost(c.cfg.Root))
	planned = []*session{p.session}
	for _, v := range p.all {
		cost := int64(0)
		for _, s := range v.sets {
			cost += listingCost(s.dir)
			if v.branch == nil {
				p.byDir[s.dir] = s
			}
		}
		at := slices.IndexFunc(planned, func(s *session) bool { return s.reserved.Load()+cost <= c.cfg.watchBudget })
		if at < 0 {
			if at = len(planned); cost > c.cfg.watchBudget || at == c.cfg.MaxSessions {
				return nil, errNoRoom
			}
			planned = append(planned, c.newSession(at))
		}
		planned[at].reserved.Add(cost)
		v.init(planned[at])
	}
	return planned, nil
}

// listingCost is what the watches on a znode and on which children it has may take.
func listingCost(path string) int64 { return 2 * watchCost(path) }

// rootAlone is the view of a cache that has no other: it is known once the root is.
var rootAlone = discovery.View[struct{}]{
	Name:    "root",
	Build:   func(discovery.Moment, *struct{}) *struct{} { return &struct{}{} },
	Zxid:    func(*struct{}) int64 { return 0 },
	Changes: func(_, _ *struct{}) []discovery.Topic { return nil },
}

// each calls f for every view. Directories of a tree come after those that they are in.
func (p *views) each(f func(*view)) {
	for _, v := range p.all {
		if v.branch == nil {
			f(v)
		}
	}
	for _, t := range p.trees {
		for _, v := range t.sorted() {
			f(v)
		}
	}
}

// setAt returns the set that a path is of: that of the directory, or of the child of that
// name in it. It returns nil if there is none. A directory of a tree is a child as well: see
// tree.parent.
func (p *views) setAt(path string) (s *set, child string) {
	if t := p.treeAt(path); t != nil {
		return t.setAt(path)
	}
	if s = p.byDir[path]; s != nil {
		return s, ""
	}
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || slash+1 == len(path) {
		return nil, ""
	}
	if s = p.byDir[path[:slash]]; s == nil {
		return nil, ""
	}
	return s, path[slash+1:]
}

// onReady reads again what the session's watches do not hold true any more: nothing before
// the root has been found.
func (p *views) onReady(s *session, epochIsNew bool) {
	found := p.root.found.Load()
	if s == p.session {
		p.lookForRoot() // which reads all once it has found the root first
	}
	if found {
		p.read(s, epochIsNew)
	}
}

func (p *views) read(s *session, epochIsNew bool) {
	p.each(func(v *view) { v.onReady(s, epochIsNew) })
}

// readAll is read for all sessions that are live. The others follow when they are.
func (p *views) readAll(epochIsNew bool) {
	for _, s := range p.c.sessions.list() {
		if s.live.Load() {
			p.read(s, epochIsNew)
		}
	}
}

func (p *views) onWatch(s *session, e zk.WatchEvent) {
	if e.Path == p.c.cfg.Root {
		if s == p.session {
			p.lookForRoot()
		}
	}
	if t := p.treeAt(e.Path); t != nil {
		t.onWatch(s, e)
	} else if set, child := p.setAt(e.Path); set != nil {
		set.learn(s, child)
	}
}

// learn is onWatch, and notes when the change was learnt of.
func (s *set) learn(on *session, child string) {
	s.v.learntAt.CompareAndSwap(0, time.Now().UnixNano())
	s.onWatch(on, child)
}

// ask has all views read once more what could not be read, and has the guards of trees count.
func (p *views) ask() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-p.c.closing:
			return
		case <-ticker.C:
		}
		p.each(func(v *view) {
			for _, s := range v.sets {
				s.askAgain()
			}
		})
		for _, t := range p.trees {
			t.judge()
		}
	}
}

// fail tells those who wait for the views of a session why there is nothing; nil is any
// session.
func (p *views) fail(of *session, err error) {
	p.each(func(v *view) {
		if of == nil || v.session == of {
			v.fail(err)
		}
	})
}

// learnt takes the time at which the first change was learnt of that the next value will
// hold; the zero time if that is unknown.
func (v *view) learnt() time.Time {
	if ns := v.learntAt.Swap(0); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// moment gathers what the sets hold. v.mu is held.
func (v *view) moment() discovery.Moment {
	m := discovery.Moment{Held: make(map[string]discovery.Held, len(v.sets))}
	for _, s := range v.sets {
		m.Held[s.dir] = s.held()
	}
	return m
}

// held is what the set holds. v.mu is held.
func (s *set) held() discovery.Held {
	h := discovery.Held{Zxid: s.accepted, Doubts: s.doubts(), Absent: s.absent}
	add := func(n *node) {
		h.Values = append(h.Values, n.value)
		h.Zxid = max(h.Zxid, n.zxid)
	}
	for _, n := range s.nodes {
		if n.value != nil {
			add(n)
		}
		if n.isDirectory() {
			h.Directories++
		}
	}
	for _, n := range s.served {
		if n.value != nil {
			add(n)
		}
		if n.isDirectory() {
			h.Directories++
		}
	}
	return h
}

// publish makes a value of a moment, and tells those who watch what has changed.
func (v *view) publish(m discovery.Moment) {
	learnt, begun := v.learnt(), time.Now()
	m.Now = v.c.cfg.clock.Now()
	changes := v.build(m)
	v.c.metrics.build.WithLabelValues(v.name).Observe(time.Since(begun).Seconds())
	if feed := v.c.notify.feed; feed.Watches() > 0 {
		for _, topic := range changes() {
			feed.Publish(topic, learnt)
		}
	}
}

// View reads the value of a view. It is safe for concurrent use.
type View[S any] struct {
	v       *view
	zxid    func(*S) int64
	current atomic.Pointer[S]
}

var _ discovery.ViewReader[int] = (*View[int])(nil)
