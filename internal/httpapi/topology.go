package httpapi

import (
	"strconv"

	"magellan/internal/shops"
)

// topologyKey stands for the regions and datacenters a body was made from: the
// first elements of slices that are never changed. Holding them keeps their
// addresses from being used again.
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
func (s *Server) getRegions(x *exchange) error {
	answer, basis, err := s.service.Regions(x.ctx, x.readOptions())
	if err != nil {
		return x.failWith(basis, err)
	}
	rendered := s.topology.get(topologyKeyOf(answer), formatRegions, func() []byte {
		dst := append([]byte(nil), `{"regions":[`...)
		for i := range answer.Regions {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendRegion(dst, &answer.Regions[i], answer.Datacenters)
		}
		return append(dst, "]}\n"...)
	})
	x.rest(basis)
	return x.sendKept(contentJSON, rendered)
}

// getRegion answers GET /v1/regions/{region}.
func (s *Server) getRegion(x *exchange) error {
	name, err := x.param()
	if err != nil {
		return err
	}
	answer, basis, err := s.service.Region(x.ctx, name, x.readOptions())
	if err != nil {
		return x.failWith(basis, err)
	}
	x.body = append(appendRegion(x.body[:0], &answer.Region, answer.Datacenters), '\n')
	return x.answer(basis, contentJSON, x.body)
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
func (s *Server) getDatacenters(x *exchange) error {
	datacenters, basis, err := s.service.Datacenters(x.ctx, x.readOptions())
	if err != nil {
		return x.failWith(basis, err)
	}
	dst := append(x.body[:0], `{"datacenters":[`...)
	for i := range datacenters {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendDatacenter(dst, &datacenters[i])
	}
	x.body = append(dst, "]}\n"...)
	return x.answer(basis, contentJSON, x.body)
}

// getDatacenter answers GET /v1/datacenters/{datacenter}.
func (s *Server) getDatacenter(x *exchange) error {
	name, err := x.param()
	if err != nil {
		return err
	}
	datacenter, basis, err := s.service.Datacenter(x.ctx, name, x.readOptions())
	if err != nil {
		return x.failWith(basis, err)
	}
	x.body = append(appendDatacenter(x.body[:0], &datacenter), '\n')
	return x.answer(basis, contentJSON, x.body)
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
