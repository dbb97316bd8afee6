package cache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// heldBack has all places of the session in flight taken until the function that it
// returns is called, so that whatever is queued stays there.
func heldBack(s *session) (free func()) {
	n := s.c.cfg.InFlight
	s.mu.Lock()
	s.inFlight += n
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.inFlight -= n
		s.mu.Unlock()
		s.pump()
	})
}

// fillAbsent has the cache hold n shops that do not exist; they take a watch each, as others.
func (w *world) fillAbsent(n int) (names []string) {
	w.Helper()
	names = make([]string, n)
	for i := range names {
		names[i] = "shop-" + strconv.Itoa(10_000+i)
	}
	out := make([]shops.ShopRead, 500)
	for i := 0; i < n; i += len(out) {
		w.cache.Shops(w.soon(), names[i:min(n, i+len(out))], discovery.ReadOptions{}, out)
	}
	entries, _ := w.cache.index.len()
	if entries < n {
		w.Fatalf("%d entries are held, want %d", entries, n)
	}
	return names
}

// expire ends the session on the server, and waits until the next one is live.
func (w *world) expire(s *session) {
	w.Helper()
	old := s.epoch.Load()
	w.must(w.server.Expire(s.client.SessionCredentials()))
	w.eventually(func() string {
		if old.ended.Load() == 0 || !s.live.Load() {
			return "the session has no successor"
		}
		return ""
	})
}

// unvouched counts the entries that no watch holds true.
func (w *world) unvouched() (n int) {
	w.cache.index.each(func(_ uint64, e *entry) {
		if rec := e.rec.Load(); rec == nil || !rec.vouched() {
			n++
		}
	})
	return n
}

func (w *world) allVouched() {
	w.Helper()
	w.eventually(func() string {
		if n := w.unvouched(); n > 0 {
			return fmt.Sprintf("%d entries have not been read again", n)
		}
		return ""
	})
}

// TestRevalidationIsBounded: however many entries have lost their watch, no read is
// queued for those that cannot start, and no more than a piece of them is known.
func TestRevalidationIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{MaxBytes: 1 << 30})
	const many = 5 * piece
	w.fillAbsent(many)
	s := c.sessions.list()[0]
	free := heldBack(s)
	w.expire(s)
	// With the session's lock held no place in flight changes hands. Otherwise the index,
	// which counts one shard after the other, may count a read that ends and the one that
	// takes its place in a later shard.
	known := func() (loading, next int, more bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, loading = c.index.len()
		return loading, len(s.round.next), s.round.more
	}
	w.eventually(func() string {
		if _, next, more := known(); next != piece || !more {
			return fmt.Sprintf("%d entries are known to be next, and that there are more is %v", next, more)
		}
		return ""
	})
	if loading, _, _ := known(); loading != 0 {
		t.Errorf("%d reads are queued and none can start", loading)
	}
	free()
	w.eventually(func() string {
		if loading, next, _ := known(); loading > backgroundInFlight || next > piece {
			t.Fatalf("%d reads are queued or in flight, and %d known to be next", loading, next)
		}
		if n := w.unvouched(); n > 0 {
			return fmt.Sprintf("%d entries have not been read again", n)
		}
		return ""
	})
	w.eventually(func() string { // a round that is over holds nothing
		s.mu.Lock()
		defer s.mu.Unlock()
		if r := &s.round; r.more || r.next != nil || r.last.e != nil || s.inFlight != 0 || s.behind != 0 {
			return fmt.Sprintf("the round is not over: %+v, %d in flight, %d behind", r, s.inFlight, s.behind)
		}
		return ""
	})
}

// TestManyChangesAreBounded: a replica that comes back after many znodes have changed
// is told of all of them at once.
func TestManyChangesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{MaxBytes: 1 << 30})
	names := w.fillAbsent(3 * maxUpkeep)
	s := c.sessions.list()[0]
	free := heldBack(s)
	for _, name := range names {
		c.invalidate(s, name)
	}
	if _, loading := c.index.len(); loading > maxUpkeep {
		t.Errorf("%d reads are queued", loading)
	}
	if n := w.unvouched(); n < len(names) {
		t.Errorf("%d of %d entries are known to have changed", n, len(names))
	}
	free()
	w.allVouched()
}

