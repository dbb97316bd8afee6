package httpapi

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// getShop answers GET /v1/shops/{shop}: the route that all the care about
// allocations is for.
func (s *Server) getShop(q *question, a *answer) error {
	found, basis, err := s.service.Shop(q.ctx, q.name, q.read)
	a.rest(basis)
	if errors.Is(err, discovery.ErrNotFound) {
		err = fmt.Errorf("shop %q: %w", q.name, discovery.ErrNotFound)
	}
	if err != nil {
		return err
	}
	a.compose(contentJSON, append(appendShop(append(a.buf[:0], '{'), &found), "}\n"...))
	return nil
}

// appendShop appends the members of a shop's answer, without the braces.
func appendShop(dst []byte, a *shops.ShopAnswer) []byte {
	dst = appendString(append(dst, `"shop":`...), a.Shop)
	dst = appendString(append(dst, `,"datacenter":`...), a.Datacenter)
	return appendString(append(dst, `,"region":`...), a.Region)
}
