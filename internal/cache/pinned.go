package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// pinned is everything that is held whole: the topology and the blocklist. The
// first session carries it.
type pinned struct {
	c       *Cache
	session *session

	topology struct {
		view
		current atomic.Pointer[discovery.Topology]
	}
	blocklist struct {
		view
		current atomic.Pointer[discovery.Blocklist]
	}
	// rootFound: the root exists; until then nothing below it is asked for.
	// Of the dispatcher goroutine.
	rootFound bool
}

func (p *pinned) init(c *Cache, s *session) {
	p.c, p.session = c, s
	l := c.cfg.Layout
	regions := &set{dir: l.RegionsDir(), decode: func(name string, data []byte, zxid int64) (any, error) {
		return discovery.DecodeRegion(name, data, zxid)
	}}
	datacenters := &set{dir: l.DatacentersDir(), decode: func(name string, data []byte, zxid int64) (any, error) {
		return discovery.DecodeDatacenter(name, data, zxid)
	}}
	lists := &set{dir: l.BadCitizensDir(), decode: decodeList}
	for _, path := range []string{l.Root, regions.dir, datacenters.dir, lists.dir} {
		s.reserved.Add(2 * int64(zk.WatchCost(path))) // children and exists watches
	}
	t := &p.topology
	t.collect = func() func() {
		rs, zxid := values[discovery.Region](regions)
		ds, dzxid := values[discovery.Datacenter](datacenters)
		return func() { t.current.Store(discovery.NewTopology(max(zxid, dzxid), rs, ds)) }
	}
	t.init(c, s, regions, datacenters)
	b := &p.blocklist
	b.collect = func() func() {
		all, zxid := values[discovery.BadCitizenList](lists)
		return func() { b.current.Store(discovery.NewBlocklist(zxid, all...)) }
	}
	b.init(c, s, lists)
}

// values gathers what a set holds, and the newest transaction that changed it.
// The view's mu is held.
func values[T any](s *set) (all []T, zxid int64) {
	zxid = s.pzxid
	for _, n := range s.nodes {
		if n.value != nil {
			all = append(all, n.value.(T))
			zxid = max(zxid, n.zxid)
		}
	}
	return all, zxid
}

// decodeList takes the good lines of a list and calls the others a problem.
func decodeList(name string, data []byte, zxid int64) (any, error) {
	list, err := discovery.DecodeBadCitizens(name, data, zxid)
	if err == nil && list.BadLines > 0 {
		err = &partialError{fmt.Errorf("%d bad lines, the others count; the first: %w", list.BadLines, list.LineErrors[0])}
	}
	return list, err
}

// onReady asks for the root first: where it does not exist, nothing else does.
func (p *pinned) onReady(epochIsNew bool) {
	if p.rootFound {
		p.topology.onReady(epochIsNew)
		p.blocklist.onReady(epochIsNew)
		return
	}
	root := p.c.cfg.Layout.Root
	p.session.client.ExistsAsync(root, true, func(_ zk.Stat, err error) {
		switch {
		case err == nil:
			p.rootFound = true
			p.topology.onReady(true)
			p.blocklist.onReady(true)
		case errors.Is(err, zk.ErrNoNode):
			err = fmt.Errorf("%w: %w: %s", discovery.ErrUnavailable, ErrNoRoot, root)
			p.topology.fail(err)
			p.blocklist.fail(err)
		default: // the next onReady asks again
			p.topology.fail(translate(err))
			p.blocklist.fail(translate(err))
		}
	})
}

func (p *pinned) onWatch(e zk.WatchEvent) {
	if e.Path == p.c.cfg.Layout.Root {
		if !p.rootFound {
			p.onReady(true)
		}
		return
	}
	_ = p.topology.onWatch(e.Path) || p.blocklist.onWatch(e.Path)
}

// intern turns the name of a datacenter into a string, mostly without
// allocating one.
func (p *pinned) intern(name []byte) string {
	if t := p.topology.current.Load(); t != nil {
		return t.Intern(name)
	}
	return string(name)
}

// Topology implements discovery.Reader.
func (c *Cache) Topology(ctx context.Context, opt discovery.ReadOptions) (*discovery.Topology, discovery.Meta, error) {
	v := &c.pinned.topology
	return answer(ctx, opt, &v.view, &v.current, (*discovery.Topology).Zxid)
}

// Blocklist implements discovery.Reader.
func (c *Cache) Blocklist(ctx context.Context, opt discovery.ReadOptions) (*discovery.Blocklist, discovery.Meta, error) {
	v := &c.pinned.blocklist
	return answer(ctx, opt, &v.view, &v.current, (*discovery.Blocklist).Zxid)
}

// answer reads a view's snapshot: at once what is published, or after a sync
// where it must be fresh.
func answer[T any](ctx context.Context, opt discovery.ReadOptions, v *view, current *atomic.Pointer[T], zxid func(*T) int64) (*T, discovery.Meta, error) {
	status := discovery.Hit
	if opt.Fresh || current.Load() == nil {
		status = discovery.Miss
		if opt.Fresh {
			if err := v.session.syncWait(ctx); err != nil {
				return nil, discovery.Meta{}, err
			}
		}
		if err := v.wait(ctx, opt.Fresh); err != nil {
			return nil, discovery.Meta{}, err
		}
	}
	// The meta data comes first: a snapshot published in between is only better
	// than it says.
	meta := v.meta(v.c.now())
	snapshot := current.Load()
	meta.Zxid = zxid(snapshot)
	meta.Cache = max(meta.Cache, status)
	return snapshot, meta, nil
}