// TestRevalidationOrder: watched entries come first, then the most used, across all
// pieces; none comes again and again, though here all reads fail; whatever has left or
// been read meanwhile is passed over.
func TestRevalidationOrder(t *testing.T) {
	s := idleSession(Config{InFlight: 1, MaxBytes: DefaultMaxBytes})
	c := s.c
	c.notify.init(c)
	lost := &epoch{session: s}
	lost.ended.Store(1)
	c.sessions.all.Store(&[]*session{s})
	s.inFlight = 1 // nothing starts: there is no client

	const many = 4*piece + 100
	byName := map[string]*entry{}
	for i := range many {
		name := strconv.Itoa(i)
		e := &entry{name: name}
		e.heat.Store(rand.Uint32N(20))
		e.rec.Store(&record{zxid: 1, epoch: lost})
		hash := max(1, rand.Uint64())
		c.index.shard(hash).insert(hash, e)
		byName[name] = e
	}
	watches := 0
	for i := 0; i < many; i += 3 {
		defer c.Watch(shops.ShopTopic(strconv.Itoa(i)), make(wakeUp, 1)).Stop()
		watches++
	}

	s.beginRound()
	var taken []*stale
	came, read := map[*entry]*stale{}, map[*entry]bool{}
	searches := 0
	for over := false; !over; {
		if searches++; searches > 200 {
			t.Fatalf("the round does not end: %d of %d have come", len(came), many)
		}
		c.searchStale() // as the cache's goroutine does
		s.mu.Lock()
		for range rand.IntN(piece) {
			one := s.takeStale(watched)
			if one == nil {
				one = s.takeStale(background)
			}
			if one == nil {
				break
			}
			// One that was watched and whose read has failed gets another chance.
			if was := came[one.e]; was != nil && (was.lane != watched || one.lane == watched) {
				t.Fatalf("%+v comes again, after %+v", one, was)
			}
			taken = append(taken, one)
			came[one.e] = one
		}
		over = len(s.round.next) == 0 && !s.round.more
		s.mu.Unlock()
		for range 10 { // what is asked for meanwhile becomes hotter, and is read
			e := byName[strconv.Itoa(rand.IntN(many))]
			e.heat.Add(100)
			e.rec.Store(&record{zxid: 1, epoch: s.epoch.Load()})
			read[e] = true
		}
	}
	inLane := 0
	for i, one := range taken {
		if i > 0 {
			if last := taken[i-1]; one.lane == watched && last.lane != watched || one.lane == last.lane && one.heat > last.heat {
				t.Fatalf("%+v comes after %+v", one, last)
			}
		}
		if one.lane == watched {
			inLane++
		}
	}
	for name, e := range byName {
		if came[e] == nil && !read[e] {
			t.Errorf("%s has not come", name)
		}
	}
	if inLane < watches-len(read) || inLane > watches {
		t.Errorf("%d came as watched, of %d", inLane, watches)
	}

	// One that has been read, one that has left, and one that is being read.
	fresh, left, loading := taken[0], taken[1], taken[2]
	fresh.e.rec.Store(&record{zxid: 1, epoch: s.epoch.Load()})
	left.e.rec.Store(&record{zxid: 1, epoch: lost})
	c.index.shard(left.hash).remove(left.hash)
	loading.e.rec.Store(&record{zxid: 1, epoch: lost})
	if l := c.begin(loading); l == nil || l.lane != loading.lane || l.place != loading.lane {
		t.Errorf("the read is %+v", l)
	}
	for name, one := range map[string]*stale{"read": fresh, "left": left, "being read": loading} {
		if l := c.begin(one); l != nil {
			t.Errorf("%s: it is read again", name)
		}
	}
}

