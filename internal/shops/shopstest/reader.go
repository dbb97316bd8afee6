package shopstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// Reader holds records in maps. Use [New]. It is safe for concurrent use.
type Reader struct {
	mu          sync.RWMutex
	zxid        int64
	shops       map[string]shop
	shopErrs    map[string]error
	regions     map[string]shops.Region
	datacenters map[string]shops.Datacenter
	lists       map[string]shops.BadCitizenList
	err         error
	freshErr    error
	age         time.Duration
	cache       discovery.CacheStatus
	fresh       int
	feed        *discovery.Feed
	now         func() time.Time
	doubts      struct{ regions, datacenters, lists []discovery.Doubt }

	// These are made from the maps again after every change.
	topology  *shops.Topology
	blocklist *shops.Blocklist
	// These are the transactions that last changed the two.
	topologyZxid, blocklistZxid int64
}

var _ shops.Reader = (*Reader)(nil)

type shop struct {
	home *shops.Home
	zxid int64
}

// New returns a Reader without any record. Its answers are hits of age 0.
func New() *Reader {
	r := &Reader{
		shops:       make(map[string]shop),
		shopErrs:    make(map[string]error),
		regions:     make(map[string]shops.Region),
		datacenters: make(map[string]shops.Datacenter),
		lists:       make(map[string]shops.BadCitizenList),
		feed:        discovery.NewFeed(nil),
		now:         func() time.Time { return time.Time{} }, // the first Blocklist is made at no time; see SetClock
	}
	r.rebuild()
	r.now = time.Now
	return r
}

// SetShop creates or moves a shop. Like every change it is one transaction, whose zxid is one
// more than that of the change before. SetShop returns the zxid.
func (r *Reader) SetShop(name, datacenter string) (zxid int64) {
	defer r.feed.Publish(shops.ShopTopic(name), time.Time{})
	return r.change(func(zxid int64) {
		r.shops[name] = shop{&shops.Home{Datacenter: datacenter}, zxid}
	})
}

// DeleteShop deletes a shop.
func (r *Reader) DeleteShop(name string) (zxid int64) {
	defer r.feed.Publish(shops.ShopTopic(name), time.Time{})
	return r.change(func(int64) { delete(r.shops, name) })
}

// SetRegion creates or changes a region; its Zxid is filled in.
func (r *Reader) SetRegion(region shops.Region) (zxid int64) {
	return r.change(func(zxid int64) {
		region.Zxid, r.topologyZxid = zxid, zxid
		r.regions[region.Name] = region
	})
}

// DeleteRegion deletes a region.
func (r *Reader) DeleteRegion(name string) (zxid int64) {
	return r.change(func(zxid int64) {
		r.topologyZxid = zxid
		delete(r.regions, name)
	})
}

// SetDatacenter creates or changes a datacenter; its Zxid is filled in.
func (r *Reader) SetDatacenter(dc shops.Datacenter) (zxid int64) {
	return r.change(func(zxid int64) {
		dc.Zxid, r.topologyZxid = zxid, zxid
		r.datacenters[dc.Name] = dc
	})
}

// DeleteDatacenter deletes a datacenter.
func (r *Reader) DeleteDatacenter(name string) (zxid int64) {
	return r.change(func(zxid int64) {
		r.topologyZxid = zxid
		delete(r.datacenters, name)
	})
}

// SetBadCitizens creates or changes a bad-citizen list. text is what
// [shops.DecodeBadCitizens] reads. SetBadCitizens panics if that returns an error.
func (r *Reader) SetBadCitizens(list, text string) (zxid int64) {
	return r.change(func(zxid int64) {
		decoded, err := r.blocklist.DecodeBadCitizens(list, []byte(text), zxid)
		if err != nil {
			panic(err)
		}
		r.blocklistZxid = zxid
		r.lists[list] = decoded
	})
}

// DeleteBadCitizens deletes a bad-citizen list.
func (r *Reader) DeleteBadCitizens(list string) (zxid int64) {
	return r.change(func(zxid int64) {
		r.blocklistZxid = zxid
		delete(r.lists, list)
	})
}

// SetClock sets the clock for the times at which bad-citizen lists change. It has to be the
// Now of the [shops.Config], if that is not time.Now.
func (r *Reader) SetClock(now func() time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
}

// SetErr makes every read fail with err until it is set to nil.
func (r *Reader) SetErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// SetFreshErr makes every read with [discovery.ReadOptions].Fresh fail with err until it is
// set to nil. Other reads succeed, as while ZooKeeper is out of reach.
func (r *Reader) SetFreshErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freshErr = err
}

