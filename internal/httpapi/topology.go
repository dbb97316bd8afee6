package httpapi

import (
	"strconv"

	"magellan/internal/shops"
)

// topologyKey stands for the regions and datacenters that a body was made from. It has
// pointers to the first elements of their slices, which are never changed. While a key is
// held, no other topology can have the same addresses.
type topologyKey struct {
	regions     *shops.Region
	datacenters *shops.Datacenter
}

// The bodies that are kept of each topology.
const (
	formatRegions = iota
	formatDatacenters
)

func firstOf[T any](s []T) *T {
	if len(s) == 0 {
		return nil
	}
	return &s[0]
}

// topologyKeyOf returns the key of what regions and datacenters are made from.
func topologyKeyOf(a shops.RegionsAnswer) topologyKey {
	return topologyKey{firstOf(a.Regions), firstOf(a.Datacenters)}
}

// getRegions answers GET /v1/regions.
func (s *Server) getRegions(q *question, a *answer) error {
	known, basis, err := s.service.Regions(q.ctx, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	rendered := s.topology.get(topologyKeyOf(known), formatRegions, func() []byte {
		dst := append([]byte(nil), `{"regions":[`...)
		for i := range known.Regions {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendRegion(dst, &known.Regions[i], known.Datacenters)
		}
		return append(dst, "]}\n"...)
	})
	a.share(contentJSON, rendered.hash, rendered)
	return nil
}

// getRegion answers GET /v1/regions/{region}.
func (s *Server) getRegion(q *question, a *answer) error {
	known, basis, err := s.service.Region(q.ctx, q.name, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	a.compose(contentJSON, append(appendRegion(a.buf[:0], &known.Region, known.Datacenters), '\n'))
	return nil
}

// appendRegion appends a region with the names of its datacenters.
func appendRegion(dst []byte, region *shops.Region, datacenters []shops.Datacenter) []byte {
	dst = appendString(append(dst, `{"region":`...), region.Name)
	dst = strconv.AppendBool(append(dst, `,"open":`...), region.Open)
	dst = append(dst, `,"datacenters":[`...)
	comma := false
	for i := range datacenters {
		if datacenters[i].Region != region.Name {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = appendString(dst, datacenters[i].Name)
	}
	return append(dst, "]}"...)
}

// getDatacenters answers GET /v1/datacenters.
func (s *Server) getDatacenters(q *question, a *answer) error {
	datacenters, basis, err := s.service.Datacenters(q.ctx, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	dst := append(a.buf[:0], `{"datacenters":[`...)
	for i := range datacenters {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendDatacenter(dst, &datacenters[i])
	}
	a.compose(contentJSON, append(dst, "]}\n"...))
	return nil
}

// getDatacenter answers GET /v1/datacenters/{datacenter}.
func (s *Server) getDatacenter(q *question, a *answer) error {
	datacenter, basis, err := s.service.Datacenter(q.ctx, q.name, q.read)
	a.rest(basis)
	if err != nil {
		return err
	}
	a.compose(contentJSON, append(appendDatacenter(a.buf[:0], &datacenter), '\n'))
	return nil
}

func appendDatacenter(dst []byte, d *shops.Datacenter) []byte {
	dst = appendString(append(dst, `{"datacenter":`...), d.Name)
	dst = appendString(append(dst, `,"region":`...), d.Region)
	dst = strconv.AppendBool(append(dst, `,"open":`...), d.Open)
	dst = strconv.AppendInt(append(dst, `,"capacity":`...), d.Capacity, 10)
	dst = strconv.AppendInt(append(dst, `,"assigned":`...), d.Assigned, 10)
	dst = strconv.AppendInt(append(dst, `,"headroom":`...), d.Headroom(), 10)
	return append(dst, '}')
}
