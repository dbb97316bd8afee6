package shops

import (
	"slices"
	"strings"

	"magellan/internal/discovery"
)

// Region is a region as ZooKeeper holds it.
type Region struct {
	Name string
	// Open says that new shops may be placed here.
	Open bool
	// Zxid is the transaction that last changed the znode.
	Zxid int64
}

// Datacenter is a datacenter as ZooKeeper holds it.
type Datacenter struct {
	Name, Region string
	// Capacity and Assigned are numbers of shops, zero or more. Assigned may exceed
	// Capacity.
	Capacity, Assigned int64
	// Open says that new shops may be placed here.
	Open bool
	// Zxid is the transaction that last changed the znode.
	Zxid int64
}

// Headroom is the number of shops for which there is still room. It is negative if more
// shops are assigned than there is capacity for.
func (d Datacenter) Headroom() int64 { return d.Capacity - d.Assigned }

// Topology is all regions and datacenters at one point in time. It is
// immutable: any number of goroutines may use it without a lock.
type Topology struct {
	zxid        int64
	regions     []Region
	datacenters []Datacenter
	region      map[string]*Region
	datacenter  map[string]*Datacenter
	// The doubts about the regions and about the datacenters.
	regionDoubts, datacenterDoubts discovery.Doubts
}

// NewTopology makes a topology of copies of regions and datacenters. No two regions and no
// two datacenters may have the same name. A datacenter may name a region that does not
// exist.
//
// zxid is the newest transaction that changed, created or deleted one of the znodes: the
// greatest of all mzxids and of the parents' pzxids.
func NewTopology(zxid int64, regions []Region, datacenters []Datacenter) *Topology {
	t := &Topology{
		zxid:        zxid,
		regions:     slices.Clone(regions),
		datacenters: slices.Clone(datacenters),
		region:      make(map[string]*Region, len(regions)),
		datacenter:  make(map[string]*Datacenter, len(datacenters)),
	}
	slices.SortFunc(t.regions, func(a, b Region) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.datacenters, func(a, b Datacenter) int { return strings.Compare(a.Name, b.Name) })
	for i := range t.regions {
		t.region[t.regions[i].Name] = &t.regions[i]
	}
	for i := range t.datacenters {
		t.datacenter[t.datacenters[i].Name] = &t.datacenters[i]
	}
	return t
}

// WithDoubts returns the same topology with other doubts about its regions and its
// datacenters. A record that is not held is no part of the topology; only the doubt about
// the record shows that it exists.
func (t *Topology) WithDoubts(regions, datacenters discovery.Doubts) *Topology {
	with := *t
	with.regionDoubts, with.datacenterDoubts = regions, datacenters
	return &with
}

// unknown reports whether the topology has neither a datacenter of that name nor a doubt about
// one.
func (t *Topology) unknown(datacenter string) bool {
	return t.datacenter[datacenter] == nil && t.datacenterDoubts.Of(datacenter) == nil
}

// Zxid returns the zxid that [NewTopology] was given.
func (t *Topology) Zxid() int64 { return t.zxid }

// Regions returns all regions ordered by name. The slice is shared: it must not
// be changed.
func (t *Topology) Regions() []Region { return slices.Clip(t.regions) }

// Datacenters returns all datacenters ordered by name. The slice is shared: it
// must not be changed.
func (t *Topology) Datacenters() []Datacenter { return slices.Clip(t.datacenters) }

// Region returns the region of that name.
func (t *Topology) Region(name string) (Region, bool) {
	if r := t.region[name]; r != nil {
		return *r, true
	}
	return Region{}, false
}

// Datacenter returns the datacenter of that name.
func (t *Topology) Datacenter(name string) (Datacenter, bool) {
	if d := t.datacenter[name]; d != nil {
		return *d, true
	}
	return Datacenter{}, false
}
