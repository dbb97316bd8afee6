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
	answer, basis, err := s.service.Shop(x.ctx, name, x.readOptions())
	if errors.Is(err, discovery.ErrNotFound) {
		err = fmt.Errorf("shop %q: %w", name, discovery.ErrNotFound)
	}
	if err != nil {
		return x.failWith(basis, err)
	}
	x.body = append(appendShop(append(x.body[:0], '{'), &answer), "}\n"...)
	return x.answer(basis, contentJSON, x.body)
}

// appendShop appends the members of a shop's answer, without the braces.
func appendShop(dst []byte, a *shops.ShopAnswer) []byte {
	dst = appendString(append(dst, `"shop":`...), a.Shop)
	dst = appendString(append(dst, `,"datacenter":`...), a.Datacenter)
	return appendString(append(dst, `,"region":`...), a.Region)
}
