package cache

import "testing"

// TestLoadIsQueuedOnce: whoever comes to wait for a read, at whatever moment,
// gives it no second place in its session's queues: it would end twice.
func TestLoadIsQueuedOnce(t *testing.T) {
	t.Parallel()
	c := newWorld(t).open(Config{})
	away := func() *session { // out of reach, so that what is queued stays there
		s := &session{c: c.Cache, lostAt: c.now()}
		s.epoch.Store(&epoch{session: s})
		return s
	}
	unasked := func(s *session) *load {
		return &load{s: s, e: &entry{name: "42"}, once: true, done: make(chan struct{})}
	}
	places := func(s *session) (n int) {
		for of := range s.waiting {
			for _, r := range s.waiting[of].items[s.waiting[of].head:] {
				if l, ok := r.(*load); ok && l.lane == lane(of) {
					n++
				}
			}
		}
		return n
	}

	s := away()
	l := unasked(s)
	s.promote(l) // it is in the shard's loads before it is submitted
	s.submit(l)
	s.promote(l)
	if got := places(s); got != 1 {
		t.Errorf("promoted before it was submitted, it has %d places", got)
	}

	s = away()
	l = unasked(s)
	s.submit(l)
	s.promote(l)
	s.promote(l)
	if got := places(s); got != 1 {
		t.Errorf("promoted twice, it has %d places", got)
	}

	s = away()
	l = unasked(s)
	// Fails first, at which moment somebody comes for the other.
	s.submit(failing(func() { s.promote(l) }))
	s.submit(l)
	s.failWaiting()
	<-l.done
	if got := places(s); got != 0 {
		t.Errorf("promoted while it fails, it has %d places and has ended already", got)
	}
}

// failing is a request that does something when it fails.
type failing func()

func (f failing) issue()     {}
func (f failing) fail(error) { f() }

// TestAnswerBeforeReady: a request that was issued late is answered by the next
// session before that has synced. Such an answer is not used.
func TestAnswerBeforeReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	s := c.sessions.list()[0]
	s.live.Store(false)
	var late []*load
	for _, name := range []string{"42", "none"} {
		l := &load{s: s, e: &entry{name: name}, path: layout.Shop(name), lane: callers, once: true, done: make(chan struct{})}
		late = append(late, l)
		s.mu.Lock()
		s.inFlight++
		s.mu.Unlock()
		l.issue()
	}
	w.must(s.client.Sync(w.soon(), "/")) // all have been answered
	for _, l := range late {
		select {
		case <-l.done:
			t.Errorf("%s was answered: %+v, %v", l.path, l.rec, l.err)
		default:
		}
	}
	s.live.Store(true)
	s.pump()
	for _, l := range late {
		<-l.done
		if l.err != nil {
			t.Errorf("%s: %v", l.path, l.err)
		}
	}
}
