package cache

import (
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
	// Since is when this process first saw it so.
	Since time.Time
	// Zxid is the transaction that wrote the unreadable bytes.
	Zxid int64
	// ServedZxid is the transaction of the last good value, which goes on being
	// served; 0 where there is none.
	ServedZxid int64
}

// problems is the set of znodes that are not as they should be. Each problem is
// logged once, when it appears or changes, and once when it is gone.
type problems struct {
	log *slog.Logger

	mu     sync.Mutex
	byPath map[string]Problem
}

func newProblems(log *slog.Logger) *problems {
	return &problems{log: log, byPath: map[string]Problem{}}
}

func (p *problems) report(path string, err error, zxid, served int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.byPath[path]
	if known && old.Zxid == zxid && old.Error == err.Error() {
		return
	}
	since := time.Now()
	if known {
		since = old.Since
	}
	p.byPath[path] = Problem{Path: path, Error: err.Error(), Since: since, Zxid: zxid, ServedZxid: served}
	p.log.Warn("znode has a problem; its last good value, if any, goes on being served",
		"path", path, "error", err, "zxid", zxid, "served_zxid", served)
}

// update is report for a problem that is known and goes on, without a log line.
func (p *problems) update(path string, err error, zxid, served int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Now()
	if old, known := p.byPath[path]; known {
		since = old.Since
	}
	p.byPath[path] = Problem{Path: path, Error: err.Error(), Since: since, Zxid: zxid, ServedZxid: served}
}

// resolve forgets a problem: the znode reads well again, or is gone.
func (p *problems) resolve(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.byPath[path]; known {
		delete(p.byPath, path)
		p.log.Info("znode is well again", "path", path)
	}
}

func (p *problems) get(path string) (Problem, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, known := p.byPath[path]
	return one, known
}

func (p *problems) has(path string) bool {
	_, known := p.get(path)
	return known
}

func (p *problems) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byPath)
}

func (p *problems) list() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Problem, 0, len(p.byPath))
	for _, one := range p.byPath {
		all = append(all, one)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all
}
