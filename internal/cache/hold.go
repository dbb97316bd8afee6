package cache

import "time"

// A program that registers itself anew deletes its record and creates another one. Both are changes,
// and between them there is one instance less, or none. With [Config].Settle the value of a tree's
// directory that has lost records is not published for that long, unless there are as many records as
// before. So both changes are seen as one. Meanwhile the value before is served, as Updating, and its
// age counts. A caller who wants what ZooKeeper holds does not wait: what has been read is published
// then.

// hold is a loss of records that is not published yet.
type hold struct {
	until instant // 0 if there is none
	// had is how many records there were before the loss.
	had int
}

// hold notes, before records are removed from the set, that a value without them may have to wait. v.mu
// is held.
func (s *set) hold() {
	settle := s.v.c.cfg.Settle
	if settle == 0 || s.v.branch == nil || s.withheld.until != 0 || s.v.published == 0 {
		return
	}
	s.withheld = hold{s.v.c.now() + instant(settle), s.valued()}
	time.AfterFunc(settle, func() { s.v.change(func() {}) })
}

// valued is how many children have a value to be served.
func (s *set) valued() (n int) {
	for _, node := range s.nodes {
		if node.value != nil {
			n++
		}
	}
	return n
}

// holds reports whether the next value has to wait. v.mu is held.
func (v *view) holds() bool {
	for _, s := range v.sets {
		if s.withheld.until == 0 {
			continue
		}
		if v.c.now() < s.withheld.until && s.valued() < s.withheld.had {
			return true
		}
		s.withheld = hold{}
	}
	return false
}

// letGo publishes what is held back, for callers who want what ZooKeeper holds. v.mu is held.
func (v *view) letGo() {
	for _, s := range v.sets {
		if s.withheld.until > 1 && !v.c.isClosed.Load() {
			s.withheld.until = 1 // long ago
			v.c.stopped.Go(func() { v.change(func() {}) })
		}
	}
}
