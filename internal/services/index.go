package services

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/discovery"
)

// Index numbers what was answered to a question, for clients that wait as Consul has them wait: a
// client names the index that it has, and gets an answer once there is a greater one. It does not
// look at an answer that has the index it knows. See
// https://developer.hashicorp.com/consul/api-docs/features/blocking.
//
// An index is above 0. Of two answers of one process to the same question the later one has no
// smaller index, and a greater one if it says something else. An index is 256 times the newest
// transaction of what the answer is made of, so that all replicas give the same one for the same state
// of ZooKeeper.
//
// The transaction alone would not do. The shrink guard, or a record that becomes unreadable, changes
// an answer without any transaction, and if several sessions watch what an answer is made of, a change
// may become known after a later one. So [indexes] remembers what was told, and adds 1 where an answer
// is another one under the same transaction. The next transaction makes replicas equal again.
type Index uint64

// indexShift is how far the transaction is shifted. An index stays below 2^53, beyond which
// clients written in JavaScript are not exact, until ZooKeeper has had 8,192 leaders.
const indexShift = 8

// indexOf is the least index of an answer whose newest transaction is this one.
func indexOf(zxid int64) Index { return max(Index(zxid)<<indexShift, 1) }

// maxHold is how long an answer with an index is held back while something that it is made of is being
// read. Until that is read, another replica may have another body for the same transaction.
const maxHold = 200 * time.Millisecond

// indexes remembers which indexes were told, and for what. It is safe for concurrent use.
type indexes struct {
	mu       sync.Mutex
	services map[string]told
	list     told
}

// told is an index with the print of what was told under it.
type told struct {
	index Index
	print uint64
}

// maxTold is how many services are remembered. If clients ask for more names, all are forgotten, and
// an index may go back once.
const maxTold = 100_000

// next returns the index of an answer that comes after t. base is its least index.
func (t told) next(base Index, print uint64) told {
	switch {
	case t.index == 0:
	case t.print == print:
		base = max(base, t.index)
	case base <= t.index:
		base = t.index + 1
	}
	return told{base, print}
}

// near is what the index of a service is made of.
type near struct {
	// zxid is the newest transaction of the directories that may have the service, or of the
	// nearest ones above them that exist: if a directory disappears, the list of the one above it
	// has a newer transaction.
	zxid int64
	// print stands for the values of the directories that may have the service.
	print uint64
	// updating: one of them is being read.
	updating bool
}

// near finds out what the index of a service is made of.
func (r *Registry) near(ctx context.Context, name string) (n near) {
	print := xxhash.New()
	for i := range r.mounts {
		m := &r.mounts[i]
		if name == m.own {
			m.near(ctx, "", &n, print)
		}
		m.near(ctx, m.dirOf(name), &n, print)
	}
	n.print = print.Sum64()
	return n
}

// near adds what is known of a directory, and of those above it as long as it does not exist.
func (m *Mounted) near(ctx context.Context, dir string, n *near, print *xxhash.Digest) {
	version := uint64(0) // it does not exist
	for at := dir; ; at = at[:max(0, strings.LastIndexByte(at, '/'))] {
		s, meta, err := m.Reader.Get(ctx, at, discovery.ReadOptions{})
		n.updating = n.updating || meta.Cache == discovery.Updating
		if err == nil {
			n.zxid = max(n.zxid, s.zxid)
			if at == dir {
				version = s.version
			}
		}
		if err == nil || at == "" {
			break
		}
	}
	addPrint(print, version)
}

func addPrint(print *xxhash.Digest, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	_, _ = print.Write(b[:]) // it never fails
}