// TestSearchGoesOnBehindWhatIsTaken: what is taken while the next piece is searched
// for is not in that piece any more, and a search of an earlier round brings nothing.
func TestSearchGoesOnBehindWhatIsTaken(t *testing.T) {
	s := idleSession(Config{InFlight: 1})
	all := make([]stale, 6)
	for i := range all {
		all[i] = stale{hash: uint64(i), e: &entry{}, heat: uint32(100 - i)}
	}
	s.round.next, s.round.more = slices.Clone(all[:4]), true
	p, hungry := s.beginSearch()
	if p == nil || !hungry {
		t.Fatal("nothing is searched for")
	}
	s.takeStale(background)
	s.takeStale(background)
	for i := range all {
		p.add(&all[len(all)-1-i])
	}
	s.endSearch(p)
	if got := s.round.next; len(got) != 4 || got[0] != all[2] || got[3] != all[5] || s.round.more {
		t.Errorf("next are %+v", got)
	}
	s.round.more = true
	p, _ = s.beginSearch()
	s.stopRound()
	p.add(&all[5])
	s.endSearch(p)
	if s.round.next != nil {
		t.Errorf("after the round was stopped, next are %+v", s.round.next)
	}
}

// TestStormDoesNotStarveRevalidation: callers ask without end for what is not in
// memory, more of them than reads may be in flight, and the session expires. All
// that was held is read again all the same, and whoever watches is told.
func TestStormDoesNotStarveRevalidation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := make([]string, 40)
	for i := range names {
		names[i] = "held-" + strconv.Itoa(i)
		w.shop(names[i], "ash1")
	}
	c := w.open(Config{InFlight: 4, MaxWaiting: 32, MaxBytes: 8 << 20})
	for _, name := range names {
		w.ask(name)
	}
	s := c.sessions.list()[0]

	var storm sync.WaitGroup
	var stop atomic.Bool
	var asked atomic.Int64
	defer storm.Wait()
	defer stop.Store(true)
	for range 64 { // twice as many as may wait
		storm.Go(func() {
			for !stop.Load() {
				w.ask("none-" + strconv.FormatInt(asked.Add(1), 10))
			}
		})
	}
	w.eventually(func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[callers].len() < 8 {
			return "there is no storm"
		}
		return ""
	})
	woken := make(wakeUp, 1)
	defer c.Watch(shops.ShopTopic(names[7]), woken).Stop()
	w.must(w.server.Expire(s.client.SessionCredentials()))
	zxid := w.shop(names[7], "ash2")
	w.eventually(func() string {
		if rec := c.index.entry(c.hash(names[7])).rec.Load(); rec.zxid != zxid || !rec.vouched() {
			return fmt.Sprintf("what is watched is not read again: %+v", rec)
		}
		return ""
	})
	select {
	case <-woken:
	default:
		t.Error("whoever watches was not told")
	}
	w.eventually(func() string {
		left := 0
		for _, name := range names {
			if !c.index.entry(c.hash(name)).rec.Load().vouched() {
				left++
			}
		}
		if left > 0 {
			return fmt.Sprintf("%d entries have not been read again after %d callers", left, asked.Load())
		}
		return ""
	})
}

// TestRevalidationGoesOn: sessions expire again and again in the middle of it, while
// entries are asked for, changed and evicted.
func TestRevalidationGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{MaxBytes: 1 << 30})
	names := w.fillAbsent(3 * piece)
	s := c.sessions.list()[0]
	for range 4 {
		before := counted(c.metrics.revalidations)
		w.expire(s)
		w.eventually(func() string { // it has begun
			if counted(c.metrics.revalidations) == before {
				return "nothing has been read again"
			}
			return ""
		})
		for range 20 {
			w.ask(names[rand.IntN(len(names))])
			hash := c.hash(names[rand.IntN(len(names))])
			if e := c.index.entry(hash); e != nil && e.rec.Load() != nil && c.absent.remove(hash, e) {
				c.drop(hash, e)
			}
			c.invalidate(s, names[rand.IntN(len(names))])
		}
	}
	w.allVouched()
	w.eventually(func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.inFlight != 0 || s.behind != 0 {
			return fmt.Sprintf("%d are in flight, %d of them behind", s.inFlight, s.behind)
		}
		return ""
	})
}

