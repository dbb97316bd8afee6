package httpapi

import (
	"strconv"

	"magellan/internal/shops"
)

// getPlacement answers GET /v1/placement.
func (s *Server) getPlacement(x *exchange) error {
	values, err := x.query("shop", "policy", "exclude", "prefer")
	if err != nil {
		return err
	}
	shop, err := single(values, "shop")
	if err != nil {
		return err
	}
	if !values.Has("shop") {
		return badRequest(`query parameter "shop" is missing: the name of the new shop`)
	}
	policy, err := single(values, "policy")
	if err != nil {
		return err
	}
	placement, basis, err := s.service.Place(x.ctx, shops.PlacementRequest{
		Shop: shop, Policy: shops.Policy(policy), Exclude: values["exclude"], Prefer: values["prefer"],
	}, x.readOptions())
	if err != nil {
		return x.failWith(basis, &placementError{err, placement.Rejected})
	}
	x.body = appendPlacement(x.body[:0], &placement)
	return x.answer(basis, contentJSON, x.body)
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