// ended is a context that has ended: what is in memory can be read with it.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// IndexedService is [Registry.Service] for all mounts, with the index of its answer. That the service
// does not exist, [discovery.ErrNotFound], has an index too. While something is being read the answer
// may come later by up to a fifth of a second.
func (r *Registry) IndexedService(ctx context.Context, name string, opt discovery.ReadOptions) (answer Answer, index Index, basis discovery.Basis, err error) {
	var fresh discovery.Meta // what is read for this answer stays in memory
	if opt != (discovery.ReadOptions{}) {
		if answer, basis, err = r.Service(ctx, name, "", opt); err != nil && !errors.Is(err, discovery.ErrNotFound) {
			return answer, 0, basis, err
		}
		fresh = basis.Meta
	}
	for held := newHold(); ; held.pause(ctx) {
		n := r.near(ctx, name)
		answer, basis, err = r.Service(ctx, name, "", discovery.ReadOptions{})
		basis.Meta = fresh.Join(basis.Meta)
		if err != nil && !errors.Is(err, discovery.ErrNotFound) {
			return answer, 0, basis, err
		}
		if n.updating && !held.over(ctx) {
			continue
		}
		if index = r.tell(name, n, answer, held.over(ctx)); index != 0 {
			return answer, index, basis, err
		}
	}
}

// tell returns the index of an answer that was read after n was, and remembers it. It returns 0 if
// they may not belong together, because something has changed since; unless it must not be held back
// any longer.
func (r *Registry) tell(name string, n near, answer Answer, now bool) Index {
	lacking := xxhash.New()
	addPrint(lacking, n.print)
	for s := range answer.All {
		addPrint(lacking, uint64(s.Unreadable)) // they are left out as time passes
	}
	print := lacking.Sum64()
	r.told.mu.Lock()
	defer r.told.mu.Unlock()
	if !now && r.near(ended, name).print != n.print {
		return 0
	}
	last, known := r.told.services[name]
	if !known {
		if r.told.services == nil || len(r.told.services) >= maxTold {
			r.told.services = map[string]told{}
		}
		name = strings.Clone(name) // it may be a piece of a request
	}
	last = last.next(indexOf(n.zxid), print)
	r.told.services[name] = last
	return last.index
}

// IndexedServices is [Registry.Services] for all mounts, with the index of the list. While something
// is being read the answer may come later by up to a fifth of a second.
func (r *Registry) IndexedServices(ctx context.Context, opt discovery.ReadOptions) (all []MountAnswer, index Index, basis discovery.Basis, err error) {
	var fresh discovery.Meta // what is read for this answer stays in memory
	if opt != (discovery.ReadOptions{}) {
		if _, basis, err = r.Services(ctx, "", opt); err != nil {
			return nil, 0, basis, err
		}
		fresh = basis.Meta
	}
	for held := newHold(); ; held.pause(ctx) {
		r.told.mu.Lock()
		begun := r.told.list
		r.told.mu.Unlock()
		all, basis, err = r.Services(ctx, "", discovery.ReadOptions{})
		zxid, updating := basis.Zxid, basis.Cache == discovery.Updating
		if basis.Meta = fresh.Join(basis.Meta); err != nil {
			return nil, 0, basis, err
		}
		if updating && !held.over(ctx) {
			continue
		}
		if index = r.tellList(all, zxid, begun, held.over(ctx)); index != 0 {
			return all, index, basis, nil
		}
	}
}

// tellList returns the index of a list that was read after begun was told, and remembers it. It
// returns 0 if another list has been told since, which may be newer; unless this one must not be held
// back any longer.
func (r *Registry) tellList(all []MountAnswer, zxid int64, begun told, now bool) Index {
	print := xxhash.New()
	for i := range all {
		addPrint(print, all[i].print)
	}
	r.told.mu.Lock()
	defer r.told.mu.Unlock()
	is := r.told.list.next(indexOf(zxid), print.Sum64())
	if r.told.list != begun && r.told.list.print != is.print && !now {
		return 0
	}
	r.told.list = is
	return is.index
}

// hold is how long an answer has been held back.
type hold struct {
	began time.Time
	next  time.Duration
}

func newHold() *hold { return &hold{time.Now(), time.Millisecond / 4} }

// over reports whether the answer may not be held back any longer.
func (h *hold) over(ctx context.Context) bool {
	return ctx.Err() != nil || time.Since(h.began) > maxHold
}

// pause waits a moment, each time twice as long, because all is read again then.
func (h *hold) pause(ctx context.Context) {
	timer := time.NewTimer(h.next)
	defer timer.Stop()
	h.next *= 2
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
