package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// pinned is everything that is held whole: the topology and the blocklist. The
// first session carries it; members whose watches it has no room for are carried by
// further ones.
type pinned struct {
	c       *Cache
	session *session

	topology struct {
		view
		current atomic.Pointer[shops.Topology]
	}
	blocklist struct {
		view
		current atomic.Pointer[shops.Blocklist]
	}
	root root
	// sets are regions, datacenters and lists, in that order.
	sets []*set
}

func (p *pinned) init(c *Cache, s *session) {
	p.c, p.session = c, s
	l := c.cfg.Layout
	regions := &set{dir: l.RegionsDir(), decode: func(name string, data []byte, zxid int64) (any, error) {
		return shops.DecodeRegion(name, data, zxid)
	}}
	datacenters := &set{dir: l.DatacentersDir(), decode: func(name string, data []byte, zxid int64) (any, error) {
		return shops.DecodeDatacenter(name, data, zxid)
	}}
	lists := &set{dir: l.BadCitizensDir(), decode: p.decodeList, weight: listEntries}
	for _, path := range []string{l.Root, regions.dir, datacenters.dir, lists.dir} {
		s.reserved.Add(2 * int64(zk.WatchCost(path))) // children and exists watches
	}
	t := &p.topology
	t.collect = func() func() {
		rs, zxid := values[shops.Region](regions)
		ds, dzxid := values[shops.Datacenter](datacenters)
		rdoubts, ddoubts := regions.doubts(), datacenters.doubts()
		return func() {
			at := since(&c.notify.topologyAt)
			is := shops.NewTopology(max(zxid, dzxid), rs, ds).WithDoubts(rdoubts, ddoubts)
			was := t.current.Swap(is)
			if c.notify.feed.Watches() > 0 {
				for _, topic := range shops.TopologyChanges(was, is) {
					c.notify.feed.Publish(topic, at)
				}
			}
		}
	}
	t.init(c, s, regions, datacenters)
	b := &p.blocklist
	b.collect = func() func() {
		all, zxid := values[shops.BadCitizenList](lists)
		doubts := lists.doubts()
		return func() {
			at := since(&c.notify.blocklistAt)
			begun := time.Now()
			is := b.current.Load().Next(c.cfg.clock.Now(), zxid, all...)
			is.SetDoubts(doubts)
			b.current.Store(is)
			c.metrics.listBuild.Observe(time.Since(begun).Seconds())
			c.notify.feed.Publish(shops.BlocklistTopic(), at)
		}
	}
	b.init(c, s, lists)
	p.sets = []*set{regions, datacenters, lists}
	c.snapshot.restorePinned(p.sets)
}

func (p *pinned) views() []*view { return []*view{&p.topology.view, &p.blocklist.view} }

// values gathers what a set holds, and the newest transaction that changed it.
// The view's mu is held.
func values[T any](s *set) (all []T, zxid int64) {
	zxid = s.accepted
	for _, n := range s.nodes {
		if n.value != nil {
			all = append(all, n.value.(T))
			zxid = max(zxid, n.zxid)
		}
	}
	for _, n := range s.served {
		all = append(all, n.value.(T))
		zxid = max(zxid, n.zxid)
	}
	return all, zxid
}

// decodeList takes the good lines of a list and calls the others a problem. What is
// the same as in the blocklist is not parsed again.
func (p *pinned) decodeList(name string, data []byte, zxid int64) (any, error) {
	list, err := p.blocklist.current.Load().DecodeBadCitizens(name, data, zxid)
	if err == nil && list.BadLines > 0 {
		err = &partialError{fmt.Errorf("%d bad lines, the others count; the first: %w", list.BadLines, list.LineErrors[0])}
	}
	return list, err
}

// onReady reads again what the session's watches do not hold true any more: nothing
// before the root has been found.
func (p *pinned) onReady(s *session, epochIsNew bool) {
	if s == p.session {
		found := p.root.found
		p.lookForRoot() // which reads all once it has found the first
		if !found {
			return
		}
	}
	p.readAll(s, epochIsNew)
}

func (p *pinned) readAll(s *session, epochIsNew bool) {
	for _, v := range p.views() {
		v.onReady(s, epochIsNew)
	}
}

func (p *pinned) onWatch(s *session, e zk.WatchEvent) {
	if e.Path == p.c.cfg.Layout.Root {
		if s == p.session {
			p.lookForRoot()
		}
		return
	}
	if p.topology.onWatch(s, e.Path) {
		learnt(&p.c.notify.topologyAt)
	} else if p.blocklist.onWatch(s, e.Path) {
		learnt(&p.c.notify.blocklistAt)
	}
}

// intern turns the name of a datacenter into a string, mostly without
// allocating one.
func (p *pinned) intern(name []byte) string {
	if t := p.topology.current.Load(); t != nil {
		return t.Intern(name)
	}
	return string(name)
}

// Topology implements shops.Reader.
func (c *Cache) Topology(ctx context.Context, opt discovery.ReadOptions) (*shops.Topology, discovery.Meta, error) {
	v := &c.pinned.topology
	return answer(ctx, opt, &v.view, &v.current, (*shops.Topology).Zxid)
}

// Blocklist implements shops.Reader.
func (c *Cache) Blocklist(ctx context.Context, opt discovery.ReadOptions) (*shops.Blocklist, discovery.Meta, error) {
	v := &c.pinned.blocklist
	return answer(ctx, opt, &v.view, &v.current, (*shops.Blocklist).Zxid)
}

// answer reads a view's snapshot: at once what is published, or after a sync where
// that does not hold a transaction, or after a sync and a check where it must be fresh.
func answer[T any](ctx context.Context, opt discovery.ReadOptions, v *view, current *atomic.Pointer[T], zxid func(*T) int64) (*T, discovery.Meta, error) {
	status := discovery.Hit
	fresh := opt.Fresh || opt.MinZxid != 0 && !v.since(opt.MinZxid)
	if v.dirty.Load() < 0 && !fresh && v.session.live.Load() {
		// A snapshot's, and ZooKeeper is there. Where it does not answer in time
		// what there is has to do.
		first, cancel := context.WithTimeout(ctx, grace)
		_ = v.wait(first, true)
		cancel()
		status = discovery.Miss
	}
	if fresh {
		status = discovery.Miss
		if err := v.catchUp(ctx, opt.MinZxid); err != nil {
			return nil, discovery.Meta{}, err
		}
		if opt.Fresh {
			if err := v.check(ctx); err != nil {
				return nil, discovery.Meta{}, err
			}
		}
		if v.c.pinned.root.gone.Load() { // what is not known waits for it
			return nil, discovery.Meta{}, translate(v.c.pinned.noRoot())
		}
		if err := v.wait(ctx, true); err != nil {
			return nil, discovery.Meta{}, err
		}
	}
	var snapshot *T
	var meta discovery.Meta
	for {
		// The meta data comes first: a snapshot published in between is only
		// better than it says.
		meta = v.meta(v.c.now())
		if snapshot = current.Load(); snapshot != nil {
			break
		}
		status = discovery.Miss
		if err := v.wait(ctx, false); err != nil {
			return nil, discovery.Meta{}, err
		}
	}
	meta.Zxid = zxid(snapshot)
	meta.Cache = max(meta.Cache, status)
	if fresh {
		return reached(opt.MinZxid, snapshot, meta, nil)
	}
	return snapshot, meta, nil
}
