package cache

import (
	"container/list"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"
)

// Problem is a znode that does not parse, may not be read, or has lost too much
// at once.
type Problem struct {
	// Path is the znode's path.
	Path string
	// Error says what is wrong with it.
	Error string
	// Since is when this process first found the problem.
	Since time.Time
	// Zxid is the transaction that wrote the unreadable bytes.
	Zxid int64
	// ServedZxid is the transaction of the last good value, which goes on being served. It
	// is 0 if there is none.
	ServedZxid int64
}

// maxKeyedProblems is how many problems of one keyed kind are kept. Without a bound, a client that
// asks for many things that may not be read would fill the memory: the cache keeps no entry for such
// a thing, so nothing would ever resolve its problem.
const maxKeyedProblems = 1000

// problems is the set of all problems. Each one is logged when it appears or changes, and when it is
// resolved. All problems of directories are kept. Of each keyed kind the newest maxKeyedProblems are
// kept, and the number of older ones that were dropped is counted.
type problems struct {
	c   *Cache
	log *slog.Logger

	mu     sync.Mutex
	byPath map[string]*problem
	keyed  map[*kind]*keyedProblems
}

// keyedProblems are the problems of one keyed kind.
type keyedProblems struct {
	newest list.List // of *problem, the oldest first
	// dropped is how many were dropped for newer ones, the first of them at droppedAt.
	dropped   int
	droppedAt time.Time
}

type problem struct {
	Problem
	// of is nil for a problem of a directory. place is the problem's element in of.newest.
	of    *keyedProblems
	place *list.Element
}

func newProblems(c *Cache) *problems {
	return &problems{c: c, log: c.log, byPath: map[string]*problem{}, keyed: map[*kind]*keyedProblems{}}
}

// put adds a problem, or replaces an earlier one of the same path, whose Since stays. p.mu is held.
func (p *problems) put(is Problem) {
	if known := p.byPath[is.Path]; known != nil {
		is.Since = known.Since
		known.Problem = is
		return
	}
	is.Since = time.Now()
	one := &problem{Problem: is}
	p.byPath[is.Path] = one
	k, _ := p.c.kindAt(is.Path)
	if k == nil {
		return
	}
	all := p.keyed[k]
	if all == nil {
		all = new(keyedProblems)
		p.keyed[k] = all
	}
	one.of, one.place = all, all.newest.PushBack(one)
	if all.newest.Len() > maxKeyedProblems {
		p.remove(all.newest.Front().Value.(*problem))
		if all.dropped++; all.dropped == 1 {
			all.droppedAt = is.Since
		}
	}
}

// remove removes a problem. p.mu is held.
func (p *problems) remove(one *problem) {
	delete(p.byPath, one.Path)
	if one.of != nil {
		one.of.newest.Remove(one.place)
	}
}

func (p *problems) report(path string, err error, zxid, served int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byPath[path]; old != nil && old.Zxid == zxid && old.Error == err.Error() {
		return
	}
	p.put(Problem{Path: path, Error: err.Error(), Zxid: zxid, ServedZxid: served})
	p.log.Warn("znode has a problem; its last good value, if any, goes on being served",
		"path", path, "error", err, "zxid", zxid, "served_zxid", served)
}

// update is report without a log line, for a problem that is known already.
func (p *problems) update(path string, err error, zxid, served int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(Problem{Path: path, Error: err.Error(), Zxid: zxid, ServedZxid: served})
}

// resolve removes the problem of a path, if there is one: the znode can be served again, or does not
// exist any more.
func (p *problems) resolve(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.byPath[path]; one != nil {
		p.remove(one)
		p.log.Info("znode has no problem any more", "path", path)
	}
}

// forget removes the problem of a path that is not held any more, which does not mean that the znode
// is better.
func (p *problems) forget(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.byPath[path]; one != nil {
		p.remove(one)
	}
}

func (p *problems) get(path string) (Problem, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.byPath[path]; one != nil {
		return one.Problem, true
	}
	return Problem{}, false
}

// count returns how many problems are kept, and how many of keyed kinds were dropped.
func (p *problems) count() (kept, dropped int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, all := range p.keyed {
		dropped += all.dropped
	}
	return len(p.byPath), dropped
}

// list returns the problems, ordered by path. For each keyed kind of which some were dropped, one
// more problem says how many.
func (p *problems) list() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Problem, 0, len(p.byPath)+len(p.keyed))
	for _, one := range p.byPath {
		all = append(all, one.Problem)
	}
	for k, keyed := range p.keyed {
		if keyed.dropped > 0 {
			all = append(all, Problem{
				Path: k.dir, Since: keyed.droppedAt,
				Error: fmt.Sprintf("%d more problems of %ss were found and are not listed: only the newest %d are", keyed.dropped, k.name, maxKeyedProblems),
			})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all
}
