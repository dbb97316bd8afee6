package services

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/discovery"
)

// Index numbers what was answered to a question, for clients that wait as Consul has them wait: a
// client names the index that it has, and gets an answer once there is a greater one. It does not
// look at an answer that has the index it knows. See
// https://developer.hashicorp.com/consul/api-docs/features/blocking.
//
// An index is above 0. Two answers of one process to the same question that say different things
// have different indexes, and the later one has the greater. All replicas give the same index for
// the same state of ZooKeeper, because it is made of the newest transaction that the answer has in
// it.
//
// The transaction alone would not do. Two changes may become known in another order than ZooKeeper
// made them, if they are watched by different sessions; then the second to become known does not
// raise the newest transaction. The shrink guard, or a record that becomes unreadable, change an
// answer without any transaction. So an index is 256 times the transaction, and what changes without
// a newer one adds 2. The next transaction makes replicas equal again. 1 more says that records are
// left out because their last good values have become too old.
type Index uint64

// indexShift is how far the transaction is shifted. An index stays below 2^53, beyond which
// clients written in JavaScript are not exact, until ZooKeeper has had 8,192 leaders; with eight mounts,
// 1,024.
const indexShift = 8

// indexOf is the least index of an answer whose newest transaction is this one.
func indexOf(zxid int64) Index { return max(Index(zxid)<<indexShift, 2) }

// next is the least index above i of an answer that lacks nothing.
func (i Index) next() Index { return (i | 1) + 1 }

// lacking is the index of what i stands for without records that are too old.
func (i Index) lacking() Index { return i | 1 }

// print adds a directory and its index to a digest.
func (i Index) print(d *xxhash.Digest, dir string) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(i))
	_, _ = d.Write(b[:]) // it never fails
	_, _ = d.WriteString(dir)
}

// newIndex returns the index of a directory's value. was is the value before it, nil for the first.
func (m *Mount) newIndex(was, is *Service) Index {
	index := indexOf(is.zxid)
	switch {
	case was != nil && was.same(is):
		index = max(index, was.index)
	case is.absent:
		// The mount's own znode is gone, and with it all transactions of what was in it.
		index = max(index, Index(m.newest.Load()).next())
	case was != nil && index <= was.index:
		index = was.index.next()
	}
	for {
		newest := m.newest.Load()
		if uint64(index) <= newest || m.newest.CompareAndSwap(newest, uint64(index)) {
			return index
		}
	}
}

// IndexedService is [Registry.Service] for all mounts, with the index of its answer. That the service
// does not exist, [discovery.ErrNotFound], has an index too.
//
// The index is the sum of those of the mounts: if it were the greatest of them, a mount that changes
// would not always raise it.
func (r *Registry) IndexedService(ctx context.Context, name string, opt discovery.ReadOptions) (answer Answer, index Index, basis discovery.Basis, err error) {
	if opt != (discovery.ReadOptions{}) { // what it reads stays in memory
		if _, basis, err = r.Service(ctx, name, "", opt); err != nil && !errors.Is(err, discovery.ErrNotFound) {
			return answer, 0, basis, err
		}
	}
	for {
		before := r.indexNear(ctx, name)
		var now discovery.Basis
		answer, now, err = r.Service(ctx, name, "", discovery.ReadOptions{})
		// The answer has this index if the index was the same before and after.
		if index = r.indexNear(ctx, name); index == before || ctx.Err() != nil {
			basis = discovery.Basis{Meta: basis.Join(now.Meta), Depends: now.Depends}
			break
		}
	}
	for s := range answer.All {
		index += s.index & 1
	}
	return answer, index, basis, err
}

// indexNear is the sum of the indexes of a service in all mounts.
func (r *Registry) indexNear(ctx context.Context, name string) (index Index) {
	if ValidateName(name) != nil {
		return 0
	}
	for i := range r.mounts {
		index += r.mounts[i].indexNear(ctx, name)
	}
	return index
}

// indexNear returns the index of the directory of a service, or that of the nearest directory above
// it that exists: if a directory disappears, the list of the one above it has a newer transaction.
// If the service may be in two directories, it is the sum of both.
func (m *Mounted) indexNear(ctx context.Context, name string) (index Index) {
	if name == m.own {
		index = m.indexOf(ctx, "")
	}
	return index + m.indexOf(ctx, m.dirOf(name))
}

// indexOf returns the index of a directory, or that of the nearest one above it that exists; 0 if
// nothing is known of them.
func (m *Mounted) indexOf(ctx context.Context, dir string) (index Index) {
	s, _, err := m.Reader.Get(ctx, dir, discovery.ReadOptions{})
	switch {
	case err == nil:
		// It may have been told that it does not exist, and exist again as it was.
		if gone := m.gone.after(dir, s.index); gone != 0 {
			return gone.next()
		}
		return s.index
	case dir == "":
		return 0
	}
	index = m.indexOf(ctx, dir[:max(0, strings.LastIndexByte(dir, '/'))])
	return max(index, m.gone.after(dir, index))
}

// goneIndexes have, for directories that do not exist any more, an index that is above the last one
// of the directory. It counts until the directory above has its new list, whose transaction is newer
// than all of what has disappeared.
type goneIndexes struct {
	mu    sync.Mutex
	byDir map[string]Index
}

// maxGone is how many directories are remembered. More cannot disappear before the lists above are
// read, unless whole trees do.
const maxGone = 10_000

// add remembers the index of a directory that is gone.
func (g *goneIndexes) add(dir string, index Index) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byDir == nil || len(g.byDir) >= maxGone {
		g.byDir = map[string]Index{}
	}
	g.byDir[dir] = max(index, g.byDir[dir])
}

// after returns the index of a directory that was gone, 0 if there is none or it is not above the
// present one. Then it is not needed any more.
func (g *goneIndexes) after(dir string, present Index) Index {
	g.mu.Lock()
	defer g.mu.Unlock()
	index := g.byDir[dir]
	if index < present {
		delete(g.byDir, dir)
		return 0
	}
	return index
}

// listIndex makes the index of the list of all services.
type listIndex struct {
	// lock has one element while nobody makes an index. Whoever takes it may give up.
	lock chan struct{}
	// last is the index that the last list had, and print stands for what it said.
	last  Index
	print uint64
}

func newListIndex() listIndex {
	l := listIndex{lock: make(chan struct{}, 1)}
	l.lock <- struct{}{}
	return l
}

// IndexedServices is [Registry.Services] for all mounts, with the index of the list.
func (r *Registry) IndexedServices(ctx context.Context, opt discovery.ReadOptions) (all []MountAnswer, index Index, basis discovery.Basis, err error) {
	if opt != (discovery.ReadOptions{}) { // this may take long, and the lock is not for that
		if _, basis, err = r.Services(ctx, "", opt); err != nil {
			return nil, 0, basis, err
		}
	}
	select {
	case <-r.list.lock:
		defer func() { r.list.lock <- struct{}{} }()
	case <-ctx.Done():
		return nil, 0, basis, ctx.Err()
	}
	all, now, err := r.Services(ctx, "", discovery.ReadOptions{})
	if basis = (discovery.Basis{Meta: basis.Join(now.Meta), Depends: now.Depends}); err != nil {
		return nil, 0, basis, err
	}
	print := xxhash.New()
	for i := range all {
		index = max(index, all[i].index)
		Index(all[i].print).print(print, "")
	}
	l := &r.list
	switch says := print.Sum64(); {
	case says == l.print:
		index = max(index, l.last)
	case index <= l.last:
		index = l.last.next()
		fallthrough
	default:
		l.print = says
	}
	l.last = index
	return all, index, basis, nil
}