// TestCloseDuringRevalidation: nothing is left of it, in whatever state it was.
func TestCloseDuringRevalidation(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"about to begin", "begun", "held back"} {
		t.Run(when, func(t *testing.T) {
			w := newWorld(t)
			c := w.open(Config{MaxBytes: 1 << 30})
			names := w.fillAbsent(2 * piece)
			s := c.sessions.list()[0]
			if when == "held back" {
				heldBack(s)
			}
			w.expire(s)
			w.eventually(func() string {
				s.mu.Lock()
				found := s.round.next != nil
				s.mu.Unlock()
				if when == "begun" && w.unvouched() == len(names) || when == "held back" && !found {
					return "not yet " + when
				}
				return ""
			})
			// What waits for a place gets an answer, too.
			asked := make(chan string)
			waits := 0
			if when == "held back" {
				waits = 3
				for i := range waits {
					go func() {
						got, _ := w.ask(fmt.Sprint("new-", i))
						asked <- got
					}()
				}
				w.eventually(func() string {
					s.mu.Lock()
					defer s.mu.Unlock()
					if n := s.waiting[callers].len(); n < waits {
						return fmt.Sprintf("%d reads wait", n)
					}
					return ""
				})
			}
			w.must(c.Close())
			for range waits {
				if got := <-asked; got != errClosed.Error() {
					t.Errorf("a read that waited: %s", got)
				}
			}
			if _, loading := c.index.len(); loading > 0 {
				t.Errorf("%d reads are left", loading)
			}
		})
	}
}

// TestRoundsFollow: what could not be read in a round is left to another one, and a
// round that finds its session away goes on when that is back.
func TestRoundsFollow(t *testing.T) {
	begin := func() (*session, *load) {
		s := idleSession(Config{InFlight: 1, MaxBytes: DefaultMaxBytes})
		s.c.notify.init(s.c)
		s.c.metrics = newMetrics(s.c)
		s.c.sessions.all.Store(&[]*session{s})
		for _, v := range s.c.views.all {
			v.epochs.Store(new([]*epoch)) // none is carried by s
		}
		s.inFlight = 1 // nothing starts: there is no client
		s.timer, s.roundTimer = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
		t.Cleanup(func() { s.timer.Stop(); s.roundTimer.Stop() })
		e := &entry{name: "42"}
		e.rec.Store(&record{zxid: 1, epoch: s.epoch.Load(), doubt: newDoubt(1, false)})
		s.c.index.shard(42).insert(42, e)
		return s, &load{s: s, e: e, hash: 42, path: layout.Shop("42"), done: make(chan struct{})}
	}

	s, _ := begin()
	s.beginRound()
	s.c.searchStale()
	s.mu.Lock()
	s.revalidate(false)
	early := s.round.due
	one := s.takeStale(background)
	if early || one == nil || !s.round.due {
		t.Errorf("another round is to begin: %v, %v once the first is over; taken was %+v", early, s.round.due, one)
	}
	s.mu.Unlock()

	s, l := begin()
	s.c.finish(l, nil, errOverloaded)
	if !s.round.due {
		t.Error("an entry that was not read because too many callers waited is forgotten")
	}

	s, _ = begin()
	s.live.Store(false)
	s.beginRound()
	<-s.c.searching
	s.c.searchStale()
	s.onSession(zk.SessionEvent{State: zk.Ready})
	select {
	case <-s.c.searching:
		s.c.searchStale()
	default:
	}
	s.mu.Lock()
	if s.takeStale(background) == nil {
		t.Error("the round does not go on")
	}
	s.mu.Unlock()
}

// TestQueueForgetsStorms: a queue that was long once does not keep the memory.
func TestQueueForgetsStorms(t *testing.T) {
	var q queue[int]
	for range 3 {
		for i := range 10 * keepItems {
			q.push(i)
		}
		for i := range 10 * keepItems {
			if got, ok := q.pop(); !ok || got != i {
				t.Fatalf("%d, %v instead of %d", got, ok, i)
			}
		}
		if _, ok := q.pop(); ok || cap(q.items) > keepItems {
			t.Errorf("the empty queue has room for %d", cap(q.items))
		}
	}
}