// SetShopErr makes every read of one shop fail with err until it is set to nil.
func (r *Reader) SetShopErr(name string, err error) {
	defer r.feed.Publish(shops.ShopTopic(name), time.Time{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shopErrs[name] = err
}

// SetStaleness sets the age and the cache status of all later answers. If the status is not
// a hit, a read with [discovery.ReadOptions].Fresh is still answered with age 0, as a miss.
func (r *Reader) SetStaleness(age time.Duration, status discovery.CacheStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age, r.cache = age, status
}

// SetDoubts sets the doubts about regions, datacenters and lists. They replace those that were
// set before.
func (r *Reader) SetDoubts(regions, datacenters, lists []discovery.Doubt) {
	r.change(func(int64) {
		r.doubts.regions, r.doubts.datacenters, r.doubts.lists = regions, datacenters, lists
		r.topology, r.blocklist = nil, nil
	})
}

// FreshReads returns the number of reads with [discovery.ReadOptions].Fresh. A call of Shops
// counts as one read.
func (r *Reader) FreshReads() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fresh
}

// Shop implements [shops.Reader].
func (r *Reader) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*shops.Home, discovery.Meta, error) {
	r.count(opt)
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.shop(ctx, name, opt)
}

// Shops implements [shops.Reader].
func (r *Reader) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []shops.ShopRead) {
	r.count(opt)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i, name := range names {
		out[i].Value, out[i].Meta, out[i].Err = r.shop(ctx, name, opt)
	}
}

// Topology implements [shops.Reader].
func (r *Reader) Topology(ctx context.Context, opt discovery.ReadOptions) (*shops.Topology, discovery.Meta, error) {
	r.count(opt)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.failure(ctx, opt); err != nil {
		return nil, r.meta(0, opt), err
	}
	return r.topology, r.meta(r.topologyZxid, opt), nil
}

// Blocklist implements [shops.Reader].
func (r *Reader) Blocklist(ctx context.Context, opt discovery.ReadOptions) (*shops.Blocklist, discovery.Meta, error) {
	r.count(opt)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.failure(ctx, opt); err != nil {
		return nil, r.meta(0, opt), err
	}
	return r.blocklist, r.meta(r.blocklistZxid, opt), nil
}

// Watch implements [shops.Reader]. A change is published even if answers stay the same.
func (r *Reader) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return r.feed.Watch(t, o)
}

// Watches returns the number of watches that have not been stopped.
func (r *Reader) Watches() int64 { return r.feed.Watches() }

// Publish notifies the observers of a topic, although the topic has not changed.
func (r *Reader) Publish(t discovery.Topic) { r.feed.Publish(t, time.Time{}) }

func (r *Reader) shop(ctx context.Context, name string, opt discovery.ReadOptions) (*shops.Home, discovery.Meta, error) {
	if err := r.failure(ctx, opt); err != nil {
		return nil, r.meta(0, opt), err
	}
	if err := r.shopErrs[name]; err != nil {
		return nil, r.meta(0, opt), err
	}
	if s, ok := r.shops[name]; ok {
		return s.home, r.meta(s.zxid, opt), nil
	}
	if err := discovery.ValidateName(name); err != nil {
		return nil, discovery.Meta{}, fmt.Errorf("shop: %w", err)
	}
	return nil, r.meta(0, opt), fmt.Errorf("shop %q: %w", name, discovery.ErrNotFound)
}

func (r *Reader) failure(ctx context.Context, opt discovery.ReadOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if opt.Fresh && r.freshErr != nil {
		return r.freshErr
	}
	if opt.MinZxid > r.zxid {
		return fmt.Errorf("%w: %#x", discovery.ErrZxidNotReached, opt.MinZxid)
	}
	return r.err
}

func (r *Reader) meta(zxid int64, opt discovery.ReadOptions) discovery.Meta {
	if opt.Fresh && r.cache != discovery.Hit {
		return discovery.Meta{Zxid: zxid, Cache: discovery.Miss}
	}
	return discovery.Meta{Zxid: zxid, Age: r.age, Cache: r.cache}
}

func (r *Reader) count(opt discovery.ReadOptions) {
	if opt.Fresh {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fresh++
	}
}

func (r *Reader) change(apply func(zxid int64)) int64 {
	r.mu.Lock()
	topology, blocklist := r.topology, r.blocklist
	r.zxid++
	apply(r.zxid)
	r.rebuild()
	zxid, now, list := r.zxid, r.topology, r.blocklist
	r.mu.Unlock()
	if now != topology {
		for _, t := range shops.TopologyChanges(topology, now) {
			r.feed.Publish(t, time.Time{})
		}
	}
	if list != blocklist {
		r.feed.Publish(shops.BlocklistTopic(), time.Time{})
	}
	return zxid
}

func (r *Reader) rebuild() {
	if r.topology == nil || r.topology.Zxid() != r.topologyZxid {
		r.topology = shops.NewTopology(r.topologyZxid, slices.Collect(maps.Values(r.regions)), slices.Collect(maps.Values(r.datacenters))).
			WithDoubts(discovery.NewDoubts(r.doubts.regions), discovery.NewDoubts(r.doubts.datacenters))
	}
	if r.blocklist == nil || r.blocklist.Zxid() != r.blocklistZxid {
		r.blocklist = r.blocklist.Next(r.now(), r.blocklistZxid, slices.Collect(maps.Values(r.lists))...)
		r.blocklist.SetDoubts(discovery.NewDoubts(r.doubts.lists))
	}
}
