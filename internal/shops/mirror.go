package shops

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
)

// Homes describes the shops' znodes.
func (l Layout) Homes() discovery.Keyed[Home] {
	known := new(homes)
	return discovery.Keyed[Home]{
		Kind: topicShop,
		Dir:  l.ShopsDir(),
		Path: l.Shop,
		Name: l.ShopName,
		Decode: func(name string, data []byte, _ discovery.Stat) (*Home, error) {
			return known.decode(name, data)
		},
		Encode: func(dst []byte, home *Home) []byte {
			name, err := json.Marshal(home.Datacenter)
			if err != nil {
				panic(err) // which cannot be: every string can be marshaled
			}
			return append(append(append(dst, `{"datacenter":`...), name...), '}')
		},
	}
}

// Topologies describes the regions' and the datacenters' znodes. It is essential, because
// without them no shop can be resolved.
func (l Layout) Topologies() discovery.View[Topology] {
	regions := &discovery.Directory[Region]{Path: l.RegionsDir(), Decode: func(name string, data []byte, stat discovery.Stat) (Region, error) {
		return DecodeRegion(name, data, stat.Mzxid)
	}}
	datacenters := &discovery.Directory[Datacenter]{Path: l.DatacentersDir(), Decode: func(name string, data []byte, stat discovery.Stat) (Datacenter, error) {
		return DecodeDatacenter(name, data, stat.Mzxid)
	}}
	return discovery.View[Topology]{
		Name:        topicTopology,
		Directories: []discovery.AnyDirectory{regions, datacenters},
		Build: func(m discovery.Moment, _ *Topology) *Topology {
			r, d := regions.Members(m), datacenters.Members(m)
			return NewTopology(max(r.Zxid, d.Zxid), r.Values, d.Values).WithDoubts(r.Doubts, d.Doubts)
		},
		Zxid:      (*Topology).Zxid,
		Changes:   TopologyChanges,
		Essential: true,
	}
}

// Blocklists describes the znodes of the bad-citizen lists.
func (l Layout) Blocklists() discovery.View[Blocklist] {
	// last is the last blocklist. Lines that it has already are not parsed again.
	var last atomic.Pointer[Blocklist]
	lists := &discovery.Directory[BadCitizenList]{
		Path: l.BadCitizensDir(),
		Decode: func(name string, data []byte, stat discovery.Stat) (BadCitizenList, error) {
			list, err := last.Load().DecodeBadCitizens(name, data, stat.Mzxid)
			if err == nil && list.BadLines > 0 {
				err = &discovery.PartialError{Err: fmt.Errorf("%d lines do not parse, and the others count; the first: %w", list.BadLines, list.LineErrors[0])}
			}
			return list, err
		},
		Entries: func(list BadCitizenList) int { return list.Current(time.Now()) },
	}
	return discovery.View[Blocklist]{
		Name:        topicBlocklist,
		Directories: []discovery.AnyDirectory{lists},
		Build: func(m discovery.Moment, was *Blocklist) *Blocklist {
			all := lists.Members(m)
			is := was.Next(m.Now, all.Zxid, all.Values...)
			is.SetDoubts(all.Doubts)
			last.Store(is)
			return is
		},
		Zxid:    (*Blocklist).Zxid,
		Changes: func(_, _ *Blocklist) []discovery.Topic { return []discovery.Topic{BlocklistTopic()} },
	}
}
