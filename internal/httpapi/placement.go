package httpapi

import (
	"strconv"

	"magellan/internal/shops"
)

// getPlacement answers GET /v1/placement.
func (s *Server) getPlacement(q *question, a *answer) error {
	shop, err := q.single("shop")
	if err != nil {
		return err
	}
	if !q.query.Has("shop") {
		return badRequest(`query parameter "shop" is missing: the name of the new shop`)
	}
	policy, err := q.single("policy")
	if err != nil {
		return err
	}
	placement, basis, err := s.service.Place(q.ctx, shops.PlacementRequest{
		Shop: shop, Policy: shops.Policy(policy), Exclude: q.query["exclude"], Prefer: q.query["prefer"],
	}, q.read)
	a.rest(basis)
	if err != nil {
		return &placementError{err, placement.Rejected}
	}
	a.compose(contentJSON, appendPlacement(a.buf[:0], &placement))
	return nil
}

func appendPlacement(dst []byte, p *shops.Placement) []byte {
	dst = appendShop(append(dst, '{'), &shops.ShopAnswer{Shop: p.Shop, Datacenter: p.Datacenter, Region: p.Region})
	dst = appendString(append(dst, `,"policy":`...), string(p.Policy))
	dst = append(dst, `,"candidates":[`...)
	for i := range p.Candidates {
		c := &p.Candidates[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"datacenter":`...), c.Datacenter)
		dst = appendString(append(dst, `,"region":`...), c.Region)
		dst = strconv.AppendInt(append(dst, `,"headroom":`...), c.Headroom, 10)
		dst = appendFloat(append(dst, `,"score":`...), c.Score)
		dst = strconv.AppendBool(append(dst, `,"preferred":`...), c.Preferred)
		dst = append(dst, '}')
	}
	dst = append(dst, `],"rejected":[`...)
	for i := range p.Rejected {
		r := &p.Rejected[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"datacenter":`...), r.Datacenter)
		dst = appendString(append(dst, `,"region":`...), r.Region)
		dst = appendString(append(dst, `,"reason":`...), string(r.Reason))
		dst = append(dst, '}')
	}
	return append(dst, "]}\n"...)
}
