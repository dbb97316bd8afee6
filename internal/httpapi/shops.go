package httpapi

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// getShop answers GET /v1/shops/{shop}: the route that all the care about
// allocations is for.
func (s *Server) getShop(x *exchange) error {
	name, err := x.param()
	if err != nil {
		return err
	}
	answer, meta, err := s.service.Shop(x.ctx, name, x.readOptions())
	if x.depends != nil {
		x.dependOnShop(name, answer.Datacenter, err)
	}
	if errors.Is(err, discovery.ErrNotFound) {
		err = fmt.Errorf("shop %q: %w", name, discovery.ErrNotFound)
	}
	if err != nil {
		return x.failWith(meta, err)
	}
	x.body = append(appendShop(append(x.body[:0], '{'), &answer), "}\n"...)
	return x.answer(meta, contentJSON, x.body)
}

// dependOnShop names what the answer for a shop depends on.
func (x *exchange) dependOnShop(name, datacenter string, err error) {
	switch {
	case err == nil:
		x.depends.on(shops.ShopTopic(name), shops.DatacenterTopic(datacenter))
	case errors.Is(err, discovery.ErrNotFound):
		x.depends.on(shops.ShopTopic(name))
	default: // it may be the datacenter that is missing
		x.depends.on(shops.ShopTopic(name), shops.TopologyTopic())
	}
}

// appendShop appends the members of a shop's answer, without the braces.
func appendShop(dst []byte, a *shops.ShopAnswer) []byte {
	dst = appendString(append(dst, `"shop":`...), a.Shop)
	dst = appendString(append(dst, `,"datacenter":`...), a.Datacenter)
	return appendString(append(dst, `,"region":`...), a.Region)
}
